// Gradient of leaky ReLU: dx = dy where x > 0, else slope * dy. At x = 0 the slope counts, as in Keras.
// x, dy, dx: vectors of `count` values, any layout. Value is f32, or vec4f where four divides their length;
// Stored is the same as it lies in memory, perhaps in f16.
// Writes dx (=).
// lib: chunk

override WG_SIZE: u32 = 64;

struct Params {
  count: u32,
  slope: f32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> dy: array<Stored>;
@group(0) @binding(2) var<storage, read_write> dx: array<Stored>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
) {
  let chunk = chunk_of(params.count, id, num_workgroups);
  for (var i = chunk.first; i < chunk.end; i += WG_SIZE) {
    let slope = select(Value(params.slope), Value(1.0), Value(x[i]) > Value(0.0));
    dx[i] = Stored(Value(dy[i]) * slope);
  }
}
