/**
 * What answers must be: single elements recomputed on the host in float64, with the bound of docs/numerics.md. A peer's
 * answer is held to the same elements as ours.
 */
import { float16Rounding, roundToFloat16 } from "../src/float16.ts";
import { philox4x32, Random, seedWords } from "../src/random.ts";
import {
  conv2dInputGradTerms,
  conv2dTerms,
  conv2dWeightGradTerms,
  coordinates,
  denseInputGradTerms,
  denseTerms,
  denseWeightGradTerms,
  boundOf,
  sumOfProducts,
  type Sample,
} from "../src/reference/samples.ts";
import { elementCount, type Shape } from "../src/tensor.ts";
import {
  randomValues,
  SEEDS,
  type Conv2dWork,
  type DenseWork,
  type MaxPool2dWork,
  type PassName,
  type Precision,
  type Work,
} from "./engine.ts";
import { conv2dOf, pool2dOf } from "./work.ts";

/** Work whose answer is one tensor, of which each element can be recomputed alone. */
export type SampledWork =
  | Conv2dWork
  | DenseWork
  | MaxPool2dWork
  | { readonly op: "leaky_relu" | "dropout"; readonly count: number };

/** What single operations are run with. */
export const SLOPE = 0.3;
export const DROPOUT = { rate: 0.25, seed: 1, layer: 3, step: 5 } as const;

/** The tensors of a pass. */
export interface Shapes {
  readonly x: Shape;
  readonly w?: Shape;
  readonly y: Shape;
}

export function shapesOf(work: SampledWork): Shapes {
  switch (work.op) {
    case "conv2d": {
      const { n, inH, inW, inC, kH, kW, outC, outH, outW } = conv2dOf(work);
      return { x: [n, inH, inW, inC], w: [kH, kW, inC, outC], y: [n, outH, outW, outC] };
    }
    case "dense":
      return { x: [work.n, work.inC], w: [work.inC, work.outC], y: [work.n, work.outC] };
    case "max_pool2d": {
      const { n, inH, inW, c, outH, outW } = pool2dOf(work);
      return { x: [n, inH, inW, c], y: [n, outH, outW, c] };
    }
    default:
      return { x: [work.count], y: [work.count] };
  }
}

/** Which operands a pass reads, and which tensor it answers with. */
export function operandsOf(
  work: SampledWork,
  pass: PassName,
): { readonly inputs: readonly ("x" | "w" | "dy")[]; readonly output: Shape } {
  const { x, w, y } = shapesOf(work);
  if (pass === "weightGrad") return { inputs: ["x", "dy"], output: w ?? [] };
  if (pass === "inputGrad") return { inputs: ["dy", w ? "w" : "x"], output: x };
  return { inputs: w ? ["x", "w"] : ["x"], output: y };
}

/** The values of an operand, the same for every engine; under mixed precision rounded to float16. */
export function operandValues(
  work: SampledWork,
  name: "x" | "w" | "dy",
  precision: Precision = "float32",
): Float32Array {
  const { x, w = [], y } = shapesOf(work);
  const values = randomValues(elementCount({ x, w, dy: y }[name]), SEEDS[name]);
  return precision === "mixed" ? roundToFloat16(values) : values;
}

/** What a pass stores its answer as: weight gradients stay float32. */
export function outputType(pass: PassName, precision: Precision): "float32" | "float16" {
  return precision === "mixed" && pass !== "weightGrad" ? "float16" : "float32";
}

export interface Verifier {
  /** Flat indices of the elements that are checked. */
  readonly at: readonly number[];
  /** What is wrong with the values at these elements, in words; undefined when they are right. */
  readonly check: (values: ArrayLike<number>) => string | undefined;
}

const CHECKED_ELEMENTS = 24;

/**
 * The check of a pass.
 * @param slack how many times the bound of a plain sum an element may be off: an algorithm that transforms its operands
 * (Winograd) rounds more often
 * @param precision under mixed, what is stored as float16 may be off by its rounding, too
 */
export function verifierOf(
  work: SampledWork,
  pass: PassName,
  slack = 1,
  precision: Precision = "float32",
): Verifier {
  const { inputs, output } = operandsOf(work, pass);
  const operands = Object.fromEntries(
    inputs.map((name) => [name, operandValues(work, name, precision)]),
  );
  const isHalf = outputType(pass, precision) === "float16";
  const at = checkedElements(elementCount(output));
  const wanted = at.map((index) => elementOf(work, pass, operands, index));
  return {
    at,
    check: (values) => {
      for (const [i, sample] of wanted.entries()) {
        const { value } = sample;
        const bound = slack * boundOf(sample) + (isHalf ? float16Rounding(value) : 0);
        const got = values[i]!;
        if (!(Math.abs(got - value) <= bound))
          return `wrong at ${placeOf(at[i]!, output)}: expected ${value.toPrecision(7)} +- ${bound.toExponential(1)}, got ${got}`;
      }
      return undefined;
    },
  };
}

