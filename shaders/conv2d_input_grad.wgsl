// Gradient of a convolution's input, as a gather: dx[n,ih,iw,ci] = sum over kh,kw,co of dy[n,oh,ow,co] * w[kh,kw,ci,co], where
// oh = (ih + padTop - kh * dilationH) / strideH, ow likewise; terms whose division leaves a rest or falls outside of dy count as 0.
// dy: [n,outH,outW,outC] NHWC, w: [kH,kW,inC,outC] HWIO, dx: [n,inH,inW,inC] NHWC.
// Stored is f32 or f16; all sums are f32. One invocation computes one element of dx. Writes dx (=).
// lib: index

override WG_SIZE: u32 = 64;

struct Params {
  n: i32,
  inH: i32,
  inW: i32,
  inC: i32,
  kH: i32,
  kW: i32,
  outC: i32,
  outH: i32,
  outW: i32,
  strideH: i32,
  strideW: i32,
  dilationH: i32,
  dilationW: i32,
  padTop: i32,
  padLeft: i32,
}

@group(0) @binding(0) var<storage, read> dy: array<Stored>;
@group(0) @binding(1) var<storage, read> w: array<Stored>;
@group(0) @binding(2) var<storage, read_write> dx: array<Stored>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let i = i32(workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index);
  if (i >= p.n * p.inH * p.inW * p.inC) {
    return;
  }
  let ci = i % p.inC;
  let iw = (i / p.inC) % p.inW;
  let ih = (i / p.inC / p.inW) % p.inH;
  let n = i / p.inC / p.inW / p.inH;

  var acc = 0.0;
  for (var kh = 0; kh < p.kH; kh++) {
    let rows = ih + p.padTop - kh * p.dilationH;
    let oh = rows / p.strideH;
    if (rows < 0 || rows % p.strideH != 0 || oh >= p.outH) {
      continue;
    }
    for (var kw = 0; kw < p.kW; kw++) {
      let columns = iw + p.padLeft - kw * p.dilationW;
      let ow = columns / p.strideW;
      if (columns < 0 || columns % p.strideW != 0 || ow >= p.outW) {
        continue;
      }
      let dy_base = ((n * p.outH + oh) * p.outW + ow) * p.outC;
      let w_base = ((kh * p.kW + kw) * p.inC + ci) * p.outC;
      for (var co = 0; co < p.outC; co++) {
        acc += f32(dy[dy_base + co]) * f32(w[w_base + co]);
      }
    }
  }
  dx[i] = Stored(acc);
}
