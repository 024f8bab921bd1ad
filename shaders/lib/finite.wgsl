// By bits: WGSL lets a compiler assume that floats are never NaN or infinite, so x != x proves nothing.
fn is_finite(value: f32) -> bool {
  return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
}
