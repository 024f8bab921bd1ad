// Adds up what the taps of a filter row give to each input pixel: y[row,iw,ci] = sum over kw of x[row,ow,kw,ci], where
// iw = ow * strideW - padLeft + kw * dilationW. The reverse of conv2d_unfold_width.wgsl, for the input gradient of
// convolutions with few input channels.
// x: [rows,outW,xC] with kw and ci together as its first kW * inC channels, y: [rows,inW,inC]; rows = n * inH.
// Stored is f32 or f16; x and all sums are f32. One invocation computes one pixel of y. Writes y (=).
// lib: index

override WG_SIZE: u32 = 64;

struct Params {
  rows: i32,
  inW: i32,
  inC: i32,
  kW: i32,
  outW: i32,
  xC: i32,
  strideW: i32,
  dilationW: i32,
  padLeft: i32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
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
  if (pixel >= p.rows * p.inW) {
    return;
  }
  let row = pixel / p.inW;
  let iw = pixel % p.inW;
  var acc = vec3f();
  for (var kw = 0; kw < p.kW; kw++) {
    let reached = iw + p.padLeft - kw * p.dilationW;
    let ow = reached / p.strideW;
    if (reached < 0 || reached % p.strideW != 0 || ow >= p.outW) {
      continue;
    }
    let from_tap = (row * p.outW + ow) * p.xC + kw * p.inC;
    for (var ci = 0; ci < p.inC; ci++) {
      acc[ci] += x[from_tap + ci];
    }
  }
  for (var ci = 0; ci < p.inC; ci++) {
    y[pixel * p.inC + ci] = Stored(acc[ci]);
  }
}
