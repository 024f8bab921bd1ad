/** Training against an independent implementation: PyTorch in float64, see scripts/pytorch_reference.py. */
import { expect } from "chai";
import { Sequential } from "../../src/nn/model.ts";
import { checkNetwork } from "../../src/nn/network.ts";
import { Random } from "../../src/random.ts";
import { readSafetensors } from "../../src/safetensors.ts";
import type { ImageSet } from "../../src/data/dataset.ts";
import { fit } from "../../src/train/fit.ts";
import type { AdamaxOptions } from "../../src/train/options.ts";
import { useDevice } from "../support/device.ts";

const FIXTURE = new URL("../fixtures/ten_steps.safetensors", import.meta.url).pathname;
const SEED = 11;

/** The images in the order that makes `fit`'s shuffle of the first epoch put them back as they are in the fixture. */
function unshuffled(images: Uint8Array, labels: Int32Array, input: readonly number[]): ImageSet {
  const [height = 0, width = 0, channels = 0] = input;
  const imageBytes = height * width * channels;
  const count = labels.length;
  const order = new Random(SEED, "shuffle", 0).permutation(count);
  const placed = new Uint8Array(images.length);
  const placedLabels = new Int32Array(count);
  order.forEach((place, i) => {
    placed.set(images.subarray(i * imageBytes, (i + 1) * imageBytes), place * imageBytes);
    placedLabels[place] = labels[i]!;
  });
  return {
    name: "fixture",
    images: placed,
    count,
    height,
    width,
    channels,
    labels: placedLabels,
    classes: ["0", "1", "2"],
    ids: Array.from({ length: count }, (_, i) => String(i)),
    crop: 1,
  };
}

describe("fit against PyTorch", () => {
  const device = useDevice();

  it("ten steps through every type of layer: the losses and the weights of PyTorch", async () => {
    const { metadata, tensors } = await readSafetensors(FIXTURE);
    const wanted = JSON.parse(metadata["losses"]!) as number[];
    const batchSize = Number(metadata["batch_size"]);
    const network = checkNetwork(JSON.parse(metadata["network"]!));
    const model = await new Sequential(network).build(device(), { seed: 1, batchSize });
    for (const { name, value } of model.parameters())
      device().write(value, tensors.get(`start.${name}`)!.values);
    const { values: images } = tensors.get("images")!;
    const { values: labels } = tensors.get("labels")!;
    const set = unshuffled(images as Uint8Array, labels as Int32Array, network.input);
    const losses: number[] = [];
    let sum = 0;
    await fit(model, set, {
      epochs: 1,
      batchSize,
      seed: SEED,
      optimizer: JSON.parse(metadata["optimizer"]!) as AdamaxOptions,
      logEvery: 1,
      // With a read after every step, the epoch's running mean gives each step's loss.
      onProgress: ({ loss }) => {
        const rows = Math.min((losses.length + 1) * batchSize, set.count);
        const before = losses.length * batchSize;
        losses.push((loss * rows - sum) / (rows - before));
        sum = loss * rows;
      },
    });
    expect(losses).to.have.length(10);
    losses.forEach((loss, step) => {
      expect(loss, `loss of step ${step}`).to.be.closeTo(wanted[step]!, 1e-6);
    });
    for (const { name, value } of model.parameters()) {
      const got = await device().readFloats(value);
      const want = tensors.get(`final.${name}`)!.values;
      let worst = 0;
      got.forEach((w, i) => (worst = Math.max(worst, Math.abs(w - want[i]!))));
      expect(worst, `${name}: largest difference`).to.be.below(1e-6);
    }
    model.destroy();
  });
});
