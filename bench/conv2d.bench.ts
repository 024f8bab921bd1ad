/** The convolutions of the paper's network (96x96) and of the quick one (48x48), and an odd shape; all three passes. */
import { conv2dGeometry, type Conv2dGeometry, type Conv2dSizes } from "../src/geometry.ts";
import {
  conv2d,
  conv2dInputGrad,
  conv2dWeightGrad,
  type Conv2dOptions,
} from "../src/kernels/conv2d.ts";
import { sumOfProducts, type BenchCase } from "./harness.ts";

interface Layer {
  readonly name: string;
  /** Height and width of x and y. */
  readonly size: number;
  readonly inC: number;
  readonly k: number;
  readonly outC: number;
}

const LAYERS: readonly Layer[] = [
  { name: "paper.conv1", size: 96, inC: 3, k: 6, outC: 32 },
  { name: "paper.conv2", size: 96, inC: 32, k: 5, outC: 64 },
  { name: "paper.conv3", size: 48, inC: 64, k: 2, outC: 128 },
  { name: "paper.conv4", size: 24, inC: 128, k: 3, outC: 128 },
  { name: "quick.conv1", size: 48, inC: 3, k: 6, outC: 16 },
  { name: "quick.conv2", size: 48, inC: 16, k: 5, outC: 32 },
  { name: "quick.conv3", size: 24, inC: 32, k: 2, outC: 64 },
  { name: "quick.conv4", size: 12, inC: 64, k: 3, outC: 64 },
  { name: "odd.conv", size: 37, inC: 19, k: 3, outC: 45 },
];

export function conv2dCases(
  batch: number,
  algorithm: Conv2dOptions["algorithm"],
): readonly BenchCase[] {
  return LAYERS.flatMap((layer) => layerCases(layer, batch, algorithm));
}

function layerCases(
  { name, size, inC, k, outC }: Layer,
  batch: number,
  algorithm: Conv2dOptions["algorithm"],
): BenchCase[] {
  const x = [batch, size, size, inC];
  const w = [k, k, inC, outC];
  const y = [batch, size, size, outC];
  const sizes: Conv2dSizes = { padding: "same" };
  const options: Conv2dOptions = { ...sizes, ...(algorithm && { algorithm }) };
  const g = conv2dGeometry(x, w, sizes);
  const flops = 2 * batch * size * size * inC * k * k * outC;
  const label = (pass: string) => `${name} ${pass} ${size}x${size}x${inC} k${k} -> ${outC}`;
  return [
    {
      name: label("forward"),
      flops,
      inputs: [x, w, [outC]],
      output: y,
      build: (ctx, [xs, ws, bs], out) => {
        conv2d(ctx, { x: xs!, w: ws!, b: bs! }, options, out);
      },
      sample: ([xs, ws, bs], index) => {
        const sum = sumOfProducts(xs!, ws!, forwardTerms(g, index));
        const bias = bs![index % outC]!;
        return {
          value: sum.value + bias,
          absSum: sum.absSum + Math.abs(bias),
          terms: sum.terms + 1,
        };
      },
    },
    {
      name: label("input_grad"),
      flops,
      inputs: [y, w],
      output: x,
      build: (ctx, [dy, ws], out) => {
        conv2dInputGrad(ctx, { dy: dy!, w: ws! }, options, out);
      },
      sample: ([dy, ws], index) => sumOfProducts(dy!, ws!, inputGradTerms(g, index)),
    },
    {
      name: label("weight_grad"),
      flops,
      inputs: [x, y],
      output: w,
      build: (ctx, [xs, dy], out) => {
        conv2dWeightGrad(ctx, { x: xs!, dy: dy! }, options, out);
      },
      sample: ([xs, dy], index) => sumOfProducts(xs!, dy!, weightGradTerms(g, index)),
    },
  ];
}

// The terms of one output element as pairs of indices into the two operands; strides and dilations are 1 here.

/** Into x and w, for element `index` of y. */
function* forwardTerms(g: Conv2dGeometry, index: number): Generator<[number, number]> {
  const [n, oh, ow, co] = coordinates(index, g.outH, g.outW, g.outC);
  for (let kh = 0; kh < g.kH; kh++)
    for (let kw = 0; kw < g.kW; kw++) {
      const ih = oh - g.padTop + kh;
      const iw = ow - g.padLeft + kw;
      if (ih < 0 || ih >= g.inH || iw < 0 || iw >= g.inW) continue;
      for (let ci = 0; ci < g.inC; ci++)
        yield [
          ((n * g.inH + ih) * g.inW + iw) * g.inC + ci,
          ((kh * g.kW + kw) * g.inC + ci) * g.outC + co,
        ];
    }
}

/** Into dy and w, for element `index` of dx. */
function* inputGradTerms(g: Conv2dGeometry, index: number): Generator<[number, number]> {
  const [n, ih, iw, ci] = coordinates(index, g.inH, g.inW, g.inC);
  for (let kh = 0; kh < g.kH; kh++)
    for (let kw = 0; kw < g.kW; kw++) {
      const oh = ih + g.padTop - kh;
      const ow = iw + g.padLeft - kw;
      if (oh < 0 || oh >= g.outH || ow < 0 || ow >= g.outW) continue;
      for (let co = 0; co < g.outC; co++)
        yield [
          ((n * g.outH + oh) * g.outW + ow) * g.outC + co,
          ((kh * g.kW + kw) * g.inC + ci) * g.outC + co,
        ];
    }
}

/** Into x and dy, for element `index` of dw. */
function* weightGradTerms(g: Conv2dGeometry, index: number): Generator<[number, number]> {
  const [kh, kw, ci, co] = coordinates(index, g.kW, g.inC, g.outC);
  for (let n = 0; n < g.n; n++)
    for (let oh = 0; oh < g.outH; oh++)
      for (let ow = 0; ow < g.outW; ow++) {
        const ih = oh - g.padTop + kh;
        const iw = ow - g.padLeft + kw;
        if (ih < 0 || ih >= g.inH || iw < 0 || iw >= g.inW) continue;
        yield [
          ((n * g.inH + ih) * g.inW + iw) * g.inC + ci,
          ((n * g.outH + oh) * g.outW + ow) * g.outC + co,
        ];
      }
}

/** The four coordinates of a flat index into [*,a,b,c]. */
function coordinates(
  index: number,
  a: number,
  b: number,
  c: number,
): [number, number, number, number] {
  const rest = Math.floor(index / c);
  return [Math.floor(rest / b / a), Math.floor(rest / b) % a, rest % b, index % c];
}
