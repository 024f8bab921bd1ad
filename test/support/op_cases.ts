/**
 * Every operation of `tuningfork op` with inputs, attributes, and what the reference says of them.
 */
import { expect } from "chai";
import { conv2dGeometry, pool2dGeometry } from "../../src/geometry.ts";
import { adamax } from "../../src/reference/adamax.ts";
import { affineWarp } from "../../src/reference/affine_warp.ts";
import { biasGrad } from "../../src/reference/bias_grad.ts";
import { conv2d, conv2dInputGrad, conv2dWeightGrad } from "../../src/reference/conv2d.ts";
import { dense, denseInputGrad, denseWeightGrad } from "../../src/reference/dense.ts";
import { dropout } from "../../src/reference/dropout.ts";
import { leakyRelu, leakyReluGrad } from "../../src/reference/leaky_relu.ts";
import { maxPool2d, maxPool2dGrad } from "../../src/reference/max_pool2d.ts";
import type { Reference } from "../../src/reference/reference.ts";
import { softmax } from "../../src/reference/softmax.ts";
import { softmaxCrossEntropy } from "../../src/reference/softmax_cross_entropy.ts";
import type { FileDType } from "../../src/safetensors.ts";
import type { Shape, TypedArray } from "../../src/tensor.ts";
import type { Tolerance } from "../../src/testing/close.ts";
import { awayFromZero, distinctFloats, randomFloats, toFloat64 } from "../../src/testing/inputs.ts";

/** By name: values, shape, and what the file holds them as where their type does not say. */
export type Tensors = Record<string, [TypedArray | Float64Array, Shape, FileDType?]>;

/** One run of an operation. */
export interface Case {
  readonly op: string;
  readonly attributes?: Record<string, unknown>;
  readonly tensors: Tensors;
  /** The tensors of the written file. */
  readonly want: Record<string, [Reference, Shape]>;
  readonly tolerance?: Tolerance;
}

/** Values that belong to the name, always the same. */
export const random = (name: string, ...shape: number[]): [Float32Array, Shape] => [
  randomFloats(shape, 1, name),
  shape,
];
const f64 = ([values]: [Float32Array, Shape]) => toFloat64(values);

function conv2dCases(): Case[] {
  const sizes = { strides: [2, 1], dilations: [1, 2], padding: "same" } as const;
  const [x, w, b] = [random("x", 2, 7, 6, 3), random("w", 3, 2, 3, 5), random("b", 5)];
  const g = conv2dGeometry(x[1], w[1], sizes);
  const dy = random("dy", g.n, g.outH, g.outW, g.outC);
  const dx = conv2dInputGrad(f64(dy), f64(w), g);
  const dw = conv2dWeightGrad(f64(x), f64(dy), g);
  const attributes = { ...sizes };
  return [
    {
      op: "conv2d",
      attributes,
      tensors: { x, w, b },
      want: { y: [conv2d(f64(x), f64(w), f64(b), g), dy[1]] },
    },
    {
      op: "conv2d",
      attributes: { ...attributes, algorithm: "direct" },
      tensors: { x, w },
      want: { y: [conv2d(f64(x), f64(w), undefined, g), dy[1]] },
    },
    {
      op: "conv2d_input_grad",
      attributes: { ...attributes, inputShape: [2, 7, 6, 3] },
      tensors: { dy, w },
      want: { dx: [dx, x[1]] },
    },
    {
      op: "conv2d_input_grad",
      attributes: { ...attributes, inputShape: [7, 6] },
      tensors: { dy, w },
      want: { dx: [dx, x[1]] },
    },
    {
      op: "conv2d_weight_grad",
      attributes: { ...attributes, kernelShape: [3, 2, 3, 5] },
      tensors: { x, dy },
      want: { dw: [dw, w[1]] },
    },
    {
      op: "conv2d_weight_grad",
      attributes: { ...attributes, kernelShape: [3, 2] },
      tensors: { x, dy },
      want: { dw: [dw, w[1]] },
    },
    {
      op: "conv2d_bias_grad",
      attributes,
      tensors: { dy },
      want: { db: [biasGrad(f64(dy), 5), [5]] },
    },
  ];
}

