// Winograd convolution F(2x2,3x3), filter transform: u = G g G^T for each filter g of 3x3 taps, where
//   G = [ 1    0    0   ]
//       [ 1/2  1/2  1/2 ]
//       [ 1/2 -1/2  1/2 ]
//       [ 0    0    1   ].
// Forward: g = w[.,.,row,column] with rows = inC, columns = outC. With FLIP, for the input gradient: g is w[.,.,column,row]
// turned by 180 degrees, rows = outC, columns = inC.
// w: [3,3,inC,outC] HWIO, u: [16][rows,columns], both rounded up to multiples of 4 with zeros behind, `uPoint` from one of
// the 16 points to the next. One invocation computes one filter. Writes u (=).
// Reference: Lavin & Gray 2015, https://arxiv.org/abs/1509.09308, section 4.1.
// lib: index

override WG_SIZE: u32 = 64;
override FLIP: bool = false;

struct Params {
  inC: i32,
  outC: i32,
  uRows: i32,
  uColumns: i32,
  uPoint: i32,
}

@group(0) @binding(0) var<storage, read> w: array<f32>;
@group(0) @binding(1) var<storage, read_write> u: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let i = i32(workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index);
  if (i >= p.uRows * p.uColumns) {
    return;
  }
  let row = i / p.uColumns;
  let column = i % p.uColumns;
  let ci = select(row, column, FLIP);
  let co = select(column, row, FLIP);
  let inside = ci < p.inC && co < p.outC;
  // Tap (kh, kw) lies at start + (3 * kh + kw) * step.
  let channels = p.inC * p.outC;
  let step = select(channels, -channels, FLIP);
  let start = select(0, ci * p.outC + co + select(0, 8 * channels, FLIP), inside);

  var t: array<array<f32, 3>, 4>; // G g
  #unroll s 3
  {
    let g_0 = select(0.0, w[start + $s * step], inside);
    let g_1 = select(0.0, w[start + (3 + $s) * step], inside);
    let g_2 = select(0.0, w[start + (6 + $s) * step], inside);
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
