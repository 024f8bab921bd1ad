// Leaky ReLU, element by element: y = x where x > 0, else slope * x. Slope 0 is ReLU.
// x, y: vectors of `count` values, any layout. Value is f32, or vec4f where four divides their length;
// Stored is the same as it lies in memory, perhaps in f16.
// Writes y (=).
// Reference: Maas, Hannun & Ng 2013; Keras' LeakyReLU calls the slope alpha.
// lib: chunk

override WG_SIZE: u32 = 64;

struct Params {
  count: u32,
  slope: f32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
) {
  let chunk = chunk_of(params.count, id, num_workgroups);
  for (var i = chunk.first; i < chunk.end; i += WG_SIZE) {
    let value = Value(x[i]);
    y[i] = Stored(select(params.slope * value, value, value > Value(0.0)));
  }
}
