// Gradient of Swish with respect to x: dx = dy * (s + beta[c] * x * s * (1 - s)), where s = sigmoid(beta[c] * x).
// x, dy, dx: [rows, c], beta: [c]. Each invocation computes one value. Writes dx (=).
// lib: index

override WG_SIZE: u32 = 64;

struct Params {
  count: u32,
  c: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> beta: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

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
  let z = beta[i % params.c] * x[i];
  let s = 1.0 / (1.0 + exp(-z));
  dx[i] = dy[i] * (s + z * s * (1.0 - s));
}
