/** The dense layer in float64; mirrors shaders/dense.wgsl, dense_input_grad.wgsl and dense_weight_grad.wgsl. For its bias see bias_grad.ts. */
import type { Reference } from "./reference.ts";

/** x [n,inC], w [inC,outC], y [n,outC]. */
export interface DenseSizes {
  readonly n: number;
  readonly inC: number;
  readonly outC: number;
}

/** y[r,o] = b[o] + sum over i of x[r,i] * w[i,o]. */
export function dense(
  x: Float64Array,
  w: Float64Array,
  b: Float64Array | undefined,
  { n, inC, outC }: DenseSizes,
): Reference {
  const values = new Float64Array(n * outC);
  const absSum = new Float64Array(n * outC);
  for (let r = 0; r < n; r++)
    for (let o = 0; o < outC; o++) {
      let acc = b?.[o] ?? 0;
      let abs = Math.abs(acc);
      for (let i = 0; i < inC; i++) {
        const term = x[r * inC + i]! * w[i * outC + o]!;
        acc += term;
        abs += Math.abs(term);
      }
      values[r * outC + o] = acc;
      absSum[r * outC + o] = abs;
    }
  return { values, absSum, reduction: inC + (b ? 1 : 0) };
}

/** dx[r,i] = sum over o of dy[r,o] * w[i,o]. */
export function denseInputGrad(
  dy: Float64Array,
  w: Float64Array,
  { n, inC, outC }: DenseSizes,
): Reference {
  const values = new Float64Array(n * inC);
  const absSum = new Float64Array(n * inC);
  for (let r = 0; r < n; r++)
    for (let i = 0; i < inC; i++)
      for (let o = 0; o < outC; o++) {
        const term = dy[r * outC + o]! * w[i * outC + o]!;
        values[r * inC + i]! += term;
        absSum[r * inC + i]! += Math.abs(term);
      }
  return { values, absSum, reduction: outC };
}

/** dw[i,o] = sum over r of x[r,i] * dy[r,o]. */
export function denseWeightGrad(
  x: Float64Array,
  dy: Float64Array,
  { n, inC, outC }: DenseSizes,
): Reference {
  const values = new Float64Array(inC * outC);
  const absSum = new Float64Array(inC * outC);
  for (let i = 0; i < inC; i++)
    for (let o = 0; o < outC; o++)
      for (let r = 0; r < n; r++) {
        const term = x[r * inC + i]! * dy[r * outC + o]!;
        values[i * outC + o]! += term;
        absSum[i * outC + o]! += Math.abs(term);
      }
  return { values, absSum, reduction: n };
}
