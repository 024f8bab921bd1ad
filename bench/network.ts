/**
 * Whole networks: a training step as `fit` runs it, and inference. Timed by the clock, as a user waits for them, with
 * several submissions in flight where one is short.
 */
import type { ImageSet } from "../src/data/dataset.ts";
import { conv2dGeometry, pool2dGeometry, type Conv2dGeometry } from "../src/geometry.ts";
import { toFloat16 } from "../src/float16.ts";
import type { Device } from "../src/gpu/device.ts";
import { softmax } from "../src/kernels/softmax.ts";
import { stepState } from "../src/kernels/step_state.ts";
import type { Conv2DConfig } from "../src/nn/conv2d.ts";
import type { Layer, LayerConfig } from "../src/nn/layer.ts";
import type { MaxPool2DConfig } from "../src/nn/max_pool2d.ts";
import { Sequential } from "../src/nn/model.ts";
import { checkNetwork, layersOf } from "../src/nn/network.ts";
import * as poolReference from "../src/reference/max_pool2d.ts";
import { elementCount, type Shape } from "../src/tensor.ts";
import { releaseImages, uploadImages } from "../src/train/images.ts";
import { evaluationMatrices } from "../src/train/predict.ts";
import { TrainingStep } from "../src/train/step.ts";
import { ADAMAX, randomValues, SEEDS, type NetworkWork, type Precision } from "./engine.ts";

/** What a network is fed with; the same for every engine (see engine.ts). */
export function networkInputs(work: NetworkWork): {
  readonly bytes: Uint8Array;
  readonly labels: Int32Array;
} {
  const classes = new Sequential(checkNetwork(work.network)).classCount;
  const values = randomValues(work.n * elementCount(work.network.input), SEEDS.x);
  return {
    bytes: Uint8Array.from(values, (value) => Math.floor((value + 0.5) * 256)),
    labels: Int32Array.from({ length: work.n }, (_, i) => i % classes),
  };
}

/** The initial weight number `index` of a network, counted over the layers that have weights. */
function weightValues(shape: Shape, index: number): Float32Array {
  const scale = Math.sqrt(24 / elementCount(shape.slice(0, -1)));
  const values = randomValues(elementCount(shape), SEEDS.w + index);
  for (let i = 0; i < values.length; i++) values[i]! *= scale; // map() takes seconds for 74 million
  return values;
}

/** The network with the weights of engine.ts; without its dropout layers where answers are to be compared. */
function modelOf({ network }: NetworkWork, dropout: boolean): Sequential {
  const layers = layersOf(checkNetwork(network)).filter(
    ({ type }) => dropout || type !== "Dropout",
  );
  let index = 0;
  for (const layer of layers) {
    const specs = layer.parameterSpecs.bind(layer);
    const seen = new Map<string, number>();
    layer.parameterSpecs = (input) =>
      specs(input).map((spec) => {
        if (spec.name !== "weight") return { ...spec, init: (values) => values.fill(0) };
        if (!seen.has(layer.name)) seen.set(layer.name, index++);
        const number = seen.get(layer.name)!;
        return {
          ...spec,
          init: (values, shape) => {
            values.set(weightValues(shape, number));
          },
        };
      });
  }
  return new Sequential({ input: network.input, layers });
}

/** What the verification of a training step found. */
export interface StepLosses {
  /** Mean loss of the first two steps on one batch, without dropout. */
  readonly losses: readonly [number, number];
  readonly wrong?: string | undefined;
}

/** Runs two steps without dropout and compares the loss of the first and the last image with float64. */
export async function verifyTraining(
  device: Device,
  work: NetworkWork,
  precision: Precision = "float32",
): Promise<StepLosses> {
  const run = await openTraining(device, work, precision, false);
  const rowLoss = device.tensor([work.n], "float32", "row losses");
  try {
    const program = await device.record("row losses", (ctx) => {
      run.training.recordGradients(ctx, work.n, {
        onLoss: (rows) => {
          ctx.copy(rows, rowLoss);
        },
      });
    });
    for (const { parameter } of run.training.moments) delete parameter.grad;
    run.write(0);
    device.submit(program);
    const rows = await device.readFloats(rowLoss);
    program.destroy();
    run.submit(0);
    run.submit(1);
    const log = await device.readFloats(run.training.log);
    const [columns = 4] = run.training.log.shape.slice(1);
    const losses = [log[0]!, log[columns]!] as const;
    return { losses, wrong: wrongLosses(work, precision, rows, losses) };
  } finally {
    device.release(rowLoss);
    run.close();
  }
}

function wrongLosses(
  work: NetworkWork,
  precision: Precision,
  rows: Float32Array,
  [first, second]: readonly [number, number],
): string | undefined {
  const { labels } = networkInputs(work);
  for (const image of checkedImages(work.n)) {
    const wanted = -Math.log(probabilitiesOf(work, image)[labels[image]!]!);
    if (!near(rows[image]!, wanted, precision))
      return `wrong loss of image ${image}: expected ${wanted.toPrecision(6)}, got ${rows[image]!}`;
  }
  const mean = rows.reduce((sum, loss) => sum + loss, 0) / work.n;
  if (!near(first, mean, "float32"))
    return `wrong loss: expected the mean of the images' ${mean.toPrecision(6)}, got ${first}`;
  return second < first
    ? undefined
    : `no update: expected a loss below ${first} after one step, got ${second}`;
}

