/**
 * One training step of the paper's own network, whose dense1 is larger than one binding of many adapters, against
 * PyTorch in float64 (scripts/pytorch_reference.py). Weights and images come from a hash that both sides compute.
 */
import { expect } from "chai";
import { stepState } from "../../src/kernels/step_state.ts";
import type { Initializer } from "../../src/nn/layer.ts";
import { Sequential } from "../../src/nn/model.ts";
import { checkNetwork } from "../../src/nn/network.ts";
import { readSafetensors } from "../../src/safetensors.ts";
import type { ImageSet } from "../../src/data/dataset.ts";
import { elementCount, formatBytes, sizeBytes, type Shape } from "../../src/tensor.ts";
import { releaseImages, uploadImages } from "../../src/train/images.ts";
import { evaluationMatrices } from "../../src/train/predict.ts";
import { TrainingStep } from "../../src/train/step.ts";
import { useDevice } from "../support/device.ts";

const FIXTURE = new URL("../fixtures/paper_step.safetensors", import.meta.url).pathname;
const ADAMAX = { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
const LEARNING_RATE = 0.002;
/** What WebGPU promises of every adapter, so that windows are walked on those that bind more, too. */
const PROMISED_BINDING_BYTES = 128 * 1024 * 1024;

/** The 32-bit mixer "lowbias32" (https://github.com/skeeto/hash-prospector). */
function hash32(value: number): number {
  let x = value;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** Element i of a parameter before the step: Glorot's range for weights, +-0.1 for biases; streams are 2^28 apart. */
function hashedElement(stream: number, shape: Shape): (i: number) => number {
  const [outputs = 1, inputs = 1] = [...shape].reverse();
  const field = elementCount(shape) / (inputs * outputs);
  const limit = shape.length === 1 ? 0.1 : Math.sqrt(6 / (field * (inputs + outputs)));
  const base = (stream << 28) >>> 0;
  return (i) => Math.fround(limit * (hash32(base + i) / 2 ** 31 - 1));
}

const hashed =
  (stream: number): Initializer =>
  (values, shape) => {
    const element = hashedElement(stream, shape);
    for (let i = 0; i < values.length; i++) values[i] = element(i);
  };

/** The network, its parameters hashed in their order, streams from 1. */
function hashedNetwork(json: string): Sequential {
  const model = new Sequential(checkNetwork(JSON.parse(json)));
  let stream = 0;
  for (const layer of model.layers) {
    const specs = layer.parameterSpecs.bind(layer);
    const first = stream;
    stream += specs(model.shapes()[model.layers.indexOf(layer)]!).length;
    layer.parameterSpecs = (input) =>
      specs(input).map((spec, i) => ({ ...spec, init: hashed(first + i + 1) }));
  }
  return model;
}

function hashedImages(count: number, [height, width, channels]: Sequential["input"]): ImageSet {
  const images = Uint8Array.from(
    { length: count * height * width * channels },
    (_, i) => hash32(i) >>> 24,
  );
  const labels = Int32Array.from({ length: count }, (_, i) => i % 3);
  const ids = Array.from({ length: count }, (_, i) => String(i));
  const size = { height, width, channels, count, crop: 1 };
  return { name: "hashed", images, labels, ids, classes: ["0", "1", "2"], ...size };
}

describe("the paper's network", () => {
  const device = useDevice({ maxBindingBytes: PROMISED_BINDING_BYTES });

  it("makes a step in windows of 128 MiB, with PyTorch's loss and gradients", async () => {
    const { metadata, tensors } = await readSafetensors(FIXTURE);
    const norms = JSON.parse(metadata["norms"]!) as Record<string, number>;
    const batchSize = Number(metadata["batch_size"]);
    const model = hashedNetwork(metadata["network"]!);
    await model.build(device(), { seed: 0, batchSize });
    const dense1 = model.layer("dense1").parameters[0]!.value;
    expect(sizeBytes(dense1)).to.be.above(2 * device().maxBindingBytes);

    const set = hashedImages(batchSize, model.input);
    const images = uploadImages(device(), set);
    const settings = { batchSize, seed: 0, adamax: ADAMAX, classWeights: undefined };
    const training = new TrainingStep(model, { images, ...settings });
    await training.prepare([batchSize]);
    const indices = Uint32Array.from({ length: batchSize }, (_, i) => i);
    const matrices = evaluationMatrices(set, model.input, batchSize);
    const rate = { step: 0, learningRate: LEARNING_RATE, beta1: ADAMAX.beta1, slot: 0 };
    training.submit({ indices, matrices, labels: set.labels }, stepState(rate));

    const [loss] = await device().readFloats(training.log);
    expect(loss).to.be.closeTo(Number(metadata["loss"]), 1e-6);
    for (const [index, moments] of training.moments.entries()) {
      const { name, shape, value } = moments.parameter;
      const [m, u, w] = [
        await device().readFloats(moments.m),
        await device().readFloats(moments.u),
        await device().readFloats(value),
      ];
      // Moments start at 0, so that m = (1 - beta1) * gradient and u = |gradient|.
      const factor = 1 - ADAMAX.beta1;
      let squares = 0;
      for (const element of m) squares += (element / factor) ** 2;
      const ratio = Math.sqrt(squares) / norms[name]!;
      expect(ratio, `${name}: norm of the gradient, as a ratio`).to.be.closeTo(1, 3e-3);
      const before = hashedElement(index + 1, shape);
      const samples = tensors.get(name)!.values;
      let errors = 0;
      samples.forEach((gradient, sample) => {
        const i = hash32(sample) % elementCount(shape);
        errors += (m[i]! / factor - gradient) ** 2;
        const where = `${name}, element ${i}: `;
        expect(u[i], `${where}u`).to.be.closeTo(Math.abs(m[i]! / factor), 1e-6 * u[i]!);
        const after = before(i) - ((LEARNING_RATE / factor) * m[i]!) / (u[i]! + ADAMAX.epsilon);
        expect(w[i], `${where}weight after the step`).to.be.closeTo(after, 1e-7);
      });
      // As a root mean square, of the gradient's own. 1e-6 to 1e-5 was measured, but of four million activations one or
      // two lie within rounding of 0, where LeakyReLU's slope jumps, and in one or two of 400,000 windows the two largest
      // lie within rounding of each other, where max pooling's does; such a one costs up to 1e-2.
      const typical = norms[name]! / Math.sqrt(elementCount(shape));
      const error = Math.sqrt(errors / samples.length) / typical;
      expect(error, `${name}: error of the gradient`).to.be.below(2e-2);
    }
    console.log(`      peak memory on the device: ${formatBytes(device().memory().peakBytes)}`);
    training.destroy();
    releaseImages(device(), images);
    model.destroy();
  });
});
