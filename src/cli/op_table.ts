/** The operations of `tuningfork op`: what each takes and gives, and the kernel that it runs. */
import { conv2dGeometry, pool2dGeometry } from "../geometry.ts";
import type { Device } from "../gpu/device.ts";
import { adamax } from "../kernels/adamax.ts";
import { affineWarp } from "../kernels/affine_warp.ts";
import { batchMetrics, LOG_COLUMNS } from "../kernels/batch_metrics.ts";
import {
  conv2d,
  CONV2D_ALGORITHMS,
  conv2dBiasGrad,
  conv2dInputGrad,
  conv2dWeightGrad,
} from "../kernels/conv2d.ts";
import {
  dense,
  DENSE_ALGORITHMS,
  denseBiasGrad,
  denseInputGrad,
  denseWeightGrad,
} from "../kernels/dense.ts";
import { dropout, dropoutGrad } from "../kernels/dropout.ts";
import { leakyRelu, leakyReluGrad } from "../kernels/leaky_relu.ts";
import { maxPool2d, maxPool2dGrad } from "../kernels/max_pool2d.ts";
import { softmax } from "../kernels/softmax.ts";
import { softmaxCrossEntropy } from "../kernels/softmax_cross_entropy.ts";
import { clearStatus, stepState } from "../kernels/step_state.ts";
import { formatShape, ShapeError, type Tensor } from "../tensor.ts";
import {
  ANY,
  HWIO,
  NHWC,
  floats,
  integer,
  number,
  oneOf,
  op,
  optional,
  optionalFloats,
  padding,
  required,
  size2d,
  sizes,
  withDefault,
  type HostTensor,
  type Op,
} from "./op_row.ts";

const CONV2D_ATTRIBUTES = {
  strides: optional(size2d),
  dilations: optional(size2d),
  padding: optional(padding),
  algorithm: optional(oneOf(CONV2D_ALGORITHMS)),
};
const POOL_ATTRIBUTES = {
  size: required(size2d, "2"),
  strides: optional(size2d),
  padding: optional(padding),
};
const DENSE_ATTRIBUTES = { algorithm: optional(oneOf(DENSE_ALGORITHMS)) };
const DROPOUT_ATTRIBUTES = {
  rate: required(number("a number from 0 to below 1", 0, 1 - 2 ** -32), "0.25"),
  seed: withDefault(integer(0, Number.MAX_SAFE_INTEGER), 0),
  step: withDefault(integer(0, 2 ** 32 - 1), 0),
  layer: withDefault(integer(0, 2 ** 32 - 1), 0),
};
/** The default is that of the layer. */
const SLOPE = { slope: withDefault(number("a number from -1e38 to 1e38"), 0.3) };

