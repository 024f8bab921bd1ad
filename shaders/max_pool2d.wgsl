// Max pooling: y[b, i, j, c] = max of x over the window at (i, j); padding never wins, since it is not looked at.
// x: [n, in_h, in_w, c] NHWC, y: [n, out_h, out_w, c], in values: Value is f32, or vec4f where four divides the
// channels; Stored is the same as it lies in memory, perhaps in f16. One invocation computes one value of y, or the same
// one of several rows and images; a row of workgroups shares an image row, so that one division finds a value's place.
// Writes y (=).

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
  c: u32, // values, not channels
  out_h: u32,
  out_w: u32,
  pad_top: u32,
  pad_left: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
@group(0) @binding(2) var<uniform> params: Params;

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
      var largest = Value(x[x_start + first * params.c]);
      for (var kh = 0u; kh < SIZE_H; kh++) {
        for (var kw = 0u; kw < SIZE_W; kw++) {
          // In the padding before the image these wrap to large numbers. Without padding no window leaves it.
          let h = top + kh - params.pad_top;
          let w = left + kw - params.pad_left;
          if (!HAS_PADDING || (h < params.in_h && w < params.in_w)) {
            largest = max(largest, Value(x[x_start + (h * params.in_w + w) * params.c]));
          }
        }
      }
      y[(image * params.out_h + out_row) * row_size + id.x] = Stored(largest);
    }
  }
}
