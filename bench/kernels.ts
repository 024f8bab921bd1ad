/** Single operations as our kernels run them: their tensors, what is recorded, and how the answer is checked. */
import type { Context } from "../src/gpu/context.ts";
import type { Device } from "../src/gpu/device.ts";
import { adamax } from "../src/kernels/adamax.ts";
import { Choices, type Operation } from "../src/kernels/choices.ts";
import {
  chooseConv2dAlgorithm,
  roundingFactor,
  conv2d,
  conv2dInputGrad,
  conv2dUnsupported,
  conv2dWeightGrad,
  type Conv2dAlgorithm,
  type Conv2dOptions,
} from "../src/kernels/conv2d.ts";
import {
  chooseDenseAlgorithm,
  dense,
  denseInputGrad,
  denseUnsupported,
  denseWeightGrad,
  DENSE_ALGORITHMS,
  type DenseAlgorithm,
} from "../src/kernels/dense.ts";
import { dropout, dropoutGrad } from "../src/kernels/dropout.ts";
import { leakyRelu, leakyReluGrad } from "../src/kernels/leaky_relu.ts";
import { maxPool2d, maxPool2dGrad } from "../src/kernels/max_pool2d.ts";
import { softmax } from "../src/kernels/softmax.ts";
import { softmaxCrossEntropy } from "../src/kernels/softmax_cross_entropy.ts";
import { clearStatus, stepState } from "../src/kernels/step_state.ts";
import { float16Rounding, fromFloat16, toFloat16 } from "../src/float16.ts";
import * as references from "../src/reference/adamax.ts";
import type { Reference } from "../src/reference/reference.ts";
import * as softmaxReference from "../src/reference/softmax.ts";
import * as lossReference from "../src/reference/softmax_cross_entropy.ts";
import {
  elementCount,
  type DType,
  type Shape,
  type Tensor,
  type TypedArray,
} from "../src/tensor.ts";
import {
  ADAMAX,
  randomValues,
  SEEDS,
  type PassName,
  type Precision,
  type Task,
  type Work,
} from "./engine.ts";
import {
  DROPOUT,
  isSampled,
  operandsOf,
  operandValues,
  outputType,
  SLOPE,
  verifierOf,
  type SampledWork,
} from "./verify.ts";
import { conv2dOf, pool2dOf } from "./work.ts";

type Tensors = Readonly<Record<string, Tensor>>;
type Values = Readonly<Record<string, TypedArray>>;

interface TensorSpec {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly values: () => TypedArray;
}

/** One operation, ready to be recorded. */
export interface Workload {
  readonly tensors: Readonly<Record<string, TensorSpec>>;
  /** The tensors that are read back and checked, and how many of their elements, from the first; default all. */
  readonly outputs: readonly string[];
  readonly checked?: number;
  readonly record: (ctx: Context, tensors: Tensors) => void;
  /** What is wrong with the outputs, given all tensors as they were before; undefined when they are right. */
  readonly check: (outputs: Values, before: Values) => string | undefined;
}

/** The algorithm that a task runs: the forced one, or what `auto` takes on this device: as measured, if `choices` has it. */
export function chosenAlgorithm(device: Device, task: Task, choices = new Choices()): string {
  const { work, pass, algorithm, precision } = task;
  if (algorithm !== "auto") return algorithm;
  const dtype = storageOf(precision);
  if (work.op === "conv2d")
    return chooseConv2dAlgorithm(device, conv2dOf(work), KERNEL_PASS[pass], { dtype, choices });
  const operation = operationOf(task);
  if (!operation) return "auto";
  const measured = DENSE_ALGORITHMS.find((name) => name === choices.algorithmFor(operation));
  const usable = measured !== undefined && denseUnsupported(device, measured) === undefined;
  return usable ? measured : chooseDenseAlgorithm(device);
}

/** A task as the tuner knows it; undefined for operations that have one algorithm only. */
export function operationOf({ work, pass, precision }: Task): Operation | undefined {
  const rest = { pass: KERNEL_PASS[pass], dtype: storageOf(precision) } as const;
  if (work.op === "conv2d") return { op: "conv2d", sizes: { ...conv2dOf(work) }, ...rest };
  if (work.op !== "dense") return undefined;
  const { n, inC, outC } = work;
  return { op: "dense", sizes: { n, inC, outC }, ...rest };
}

/** Why nothing of mixed precision runs on some adapters. */
export const NO_FLOAT16 = "mixed precision needs shader-f16, and this adapter has it not";

/** Why the forced algorithm cannot run here, where that is known without recording it. */
export function unsupportedReason(
  device: Device,
  { work, pass, algorithm, precision }: Task,
): string | undefined {
  if (precision === "mixed" && !device.hasFloat16) return NO_FLOAT16;
  if (algorithm === "auto") return undefined;
  if (work.op === "dense") return denseUnsupported(device, algorithm as DenseAlgorithm);
  if (work.op !== "conv2d") return undefined;
  const forced = algorithm as Conv2dAlgorithm;
  return conv2dUnsupported(device, conv2dOf(work), KERNEL_PASS[pass], forced, storageOf(precision));
}

