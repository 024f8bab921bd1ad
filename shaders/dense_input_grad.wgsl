// Gradient of a dense layer's input, the plain loop: dx[r,i] = sum over o of dy[r,o] * w[i,o].
// dy: [n,outC], w: [inC,outC], dx: [n,inC], row-major. Stored is f32 or f16; all sums are f32.
// One invocation computes one element of dx.
// w may be a window of `count` rows, from row `first` of the whole: only these columns of dx are written.
// Writes dx (=).
// lib: index

override WG_SIZE: u32 = 64;

struct Params {
  n: u32,
  inC: u32,
  outC: u32,
  first: u32,
  count: u32,
}

@group(0) @binding(0) var<storage, read> dy: array<Stored>;
@group(0) @binding(1) var<storage, read> w: array<Stored>;
@group(0) @binding(2) var<storage, read_write> dx: array<Stored>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let index = workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index;
  if (index >= params.n * params.count) {
    return;
  }
  let r = index / params.count;
  let i = index % params.count;
  var acc = 0.0;
  for (var o = 0u; o < params.outC; o++) {
    acc += f32(dy[r * params.outC + o]) * f32(w[i * params.outC + o]);
  }
  dx[r * params.inC + params.first + i] = Stored(acc);
}
