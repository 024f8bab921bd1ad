// Raises the status when an element of x is NaN or infinite: word 0 = 1, word 1 = the first such step.
// x: a vector of `count` elements, read as bits; status: [4]. Each invocation looks at every `invocations`-th element.
// Updates status; its atomics are integers, so the order does not matter.
// lib: step

override WG_SIZE: u32 = 64;

struct Params {
  count: u32,
}

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read_write> status: array<atomic<u32>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
) {
  const EXPONENT = 0x7f800000u; // all ones in NaN and infinity only
  var largest = 0u;
  for (var i = id.x; i < params.count; i += num_workgroups.x * WG_SIZE) {
    largest = max(largest, x[i] & EXPONENT);
  }
  if (largest == EXPONENT) {
    atomicMax(&status[0], 1u);
    atomicMin(&status[1], step.number);
  }
}
