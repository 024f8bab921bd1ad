// Gradient of leaky ReLU: dx = dy where x > 0, else slope * dy. At x = 0 the slope counts, as in Keras.
// x, dy, dx: vectors of `count` elements, any layout. One invocation computes one element. Writes dx (=).
// lib: index

override WG_SIZE: u32 = 64;

struct Params {
  count: u32,
  slope: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let i = workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index;
  if (i >= params.count) {
    return;
  }
  dx[i] = dy[i] * select(params.slope, 1.0, x[i] > 0.0);
}
