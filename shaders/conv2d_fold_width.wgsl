// Adds up what the taps of a filter row give to each input pixel: y[row,iw,ci] = sum over kw of x[row,ow,kw,ci], where
// iw = ow * strideW - padLeft + kw * dilationW. The reverse of conv2d_unfold_width.wgsl, for the input gradient of
// convolutions with few input channels.
// x: [rows,outW,xC] with kw and ci together as its first K_W * IN_C channels, y: [rows,inW,IN_C]; rows = n * inH.
// Stored is f32 or f16; x and all sums are f32. One invocation computes one pixel of y. Writes y (=).
// lib: index

override WG_SIZE: u32 = 64;
override STRIDE_W: i32 = 1;

struct Params {
  rows: i32,
  inW: i32,
  outW: i32,
  xC: i32,
  dilationW: i32,
  padLeft: i32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
@group(0) @binding(2) var<uniform> params: Params;

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
  #unroll kw K_W
  {
    let reached = iw + p.padLeft - $kw * p.dilationW;
    let ow = reached / STRIDE_W;
    let inside = reached >= 0 && reached % STRIDE_W == 0 && ow < p.outW;
    let from_tap = select(0, (row * p.outW + ow) * p.xC + $kw * IN_C, inside);
    #unroll ci IN_C
    acc[$ci] += select(0.0, x[from_tap + $ci], inside);
    #end
  }
  #end
  #unroll ci IN_C
  y[pixel * IN_C + $ci] = Stored(acc[$ci]);
  #end
}
