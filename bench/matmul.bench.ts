/** The dense layers of the paper's network and of the quick one, and an odd shape; all three passes. */
import { dense, denseInputGrad, denseWeightGrad, type DenseOptions } from "../src/kernels/dense.ts";
import { sumOfProducts, type BenchCase } from "./harness.ts";

const LAYERS: readonly { name: string; inC: number; outC: number }[] = [
  { name: "paper.dense1", inC: 73728, outC: 1000 },
  { name: "paper.dense2", inC: 1000, outC: 3 },
  { name: "quick.dense1", inC: 2304, outC: 128 },
  { name: "odd.dense", inC: 1021, outC: 127 },
];

export function denseCases(
  batch: number,
  algorithm: DenseOptions["algorithm"],
): readonly BenchCase[] {
  const options: DenseOptions = algorithm ? { algorithm } : {};
  return LAYERS.flatMap(({ name, inC, outC }): BenchCase[] => {
    const x = [batch, inC];
    const w = [inC, outC];
    const y = [batch, outC];
    const flops = 2 * batch * inC * outC;
    const label = (pass: string) => `${name} ${pass} ${inC} -> ${outC}`;
    return [
      {
        name: label("forward"),
        flops,
        inputs: [x, w],
        output: y,
        build: (ctx, [xs, ws], out) => {
          dense(ctx, { x: xs!, w: ws! }, options, out);
        },
        sample: ([xs, ws], index) => {
          const row = Math.floor(index / outC);
          const terms = range(inC, (i) => [row * inC + i, i * outC + (index % outC)]);
          return sumOfProducts(xs!, ws!, terms);
        },
      },
      {
        name: label("input_grad"),
        flops,
        inputs: [y, w],
        output: x,
        build: (ctx, [dy, ws], out) => {
          denseInputGrad(ctx, { dy: dy!, w: ws! }, options, out);
        },
        sample: ([dy, ws], index) => {
          const row = Math.floor(index / inC);
          const terms = range(outC, (o) => [row * outC + o, (index % inC) * outC + o]);
          return sumOfProducts(dy!, ws!, terms);
        },
      },
      {
        name: label("weight_grad"),
        flops,
        inputs: [x, y],
        output: w,
        build: (ctx, [xs, dy], out) => {
          denseWeightGrad(ctx, { x: xs!, dy: dy! }, options, out);
        },
        sample: ([xs, dy], index) => {
          const column = Math.floor(index / outC);
          const terms = range(batch, (r) => [r * inC + column, r * outC + (index % outC)]);
          return sumOfProducts(xs!, dy!, terms);
        },
      },
    ];
  });
}

function range(count: number, pair: (i: number) => [number, number]): [number, number][] {
  return Array.from({ length: count }, (_, i) => pair(i));
}
