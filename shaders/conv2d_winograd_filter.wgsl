// Winograd convolution, filter transform: u = G g G^T for each filter g of KERNEL x KERNEL taps.
// With FLIP, for the input gradient, the filter turned by 180 degrees is transformed.
// w: [KERNEL,KERNEL,inC,outC] HWIO, u: [IN_TILE * IN_TILE][uRows,uC] with rows for inC and `uPoint` from one of the points to
// the next. u holds zeros past inC and outC. One invocation transforms one filter. Writes u (=).
// lib/winograd.wgsl has the matrices.
// Constants: Stored (f32 or f16, of w), KERNEL, IN_TILE.
// lib: index, winograd

override WG_SIZE: u32 = 64;
override FLIP: bool = false;

struct Params {
  inC: i32,
  outC: i32,
  uRows: i32,
  uC: i32,
  uPoint: i32,
}

@group(0) @binding(0) var<storage, read> w: array<Stored>;
@group(0) @binding(1) var<storage, read_write> u: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

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
  let inside = ci < p.inC && co < p.outC;
  // Tap (kh, kw) lies at start + (KERNEL * kh + kw) * step.
  let filters = p.inC * p.outC;
  let step = select(filters, -filters, FLIP);
  let start = select(0, ci * p.outC + co, inside) + select(0, (KERNEL * KERNEL - 1) * filters, FLIP);

  var t: array<Line, KERNEL>; // the columns of G g
  #unroll s KERNEL
  {
    var column: Line;
    #unroll r KERNEL
    column[$r] = select(0.0, f32(w[start + (KERNEL * $r + $s) * step]), inside);
    #end
    t[$s] = scale(evaluate(column, KERNEL));
  }
  #end
  #unroll r IN_TILE
  {
    var row: Line;
    #unroll s KERNEL
    row[$s] = t[$s][$r];
    #end
    row = scale(evaluate(row, KERNEL));
    #unroll s IN_TILE
    u[i + ($r * IN_TILE + $s) * p.uPoint] = row[$s];
    #end
  }
  #end
}
