/** A small network and small image sets, for tests of models and training. */
import type { ImageSet } from "../../src/data/dataset.ts";
import type { NetworkConfig } from "../../src/nn/network.ts";
import { Random } from "../../src/random.ts";

/** Every kind of layer at 12x12x3: an even kernel, a frozen-able stack, three classes. */
export const TINY: NetworkConfig = {
  input: [12, 12, 3],
  layers: [
    { type: "Conv2D", name: "conv1", filters: 4, kernelSize: [4, 4], padding: "same" },
    { type: "LeakyReLU", name: "relu1", slope: 0.3 },
    { type: "MaxPool2D", name: "pool1", size: [2, 2] },
    { type: "Dropout", name: "drop1", rate: 0.25 },
    { type: "Conv2D", name: "conv2", filters: 8, kernelSize: [3, 3], padding: "same" },
    { type: "LeakyReLU", name: "relu2", slope: 0.3 },
    { type: "Flatten", name: "flatten" },
    { type: "Dense", name: "dense1", units: 10 },
    { type: "LeakyReLU", name: "relu3", slope: 0.3 },
    { type: "Dense", name: "dense2", units: 3 },
    { type: "Softmax", name: "softmax" },
  ],
};

/** Three classes that differ in brightness and in where the bright half is; easy to learn, not trivial. */
export function stripes(count: number, seed: number, size = 12): ImageSet {
  const images = new Uint8Array(count * size * size * 3);
  const labels = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const random = new Random(seed, "stripes", i);
    const label = i % 3;
    labels[i] = label;
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++) {
        const bright = label === 0 ? y < size / 2 : label === 1 ? x < size / 2 : (x + y) % 4 < 2;
        for (let c = 0; c < 3; c++)
          images[((i * size + y) * size + x) * 3 + c] = (bright ? 150 : 40) + random.below(60);
      }
  }
  return {
    name: "stripes",
    images,
    count,
    height: size,
    width: size,
    channels: 3,
    labels,
    classes: ["top", "left", "diagonal"],
    ids: Array.from({ length: count }, (_, i) => `stripe-${i}`),
    crop: 1,
  };
}
