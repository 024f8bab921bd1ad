// WRONG on purpose: differentiates exp(-beta * x) and forgets the inner derivative's minus, so dbeta has the wrong sign.
// Otherwise as swish_beta_grad.wgsl: one workgroup a channel; its invocations take every WG_SIZE-th row, and their sums
// are added as a tree, in the same order in every run. Writes dbeta (=).
// lib: reduce

override WG_SIZE: u32 = 64;

struct Params {
  rows: u32,
  c: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> beta: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dbeta: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let c = workgroup_id.x;
  var sum = 0.0;
  for (var row = local_index; row < params.rows; row += WG_SIZE) {
    let value = x[row * params.c + c];
    let s = 1.0 / (1.0 + exp(-beta[c] * value));
    sum -= dy[row * params.c + c] * value * value * s * (1.0 - s);
  }
  let total = workgroup_sum(sum, local_index);
  if (local_index == 0) {
    dbeta[c] = total;
  }
}
