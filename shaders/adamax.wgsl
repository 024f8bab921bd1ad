// One step of Adamax, element by element:
//   m = beta1 * m + (1 - beta1) * dw
//   u = max(beta2 * u, |dw|)
//   w = w - rate / (1 - beta1^t) * m / (u + epsilon)
// dw comes multiplied by loss_scale[0] with HAS_SCALE (see loss_scale.wgsl) and is divided by it first.
// The host computes the corrected rate (step.rate). Nothing changes while status word 0 is not 0: a gradient was not
// finite, and the last good weights stay.
// dw, w, m, u: vectors of `count` values. Value is f32, or vec4f where four divides their length.
// Updates w, m, u in place.
// Reference: Kingma & Ba 2014, algorithm 2; epsilon is added to u as in Keras (PyTorch adds it to |dw|).
// lib: chunk, step

override WG_SIZE: u32 = 64;
override HAS_SCALE: bool = false;

struct Params {
  count: u32,
  beta1: f32,
  one_minus_beta1: f32,
  beta2: f32,
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> dw: array<Value>;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> status: array<u32>;
@group(0) @binding(3) var<storage, read> loss_scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> w: array<Value>;
@group(0) @binding(5) var<storage, read_write> m: array<Value>;
@group(0) @binding(6) var<storage, read_write> u: array<Value>;
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
) {
  if (status[0] != 0) {
    return;
  }
  let chunk = chunk_of(params.count, id, num_workgroups);
  for (var i = chunk.first; i < chunk.end; i += WG_SIZE) {
    var gradient = dw[i];
    if (HAS_SCALE) {
      gradient /= loss_scale[0];
    }
    let m_next = params.beta1 * m[i] + params.one_minus_beta1 * gradient;
    let u_next = max(params.beta2 * u[i], abs(gradient));
    m[i] = m_next;
    u[i] = u_next;
    w[i] -= step.rate * m_next / (u_next + params.epsilon);
  }
}