/** The operations by name. */
export const OPS: Readonly<Record<string, Op>> = {
  conv2d: op({
    inputs: { x: floats(NHWC), w: floats(HWIO), b: optionalFloats("[outC]") },
    attributes: CONV2D_ATTRIBUTES,
    outputs: ({ x, w }, attributes) => {
      const g = conv2dGeometry(x.shape, w.shape, attributes);
      return { y: [g.n, g.outH, g.outW, g.outC] };
    },
    encode: (ctx, inputs, attributes, { y }) => {
      conv2d(ctx, inputs, attributes, y);
    },
  }),
  conv2d_input_grad: op({
    inputs: { dy: floats(NHWC), w: floats(HWIO) },
    attributes: { ...CONV2D_ATTRIBUTES, inputShape: required(sizes, "[1,28,28,3]") },
    // A size alone, or without the batch: the rest follows from the tensors.
    outputs: ({ dy, w }, { inputShape }) => ({
      dx: completeShape("inputShape", "[n,h,w,c]", inputShape, [
        axis(dy, 0),
        undefined,
        undefined,
        axis(w, 2),
      ]),
    }),
    encode: (ctx, inputs, { inputShape: _, ...attributes }, { dx }) => {
      conv2dInputGrad(ctx, inputs, attributes, dx);
    },
  }),
  conv2d_weight_grad: op({
    inputs: { x: floats(NHWC), dy: floats(NHWC) },
    attributes: { ...CONV2D_ATTRIBUTES, kernelShape: required(sizes, "[3,3,3,32]") },
    outputs: ({ x, dy }, { kernelShape }) => ({
      dw: completeShape("kernelShape", HWIO, kernelShape, [
        undefined,
        undefined,
        axis(x, 3),
        axis(dy, 3),
      ]),
    }),
    encode: (ctx, inputs, { kernelShape: _, ...attributes }, { dw }) => {
      conv2dWeightGrad(ctx, inputs, attributes, dw);
    },
  }),
  conv2d_bias_grad: op({
    inputs: { dy: floats(NHWC) },
    // The convolution's own, so that one set of attributes serves all four: this gradient depends on none of them.
    attributes: CONV2D_ATTRIBUTES,
    outputs: ({ dy }) => ({ db: [axis(dy, 3)] }),
    encode: (ctx, inputs, _attributes, { db }) => {
      conv2dBiasGrad(ctx, inputs, db);
    },
  }),
  leaky_relu: op({
    inputs: { x: floats(ANY) },
    attributes: SLOPE,
    outputs: ({ x }) => ({ y: x.shape }),
    encode: (ctx, inputs, attributes, { y }) => {
      leakyRelu(ctx, inputs, attributes, y);
    },
  }),
  leaky_relu_grad: op({
    inputs: { x: floats(ANY), dy: floats(ANY) },
    attributes: SLOPE,
    outputs: ({ x }) => ({ dx: x.shape }),
    encode: (ctx, inputs, attributes, { dx }) => {
      leakyReluGrad(ctx, inputs, attributes, dx);
    },
  }),
  max_pool2d: op({
    inputs: { x: floats(NHWC) },
    attributes: POOL_ATTRIBUTES,
    outputs: ({ x }, attributes) => {
      const g = pool2dGeometry(x.shape, attributes);
      return { y: [g.n, g.outH, g.outW, g.c] };
    },
    encode: (ctx, inputs, attributes, { y }) => {
      maxPool2d(ctx, inputs, attributes, y);
    },
  }),
  max_pool2d_grad: op({
    inputs: { x: floats(NHWC), dy: floats(NHWC) },
    attributes: POOL_ATTRIBUTES,
    outputs: ({ x }) => ({ dx: x.shape }),
    encode: (ctx, inputs, attributes, { dx }) => {
      maxPool2dGrad(ctx, inputs, attributes, dx);
    },
  }),
  dense: op({
    inputs: { x: floats("[n,inC]"), w: floats("[inC,outC]"), b: optionalFloats("[outC]") },
    attributes: DENSE_ATTRIBUTES,
    outputs: ({ x, w }) => ({ y: [axis(x, 0), axis(w, 1)] }),
    encode: (ctx, inputs, attributes, { y }) => {
      dense(ctx, inputs, attributes, y);
    },
  }),
  dense_input_grad: op({
    inputs: { dy: floats("[n,outC]"), w: floats("[inC,outC]") },
    attributes: DENSE_ATTRIBUTES,
    outputs: ({ dy, w }) => ({ dx: [axis(dy, 0), axis(w, 0)] }),
    encode: (ctx, inputs, attributes, { dx }) => {
      denseInputGrad(ctx, inputs, attributes, dx);
    },
  }),
  dense_weight_grad: op({
    inputs: { x: floats("[n,inC]"), dy: floats("[n,outC]") },
    attributes: DENSE_ATTRIBUTES,
    outputs: ({ x, dy }) => ({ dw: [axis(x, 1), axis(dy, 1)] }),
    encode: (ctx, inputs, attributes, { dw }) => {
      denseWeightGrad(ctx, inputs, attributes, dw);
    },
  }),
  dense_bias_grad: op({
    inputs: { dy: floats("[n,outC]") },
    attributes: DENSE_ATTRIBUTES, // as conv2d_bias_grad has it
    outputs: ({ dy }) => ({ db: [axis(dy, 1)] }),
    encode: (ctx, inputs, _attributes, { db }) => {
      denseBiasGrad(ctx, inputs, db);
    },
  }),
  softmax: op({
    inputs: { x: floats(ANY) },
    attributes: {},
    outputs: ({ x }) => ({ y: x.shape }),
    encode: (ctx, inputs, _attributes, { y }) => {
      softmax(ctx, inputs, y);
    },
  }),
  softmax_cross_entropy: op({
    inputs: {
      x: floats("[n,classes]"),
      labels: { dtype: "int32", layout: "[n]", optional: false },
      classWeights: optionalFloats("[classes]"),
    },
    attributes: {},
    outputs: ({ x, labels }) => {
      checkLabels(labels, axis(x, 1));
      return { loss: [], dx: x.shape };
    },
    encode: (ctx, { x, labels, classWeights }, _attributes, { loss, dx }, device) => {
      const rows = x.shape[0] ?? 0;
      const rowLoss = ctx.scratch([rows], "float32", "rowLoss");
      const correct = ctx.scratch([rows], "uint32", "correct");
      softmaxCrossEntropy(ctx, { x, labels, classWeights }, { rowLoss, correct, dx });
      const words = stepState({ step: 0, learningRate: 0, beta1: 0, slot: 0 });
      const step = device.upload(words, [4], "step");
      const status = device.upload(clearStatus(), [4], "status");
      const log = ctx.scratch([1, LOG_COLUMNS], "float32", "log");
      batchMetrics(ctx, { rowLoss, correct, step }, { loss, log, status });
    },
  }),
  dropout: op({
    inputs: { x: floats(ANY) },
    attributes: DROPOUT_ATTRIBUTES,
    outputs: ({ x }) => ({ y: x.shape }),
    encode: (ctx, { x }, attributes, { y }, device) => {
      dropout(ctx, { x, step: dropoutStep(device, attributes.step) }, attributes, y);
    },
  }),
  dropout_grad: op({
    inputs: { dy: floats(ANY) },
    attributes: DROPOUT_ATTRIBUTES,
    outputs: ({ dy }) => ({ dx: dy.shape }),
    encode: (ctx, { dy }, attributes, { dx }, device) => {
      dropoutGrad(ctx, { dy, step: dropoutStep(device, attributes.step) }, attributes, dx);
    },
  }),
  adamax: op({
    inputs: { w: floats(ANY), dw: floats(ANY), m: floats(ANY), u: floats(ANY) },
    attributes: {
      learningRate: withDefault(number("a number from 0 to 1e38", 0), 0.002),
      beta1: withDefault(number("a number from 0 to below 1", 0, 1 - Number.EPSILON / 2), 0.9),
      beta2: withDefault(number("a number from 0 to 1", 0, 1), 0.999),
      epsilon: withDefault(number("a number from 0 to 1e38", 0), 1e-7),
      t: withDefault(integer(1, 2 ** 32), 1),
    },
    outputs: ({ w, m, u }) => ({ w: w.shape, m: m.shape, u: u.shape }),
    encode: (ctx, { w, dw, m, u }, { learningRate, t, ...options }, outputs, device) => {
      ctx.copy(w, outputs.w);
      ctx.copy(m, outputs.m);
      ctx.copy(u, outputs.u);
      const words = stepState({ step: t - 1, learningRate, beta1: options.beta1, slot: 0 });
      const step = device.upload(words, [4], "step");
      const status = device.upload(clearStatus(), [4], "status");
      adamax(ctx, { dw, step, status }, options, outputs);
    },
  }),
  affine_warp: op({
    inputs: {
      x: { dtype: "uint8", layout: NHWC, optional: false },
      matrix: floats("[n,2,3]"),
    },
    attributes: { outSize: required(size2d, "[64,64]") },
    outputs: ({ x, matrix }, { outSize }) => {
      const [n = 0, , , c = 0] = x.shape;
      if (matrix.shape.join() !== [n, 2, 3].join())
        throw new ShapeError(
          "affine_warp",
          `matrix: expected [${n},2,3] for x ${formatShape(x.shape)}, got ${formatShape(matrix.shape)}`,
          { x: x.shape, matrix: matrix.shape },
        );
      const [outH, outW] = typeof outSize === "number" ? [outSize, outSize] : outSize;
      return { y: [n, outH, outW, c] };
    },
    encode: (ctx, { x: images, matrix: matrices }, _attributes, { y }, device) => {
      const every = Uint32Array.from({ length: y.shape[0] ?? 0 }, (_, index) => index);
      const indices = device.upload(every, [every.length], "indices");
      affineWarp(ctx, { images, indices, matrices }, {}, y);
    },
  }),
};

