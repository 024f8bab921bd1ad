// Lays the kW taps of a convolution's row of the kernel out as channels, for inputs with few channels:
// y[n,ih,ow,kw*inC+ci] = x[n,ih,iw,ci] with iw = ow * strideW - padLeft + kw * dilationW, 0 where that is outside.
// The convolution of y with the same filter, read as [kH,1,kW*inC,outC], gives the same result.
// x: [rows,inW,inC] with rows = n * inH, y: [rows,outW,yC], yC = kW * inC rounded up to a multiple of 4, zeros in the rest.
// Stored is f32 or f16. One invocation computes one pixel of y. Writes y (=).
// lib: index

override WG_SIZE: u32 = 64;

struct Params {
  rows: i32,
  inW: i32,
  inC: i32,
  kW: i32,
  outW: i32,
  yC: i32,
  strideW: i32,
  dilationW: i32,
  padLeft: i32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let pixel = i32(workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index);
  if (pixel >= p.rows * p.outW) {
    return;
  }
  let row = pixel / p.outW;
  let first = (pixel % p.outW) * p.strideW - p.padLeft;
  for (var kw = 0; kw < p.kW; kw++) {
    let iw = first + kw * p.dilationW;
    let inside = iw >= 0 && iw < p.inW;
    let start = select(0, (row * p.inW + iw) * p.inC, inside);
    for (var ci = 0; ci < p.inC; ci++) {
      y[pixel * p.yC + kw * p.inC + ci] = select(Stored(0.0), x[start + ci], inside);
    }
  }
  for (var c = p.kW * p.inC; c < p.yC; c++) {
    y[pixel * p.yC + c] = Stored(0.0);
  }
}