function conv2dDefaults(): Case {
  const [x, w] = [random("x", 1, 5, 5, 2), random("w", 3, 3, 2, 3)];
  const g = conv2dGeometry(x[1], w[1]);
  expect([g.outH, g.strideH, g.dilationH, g.padTop], "valid, 1, 1").to.deep.equal([3, 1, 1, 0]);
  const y: [Reference, Shape] = [conv2d(f64(x), f64(w), undefined, g), [1, 3, 3, 3]];
  return { op: "conv2d", tensors: { x, w }, want: { y } };
}

function maxPool2dCases(): Case[] {
  const shape = [2, 7, 5, 3];
  const x: [Float32Array, Shape] = [distinctFloats(shape, 1, "x"), shape];
  const explicit = { size: [3, 2], strides: 2, padding: "same" } as const;
  const g = pool2dGeometry(shape, explicit);
  const plain = pool2dGeometry(shape, { size: 2 });
  const dy = random("dy", 2, g.outH, g.outW, 3);
  return [
    {
      op: "max_pool2d",
      attributes: { size: 2 },
      tensors: { x },
      want: { y: [maxPool2d(f64(x), plain), [2, 3, 2, 3]] },
    },
    {
      op: "max_pool2d_grad",
      attributes: explicit,
      tensors: { x, dy },
      want: { dx: [maxPool2dGrad(f64(x), f64(dy), g), shape] },
    },
  ];
}

function denseCases(): Case[] {
  const sizes = { n: 3, inC: 7, outC: 5 };
  const [x, w] = [random("x", 3, 7), random("w", 7, 5)];
  const [b, dy] = [random("b", 5), random("dy", 3, 5)];
  return [
    {
      op: "dense",
      attributes: { algorithm: "tiled" },
      tensors: { x, w, b },
      want: { y: [dense(f64(x), f64(w), f64(b), sizes), [3, 5]] },
    },
    {
      op: "dense",
      tensors: { x, w },
      want: { y: [dense(f64(x), f64(w), undefined, sizes), [3, 5]] },
    },
    {
      op: "dense_input_grad",
      tensors: { dy, w },
      want: { dx: [denseInputGrad(f64(dy), f64(w), sizes), [3, 7]] },
    },
    {
      op: "dense_weight_grad",
      tensors: { x, dy },
      want: { dw: [denseWeightGrad(f64(x), f64(dy), sizes), [7, 5]] },
    },
    {
      op: "dense_bias_grad",
      tensors: { dy },
      want: { db: [biasGrad(f64(dy), 5), [5]] },
    },
  ];
}

function softmaxCases(): Case[] {
  const x = random("x", 4, 3);
  const labels: [Int32Array, Shape] = [Int32Array.of(2, 0, 1, 2), [4]];
  const classWeights: [Float32Array, Shape] = [Float32Array.of(0.5, 2, 1), [3]];
  const crossEntropy = (weights?: Float32Array): Case["want"] => {
    const { rowLoss, dx } = softmaxCrossEntropy(f64(x), labels[0], weights, 3);
    const mean = (values: Float64Array) => Float64Array.of(values.reduce((a, b) => a + b) / 4);
    const loss = { values: mean(rowLoss.values), absSum: mean(rowLoss.absSum), reduction: 4 };
    return { loss: [loss, []], dx: [dx, [4, 3]] };
  };
  // exp, log and division have several ULP each: the bound of the kernels' own tests.
  const tolerance = { factor: 8 };
  return [
    { op: "softmax", tensors: { x }, want: { y: [softmax(f64(x), 3), [4, 3]] }, tolerance },
    { op: "softmax_cross_entropy", tensors: { x, labels }, want: crossEntropy(), tolerance },
    {
      op: "softmax_cross_entropy",
      tensors: { x, labels, classWeights },
      want: crossEntropy(classWeights[0]),
      tolerance,
    },
  ];
}

