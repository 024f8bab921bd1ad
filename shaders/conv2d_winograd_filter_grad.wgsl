// Winograd weight gradient, the transpose of the filter transform: each filter's gradient is G^T m G, where m holds the 4x4
// products of transformed input and transformed dy, summed over tiles; the sum over splits is taken here, in order, and
//   G^T = [ 1  1/2  1/2  0 ]
//         [ 0  1/2 -1/2  0 ]
//         [ 0  1/2  1/2  1 ].
// m: [splits][16][rows >= inC,mC >= wC] with `mPoint` from one of the 16 points to the next, dw: [3,3,inC,wC] HWIO; output
// channels are counted in Values. One invocation computes one Value of filters. Writes dw (=).
// conv2d_winograd_filter.wgsl is the transform itself.
// Constants: Value (f32 or vec4f).
// lib: index

override WG_SIZE: u32 = 64;

struct Params {
  inC: i32,
  wC: i32,
  mC: i32,
  mPoint: i32,
  splits: i32,
}

@group(0) @binding(0) var<storage, read> m: array<Value>;
@group(0) @binding(1) var<storage, read_write> dw: array<Value>;
@group(1) @binding(0) var<uniform> params: Params;

fn m_at(point: i32, at: i32) -> Value {
  var sum = m[point * params.mPoint + at];
  for (var split = 1; split < params.splits; split++) {
    sum += m[(16 * split + point) * params.mPoint + at];
  }
  return sum;
}

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let filters = p.inC * p.wC;
  let i = i32(workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index);
  if (i >= filters) {
    return;
  }
  let at = i / p.wC * p.mC + i % p.wC;

  var t: array<array<Value, 4>, 3>; // G^T m
  #unroll s 4
  {
    let m_0 = m_at($s, at);
    let m_1 = m_at(4 + $s, at);
    let m_2 = m_at(8 + $s, at);
    let m_3 = m_at(12 + $s, at);
    t[0][$s] = m_0 + 0.5 * (m_1 + m_2);
    t[1][$s] = 0.5 * (m_1 - m_2);
    t[2][$s] = 0.5 * (m_1 + m_2) + m_3;
  }
  #end
  #unroll r 3
  dw[i + (3 * $r) * filters] = t[$r][0] + 0.5 * (t[$r][1] + t[$r][2]);
  dw[i + (3 * $r + 1) * filters] = 0.5 * (t[$r][1] - t[$r][2]);
  dw[i + (3 * $r + 2) * filters] = 0.5 * (t[$r][1] + t[$r][2]) + t[$r][3];
  #end
}
