// Winograd convolution F(2x2,3x3), filter transform: u = G g G^T for each filter g of 3x3 taps, where
//   G = [ 1    0    0   ]
//       [ 1/2  1/2  1/2 ]
//       [ 1/2 -1/2  1/2 ]
//       [ 0    0    1   ].
// With FLIP, for the input gradient, the filter turned by 180 degrees is transformed.
// w: [3,3,inC,wC] HWIO, u: [16][uRows,uC] with rows for inC and `uPoint` from one of the 16 points to the next; output
// channels are counted in Values. u holds zeros past inC and wC. One invocation computes one Value of filters. Writes u (=).
// Reference: Lavin & Gray 2015, https://arxiv.org/abs/1509.09308, section 4.1.
// Constants: Value (f32 or vec4f).
// lib: index

override WG_SIZE: u32 = 64;
override FLIP: bool = false;

struct Params {
  inC: i32,
  wC: i32,
  uRows: i32,
  uC: i32,
  uPoint: i32,
}

@group(0) @binding(0) var<storage, read> w: array<Value>;
@group(0) @binding(1) var<storage, read_write> u: array<Value>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let i = i32(workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index);
  if (i >= p.uRows * p.uC) {
    return;
  }
  let ci = i / p.uC;
  let co = i % p.uC;
  let inside = ci < p.inC && co < p.wC;
  // Tap (kh, kw) lies at start + (3 * kh + kw) * step.
  let filters = p.inC * p.wC;
  let step = select(filters, -filters, FLIP);
  let start = select(0, ci * p.wC + co, inside) + select(0, 8 * filters, FLIP);

  var t: array<array<Value, 3>, 4>; // G g
  #unroll s 3
  {
    let g_0 = select(Value(), w[start + $s * step], inside);
    let g_1 = select(Value(), w[start + (3 + $s) * step], inside);
    let g_2 = select(Value(), w[start + (6 + $s) * step], inside);
    t[0][$s] = g_0;
    t[1][$s] = 0.5 * (g_0 + g_1 + g_2);
    t[2][$s] = 0.5 * (g_0 - g_1 + g_2);
    t[3][$s] = g_2;
  }
  #end
  #unroll r 4
  u[i + (4 * $r) * p.uPoint] = t[$r][0];
  u[i + (4 * $r + 1) * p.uPoint] = 0.5 * (t[$r][0] + t[$r][1] + t[$r][2]);
  u[i + (4 * $r + 2) * p.uPoint] = 0.5 * (t[$r][0] - t[$r][1] + t[$r][2]);
  u[i + (4 * $r + 3) * p.uPoint] = t[$r][2];
  #end
}
