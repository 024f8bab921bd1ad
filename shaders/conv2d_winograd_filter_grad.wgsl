// Winograd weight gradient, the transpose of the filter transform: each filter's gradient is G^T m G, where m holds the
// products of transformed input and transformed dy, summed over tiles; the sum over splits is taken here, in order.
// m: [splits][IN_TILE * IN_TILE][rows >= inC,mC >= outC] with `mPoint` from one of the points to the next,
// dw: [KERNEL,KERNEL,inC,outC] HWIO; one invocation computes one filter.
// Writes dw (=).
// conv2d_winograd_filter.wgsl is the transform itself, lib/winograd.wgsl has the matrices.
// Constants: KERNEL, IN_TILE.
// lib: index, winograd

override WG_SIZE: u32 = 64;

struct Params {
  inC: i32,
  outC: i32,
  mC: i32,
  mPoint: i32,
  splits: i32,
}

@group(0) @binding(0) var<storage, read> m: array<f32>;
@group(0) @binding(1) var<storage, read_write> dw: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn m_at(point: i32, at: i32) -> f32 {
  var sum = m[point * params.mPoint + at];
  for (var split = 1; split < params.splits; split++) {
    sum += m[(IN_TILE * IN_TILE * split + point) * params.mPoint + at];
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
  let filters = p.inC * p.outC;
  let i = i32(workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index);
  if (i >= filters) {
    return;
  }
  let at = i / p.outC * p.mC + i % p.outC;

  var t: array<Line, IN_TILE>; // the columns of G^T m
  // Loops, unlike the other transforms: unrolled, the sums over splits would take software adapters 20 seconds to compile.
  for (var s = 0; s < IN_TILE; s++) {
    var column: Line;
    for (var r = 0; r < IN_TILE; r++) {
      column[r] = m_at(r * IN_TILE + s, at);
    }
    t[s] = evaluate_transposed(scale(column), KERNEL);
  }
  #unroll r KERNEL
  {
    var row: Line;
    #unroll s IN_TILE
    row[$s] = t[$s][$r];
    #end
    row = evaluate_transposed(scale(row), KERNEL);
    #unroll s KERNEL
    dw[i + (KERNEL * $r + $s) * filters] = row[$s];
    #end
  }
  #end
}
