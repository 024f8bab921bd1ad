// Dense layer, the plain loop: y[r,o] = b[o] + sum over i of x[r,i] * w[i,o].
// x: [n,inC], w: [inC,outC], b: [outC], y: [n,outC], row-major; x and w lie as Stored, y as YStored, each f32 or f16, and b
// and all sums are f32. One invocation computes one element of y.
// w may be a window of `count` rows, from row `first` of the whole: the sum then goes over these rows only.
// Writes y (=), or with ACCUMULATE adds to it (+=), as all windows but the first do.
// lib: index

override WG_SIZE: u32 = 64;
override HAS_BIAS: bool = false;
override ACCUMULATE: bool = false;
override LEAKY_SLOPE: f32 = 1.0; // of a leaky ReLU at the end; 1 is none

struct Params {
  n: u32,
  inC: u32,
  outC: u32,
  first: u32,
  count: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> w: array<Stored>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<YStored>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let index = workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index;
  if (index >= params.n * params.outC) {
    return;
  }
  let r = index / params.outC;
  let o = index % params.outC;
  var acc = 0.0;
  for (var i = 0u; i < params.count; i++) {
    acc += f32(x[r * params.inC + params.first + i]) * f32(w[i * params.outC + o]);
  }
  if (HAS_BIAS) {
    acc += b[o];
  }
  if (ACCUMULATE) {
    acc += f32(y[index]);
  }
  y[index] = YStored(select(LEAKY_SLOPE * acc, acc, acc > 0.0));
}
