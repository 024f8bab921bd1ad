// y += x, element by element: the gradients of several batches become that of one step.
// x, y: vectors of `count` values. Value is f32, or vec4f where four divides their length.
// Updates y (+=).
// lib: chunk

override WG_SIZE: u32 = 64;

struct Params {
  count: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read_write> y: array<Value>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
) {
  let chunk = chunk_of(params.count, id, num_workgroups);
  for (var i = chunk.first; i < chunk.end; i += WG_SIZE) {
    y[i] += x[i];
  }
}
