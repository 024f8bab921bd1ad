/** `tuningfork op`: one kernel on tensors from a file, for comparison with any other framework. */
import { pool2dGeometry, conv2dGeometry, type Padding, type Size2d } from "../geometry.ts";
import type { Context } from "../gpu/context.ts";
import { openDevice } from "../gpu/device.ts";
import { ShapeError } from "../gpu/errors.ts";
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
import { FILE_DTYPE, openSafetensors, writeSafetensors, type FileDType } from "../safetensors.ts";
import { messageOf } from "../system_errors.ts";
import {
  elementCount,
  formatShape,
  type DType,
  type Shape,
  type Tensor,
  type TypedArray,
} from "../tensor.ts";

export interface OpOptions {
  /** One of OP_NAMES. */
  readonly name: string;
  /** The safetensors file with the inputs. */
  readonly in: string;
  /** The safetensors file to write. */
  readonly out: string;
  /** The attributes, a JSON object. Default none. */
  readonly attrs?: string;
}

// What an op takes: a table below, typed so that `encode` sees exactly what the table promises.

interface Input {
  readonly dtype: DType;
  /** `[n,inC]`: as errors print it, and of how many axes; "any shape". */
  readonly layout: string;
  readonly optional: boolean;
}

interface Attribute<T, Optional extends boolean = boolean> {
  /** Returns the value, or throws saying what was expected. */
  readonly parse: (value: unknown) => T;
  readonly optional: Optional;
  readonly fallback?: T;
  /** A value for the error that names a missing attribute. */
  readonly example: string;
}

type Inputs = Readonly<Record<string, Input>>;
type Attributes = Readonly<Record<string, Attribute<unknown>>>;
type Tensors<I extends Inputs> = {
  readonly [K in keyof I as I[K]["optional"] extends true ? never : K]: Tensor;
} & { readonly [K in keyof I as I[K]["optional"] extends true ? K : never]?: Tensor };
type HostTensors<I extends Inputs> = { readonly [K in keyof I]: HostTensor };
type Values<A extends Attributes> = {
  readonly [K in keyof A as A[K]["optional"] extends true ? never : K]: ReturnType<A[K]["parse"]>;
} & {
  readonly [K in keyof A as A[K]["optional"] extends true ? K : never]?: ReturnType<A[K]["parse"]>;
};

interface HostTensor {
  readonly shape: Shape;
  readonly values: TypedArray;
}

/** One operation: what it takes, the shapes of what it gives, and how it is recorded. */
interface OpSpec<I extends Inputs, A extends Attributes, Name extends string> {
  readonly inputs: I;
  readonly attributes: A;
  readonly outputs: (inputs: HostTensors<I>, attributes: Values<A>) => Record<Name, Shape>;
  readonly encode: (
    ctx: Context,
    inputs: Tensors<I>,
    attributes: Values<A>,
    outputs: Record<Name, Tensor>,
  ) => void;
}

type Op = OpSpec<Inputs, Attributes, string>;

/** Checks the types of one table row, then forgets them: rows of different types share the table. */
function op<const I extends Inputs, const A extends Attributes, Name extends string>(
  spec: OpSpec<I, A, Name>,
): Op {
  return spec as unknown as Op;
}

const floats = (layout: string) => ({ dtype: "float32", layout, optional: false }) as const;
const optionalFloats = (layout: string) => ({ dtype: "float32", layout, optional: true }) as const;

const required = <T>(parse: (value: unknown) => T, example: string): Attribute<T, false> => ({
  parse,
  optional: false,
  example,
});
const optional = <T>(parse: (value: unknown) => T): Attribute<T, true> => ({
  parse,
  optional: true,
  example: "",
});
const withDefault = <T>(parse: (value: unknown) => T, fallback: T): Attribute<T, false> => ({
  parse,
  optional: false,
  fallback,
  example: "",
});

const NHWC = "[n,h,w,c]";
const HWIO = "[kH,kW,inC,outC]";
const ANY = "any shape";

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

