/** What each operation has: passes, algorithms, sizes, and what it costs at least. */
import { conv2dGeometry, pool2dGeometry } from "../src/geometry.ts";
import type { Conv2dGeometry, Pool2dGeometry } from "../src/geometry.ts";
import { CONV2D_ALGORITHMS } from "../src/kernels/conv2d.ts";
import { DENSE_ALGORITHMS } from "../src/kernels/dense.ts";
import type { Conv2DConfig } from "../src/nn/conv2d.ts";
import type { DenseConfig } from "../src/nn/dense.ts";
import type { MaxPool2DConfig } from "../src/nn/max_pool2d.ts";
import { checkNetwork } from "../src/nn/network.ts";
import { Sequential } from "../src/nn/model.ts";
import { forwardFlops, trainingFlops } from "../src/nn/summary.ts";
import { elementCount } from "../src/tensor.ts";
import type {
  Conv2dWork,
  MaxPool2dWork,
  NetworkWork,
  Pads,
  PassName,
  Precision,
  Task,
  Work,
} from "./engine.ts";

export type OpName = Work["op"];

/** The passes of each operation. */
export const PASSES_OF: Readonly<Record<OpName, readonly PassName[]>> = {
  conv2d: ["forward", "inputGrad", "weightGrad"],
  dense: ["forward", "inputGrad", "weightGrad"],
  max_pool2d: ["forward", "inputGrad"],
  leaky_relu: ["forward", "inputGrad"],
  dropout: ["forward", "inputGrad"],
  softmax: ["forward"],
  softmax_cross_entropy: ["forward"],
  adamax: ["step"],
  training_step: ["step"],
  inference: ["forward"],
};

export const OPS = Object.keys(PASSES_OF) as OpName[];

/** The algorithms that can be forced, beside `auto`; none where an operation has but one. */
export function algorithmsOf(op: OpName): readonly string[] {
  if (op === "conv2d") return CONV2D_ALGORITHMS;
  return op === "dense" ? DENSE_ALGORITHMS : [];
}

/** One line of a suite: work under a name, of which some or all passes are measured. */
export interface SuiteCase {
  readonly suite: string;
  /** Unique within its suite, e.g. `conv2`. */
  readonly name: string;
  readonly work: Work;
}

/** One row of the table to come. */
export interface SuiteTask extends Task {
  readonly suite: string;
  readonly name: string;
}

/** @throws ShapeError for sizes that make no convolution */
export function conv2dOf(work: Conv2dWork): Conv2dGeometry {
  const { n, inH, inW, inC, kH, kW, outC, stride, dilation, padding } = work;
  return conv2dGeometry([n, inH, inW, inC], [kH, kW, inC, outC], {
    strides: stride,
    dilations: dilation,
    padding,
  });
}

/** @throws ShapeError for sizes that make no pooling */
export function pool2dOf(work: MaxPool2dWork): Pool2dGeometry {
  const { n, inH, inW, c, kH, kW, stride, padding } = work;
  return pool2dGeometry([n, inH, inW, c], { size: [kH, kW], strides: stride, padding });
}

export interface Cost {
  /** Floating-point operations, 2 for a multiply-add. Of convolutions with the padding's, whatever the algorithm. */
  readonly flops: number;
  /** Each tensor once for each time that it must be read or written. */
  readonly bytes: number;
}

/** What a pass costs at least: every algorithm is measured against the same. */
export function costOf(work: Work, pass: PassName, precision: Precision = "float32"): Cost {
  // An activation, or a weight as it is read; the weights' gradients and Adamax' tensors are float32 always.
  const size = precision === "mixed" ? 2 : 4;
  const weightSize = pass === "weightGrad" ? 4 : size;
  switch (work.op) {
    case "conv2d": {
      const { n, inH, inW, inC, kH, kW, outC, outH, outW } = conv2dOf(work);
      const filter = kH * kW * inC * outC;
      return {
        flops: 2 * n * outH * outW * filter,
        bytes: size * n * (inH * inW * inC + outH * outW * outC) + weightSize * filter,
      };
    }
    case "dense": {
      const { n, inC, outC } = work;
      return {
        flops: 2 * n * inC * outC,
        bytes: size * n * (inC + outC) + weightSize * inC * outC,
      };
    }
    case "max_pool2d": {
      const { n, inH, inW, c, kH, kW, outH, outW } = pool2dOf(work);
      const x = n * inH * inW * c;
      const y = n * outH * outW * c;
      return { flops: y * kH * kW, bytes: size * (pass === "forward" ? x + y : 2 * x + y) };
    }
    case "leaky_relu":
      return { flops: work.count, bytes: size * work.count * (pass === "forward" ? 2 : 3) };
    case "dropout":
      return { flops: work.count, bytes: 2 * size * work.count };
    case "adamax": // reads dw, w, m, u; writes w, m, u
      return { flops: 8 * work.count, bytes: 28 * work.count };
    case "softmax": // its answer is float32
      return { flops: 5 * work.n * work.classes, bytes: (size + 4) * work.n * work.classes };
    case "softmax_cross_entropy":
      return { flops: 5 * work.n * work.classes, bytes: 2 * size * work.n * work.classes };
    case "training_step":
    case "inference":
      return networkCost(work, precision);
  }
}

