// Swish with a slope for each channel: y = x * sigmoid(beta[c] * x).  x, y: [rows, c], beta: [c].
// Each invocation computes one value. Writes y (=).
// Reference: Ramachandran, Zoph & Le 2017, https://arxiv.org/abs/1710.05941
// lib: index

override WG_SIZE: u32 = 64;

struct Params {
  count: u32,
  c: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> beta: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

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
  y[i] = x[i] / (1.0 + exp(-beta[i % params.c] * x[i]));
}