const OPS: Readonly<Record<string, Op>> = {
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
    encode: (ctx, { x, labels, classWeights }, _attributes, { loss, dx }) => {
      const rows = x.shape[0] ?? 0;
      const rowLoss = ctx.scratch([rows], "float32", "rowLoss");
      const correct = ctx.scratch([rows], "uint32", "correct");
      softmaxCrossEntropy(ctx, { x, labels, classWeights }, { rowLoss, correct, dx });
      const words = stepState({ step: 0, learningRate: 0, beta1: 0, slot: 0 });
      const step = ctx.device.upload(words, [4], "step");
      const status = ctx.device.upload(clearStatus(), [4], "status");
      const log = ctx.scratch([1, LOG_COLUMNS], "float32", "log");
      batchMetrics(ctx, { rowLoss, correct, step }, { loss, log, status });
    },
  }),
  dropout: op({
    inputs: { x: floats(ANY) },
    attributes: DROPOUT_ATTRIBUTES,
    outputs: ({ x }) => ({ y: x.shape }),
    encode: (ctx, { x }, attributes, { y }) => {
      dropout(ctx, { x, step: dropoutStep(ctx, attributes.step) }, attributes, y);
    },
  }),
  dropout_grad: op({
    inputs: { dy: floats(ANY) },
    attributes: DROPOUT_ATTRIBUTES,
    outputs: ({ dy }) => ({ dx: dy.shape }),
    encode: (ctx, { dy }, attributes, { dx }) => {
      dropoutGrad(ctx, { dy, step: dropoutStep(ctx, attributes.step) }, attributes, dx);
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
    encode: (ctx, { w, dw, m, u }, { learningRate, t, ...options }, outputs) => {
      ctx.copy(w, outputs.w);
      ctx.copy(m, outputs.m);
      ctx.copy(u, outputs.u);
      const words = stepState({ step: t - 1, learningRate, beta1: options.beta1, slot: 0 });
      const step = ctx.device.upload(words, [4], "step");
      const status = ctx.device.upload(clearStatus(), [4], "status");
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
    encode: (ctx, { x: images, matrix: matrices }, _attributes, { y }) => {
      const every = Uint32Array.from({ length: y.shape[0] ?? 0 }, (_, index) => index);
      const indices = ctx.device.upload(every, [every.length], "indices");
      affineWarp(ctx, { images, indices, matrices }, {}, y);
    },
  }),
};

/** The operations that `tuningfork op` knows. */
export const OP_NAMES: readonly string[] = Object.keys(OPS);

/**
 * Runs one operation on the tensors of a file and writes what it gives to another.
 * @returns the exit code, 0
 * @throws Error with one sentence for whatever is wrong with name, attributes or tensors
 */
export async function runOp({ name, in: from, out, attrs = "{}" }: OpOptions): Promise<number> {
  const spec = findOp(name);
  const attributes = parseAttributes(name, attrs);
  const inputs = await readInputs(name, spec, from);
  const shapes = spec.outputs(inputs, attributes);
  const device = await openDevice();
  try {
    const uploaded = Object.entries(inputs).map(
      ([input, { values, shape }]) => [input, device.upload(values, shape, input)] as const,
    );
    const outputs = Object.fromEntries(
      Object.entries(shapes).map(([output, shape]) => [
        output,
        device.tensor(shape, "float32", output),
      ]),
    );
    await device.run(name, (ctx) => {
      spec.encode(ctx, Object.fromEntries(uploaded), attributes, outputs);
    });
    const tensors = Object.values(outputs).map((tensor) => ({
      name: tensor.label,
      dtype: FILE_DTYPE[tensor.dtype],
      shape: tensor.shape,
      bytes: async () => {
        const { buffer, byteOffset, byteLength } = await device.read(tensor);
        return new Uint8Array(buffer, byteOffset, byteLength);
      },
    }));
    const metadata = {
      op: name,
      attributes: JSON.stringify(attributes),
      adapter: device.summary.description,
    };
    await writeSafetensors(out, { tensors, metadata });
  } finally {
    device.destroy();
  }
  const given = Object.entries(shapes).map(([output, shape]) => `${output} ${formatShape(shape)}`);
  console.log(`${name}: ${given.join(", ")} written to ${out}`);
  return 0;
}

function findOp(name: string): Op {
  const spec = Object.hasOwn(OPS, name) ? OPS[name] : undefined;
  if (!spec)
    throw new Error(`op: unknown operation: expected ${OP_NAMES.join(", ")}, got "${name}"`);
  return spec;
}

/**
 * The attributes of an operation out of their JSON text: checked, with defaults; those that were left out and have none
 * are absent.
 * @throws Error for an unknown key, a missing one, or a value of the wrong kind
 */
export function parseAttributes(name: string, text: string): Record<string, unknown> {
  const { attributes } = findOp(name);
  const given = parseObject(name, text);
  const known = Object.keys(attributes);
  for (const key of Object.keys(given))
    if (!known.includes(key))
      throw new Error(
        `op ${name}: unknown attribute ${key}: expected ` +
          (known.length > 0 ? known.join(", ") : "none, this operation has no attributes"),
      );
  const values: Record<string, unknown> = {};
  for (const [key, attribute] of Object.entries(attributes)) {
    if (Object.hasOwn(given, key)) {
      try {
        values[key] = attribute.parse(given[key]);
      } catch (error) {
        if (!(error instanceof Expected)) throw error;
        throw new Error(
          `op ${name}: attribute ${key}: expected ${error.message}, got ${JSON.stringify(given[key])}`,
          { cause: error },
        );
      }
    } else if (attribute.fallback !== undefined) values[key] = attribute.fallback;
    else if (!attribute.optional)
      throw new Error(
        `op ${name}: missing attribute ${key}; give it, e.g. --attrs '{"${key}":${attribute.example}}'`,
      );
  }
  return values;
}

function parseObject(name: string, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const reason = messageOf(cause);
    throw new Error(`op ${name}: --attrs is no JSON: ${reason}`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error(`op ${name}: --attrs: expected a JSON object, got ${text}`);
  return value as Record<string, unknown>;
}

// Kinds of attributes.

/** What a parser expected; `parseAttributes` says where. */
class Expected extends Error {}

/** By default within float32's range. */
function number(what: string, least = -1e38, most = 1e38): (value: unknown) => number {
  return (value) => {
    if (typeof value !== "number" || !(value >= least && value <= most)) throw new Expected(what);
    return value;
  };
}

function integer(least: number, most: number): (value: unknown) => number {
  return (value) => {
    if (!isInteger(value, least) || value > most)
      throw new Expected(`an integer from ${least} to ${most}`);
    return value;
  };
}

function isInteger(value: unknown, least: number): value is number {
  return Number.isSafeInteger(value) && Number(value) >= least;
}

function size2d(value: unknown): Size2d {
  if (isInteger(value, 1)) return value;
  if (Array.isArray(value)) {
    const [h, w, ...rest] = value as unknown[];
    if (isInteger(h, 1) && isInteger(w, 1) && rest.length === 0) return [h, w];
  }
  throw new Expected("an integer from 1 or a list of two, [height,width]");
}

/** A number or a list of them, for `completeShape`. */
function sizes(value: unknown): readonly number[] {
  const list: unknown[] = Array.isArray(value) ? value : [value, value];
  if (list.length >= 2 && list.length <= 4 && list.every((size) => isInteger(size, 1))) return list;
  throw new Expected("an integer from 1 or a list of two to four");
}

function padding(value: unknown): Padding {
  if (value === "same" || value === "valid") return value;
  const rows: unknown[] = Array.isArray(value) ? value : [];
  const isSide = (row: unknown): boolean =>
    Array.isArray(row) && row.length === 2 && row.every((size) => isInteger(size, 0));
  if (rows.length === 2 && rows.every(isSide)) return value as Padding;
  throw new Expected('"same", "valid" or [[top,bottom],[left,right]]');
}

function oneOf<const T extends string>(names: readonly T[]): (value: unknown) => T {
  return (value) => {
    const found = names.find((name) => name === value);
    if (found === undefined) throw new Expected(names.map((name) => `"${name}"`).join(", "));
    return found;
  };
}

// Shapes.

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

function dropoutStep(ctx: Context, step: number): Tensor {
  const words = stepState({ step, learningRate: 0, beta1: 0, slot: 0 });
  return ctx.device.upload(words, [4], "step");
}

// Tensors from the file.

/** Types of a file that serve where one of ours is meant: floating point is converted, integers are not. */
const ACCEPTED: Readonly<Record<DType, readonly FileDType[]>> = {
  float32: ["F32", "F64", "F16", "BF16"],
  float16: ["F16"],
  int32: ["I32"],
  uint32: ["U32"],
  uint8: ["U8"],
};

async function readInputs(
  name: string,
  spec: Op,
  path: string,
): Promise<Record<string, HostTensor>> {
  const file = await openSafetensors(path);
  try {
    const inputs: Record<string, HostTensor> = {};
    for (const [input, wanted] of Object.entries(spec.inputs)) {
      const found = file.tensors.get(input);
      if (!found) {
        if (wanted.optional) continue;
        throw new Error(
          `op ${name}: ${path} has no tensor ${input} (${wanted.dtype}, ${wanted.layout}); ` +
            `it has ${[...file.tensors.keys()].join(", ") || "none"}`,
        );
      }
      checkInput(name, input, wanted, found);
      const values = await file.read(input, { toFloat32: true });
      inputs[input] = { shape: found.shape, values };
    }
    warnOfUnknown(name, spec, [...file.tensors.keys()]);
    return inputs;
  } finally {
    await file.close();
  }
}

function checkInput(
  name: string,
  input: string,
  { dtype, layout }: Input,
  found: { readonly dtype: FileDType; readonly shape: Shape },
): void {
  if (!ACCEPTED[dtype].includes(found.dtype))
    throw new Error(
      `op ${name}: ${input}: expected ${dtype} (${ACCEPTED[dtype].join(", ")}), got ${found.dtype}; save it as ${dtype}`,
    );
  const rank = layout === ANY ? found.shape.length : layout.split(",").length;
  if (found.shape.length !== rank)
    throw new Error(`op ${name}: ${input}: expected ${layout}, got ${formatShape(found.shape)}`);
  if (elementCount(found.shape) === 0)
    throw new Error(`op ${name}: ${input}: ${formatShape(found.shape)} has no elements`);
}

/** One file may serve several operations; a name that none of them has is more likely a slip. */
function warnOfUnknown(name: string, spec: Op, names: readonly string[]): void {
  const known = new Set(
    Object.values(OPS).flatMap(({ inputs }) => [...Object.keys(inputs), "y", "dx", "db", "loss"]),
  );
  const ignored = names.filter((tensor) => !known.has(tensor));
  if (ignored.length > 0)
    console.error(
      `op ${name}: ignoring ${ignored.join(", ")}; it takes ${Object.keys(spec.inputs).join(", ")}`,
    );
}
