/** The reference as an engine: plain loops in float64, one thread, on one image, taken times the batch. */
import { setImmediate } from "node:timers/promises";
import * as adamaxReference from "../src/reference/adamax.ts";
import * as convReference from "../src/reference/conv2d.ts";
import * as denseReference from "../src/reference/dense.ts";
import * as dropoutReference from "../src/reference/dropout.ts";
import * as leakyReference from "../src/reference/leaky_relu.ts";
import * as poolReference from "../src/reference/max_pool2d.ts";
import * as softmaxReference from "../src/reference/softmax.ts";
import * as lossReference from "../src/reference/softmax_cross_entropy.ts";
import { elementCount } from "../src/tensor.ts";
import {
  ADAMAX,
  randomValues,
  type Conv2dWork,
  type DenseWork,
  type ElementwiseWork,
  type Engine,
  type MaxPool2dWork,
  type Measured,
  type PassName,
  type Task,
} from "./engine.ts";
import { DROPOUT, operandsOf, shapesOf, SLOPE } from "./verify.ts";
import { conv2dOf, pool2dOf } from "./work.ts";

/** Elements of element-wise work that are timed; the rest takes as long. */
const TIMED_ELEMENTS = 2 ** 18;

/** `src/reference` as it is, in this very thread. What it computes is what all others are verified against. */
export class CpuReference implements Engine {
  readonly name = "cpu";

  async time({ work, pass }: Task): Promise<Measured> {
    await setImmediate(); // lets a progress line and Ctrl-C through
    const run = referenceRun({ work, pass });
    if (!run) return { samplesMs: [], error: "no reference of whole networks" };
    const started = performance.now();
    run.compute();
    return { samplesMs: [(performance.now() - started) * run.times] };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** A part of the work, and how many such parts it has; nothing for whole networks. */
interface Part {
  readonly compute: () => unknown;
  readonly times: number;
}

function referenceRun({ work, pass }: Pick<Task, "work" | "pass">): Part | undefined {
  switch (work.op) {
    case "leaky_relu":
    case "dropout":
    case "adamax":
      return elementwiseRun(work.op, work.count, pass);
    case "softmax": {
      const { n, classes } = work;
      const x = floats(n * classes, 1);
      return { compute: () => softmaxReference.softmax(x, classes), times: 1 };
    }
    case "softmax_cross_entropy": {
      const { n, classes } = work;
      const x = floats(n * classes, 1);
      const labels = Int32Array.from({ length: n }, (_, i) => i % classes);
      return {
        compute: () => lossReference.softmaxCrossEntropy(x, labels, undefined, classes),
        times: 1,
      };
    }
    case "training_step":
    case "inference":
      return undefined;
    default:
      return { compute: oneImage({ ...work, n: 1 }, pass), times: work.n };
  }
}

function elementwiseRun(op: ElementwiseWork["op"], elements: number, pass: PassName): Part {
  const count = Math.min(elements, TIMED_ELEMENTS);
  const times = elements / count;
  const [x, dy, u] = [floats(count, 1), floats(count, 2), floats(count, 3)];
  if (op === "dropout") return { compute: () => dropoutReference.dropout(x, DROPOUT), times };
  if (op === "leaky_relu")
    return pass === "forward"
      ? { compute: () => leakyReference.leakyRelu(x, SLOPE), times }
      : { compute: () => leakyReference.leakyReluGrad(x, dy, SLOPE), times };
  const options = { ...ADAMAX, rate: ADAMAX.learningRate };
  return { compute: () => adamaxReference.adamax(x, options, { w: x, m: dy, u }), times };
}

function oneImage(work: Conv2dWork | DenseWork | MaxPool2dWork, pass: PassName): () => unknown {
  const { x, w = [], y } = shapesOf(work);
  const shapes = { x, w, dy: y };
  const [first, second] = operandsOf(work, pass).inputs;
  const a = floats(first ? elementCount(shapes[first]) : 0, 1);
  const b = floats(second ? elementCount(shapes[second]) : 0, 2);
  switch (work.op) {
    case "conv2d": {
      const g = conv2dOf(work);
      if (pass === "forward") return () => convReference.conv2d(a, b, undefined, g);
      if (pass === "inputGrad") return () => convReference.conv2dInputGrad(a, b, g);
      return () => convReference.conv2dWeightGrad(a, b, g);
    }
    case "dense":
      if (pass === "forward") return () => denseReference.dense(a, b, undefined, work);
      if (pass === "inputGrad") return () => denseReference.denseInputGrad(a, b, work);
      return () => denseReference.denseWeightGrad(a, b, work);
    case "max_pool2d": {
      const g = pool2dOf(work);
      if (pass === "forward") return () => poolReference.maxPool2d(a, g);
      return () => poolReference.maxPool2dGrad(b, a, g); // the operands are dy, x
    }
  }
}

function floats(count: number, seed: number): Float64Array {
  return Float64Array.from(randomValues(count, seed));
}
