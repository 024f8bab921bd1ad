// Eight neighbours of a row of gather_x.wgsl's matrix at once, as tiles of float16 hold them.
// Uses x (array<f16>), the same in eights, x8 (array<vec4u>), and VEC_X: inC is a multiple of 8, so that one load does.

fn load_x8(pixel: Pixel, k: i32) -> vec4u {
  if (VEC_X) {
    let i = x_index(pixel, tap_at(k));
    return select(vec4u(), x8[max(i, 0) / 8], i >= 0);
  }
  var low = vec4h();
  var high = vec4h();
  for (var j = 0; j < 4; j++) {
    let i = x_index(pixel, tap_at(k + j));
    low[j] = select(0.0h, x[max(i, 0)], i >= 0);
    let i_high = x_index(pixel, tap_at(k + j + 4));
    high[j] = select(0.0h, x[max(i_high, 0)], i_high >= 0);
  }
  return vec4u(bitcast<vec2u>(low), bitcast<vec2u>(high));
}