/** The first and last element, where padding matters, six between them, and others drawn at random. */
export function checkedElements(count: number): number[] {
  const random = new Random(1, "checked elements");
  const spread = Array.from({ length: 8 }, (_, i) => Math.floor((i * (count - 1)) / 7));
  const drawn = Array.from({ length: CHECKED_ELEMENTS - 8 }, () => random.below(count));
  return [...new Set([...spread, ...drawn])];
}

/** `[0,3,17,2]`, the coordinates of a flat index. */
function placeOf(index: number, shape: Shape): string {
  let rest = index;
  const place = shape.toReversed().map((size) => {
    const coordinate = rest % size;
    rest = Math.floor(rest / size);
    return coordinate;
  });
  return `[${place.toReversed().join(",")}]`;
}

type Operands = Readonly<Record<string, Float32Array>>;

function elementOf(work: SampledWork, pass: PassName, operands: Operands, index: number): Sample {
  const { x = NONE, w = NONE, dy = NONE } = operands;
  switch (work.op) {
    case "conv2d": {
      const g = conv2dOf(work);
      if (pass === "forward") return sumOfProducts(x, w, conv2dTerms(g, index));
      if (pass === "inputGrad") return sumOfProducts(dy, w, conv2dInputGradTerms(g, index));
      return sumOfProducts(x, dy, conv2dWeightGradTerms(g, index));
    }
    case "dense":
      if (pass === "forward") return sumOfProducts(x, w, denseTerms(work, index));
      if (pass === "inputGrad") return sumOfProducts(dy, w, denseInputGradTerms(work, index));
      return sumOfProducts(x, dy, denseWeightGradTerms(work, index));
    case "max_pool2d":
      return pass === "forward" ? poolMaximum(work, x, index) : poolGradient(work, x, dy, index);
    case "leaky_relu": {
      const slope = x[index]! > 0 ? 1 : SLOPE;
      return exactly(slope * (pass === "forward" ? x : dy)[index]!);
    }
    case "dropout": {
      const counter = [Math.floor(index / 4), DROPOUT.step, DROPOUT.layer, 0] as const;
      const words = philox4x32([...counter], seedWords(DROPOUT.seed));
      const kept = words[index % 4]! / 2 ** 32 >= DROPOUT.rate;
      return exactly(kept ? (pass === "forward" ? x : dy)[index]! / (1 - DROPOUT.rate) : 0);
    }
  }
}

const NONE = new Float32Array(0);

function exactly(value: number): Sample {
  return { value, absSum: Math.abs(value), terms: 1 };
}

function poolMaximum(work: MaxPool2dWork, x: Float32Array, index: number): Sample {
  const g = pool2dOf(work);
  const [n, oh, ow, c] = coordinates(index, g.outH, g.outW, g.c);
  return exactly(x[firstMaximum(work, x, n, oh, ow, c)]!);
}

function poolGradient(
  work: MaxPool2dWork,
  x: Float32Array,
  dy: Float32Array,
  index: number,
): Sample {
  const g = pool2dOf(work);
  const [n, ih, iw, c] = coordinates(index, g.inH, g.inW, g.c);
  const windows: [number, number][] = [];
  for (let kh = 0; kh < g.kH; kh++)
    for (let kw = 0; kw < g.kW; kw++) {
      const oh = (ih + g.padTop - kh) / g.strideH;
      const ow = (iw + g.padLeft - kw) / g.strideW;
      if (!Number.isInteger(oh) || !Number.isInteger(ow)) continue;
      if (oh < 0 || oh >= g.outH || ow < 0 || ow >= g.outW) continue;
      if (firstMaximum(work, x, n, oh, ow, c) === index)
        windows.push([((n * g.outH + oh) * g.outW + ow) * g.c + c, 0]);
    }
  return sumOfProducts(dy, Float32Array.of(1), windows);
}

function firstMaximum(
  work: MaxPool2dWork,
  x: Float32Array,
  n: number,
  oh: number,
  ow: number,
  c: number,
): number {
  const g = pool2dOf(work);
  let first = -1;
  for (let kh = 0; kh < g.kH; kh++)
    for (let kw = 0; kw < g.kW; kw++) {
      const ih = oh * g.strideH - g.padTop + kh;
      const iw = ow * g.strideW - g.padLeft + kw;
      if (ih < 0 || ih >= g.inH || iw < 0 || iw >= g.inW) continue;
      const index = ((n * g.inH + ih) * g.inW + iw) * g.c + c;
      if (first < 0 || x[index]! > x[first]!) first = index;
    }
  return first;
}

/** True for work whose answer is verified element by element. */
export function isSampled(work: Work): work is SampledWork {
  return ["conv2d", "dense", "max_pool2d", "leaky_relu", "dropout"].includes(work.op);
}
