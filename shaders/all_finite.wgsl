// Raises the status when an element of x is NaN or infinite: word 0 = 1, word 1 = the first such step.
// x: a vector of `count` Bits, u32, or vec4u where four divides its length; status: [4].
// Updates status; its atomics are integers, so the order does not matter.
// lib: chunk, step

override WG_SIZE: u32 = 64;

struct Params {
  count: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Bits>;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read_write> status: array<atomic<u32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
) {
  const EXPONENT = Bits(0x7f800000u); // all ones in NaN and infinity only
  var largest = Bits();
  let chunk = chunk_of(params.count, id, num_workgroups);
  for (var i = chunk.first; i < chunk.end; i += WG_SIZE) {
    largest = max(largest, x[i] & EXPONENT);
  }
  if (any(largest == EXPONENT)) {
    atomicMax(&status[0], 1u);
    atomicMin(&status[1], step.number);
  }
}
