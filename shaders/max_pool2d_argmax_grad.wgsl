// Gradient of max pooling from the places of the maxima, as max_pool2d_argmax.wgsl keeps them: dx of an element is the sum
// of dy over the windows whose place it is. Gathered: each element looks at the windows that cover it, so that nothing is
// added atomically. max_pool2d_grad.wgsl is the same without argmax.
// dx: [n, in_h, in_w, c] NHWC, dy: [n, out_h, out_w, c] in Stored, vec4f or vec4h, argmax: the shape of dy, four channels
// in a word, the first in the lowest byte. One invocation computes four channels of a pixel of dx, or the same ones of
// several rows and images. Writes dx (=).

override WG_SIZE: u32 = 64;
override SIZE_H: u32 = 2;
override SIZE_W: u32 = 2;
override STRIDE_H: u32 = 2;
override STRIDE_W: u32 = 2;

// The most windows that cover an element, along each axis.
override WINDOWS_H: u32 = (SIZE_H + STRIDE_H - 1) / STRIDE_H;
override WINDOWS_W: u32 = (SIZE_W + STRIDE_W - 1) / STRIDE_W;

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

@group(0) @binding(0) var<storage, read> argmax: array<u32>;
@group(0) @binding(1) var<storage, read> dy: array<Stored>;
@group(0) @binding(2) var<storage, read_write> dx: array<Stored>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
) {
  let row_size = params.in_w * params.c;
  if (id.x >= row_size) {
    return;
  }
  let column = id.x / params.c;
  let channel = id.x % params.c;
  let w_padded = column + params.pad_left;

  for (var row = id.y; row < params.in_h; row += num_workgroups.y) {
    let h_padded = row + params.pad_top;

    for (var image = id.z; image < params.n; image += num_workgroups.z) {
      let start = image * params.out_h * params.out_w * params.c + channel;
      var acc = vec4f();
      for (var i = 0u; i < WINDOWS_H; i++) {
        for (var j = 0u; j < WINDOWS_W; j++) {
          // From the last window that may cover the element back; before the first window these wrap.
          let out_row = h_padded / STRIDE_H - i;
          let out_column = w_padded / STRIDE_W - j;
          if (
            out_row >= params.out_h || h_padded >= out_row * STRIDE_H + SIZE_H ||
            out_column >= params.out_w || w_padded >= out_column * STRIDE_W + SIZE_W
          ) {
            continue;
          }
          let place = (h_padded - out_row * STRIDE_H) * SIZE_W + w_padded - out_column * STRIDE_W;
          let window = start + (out_row * params.out_w + out_column) * params.c;
          let places = (vec4u(argmax[window]) >> vec4u(0, 8, 16, 24)) & vec4u(0xff);
          acc += select(vec4f(), vec4f(dy[window]), places == vec4u(place));
        }
      }
      dx[(image * params.in_h + row) * row_size + id.x] = Stored(acc);
    }
  }
}
