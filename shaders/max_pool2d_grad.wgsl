// Gradient of max pooling: dx of an element is the sum of dy over the windows whose maximum it is; in a tie that is the
// first element in row-major order. Gathered: each element of x looks at the windows that cover it and finds out again
// whether it is their first maximum, so no index is stored and nothing is added atomically.
// x, dx: [n, in_h, in_w, c] NHWC, dy: [n, out_h, out_w, c]. One invocation computes one element of dx. Writes dx (=).

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
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

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
  let columns = covering(column + params.pad_left, SIZE_W, STRIDE_W, params.out_w);

  for (var row = id.y; row < params.in_h; row += num_workgroups.y) {
    let rows = covering(row + params.pad_top, SIZE_H, STRIDE_H, params.out_h);

    for (var image = id.z; image < params.n; image += num_workgroups.z) {
      let x_start = image * params.in_h * row_size + channel;
      let dy_start = image * params.out_h * params.out_w * params.c + channel;
      var acc = 0.0;
      for (var out_row = rows.x; out_row < rows.y; out_row++) {
        for (var out_column = columns.x; out_column < columns.y; out_column++) {
          if (is_first_maximum(x_start, row, column, out_row, out_column)) {
            acc += dy[dy_start + (out_row * params.out_w + out_column) * params.c];
          }
        }
      }
      dx[(image * params.in_h + row) * row_size + id.x] = acc;
    }
  }
}

// First and one past the last window along an axis that covers a padded position.
fn covering(position: u32, size: u32, stride: u32, count: u32) -> vec2u {
  let first = (max(position + stride, size) - size) / stride;
  return vec2u(first, min(position / stride + 1, count));
}

// Whether x at (row, column) is the first maximum of a window: larger than all before it, no smaller than all after.
fn is_first_maximum(x_start: u32, row: u32, column: u32, out_row: u32, out_column: u32) -> bool {
  let top = out_row * STRIDE_H;
  let left = out_column * STRIDE_W;
  let h_first = max(top, params.pad_top) - params.pad_top;
  let h_end = min(top + SIZE_H - params.pad_top, params.in_h);
  let w_first = max(left, params.pad_left) - params.pad_left;
  let w_end = min(left + SIZE_W - params.pad_left, params.in_w);

  let own_index = row * params.in_w + column;
  let own = x[x_start + own_index * params.c];
  var first = true;
  for (var h = h_first; h < h_end; h++) {
    for (var w = w_first; w < w_end; w++) {
      let index = h * params.in_w + w;
      let other = x[x_start + index * params.c];
      first = first && (own > other || (own == other && own_index <= index));
    }
  }
  return first;
}
