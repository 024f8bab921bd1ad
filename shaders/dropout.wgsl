// Inverted dropout: y = scale * x where the element is kept, else 0. It is its own gradient: with dy for x it gives dx.
// Kept or not depends on seed, step, layer and element alone, so that backward finds the mask of forward again:
//   words = philox4x32(counter = (element >> 2, step, layer, 0), key = seed), kept if words[element & 3] >= threshold
// x, y: vectors of `count` elements, of which the first is element 4 * first_block of the whole tensor.
// One invocation computes the four elements of one counter. Writes y (=).
// Reference: Srivastava et al. 2014; threshold = rate * 2^32, scale = 1 / (1 - rate).
// lib: index, philox, step

override WG_SIZE: u32 = 64;

struct Params {
  count: u32,
  first_block: u32,
  threshold: u32,
  scale: f32,
  seed_low: u32,
  seed_high: u32,
  layer: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let block = workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index;
  let start = block * 4;
  if (start >= params.count) {
    return;
  }
  let counter = vec4u(params.first_block + block, step.number, params.layer, 0);
  let words = philox4x32(counter, vec2u(params.seed_low, params.seed_high));
  let end = min(start + 4, params.count);
  for (var i = start; i < end; i++) {
    y[i] = select(0.0, params.scale * x[i], words[i - start] >= params.threshold);
  }
}