function networkCost(work: NetworkWork, precision: Precision): Cost {
  const model = new Sequential(checkNetwork(work.network));
  const training = work.op === "training_step";
  const flops = (training ? trainingFlops(model) : forwardFlops(model)) * work.n;
  const cases = layerCases("", work.network, work.n);
  const bytes = cases
    .flatMap(({ work: layer }) => PASSES_OF[layer.op].map((pass) => ({ layer, pass })))
    .filter(({ layer, pass }) =>
      training
        ? layer.op !== "softmax"
        : pass === "forward" && layer.op !== "softmax_cross_entropy",
    )
    .reduce((sum, { layer, pass }) => sum + costOf(layer, pass, precision).bytes, 0);
  return { flops, bytes };
}

/** The operations of a network's layers on a batch of `n`, by the layers' names, and those of its training. */
export function layerCases(suite: string, network: NetworkWork["network"], n: number): SuiteCase[] {
  const model = new Sequential(checkNetwork(network));
  const shapes = model.shapes();
  const cases: SuiteCase[] = [];
  const add = (name: string, work: Work) => cases.push({ suite, name, work });
  let parameters = 0;
  model.layers.forEach((layer, index) => {
    const input = shapes[index]!;
    const [inH = 1, inW = 1, inC = 1] = input;
    const count = n * elementCount(input);
    const config: unknown = layer.config();
    for (const { shape } of layer.parameterSpecs(input)) parameters += elementCount(shape);
    switch (layer.type) {
      case "Conv2D": {
        const { filters: outC, kernelSize, ...options } = config as Conv2DConfig;
        const [kH, kW] = kernelSize;
        const g = conv2dGeometry([n, inH, inW, inC], [kH, kW, inC, outC], options);
        add(layer.name, {
          ...{ op: "conv2d", n, inH, inW, inC, kH, kW, outC, padding: padsOf(g) },
          ...{ stride: [g.strideH, g.strideW], dilation: [g.dilationH, g.dilationW] },
        });
        break;
      }
      case "MaxPool2D": {
        const g = pool2dGeometry([n, inH, inW, inC], config as MaxPool2DConfig);
        const { kH, kW, strideH, strideW } = g;
        add(layer.name, {
          ...{ op: "max_pool2d", n, inH, inW, c: inC, kH, kW },
          ...{ stride: [strideH, strideW], padding: padsOf(g) },
        });
        break;
      }
      case "Dense":
        add(layer.name, { op: "dense", n, inC: count / n, outC: (config as DenseConfig).units });
        break;
      case "LeakyReLU":
        add(layer.name, { op: "leaky_relu", count });
        break;
      case "Dropout":
        add(layer.name, { op: "dropout", count });
        break;
      case "Softmax":
        add(layer.name, { op: "softmax", n, classes: count / n });
        break;
    }
  });
  add("loss", { op: "softmax_cross_entropy", n, classes: model.classCount });
  add("adamax", { op: "adamax", count: parameters });
  return cases;
}

/** The padding of a geometry in numbers. */
export function padsOf(g: Conv2dGeometry | Pool2dGeometry): Pads {
  return [
    [g.padTop, g.padBottom],
    [g.padLeft, g.padRight],
  ];
}

/** The sizes of work as a row of the JSON file has them. */
export function shapeOf(work: Work): Record<string, unknown> {
  if ("network" in work) return { n: work.n, input: work.network.input };
  return Object.fromEntries(Object.entries(work).filter(([key]) => key !== "op"));
}

/** The sizes in a few words: `32x96x96x32 5x5 -> 64`. */
export function shapeText(work: Work): string {
  switch (work.op) {
    case "conv2d": {
      const { n, inH, inW, inC, kH, kW, outC, stride, dilation } = work;
      const by = (name: string, [h, w]: readonly [number, number]) =>
        h === 1 && w === 1 ? "" : ` ${name}${h === w ? h : `${h}x${w}`}`;
      return `${n}x${inH}x${inW}x${inC} ${kH}x${kW}${by("s", stride)}${by("d", dilation)} -> ${outC}`;
    }
    case "dense":
      return `${work.n}x${work.inC} -> ${work.outC}`;
    case "max_pool2d":
      return `${work.n}x${work.inH}x${work.inW}x${work.c} ${work.kH}x${work.kW}`;
    case "softmax":
    case "softmax_cross_entropy":
      return `${work.n}x${work.classes}`;
    case "training_step":
    case "inference":
      return `${work.n}x${work.network.input.join("x")}`;
    default:
      return String(work.count);
  }
}
