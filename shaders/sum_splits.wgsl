// Second pass of a split reduction: y[i] = sum over s = 0 .. splits-1 of partials[s,i], in this order: two runs give the same bits.
// partials: [splits,count], y: [count], any layout within. Stored is f32 or f16; partials and all sums are f32.
// One invocation computes one element. Writes y (=), or with ACCUMULATE adds to it (+=).
// lib: index

override WG_SIZE: u32 = 64;
override ACCUMULATE: bool = false;
override LEAKY_SLOPE: f32 = 1.0; // of a leaky ReLU at the end; 1 is none

struct Params {
  count: u32,
  splits: u32,
}

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
@group(0) @binding(2) var<uniform> params: Params;

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
  var acc = 0.0;
  for (var s = 0u; s < params.splits; s++) {
    acc += partials[s * params.count + i];
  }
  if (ACCUMULATE) {
    acc += f32(y[i]);
  }
  y[i] = Stored(select(LEAKY_SLOPE * acc, acc, acc > 0.0));
}
