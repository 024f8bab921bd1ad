// Inverted dropout: y = scale * x where the element is kept, else 0. It is its own gradient: with dy for x it gives dx.
// Kept or not depends on seed, step, layer and element alone, so that backward finds the mask of forward again:
//   words = philox4x32(counter = (element >> 2, step, layer, 0), key = seed), kept if words[element & 3] >= threshold
// x, y: vectors of `count` elements in Stored, f32 or f16, of which the first is element 4 * first_block of the whole tensor.
// An invocation computes the four elements of a counter at once. Writes y (=).
// Reference: Srivastava et al. 2014; threshold = rate * 2^32, scale = 1 / (1 - rate).
// lib: chunk, philox, step

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

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read_write> y: array<Stored>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
) {
  let key = vec2u(params.seed_low, params.seed_high);
  let blocks = (params.count + 3) / 4;
  let chunk = chunk_of(blocks, id, num_workgroups);
  for (var block = chunk.first; block < chunk.end; block += WG_SIZE) {
    let counter = vec4u(params.first_block + block, step.number, params.layer, 0);
    let words = philox4x32(counter, key);
    for (var word = 0u; word < 4; word++) {
      let i = block * 4 + word;
      if (i < params.count) {
        y[i] = Stored(select(0.0, params.scale * f32(x[i]), words[word] >= params.threshold));
      }
    }
  }
}
