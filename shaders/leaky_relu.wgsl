// Leaky ReLU, element by element: y = x where x > 0, else slope * x. Slope 0 is ReLU.
// x, y: vectors of `count` elements, any layout. One invocation computes one element. Writes y (=).
// Reference: Maas, Hannun & Ng 2013; Keras' LeakyReLU calls the slope alpha.
// lib: index

override WG_SIZE: u32 = 64;

struct Params {
  count: u32,
  slope: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

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
  let value = x[i];
  y[i] = select(params.slope * value, value, value > 0.0);
}