const KERNEL_PASS = {
  forward: "forward",
  inputGrad: "input_grad",
  weightGrad: "weight_grad",
  step: "forward",
} as const;

/** @throws ShapeError for sizes that the operation does not take */
export function workloadOf(device: Device, task: Task, choices?: Choices): Workload {
  const { work, precision } = task;
  if (isSampled(work)) return sampledWorkload(task, work, chosenAlgorithm(device, task, choices));
  return wholeWorkload(work, precision);
}

/** What activations, and the weights that are read, are stored as. */
const storageOf = (precision: Precision) => (precision === "mixed" ? "float16" : "float32");

/** Operations with one output, of which single elements are checked. */
function sampledWorkload(
  { pass, precision }: Task,
  work: SampledWork,
  algorithm: string,
): Workload {
  const { inputs, output } = operandsOf(work, pass);
  const operands = Object.fromEntries(
    inputs.map((name) => {
      const values = () => operandValues(work, name);
      return [name, floats(operandShape(work, name), values, storageOf(precision))];
    }),
  );
  const step = words(stepState({ ...ADAMAX, slot: 0, step: DROPOUT.step }));
  return {
    tensors: {
      ...operands,
      ...(work.op === "dropout" && { step }),
      out: empty(output, outputType(pass, precision)),
    },
    outputs: ["out"],
    record: (ctx, tensors) => {
      recordSampled(ctx, work, pass, algorithm, tensors);
    },
    check: ({ out }) => {
      const values = numbersOf(out!);
      const unwritten = values.findIndex((value) => Number.isNaN(value));
      if (unwritten >= 0) return `element ${unwritten} of ${values.length} is NaN or not written`;
      const verifier = verifierOf(work, pass, roundingFactor(algorithm), precision);
      return verifier.check(verifier.at.map((index) => values[index]!));
    },
  };
}

function operandShape(work: SampledWork, name: "x" | "w" | "dy"): Shape {
  // dx has the shape of x, dw that of w, y that of dy.
  if (name === "x") return operandsOf(work, "inputGrad").output;
  return operandsOf(work, name === "w" ? "weightGrad" : "forward").output;
}

function recordSampled(
  ctx: Context,
  work: SampledWork,
  pass: PassName,
  algorithm: string,
  tensors: Tensors,
): void {
  const { x, w, dy, step, out } = tensors as Record<"x" | "w" | "dy" | "step" | "out", Tensor>;
  switch (work.op) {
    case "conv2d": {
      const options: Conv2dOptions = {
        strides: work.stride,
        dilations: work.dilation,
        padding: work.padding,
        algorithm: algorithm as Conv2dAlgorithm,
      };
      if (pass === "forward") conv2d(ctx, { x, w }, options, out);
      else if (pass === "inputGrad") conv2dInputGrad(ctx, { dy, w }, options, out);
      else conv2dWeightGrad(ctx, { x, dy }, options, out);
      return;
    }
    case "dense": {
      const options = { algorithm: algorithm as DenseAlgorithm };
      if (pass === "forward") dense(ctx, { x, w }, options, out);
      else if (pass === "inputGrad") denseInputGrad(ctx, { dy, w }, options, out);
      else denseWeightGrad(ctx, { x, dy }, options, out);
      return;
    }
    case "max_pool2d": {
      const { kH, kW } = pool2dOf(work);
      const options = {
        size: [kH, kW] as const,
        strides: work.stride,
        padding: work.padding,
      };
      if (pass === "forward") maxPool2d(ctx, { x }, options, out);
      else maxPool2dGrad(ctx, { x, dy }, options, out);
      return;
    }
    case "leaky_relu":
      if (pass === "forward") leakyRelu(ctx, { x }, { slope: SLOPE }, out);
      else leakyReluGrad(ctx, { x, dy }, { slope: SLOPE }, out);
      return;
    case "dropout":
      if (pass === "forward") dropout(ctx, { x, step }, DROPOUT, out);
      else dropoutGrad(ctx, { dy, step }, DROPOUT, out);
  }
}

