// Max pooling that also says where each maximum was: y[b, i, j, c] = max of x over the window at (i, j), argmax its place
// kh * SIZE_W + kw within the window, a byte each, of equal elements the first. max_pool2d.wgsl is the same without argmax.
// x: [n, in_h, in_w, c] NHWC, y: [n, out_h, out_w, c] in Stored, vec4f or vec4h, argmax: the shape of y, four channels in
// a word, the first in the lowest byte. One invocation computes four channels of a pixel of y, or the same ones of
// several rows and images. A NaN wins, so that it is not hidden. Writes y and argmax (=).

override WG_SIZE: u32 = 64;
override SIZE_H: u32 = 2;
override SIZE_W: u32 = 2;
override STRIDE_H: u32 = 2;
override STRIDE_W: u32 = 2;
override HAS_PADDING: bool = true;

struct Params {
  n: u32,
  in_h: u32,
  in_w: u32,
  c: u32, // values of four, not channels
  out_h: u32,
  out_w: u32,
  pad_top: u32,
  pad_left: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
@group(0) @binding(2) var<storage, read_write> argmax: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
) {
  let row_size = params.out_w * params.c;
  if (id.x >= row_size) {
    return;
  }
  let column = id.x / params.c;
  let channel = id.x % params.c;

  let left = column * STRIDE_W;

  for (var out_row = id.y; out_row < params.out_h; out_row += num_workgroups.y) {
    let top = out_row * STRIDE_H;
    // The first element of the window that lies in the image; padding is smaller than the window, so there is one.
    let first = (max(top, params.pad_top) - params.pad_top) * params.in_w + max(left, params.pad_left) - params.pad_left;

    for (var image = id.z; image < params.n; image += num_workgroups.z) {
      let x_start = image * params.in_h * params.in_w * params.c + channel;
      var largest = vec4f(x[x_start + first * params.c]);
      var place = vec4u(select(0u, (max(top, params.pad_top) - top) * SIZE_W + max(left, params.pad_left) - left, HAS_PADDING));
      for (var kh = 0u; kh < SIZE_H; kh++) {
        for (var kw = 0u; kw < SIZE_W; kw++) {
          // In the padding before the image these wrap to large numbers. Without padding no window leaves it.
          let h = top + kh - params.pad_top;
          let w = left + kw - params.pad_left;
          if (!HAS_PADDING || (h < params.in_h && w < params.in_w)) {
            let value = vec4f(x[x_start + (h * params.in_w + w) * params.c]);
            // By its bits, since a compiler may take it that there is no NaN.
            let is_nan = (bitcast<vec4u>(value) & vec4u(0x7fffffff)) > vec4u(0x7f800000);
            let wins = (value > largest) | is_nan;
            largest = select(largest, value, wins);
            place = select(place, vec4u(kh * SIZE_W + kw), wins);
          }
        }
      }
      let at = (image * params.out_h + out_row) * row_size + id.x;
      y[at] = Stored(largest);
      argmax[at] = dot(place, vec4u(1u, 1u << 8, 1u << 16, 1u << 24));
    }
  }
}
