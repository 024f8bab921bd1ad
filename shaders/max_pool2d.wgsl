// Max pooling: y[b, i, j, c] = max of x over the window at (i, j); padding never wins, since it is not looked at.
// x: [n, in_h, in_w, c] NHWC, y: [n, out_h, out_w, c]. One invocation computes one element of y; a row of workgroups
// shares an image row, so that one division finds an element's place. Writes y (=).

override WG_SIZE: u32 = 64;
override SIZE_H: u32 = 2;
override SIZE_W: u32 = 2;
override STRIDE_H: u32 = 2;
override STRIDE_W: u32 = 2;

struct Params {
  n: u32,
  in_h: u32,
  in_w: u32,
  c: u32,
  out_h: u32,
  out_w: u32,
  pad_top: u32,
  pad_left: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

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

  // The part of the window that lies in the image is never empty: padding is smaller than the window.
  let left = column * STRIDE_W;
  let w_first = max(left, params.pad_left) - params.pad_left;
  let w_end = min(left + SIZE_W - params.pad_left, params.in_w);

  for (var out_row = id.y; out_row < params.out_h; out_row += num_workgroups.y) {
    let top = out_row * STRIDE_H;
    let h_first = max(top, params.pad_top) - params.pad_top;
    let h_end = min(top + SIZE_H - params.pad_top, params.in_h);

    for (var image = id.z; image < params.n; image += num_workgroups.z) {
      let x_start = image * params.in_h * params.in_w * params.c + channel;
      var largest = x[x_start + (h_first * params.in_w + w_first) * params.c];
      for (var h = h_first; h < h_end; h++) {
        for (var w = w_first; w < w_end; w++) {
          largest = max(largest, x[x_start + (h * params.in_w + w) * params.c]);
        }
      }
      y[(image * params.out_h + out_row) * row_size + id.x] = largest;
    }
  }
}