/** Operations with several outputs, or whose rows belong together: all of a part is checked. */
function wholeWorkload(work: Exclude<Work, SampledWork>, precision: Precision): Workload {
  const stored = storageOf(precision);
  switch (work.op) {
    case "softmax": {
      const { n, classes } = work;
      return {
        tensors: { x: random([n, classes], SEEDS.x, stored), y: empty([n, classes], "float32") },
        outputs: ["y"],
        record: (ctx, { x, y }) => {
          softmax(ctx, { x: x! }, y!);
        },
        check: ({ y }, { x }) =>
          compare("y", y!, softmaxReference.softmax(float64(x!), classes), 8),
      };
    }
    case "softmax_cross_entropy": {
      const { n, classes } = work;
      const labels = Int32Array.from({ length: n }, (_, i) => i % classes);
      return {
        tensors: {
          x: random([n, classes], SEEDS.x, stored),
          labels: { shape: [n], dtype: "int32", values: () => labels },
          rowLoss: empty([n], "float32"),
          correct: words(new Uint32Array(n)),
          dx: empty([n, classes], stored),
        },
        outputs: ["rowLoss", "dx"],
        record: (ctx, { x, labels, rowLoss, correct, dx }) => {
          const outputs = { rowLoss: rowLoss!, correct: correct!, dx: dx! };
          softmaxCrossEntropy(ctx, { x: x!, labels: labels! }, outputs);
        },
        check: ({ rowLoss, dx }, { x }) => {
          const args = [float64(x!), labels, undefined, classes] as const;
          const want = lossReference.softmaxCrossEntropy(...args);
          return compare("rowLoss", rowLoss!, want.rowLoss, 8) ?? compare("dx", dx!, want.dx, 8);
        },
      };
    }
    case "adamax":
      return adamaxWorkload(work.count);
    default:
      throw new Error(`${work.op} is no single operation`);
  }
}

/** Elements of an update that are checked, from the start. */
const CHECKED_UPDATES = 4096;

function adamaxWorkload(count: number): Workload {
  const { learningRate, beta1, beta2, epsilon } = ADAMAX;
  const step = stepState({ step: 0, learningRate, beta1, slot: 0 });
  return {
    tensors: {
      dw: random([count], SEEDS.dy),
      step: words(step),
      status: words(clearStatus()),
      w: random([count], SEEDS.w),
      m: random([count], SEEDS.x),
      u: floats([count], () => positive(randomValues(count, SEEDS.x))),
    },
    outputs: ["w", "m", "u"],
    checked: Math.min(count, CHECKED_UPDATES),
    record: (ctx, tensors) => {
      const { dw, step, status, w, m, u } = tensors as Record<
        "dw" | "step" | "status" | "w" | "m" | "u",
        Tensor
      >;
      adamax(ctx, { dw, step, status }, { beta1, beta2, epsilon }, { w, m, u });
    },
    check: (outputs, before) => {
      const part = (values: TypedArray | undefined) =>
        Float64Array.from(values!.subarray(0, CHECKED_UPDATES));
      const rate = new Float32Array(step.buffer)[1]!;
      const want = references.adamax(
        part(before["dw"]),
        { beta1, beta2, epsilon, rate },
        { w: part(before["w"]), m: part(before["m"]), u: part(before["u"]) },
      );
      const names = ["w", "m", "u"] as const;
      return names
        .map((name) => compare(name, outputs[name]!, want[name], 4))
        .find((wrong) => wrong !== undefined);
    },
  };
}

function positive(values: Float32Array): Float32Array {
  for (let i = 0; i < values.length; i++) values[i] = Math.abs(values[i]!);
  return values;
}

type FloatType = "float32" | "float16";

function floats(
  shape: Shape,
  values: () => Float32Array,
  dtype: FloatType = "float32",
): TensorSpec {
  return { shape, dtype, values: () => (dtype === "float16" ? toFloat16(values()) : values()) };
}

function random(shape: Shape, seed: number, dtype: FloatType = "float32"): TensorSpec {
  return floats(shape, () => randomValues(elementCount(shape), seed), dtype);
}

/** An output: what is not written stays NaN. */
function empty(shape: Shape, dtype: FloatType): TensorSpec {
  return floats(shape, () => new Float32Array(elementCount(shape)).fill(NaN), dtype);
}

/** What a tensor holds; float16 comes as bits. */
function numbersOf(values: TypedArray): Exclude<TypedArray, Uint16Array> {
  return values instanceof Uint16Array ? fromFloat16(values) : values;
}

function float64(values: TypedArray): Float64Array {
  return Float64Array.from(numbersOf(values));
}

function words(values: Uint32Array): TensorSpec {
  return { shape: [values.length], dtype: "uint32", values: () => values };
}

/** The first element that is off by more than `slack` times the bound of docs/numerics.md, and float16's rounding. */
function compare(
  name: string,
  stored: TypedArray,
  { values, absSum, reduction }: Reference,
  slack: number,
): string | undefined {
  const got = numbersOf(stored);
  const isHalf = stored instanceof Uint16Array;
  for (let i = 0; i < values.length; i++) {
    const rounding = isHalf ? float16Rounding(values[i]!) : 0;
    const bound = slack * 2 ** -23 * Math.sqrt(reduction) * absSum[i]! + rounding;
    if (!(Math.abs(got[i]! - values[i]!) <= bound))
      return `wrong at ${name}[${i}]: expected ${values[i]!.toPrecision(7)} +- ${bound.toExponential(1)}, got ${got[i]!}`;
  }
  return undefined;
}
