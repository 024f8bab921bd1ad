// Gradient of a convolution's filter: dw[kh,kw,ci,co] = sum over n,oh,ow of x[n,ih,iw,ci] * dy[n,oh,ow,co], where
// ih = oh * strideH - padTop + kh * dilationH, iw likewise, and terms outside of x count as 0.
// x: [n,inH,inW,inC] NHWC, dy: [n,outH,outW,outC] NHWC, dw: [kH,kW,inC,outC] HWIO.
// Stored is f32 or f16; dw and all sums are f32. One invocation computes one element of dw. Writes dw (=).
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

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> dy: array<Stored>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let i = i32(workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index);
  if (i >= p.kH * p.kW * p.inC * p.outC) {
    return;
  }
  let co = i % p.outC;
  let ci = (i / p.outC) % p.inC;
  let kw = (i / p.outC / p.inC) % p.kW;
  let kh = i / p.outC / p.inC / p.kW;

  var acc = 0.0;
  for (var n = 0; n < p.n; n++) {
    // Summed image by image and row by row: fewer roundings upon a large sum than one long chain has.
    var image_acc = 0.0;
    for (var oh = 0; oh < p.outH; oh++) {
      let ih = oh * p.strideH - p.padTop + kh * p.dilationH;
      if (ih < 0 || ih >= p.inH) {
        continue;
      }
      var row_acc = 0.0;
      for (var ow = 0; ow < p.outW; ow++) {
        let iw = ow * p.strideW - p.padLeft + kw * p.dilationW;
        if (iw < 0 || iw >= p.inW) {
          continue;
        }
        row_acc += f32(x[((n * p.inH + ih) * p.inW + iw) * p.inC + ci]) *
          f32(dy[((n * p.outH + oh) * p.outW + ow) * p.outC + co]);
      }
      image_acc += row_acc;
    }
    acc += image_acc;
  }
  dw[i] = acc;
}
