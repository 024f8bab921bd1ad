// Softmax of each row: y = exp(x - max) / sum(exp(x - max)), in which no exponential overflows.
// x: [rows, columns] in Stored, f32 or f16, y: [rows, columns]. One workgroup computes one row. Writes y (=).
// lib: index, reduce

override WG_SIZE: u32 = 8;

struct Params {
  rows: u32,
  columns: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let row = workgroup_index(workgroup_id, num_workgroups);
  if (row >= params.rows) {
    return;
  }
  let start = row * params.columns;

  var largest = f32(x[start]);
  for (var column = local_index; column < params.columns; column += WG_SIZE) {
    largest = max(largest, f32(x[start + column]));
  }
  let row_max = workgroup_max(largest, local_index);

  var sum = 0.0;
  for (var column = local_index; column < params.columns; column += WG_SIZE) {
    sum += exp(f32(x[start + column]) - row_max);
  }
  let row_sum = workgroup_sum(sum, local_index);

  for (var column = local_index; column < params.columns; column += WG_SIZE) {
    y[start + column] = exp(f32(x[start + column]) - row_max) / row_sum;
  }
}
