// Leaky ReLU, element by element: y = x where x > 0, else slope * x. Slope 0 is ReLU.
// x, y: vectors of `count` values, any layout. Value is f32, or vec4f where four divides their length.
// Invocation i computes the values i, i + invocations, ... Writes y (=).
// Reference: Maas, Hannun & Ng 2013; Keras' LeakyReLU calls the slope alpha.

override WG_SIZE: u32 = 64;

struct Params {
  count: u32,
  slope: f32,
}

@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read_write> y: array<Value>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
) {
  for (var i = id.x; i < params.count; i += num_workgroups.x * WG_SIZE) {
    let value = x[i];
    y[i] = select(params.slope * value, value, value > Value(0.0));
  }
}
