/** Small models of every layer, images for them, and what our own inference makes of both. */
import type { Device } from "../../src/gpu/device.ts";
import { Sequential } from "../../src/nn/model.ts";
import type { NetworkConfig } from "../../src/nn/network.ts";
import { loadModel, saveModel, type ModelInfo } from "../../src/nn/weights.ts";
import { Random } from "../../src/random.ts";
import type { ImageSet } from "../../src/data/dataset.ts";
import { predict } from "../../src/train/predict.ts";

export const INFO: ModelInfo = {
  classes: ["elliptical", "spiral", "other"],
  crop: 0.6,
  dataSet: "gz2",
};

/** Even and odd kernels, strides and odd sizes, so that "same" pads unevenly; a slope of 0; a missing bias. */
export const EVERY_LAYER: NetworkConfig = {
  input: [9, 8, 3],
  layers: [
    { type: "Conv2D", name: "conv1", filters: 4, kernelSize: [6, 6], padding: "same" },
    { type: "LeakyReLU", name: "relu1", slope: 0.3 },
    { type: "Dropout", name: "drop1", rate: 0.5 },
    {
      type: "Conv2D",
      name: "conv2",
      filters: 5,
      kernelSize: [5, 5],
      padding: "same",
      useBias: false,
    },
    { type: "LeakyReLU", name: "relu2", slope: 0 },
    { type: "MaxPool2D", name: "pool1", size: [3, 3], strides: [2, 2], padding: "same" },
    { type: "Conv2D", name: "conv3", filters: 6, kernelSize: [2, 3], padding: "same" },
    { type: "MaxPool2D", name: "pool2", size: [2, 2] },
    { type: "Flatten", name: "flatten" },
    { type: "LeakyReLU", name: "relu3", slope: 0.1 },
    { type: "Dense", name: "dense1", units: 7 },
    { type: "Dense", name: "dense2", units: 3, useBias: false },
    { type: "Softmax", name: "softmax" },
  ],
};

/** Strides in a convolution of even size, dilations, padding by numbers, a pool that leaves a rest; ends in logits. */
export const WINDOWS: NetworkConfig = {
  input: [11, 14, 3],
  layers: [
    {
      type: "Conv2D",
      name: "conv1",
      filters: 4,
      kernelSize: [4, 2],
      strides: [2, 1],
      padding: "same",
    },
    {
      type: "Conv2D",
      name: "conv2",
      filters: 3,
      kernelSize: [3, 3],
      dilations: [2, 1],
      padding: "same",
    },
    {
      ...{ type: "Conv2D", name: "conv3", filters: 4, kernelSize: [3, 3] },
      padding: [
        [0, 2],
        [3, 1],
      ],
    },
    { type: "LeakyReLU", name: "relu1", slope: 0.2 },
    { type: "MaxPool2D", name: "pool1", size: [3, 2] },
    { type: "Flatten", name: "flatten" },
    { type: "Dense", name: "head", units: 3 },
  ],
};

/** Saves a model whose biases are not zero either. */
export async function writeRandomModel(
  device: Device,
  path: string,
  network: NetworkConfig,
  info: ModelInfo = INFO,
): Promise<void> {
  const model = await new Sequential(network).build(device, { seed: 3, batchSize: 4 });
  for (const { name, shape, value } of model.parameters()) {
    if (shape.length > 1) continue;
    const random = new Random(3, name);
    device.write(
      value,
      Float32Array.from({ length: shape[0]! }, () => random.uint32() / 2 ** 32 - 0.5),
    );
  }
  await saveModel(path, model, info);
  model.destroy();
}

export function randomImages(
  count: number,
  [height, width, channels]: readonly [number, number, number],
): ImageSet {
  const random = new Random(5, "images");
  return {
    name: "random",
    images: Uint8Array.from({ length: count * height * width * channels }, () => random.below(256)),
    ...{ count, height, width, channels: channels === 1 ? 1 : 3 },
    labels: new Int32Array(count),
    classes: INFO.classes,
    ids: Array.from({ length: count }, (_, i) => String(i)),
    crop: 1,
  };
}

/** The images as other frameworks take them: float32 in [0, 1], NHWC. */
export const scaled = (set: ImageSet): Float32Array =>
  Float32Array.from(set.images, (pixel) => pixel / 255);

/** Probabilities by our kernels, [count, classes]. */
export async function ourProbabilities(
  device: Device,
  path: string,
  set: ImageSet,
): Promise<Float32Array> {
  const { model } = await loadModel(device, path, { batchSize: 4 });
  try {
    return await predict(model, set, { batchSize: 4 });
  } finally {
    model.destroy();
  }
}

/** The largest difference of two arrays of one length; NaN where there is one. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} values against ${b.length}`);
  return Array.from(a, (value, i) => Math.abs(value - b[i]!)).reduce((x, y) => (x >= y ? x : y), 0);
}
