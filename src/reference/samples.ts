/**
 * Single elements of a convolution or dense layer in float64, where the whole reference would take minutes: each output
 * element is a sum of products of two operands, whose flat indices these functions list.
 */
import type { Conv2dGeometry } from "../geometry.ts";

/** One element of an output, with what its tolerance follows from (docs/numerics.md). */
export interface Sample {
  readonly value: number;
  /** Sum of |terms|. */
  readonly absSum: number;
  readonly terms: number;
}

/** Pairs of indices into the two operands. */
export type Terms = Iterable<readonly [number, number]>;

/** The sum of a[i] * b[j] over the pairs. */
export function sumOfProducts(a: Float32Array, b: Float32Array, pairs: Terms): Sample {
  let value = 0;
  let absSum = 0;
  let terms = 0;
  for (const [i, j] of pairs) {
    const term = a[i]! * b[j]!;
    value += term;
    absSum += Math.abs(term);
    terms++;
  }
  return { value, absSum, terms: Math.max(1, terms) };
}

/** How far a float32 kernel may be off: docs/numerics.md. */
export function boundOf({ absSum, terms }: Sample): number {
  return 2 ** -23 * Math.sqrt(terms) * absSum;
}

/** Into x and w, for element `index` of y [n,outH,outW,outC]. */
export function* conv2dTerms(g: Conv2dGeometry, index: number): Generator<[number, number]> {
  const [n, oh, ow, co] = coordinates(index, g.outH, g.outW, g.outC);
  for (let kh = 0; kh < g.kH; kh++)
    for (let kw = 0; kw < g.kW; kw++) {
      const ih = oh * g.strideH - g.padTop + kh * g.dilationH;
      const iw = ow * g.strideW - g.padLeft + kw * g.dilationW;
      if (ih < 0 || ih >= g.inH || iw < 0 || iw >= g.inW) continue;
      const x = ((n * g.inH + ih) * g.inW + iw) * g.inC;
      const w = (kh * g.kW + kw) * g.inC;
      for (let ci = 0; ci < g.inC; ci++) yield [x + ci, (w + ci) * g.outC + co];
    }
}

/** Into dy and w, for element `index` of dx [n,inH,inW,inC]. */
export function* conv2dInputGradTerms(
  g: Conv2dGeometry,
  index: number,
): Generator<[number, number]> {
  const [n, ih, iw, ci] = coordinates(index, g.inH, g.inW, g.inC);
  for (let kh = 0; kh < g.kH; kh++)
    for (let kw = 0; kw < g.kW; kw++) {
      const oh = (ih + g.padTop - kh * g.dilationH) / g.strideH;
      const ow = (iw + g.padLeft - kw * g.dilationW) / g.strideW;
      if (!Number.isInteger(oh) || !Number.isInteger(ow)) continue;
      if (oh < 0 || oh >= g.outH || ow < 0 || ow >= g.outW) continue;
      const dy = ((n * g.outH + oh) * g.outW + ow) * g.outC;
      const w = ((kh * g.kW + kw) * g.inC + ci) * g.outC;
      for (let co = 0; co < g.outC; co++) yield [dy + co, w + co];
    }
}

/** Into x and dy, for element `index` of dw [kH,kW,inC,outC]. */
export function* conv2dWeightGradTerms(
  g: Conv2dGeometry,
  index: number,
): Generator<[number, number]> {
  const [kh, kw, ci, co] = coordinates(index, g.kW, g.inC, g.outC);
  for (let n = 0; n < g.n; n++)
    for (let oh = 0; oh < g.outH; oh++)
      for (let ow = 0; ow < g.outW; ow++) {
        const ih = oh * g.strideH - g.padTop + kh * g.dilationH;
        const iw = ow * g.strideW - g.padLeft + kw * g.dilationW;
        if (ih < 0 || ih >= g.inH || iw < 0 || iw >= g.inW) continue;
        yield [
          ((n * g.inH + ih) * g.inW + iw) * g.inC + ci,
          ((n * g.outH + oh) * g.outW + ow) * g.outC + co,
        ];
      }
}

/** The four coordinates of a flat index into [*,a,b,c]. */
export function coordinates(
  index: number,
  a: number,
  b: number,
  c: number,
): [number, number, number, number] {
  const rest = Math.floor(index / c);
  return [Math.floor(rest / b / a), Math.floor(rest / b) % a, rest % b, index % c];
}

interface DenseSizes {
  readonly n: number;
  readonly inC: number;
  readonly outC: number;
}

/** Into x and w, for element `index` of y [n,outC]. */
export function* denseTerms({ inC, outC }: DenseSizes, index: number): Generator<[number, number]> {
  const [row, o] = [Math.floor(index / outC), index % outC];
  for (let i = 0; i < inC; i++) yield [row * inC + i, i * outC + o];
}

/** Into dy and w, for element `index` of dx [n,inC]. */
export function* denseInputGradTerms(
  { inC, outC }: DenseSizes,
  index: number,
): Generator<[number, number]> {
  const [row, i] = [Math.floor(index / inC), index % inC];
  for (let o = 0; o < outC; o++) yield [row * outC + o, i * outC + o];
}

/** Into x and dy, for element `index` of dw [inC,outC]. */
export function* denseWeightGradTerms(
  { n, inC, outC }: DenseSizes,
  index: number,
): Generator<[number, number]> {
  const [i, o] = [Math.floor(index / outC), index % outC];
  for (let r = 0; r < n; r++) yield [r * inC + i, r * outC + o];
}