/** Which rows of the probabilities are checked, as flat indices, and how. */
export function inferenceVerifier(
  work: NetworkWork,
  precision: Precision = "float32",
): {
  readonly at: readonly number[];
  check: (values: ArrayLike<number>) => string | undefined;
} {
  const images = checkedImages(work.n);
  const wanted = images.map((image) => probabilitiesOf(work, image));
  const classes = wanted[0]!.length;
  return {
    at: images.flatMap((image) => Array.from({ length: classes }, (_, c) => image * classes + c)),
    check: (values) => {
      const flat = wanted.flatMap((row) => [...row]);
      const wrong = flat.findIndex((value, i) => !near(values[i]!, value, precision));
      return wrong < 0
        ? undefined
        : `wrong probability ${wrong % classes} of image ${images[Math.floor(wrong / classes)]!}: ` +
            `expected ${flat[wrong]!.toPrecision(6)}, got ${values[wrong]!}`;
    },
  };
}

function checkedImages(n: number): number[] {
  return [...new Set([0, n - 1])];
}

/** Through a dozen layers, of the value and beside it. */
const TOLERANCES = {
  /** Measured at 1e-5. */
  float32: { relative: 1e-3, absolute: 1e-4 },
  /** Each layer rounds its weights and its output by up to 2^-11: measured at 1e-3. */
  mixed: { relative: 1e-2, absolute: 1e-3 },
} as const;

function near(got: number, wanted: number, precision: Precision): boolean {
  const { relative, absolute } = TOLERANCES[precision];
  return Math.abs(got - wanted) <= absolute + relative * Math.abs(wanted);
}

/** Opens inference; resolves with what times a number of runs. */
export async function openInference(
  device: Device,
  work: NetworkWork,
  precision: Precision,
): Promise<NetworkRun> {
  const model = modelOf(work, true);
  await model.build(device, { seed: 1, batchSize: work.n, precision });
  const { bytes } = networkInputs(work);
  const pixels = Float32Array.from(bytes, (byte) => byte / 255);
  const stored = model.activationType === "float16" ? toFloat16(pixels) : pixels;
  const x = device.upload(stored, [work.n, ...work.network.input], "images");
  const y = device.tensor([work.n, model.classCount], "float32", "probabilities");
  const program = await device.record("inference", (ctx) => {
    const last = model.forward(ctx, x, { training: false, seed: 0 }).outputs.at(-1) ?? x;
    if (model.endsInSoftmax) ctx.copy(last, y);
    else softmax(ctx, { x: last }, y);
  });
  return {
    submit: () => {
      device.submit(program);
    },
    answer: () => device.readFloats(y),
    close: () => {
      program.destroy();
      device.release(x, y);
      model.destroy();
      device.trim();
    },
  };
}

/** A network on the device, ready to run again and again. */
export interface NetworkRun {
  /** Queues run number `index`. */
  readonly submit: (index: number) => void;
  /** The probabilities that the last run left. */
  readonly answer: () => Promise<Float32Array>;
  readonly close: () => void;
}

/** Opens training with dropout. */
export async function openTrainingStep(
  device: Device,
  work: NetworkWork,
  precision: Precision,
): Promise<NetworkRun & { readonly training: TrainingStep }> {
  const run = await openTraining(device, work, precision, true);
  return { ...run, answer: () => device.readFloats(run.training.log) };
}

async function openTraining(
  device: Device,
  work: NetworkWork,
  precision: Precision,
  dropout: boolean,
) {
  const model = modelOf(work, dropout);
  await model.build(device, { seed: 1, batchSize: work.n, precision });
  const { bytes, labels } = networkInputs(work);
  const [height, width, channels] = work.network.input;
  const set: ImageSet = {
    ...{ name: "bench", images: bytes, count: work.n, height, width, channels, labels, crop: 1 },
    classes: Array.from({ length: model.classCount }, (_, c) => `class ${c}`),
    ids: Array.from({ length: work.n }, (_, i) => String(i)),
  };
  const images = uploadImages(device, set);
  const training = new TrainingStep(model, {
    ...{ images, batchSize: work.n, seed: 1, adamax: ADAMAX, classWeights: undefined },
  });
  await training.prepare([work.n]);
  const batch = {
    indices: Uint32Array.from({ length: work.n }, (_, i) => i),
    matrices: evaluationMatrices(set, work.network.input, work.n),
    labels,
  };
  const stepOf = (step: number) => stepState({ ...ADAMAX, step, slot: step % 2 });
  return {
    training,
    write: (step: number) => {
      training.write(batch, stepOf(step));
    },
    submit: (step: number) => {
      training.submit(batch, stepOf(step));
    },
    close: () => {
      training.destroy();
      releaseImages(device, images);
      model.destroy();
      device.trim();
    },
  };
}

