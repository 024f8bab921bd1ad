/** Convolution and its gradients in float64; mirrors shaders/conv2d.wgsl, conv2d_input_grad.wgsl, conv2d_weight_grad.wgsl. */
import type { Conv2dGeometry } from "../geometry.ts";
import type { Reference } from "./reference.ts";

/** y[n,oh,ow,co] = b[co] + sum over kh,kw,ci of x[n,ih,iw,ci] * w[kh,kw,ci,co]. */
export function conv2d(
  x: Float64Array,
  w: Float64Array,
  b: Float64Array | undefined,
  g: Conv2dGeometry,
): Reference {
  const values = new Float64Array(g.n * g.outH * g.outW * g.outC);
  const absSum = new Float64Array(values.length);
  forEachTap(g, (xBase, yBase, wBase) => {
    for (let ci = 0; ci < g.inC; ci++)
      for (let co = 0; co < g.outC; co++) {
        const term = x[xBase + ci]! * w[wBase + ci * g.outC + co]!;
        values[yBase + co]! += term;
        absSum[yBase + co]! += Math.abs(term);
      }
  });
  if (b)
    for (let i = 0; i < values.length; i++) {
      values[i]! += b[i % g.outC]!;
      absSum[i]! += Math.abs(b[i % g.outC]!);
    }
  return { values, absSum, reduction: g.kH * g.kW * g.inC + (b ? 1 : 0) };
}

/** dx[n,ih,iw,ci] = sum over the oh,ow,kh,kw that read ih,iw and over co of dy[n,oh,ow,co] * w[kh,kw,ci,co]. */
export function conv2dInputGrad(dy: Float64Array, w: Float64Array, g: Conv2dGeometry): Reference {
  const values = new Float64Array(g.n * g.inH * g.inW * g.inC);
  const absSum = new Float64Array(values.length);
  forEachTap(g, (xBase, yBase, wBase) => {
    for (let ci = 0; ci < g.inC; ci++)
      for (let co = 0; co < g.outC; co++) {
        const term = dy[yBase + co]! * w[wBase + ci * g.outC + co]!;
        values[xBase + ci]! += term;
        absSum[xBase + ci]! += Math.abs(term);
      }
  });
  return { values, absSum, reduction: g.kH * g.kW * g.outC };
}

/** dw[kh,kw,ci,co] = sum over n,oh,ow of x[n,ih,iw,ci] * dy[n,oh,ow,co]. */
export function conv2dWeightGrad(x: Float64Array, dy: Float64Array, g: Conv2dGeometry): Reference {
  const values = new Float64Array(g.kH * g.kW * g.inC * g.outC);
  const absSum = new Float64Array(values.length);
  forEachTap(g, (xBase, yBase, wBase) => {
    for (let ci = 0; ci < g.inC; ci++)
      for (let co = 0; co < g.outC; co++) {
        const term = x[xBase + ci]! * dy[yBase + co]!;
        values[wBase + ci * g.outC + co]! += term;
        absSum[wBase + ci * g.outC + co]! += Math.abs(term);
      }
  });
  return { values, absSum, reduction: g.n * g.outH * g.outW };
}

/** Visits each pair of an output pixel and a filter tap that lies within x, with where their channels start. */
function forEachTap(
  g: Conv2dGeometry,
  visit: (xBase: number, yBase: number, wBase: number) => void,
): void {
  for (let n = 0; n < g.n; n++)
    for (let oh = 0; oh < g.outH; oh++)
      for (let ow = 0; ow < g.outW; ow++)
        for (let kh = 0; kh < g.kH; kh++)
          for (let kw = 0; kw < g.kW; kw++) {
            const ih = oh * g.strideH - g.padTop + kh * g.dilationH;
            const iw = ow * g.strideW - g.padLeft + kw * g.dilationW;
            if (ih < 0 || ih >= g.inH || iw < 0 || iw >= g.inW) continue;
            const xBase = ((n * g.inH + ih) * g.inW + iw) * g.inC;
            const yBase = ((n * g.outH + oh) * g.outW + ow) * g.outC;
            const wBase = (kh * g.kW + kw) * g.inC * g.outC;
            visit(xBase, yBase, wBase);
          }
}