function elementwiseCases(): Case[] {
  const shape = [2, 3, 5];
  const x: [Float32Array, Shape] = [awayFromZero(shape, 1, "x"), shape];
  const dy = random("dy", ...shape);
  const draw = { rate: 0.25, seed: 2 ** 40 + 7, step: 3, layer: 2 };
  const plain = { rate: 0.5, seed: 0, step: 0, layer: 0 };
  return [
    {
      op: "leaky_relu",
      attributes: { slope: 0.3 },
      tensors: { x },
      want: { y: [leakyRelu(f64(x), 0.3), shape] },
    },
    {
      op: "leaky_relu_grad",
      attributes: { slope: 0 },
      tensors: { x, dy },
      want: { dx: [leakyReluGrad(f64(x), f64(dy), 0), shape] },
    },
    {
      op: "dropout",
      attributes: { ...draw },
      tensors: { x },
      want: { y: [dropout(f64(x), draw), shape] },
    },
    {
      op: "dropout_grad",
      attributes: { rate: 0.5 },
      tensors: { dy },
      want: { dx: [dropout(f64(dy), plain), shape] },
    },
  ];
}

function adamaxCases(): Case[] {
  const shape = [3, 5];
  const [w, dw, m] = [random("w", ...shape), random("dw", ...shape), random("m", ...shape)];
  const u: [Float32Array, Shape] = [random("u", ...shape)[0].map(Math.abs), shape];
  const state = { w: f64(w), m: f64(m), u: f64(u) };
  const step = (learningRate: number, t: number, beta1: number, beta2: number, epsilon: number) => {
    const rate = learningRate / (1 - beta1 ** t);
    const next = adamax(f64(dw), { rate, beta1, beta2, epsilon }, state);
    const want: Case["want"] = { w: [next.w, shape], m: [next.m, shape], u: [next.u, shape] };
    return want;
  };
  const tensors = { w, dw, m, u };
  // As in the kernel's own test: rate and betas are rounded to float32, a division errs by up to 2.5 ULP.
  const tolerance = { factor: 4 };
  return [
    { op: "adamax", tensors, want: step(0.002, 1, 0.9, 0.999, 1e-7), tolerance },
    {
      op: "adamax",
      attributes: { learningRate: 0.01, beta1: 0.8, beta2: 0.99, epsilon: 1e-3, t: 5 },
      tensors,
      want: step(0.01, 5, 0.8, 0.99, 1e-3),
      tolerance,
    },
  ];
}

function affineWarpCase(): Case {
  const x = Uint8Array.from(randomFloats([2 * 5 * 4 * 3], 1, "x"), (value) => 128 + 127 * value);
  const matrix = Float32Array.of(1, 0, 0, 0, 1, 0, 0.9, -0.4, 1.3, 0.4, 0.9, -0.7);
  const want = affineWarp(x, [2, 5, 4, 3], [0, 1], matrix, [2, 3, 6, 3]);
  return {
    op: "affine_warp",
    attributes: { outSize: [3, 6] },
    tensors: { x: [x, [2, 5, 4, 3]], matrix: [matrix, [2, 2, 3]] },
    want: { y: [want, [2, 3, 6, 3]] },
  };
}

/** Every operation once at least; `tensors` of float64 are converted. */
export function cases(): Case[] {
  const x = random("x", 2, 3);
  const asDouble: Case = {
    op: "leaky_relu",
    attributes: { slope: 0.5 },
    tensors: { x: [f64(x), [2, 3], "F64"] },
    want: { y: [leakyRelu(f64(x), 0.5), [2, 3]] },
  };
  return [
    ...conv2dCases(),
    conv2dDefaults(),
    ...elementwiseCases(),
    asDouble,
    ...maxPool2dCases(),
    ...denseCases(),
    ...softmaxCases(),
    ...adamaxCases(),
    affineWarpCase(),
  ];
}