function axis({ shape }: HostTensor, index: number): number {
  return shape[index] ?? 0;
}

/**
 * Four sizes from an attribute that may leave out what the tensors know: a pair fills the two unknown axes, three sizes
 * all but a known first one.
 */
function completeShape(
  attribute: string,
  layout: string,
  given: readonly number[],
  known: readonly (number | undefined)[],
): number[] {
  if (given.length === 4) return [...given];
  const open = known.flatMap((size, index) => (size === undefined ? [index] : []));
  const shape = known.map((size) => size ?? 0);
  if (given.length === 3 && known[0] !== undefined) return [shape[0] ?? 0, ...given];
  if (given.length !== 2)
    throw new ShapeError(
      attribute,
      `expected ${layout}, a list of two sizes or a number, got ${formatShape(given)}`,
    );
  open.forEach((index, i) => (shape[index] = given[i] ?? 0));
  return shape;
}

function checkLabels(labels: HostTensor, classes: number): void {
  const at = labels.values.findIndex((label) => label < 0 || label >= classes);
  if (at >= 0)
    throw new Error(
      `op softmax_cross_entropy: labels[${at}]: expected 0 to ${classes - 1} for ${classes} classes, ` +
        `got ${labels.values[at] ?? NaN}`,
    );
}

function dropoutStep(device: Device, step: number): Tensor {
  const words = stepState({ step, learningRate: 0, beta1: 0, slot: 0 });
  return device.upload(words, [4], "step");
}
