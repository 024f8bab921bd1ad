// Gradient of a dense layer's weights, the plain loop: dw[i,o] = sum over r of x[r,i] * dy[r,o].
// x: [n,inC], dy: [n,outC], dw: [inC,outC], row-major. Stored is f32 or f16; dw and all sums are f32.
// One invocation computes one element of dw.
// dw may be a window of `count` rows, from row `first` of the whole; x and dy may be windows of n rows of a larger batch.
// Writes dw (=), or with ACCUMULATE adds to it (+=), as all windows of the batch but the first do.
// lib: index

override WG_SIZE: u32 = 64;
override ACCUMULATE: bool = false;

struct Params {
  n: u32,
  inC: u32,
  outC: u32,
  first: u32,
  count: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> dy: array<Stored>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let index = workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index;
  if (index >= params.count * params.outC) {
    return;
  }
  let i = index / params.outC;
  let o = index % params.outC;
  var acc = 0.0;
  for (var r = 0u; r < params.n; r++) {
    acc += f32(x[r * params.inC + params.first + i]) * f32(dy[r * params.outC + o]);
  }
  if (ACCUMULATE) {
    acc += dw[index];
  }
  dw[index] = acc;
}
