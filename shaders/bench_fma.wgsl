// The arithmetic ceiling of an adapter: every invocation computes a = a * m + c, TURNS times, in 4 * CHAINS independent
// chains that live in registers; no memory is touched until the end.
// y: [invocations] float32, the sum of the invocation's chains, so that no compiler leaves the work out. Writes y (=).
// Operations: 2 (multiply, add) * 4 (lanes of a vec4) * CHAINS * turns an invocation.
// m and c come from `params`, unknown to the compiler; with |m| < 1 every chain tends to c / (1 - m).

override WG_SIZE: u32 = 64;

struct Params {
  turns: u32,
  count: u32,
  m: f32,
  c: f32,
}

@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let m = vec4f(params.m);
  let c = vec4f(params.c);
  let start = f32(id.x % 7u);
  #unroll i CHAINS
  var a$i = vec4f(start + f32($i), start + 0.25, start + 0.5, start + 0.75);
  #end
  for (var turn = 0u; turn < params.turns; turn++) {
    #unroll i CHAINS
    a$i = fma(a$i, m, c);
    #end
  }
  var total = vec4f(0.0);
  #unroll i CHAINS
  total += a$i;
  #end
  if (id.x < params.count) {
    y[id.x] = total.x + total.y + total.z + total.w;
  }
}
