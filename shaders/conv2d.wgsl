// Convolution: y[n,oh,ow,co] = b[co] + sum over kh,kw,ci of x[n,ih,iw,ci] * w[kh,kw,ci,co], where
// ih = oh * strideH - padTop + kh * dilationH, iw likewise, and terms outside of x count as 0.
// x: [n,inH,inW,inC] NHWC, w: [kH,kW,inC,outC] HWIO, b: [outC] (not read without HAS_BIAS), y: [n,outH,outW,outC] NHWC.
// Stored is f32 or f16; b and all sums are f32. One invocation computes one element of y. Writes y (=).
// Padding: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
// lib: index

override WG_SIZE: u32 = 64;
override HAS_BIAS: bool = true;
override LEAKY_SLOPE: f32 = 1.0; // of a leaky ReLU after the bias; 1 is none

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

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> w: array<Stored>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Stored>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let i = i32(workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index);
  if (i >= p.n * p.outH * p.outW * p.outC) {
    return;
  }
  let co = i % p.outC;
  let ow = (i / p.outC) % p.outW;
  let oh = (i / p.outC / p.outW) % p.outH;
  let n = i / p.outC / p.outW / p.outH;

  var acc = 0.0;
  for (var kh = 0; kh < p.kH; kh++) {
    let ih = oh * p.strideH - p.padTop + kh * p.dilationH;
    if (ih < 0 || ih >= p.inH) {
      continue;
    }
    for (var kw = 0; kw < p.kW; kw++) {
      let iw = ow * p.strideW - p.padLeft + kw * p.dilationW;
      if (iw < 0 || iw >= p.inW) {
        continue;
      }
      let x_base = ((n * p.inH + ih) * p.inW + iw) * p.inC;
      let w_base = (kh * p.kW + kw) * p.inC * p.outC + co;
      for (var ci = 0; ci < p.inC; ci++) {
        acc += f32(x[x_base + ci]) * f32(w[w_base + ci * p.outC]);
      }
    }
  }
  if (HAS_BIAS) {
    acc += b[co];
  }
  y[i] = Stored(select(LEAKY_SLOPE * acc, acc, acc > 0.0));
}
