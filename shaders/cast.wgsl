// y = x in another floating-point type, rounded to nearest where y has fewer bits.
// x, y: vectors of `count` values. XStored and Stored are f32 and f16 or f16 and f32, or vec4 of them where four divides
// their length. Writes y (=).
// lib: chunk

override WG_SIZE: u32 = 64;

struct Params {
  count: u32,
}

@group(0) @binding(0) var<storage, read> x: array<XStored>;
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
) {
  let chunk = chunk_of(params.count, id, num_workgroups);
  for (var i = chunk.first; i < chunk.end; i += WG_SIZE) {
    y[i] = Stored(x[i]);
  }
}