/** Bytes that a network takes at least on the device, and its largest tensor, to refuse what cannot fit. */
export function networkBytes(
  { op, n, network }: NetworkWork,
  precision: Precision,
): {
  readonly total: number;
  readonly largest: number;
} {
  const model = new Sequential(checkNetwork(network));
  const shapes = model.shapes();
  const size = precision === "mixed" ? 2 : 4;
  const activations = shapes.map((shape) => size * n * elementCount(shape));
  const parameters = model.layers.flatMap((layer, i) =>
    layer.parameterSpecs(shapes[i] ?? []).map(({ shape }) => 4 * elementCount(shape)),
  );
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const training = op === "training_step";
  return {
    // Weights, gradients and Adamax' two moments; activations wait for the backward pass.
    total: training
      ? 4 * sum(parameters) + sum(activations)
      : sum(parameters) + 2 * Math.max(...activations),
    largest: Math.max(...parameters, ...activations),
  };
}

const known = new Map<string, Float64Array>();

/** The probabilities of one image in float64, dropout left out. */
function probabilitiesOf(work: NetworkWork, image: number): Float64Array {
  const key = JSON.stringify([work.network, work.n, image]);
  let probabilities = known.get(key);
  if (!probabilities) {
    probabilities = forward(work, image);
    known.set(key, probabilities);
  }
  return probabilities;
}

function forward(work: NetworkWork, image: number): Float64Array {
  const pixels = elementCount(work.network.input);
  const bytes = networkInputs(work).bytes.subarray(image * pixels, (image + 1) * pixels);
  let x: Float64Array = Float64Array.from(bytes, (byte) => Math.fround(byte / 255));
  let shape: Shape = work.network.input;
  let weights = 0;
  for (const layer of layersOf(checkNetwork(work.network))) {
    const [weight] = layer.parameterSpecs(shape);
    const w = weight && weightValues(weight.shape, weights++);
    x = layerOutput(layer, x, shape, w);
    shape = layer.outputShape(shape);
  }
  const most = x.reduce((a, b) => Math.max(a, b));
  const powers = x.map((value) => Math.exp(value - most));
  const total = powers.reduce((a, b) => a + b);
  return powers.map((value) => value / total);
}

/** One layer of one image in float64. A final softmax is left to the caller. */
function layerOutput(
  layer: Layer,
  x: Float64Array,
  shape: Shape,
  w: Float32Array | undefined,
): Float64Array {
  const config: unknown = { type: layer.type, ...layer.config() } satisfies LayerConfig;
  switch (layer.type) {
    case "Conv2D": {
      const { kernelSize, filters, ...options } = config as Conv2DConfig;
      const wShape = [...kernelSize, shape[2]!, filters];
      return conv2dOutput(x, w!, conv2dGeometry([1, ...shape], wShape, options));
    }
    case "Dense":
      return denseOutput(x, w!);
    case "LeakyReLU": {
      const { slope } = config as { slope: number };
      return x.map((value) => (value > 0 ? value : slope * value));
    }
    case "MaxPool2D": {
      const g = pool2dGeometry([1, ...shape], config as MaxPool2DConfig);
      return poolReference.maxPool2d(x, g).values;
    }
    case "Dropout":
    case "Flatten":
    case "Softmax":
      return x;
    default:
      throw new Error(`bench: layer "${layer.name}": no float64 reference for ${layer.type}`);
  }
}

/** src/reference/conv2d.ts would sum |terms| too, which nobody reads here, at three times the time. */
function conv2dOutput(x: Float64Array, w: Float32Array, g: Conv2dGeometry): Float64Array {
  const y = new Float64Array(g.outH * g.outW * g.outC);
  for (let oh = 0; oh < g.outH; oh++)
    for (let ow = 0; ow < g.outW; ow++) {
      const pixel = y.subarray((oh * g.outW + ow) * g.outC, (oh * g.outW + ow + 1) * g.outC);
      for (let kh = 0; kh < g.kH; kh++)
        for (let kw = 0; kw < g.kW; kw++) {
          const ih = oh * g.strideH - g.padTop + kh * g.dilationH;
          const iw = ow * g.strideW - g.padLeft + kw * g.dilationW;
          if (ih < 0 || ih >= g.inH || iw < 0 || iw >= g.inW) continue;
          for (let ci = 0; ci < g.inC; ci++) {
            const value = x[(ih * g.inW + iw) * g.inC + ci]!;
            const row = ((kh * g.kW + kw) * g.inC + ci) * g.outC;
            for (let co = 0; co < g.outC; co++) pixel[co]! += value * w[row + co]!;
          }
        }
    }
  return y;
}

/** x w, row by row of w: the paper's 74 million weights stay float32. */
function denseOutput(x: Float64Array, w: Float32Array): Float64Array {
  const units = w.length / x.length;
  const y = new Float64Array(units);
  for (let i = 0; i < x.length; i++)
    for (let o = 0; o < units; o++) y[o]! += x[i]! * w[i * units + o]!;
  return y;
}
