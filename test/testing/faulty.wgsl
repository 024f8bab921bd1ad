// out[i] = FACTOR * v[i], with faults to order. Each invocation computes one value.
override WG_SIZE: u32 = 64;
override FACTOR: f32 = 3.0;
override SQUARE: bool = false;
override ADD: bool = false;
override NOT_A_NUMBER: bool = false;
override SHIFT: u32 = 0;

struct Params {
  count: u32,
}

@group(0) @binding(0) var<storage, read> v: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i >= params.count) {
    return;
  }
  var value = FACTOR * v[i];
  if (SQUARE) {
    value *= v[i];
  }
  if (ADD) {
    value += out[i];
  }
  if (NOT_A_NUMBER && i == 5) {
    value = bitcast<f32>(params.count | 0x7fc00000u);
  }
  out[i + SHIFT] = value;
}
