// Gradient of max pooling: dx of an element is the sum of dy over the windows whose maximum it is; in a tie that is the
// first element in row-major order. Gathered: each element of x looks at the windows that cover it and finds out again
// whether it is their first maximum, so no index is stored and nothing is added atomically.
// x, dx: [n, in_h, in_w, c] NHWC, dy: [n, out_h, out_w, c], in values: Value is f32, or vec4f where four divides the
// channels; Stored is the same as it lies in memory, perhaps in f16. One invocation computes one value of dx, or the same
// one of several rows and images. Writes dx (=).

override WG_SIZE: u32 = 64;
override SIZE_H: u32 = 2;
override SIZE_W: u32 = 2;
override STRIDE_H: u32 = 2;
override STRIDE_W: u32 = 2;
override HAS_PADDING: bool = true;

// The most windows that cover an element, along each axis.
override WINDOWS_H: u32 = (SIZE_H + STRIDE_H - 1) / STRIDE_H;
override WINDOWS_W: u32 = (SIZE_W + STRIDE_W - 1) / STRIDE_W;

struct Params {
  n: u32,
  in_h: u32,
  in_w: u32,
  c: u32, // values, not channels
  out_h: u32,
  out_w: u32,
  pad_top: u32,
  pad_left: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
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
      let x_start = image * params.in_h * row_size + channel;
      let dy_start = image * params.out_h * params.out_w * params.c + channel;
      let own_index = row * params.in_w + column;
      let own = Value(x[x_start + own_index * params.c]);
      var acc = Value(0.0);
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
          // The first maximum is larger than all elements before it and no smaller than all after.
          var is_first = own == own;
          for (var kh = 0u; kh < SIZE_H; kh++) {
            for (var kw = 0u; kw < SIZE_W; kw++) {
              // In the padding before the image these wrap to large numbers. Without padding no window leaves it.
              let h = out_row * STRIDE_H + kh - params.pad_top;
              let w = out_column * STRIDE_W + kw - params.pad_left;
              if (!HAS_PADDING || (h < params.in_h && w < params.in_w)) {
                let index = h * params.in_w + w;
                let other = Value(x[x_start + index * params.c]);
                is_first = is_first & select(own > other, own >= other, own_index <= index);
              }
            }
          }
          let window = (out_row * params.out_w + out_column) * params.c;
          acc += select(Value(0.0), Value(dy[dy_start + window]), is_first);
        }
      }
      dx[(image * params.in_h + row) * row_size + id.x] = Stored(acc);
    }
  }
}
