import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import type { Dispatch } from "../../src/gpu/context.ts";
import type { Device } from "../../src/gpu/device.ts";
import { stepState } from "../../src/kernels/step_state.ts";
import { Sequential } from "../../src/nn/model.ts";
import { loadModel, loadWeights, saveModel } from "../../src/nn/weights.ts";
import { openSafetensors, writeSafetensors } from "../../src/safetensors.ts";
import { checkGradients } from "../../src/testing/index.ts";
import { uploadImages, releaseImages } from "../../src/train/images.ts";
import { evaluationMatrices, predict } from "../../src/train/predict.ts";
import { TrainingStep } from "../../src/train/step.ts";
import { useDevice } from "../support/device.ts";
import { stripes, TINY } from "../support/tiny.ts";

const parameterBytes = async (device: Device, model: Sequential): Promise<Map<string, string>> => {
  const bytes = new Map<string, string>();
  for (const { name, value } of model.parameters())
    bytes.set(name, Buffer.from((await device.readFloats(value)).buffer).toString("base64"));
  return bytes;
};

/** Runs one training step on the first images of a set; returns what it dispatched. */
const oneStep = async (
  device: Device,
  model: Sequential,
  gradients?: Map<string, Float32Array>,
): Promise<readonly Dispatch[]> => {
  const set = stripes(6, 1);
  const images = uploadImages(device, set);
  const training = new TrainingStep(model, {
    images,
    batchSize: 6,
    seed: 1,
    adamax: { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 },
    classWeights: undefined,
  });
  await training.prepare([6]);
  const batch = {
    indices: Uint32Array.from({ length: 6 }, (_, i) => i),
    matrices: evaluationMatrices(set, model.input, 6),
    labels: set.labels,
  };
  training.submit(batch, stepState({ step: 0, learningRate: 0.01, beta1: 0.9, slot: 0 }));
  const dispatches = training.largest?.dispatches ?? [];
  for (const { parameter, grad } of gradients ? training.moments : [])
    gradients?.set(parameter.name, await device.readFloats(grad));
  await device.finish();
  training.destroy();
  releaseImages(device, images);
  return dispatches;
};

describe("Sequential on a device", () => {
  const device = useDevice();
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "tuningfork-model-"));
  });
  after(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  it("initialises by Glorot, seeded: the same seed the same bytes, another seed others", async () => {
    const bytes = async (seed: number) => {
      const model = await new Sequential(TINY).build(device(), { seed, batchSize: 2 });
      const values = await device().readFloats(model.layer("conv1").parameters[0]!.value);
      model.destroy();
      return values;
    };
    const first = await bytes(1);
    expect(await bytes(1)).to.deep.equal(first);
    expect(await bytes(2)).not.to.deep.equal(first);
    const limit = Math.sqrt(6 / (16 * (3 + 4)));
    expect(Math.max(...first.map(Math.abs))).to.be.within(0.9 * limit, limit);
  });

  it("learns in trainable layers only, and dispatches no weight gradient of a frozen one", async () => {
    const model = await new Sequential(TINY).build(device(), { seed: 3, batchSize: 6 });
    model.freeze(["conv2"]);
    const before = await parameterBytes(device(), model);
    const dispatches = await oneStep(device(), model);
    const after = await parameterBytes(device(), model);
    for (const [name, bytes] of before)
      expect(after.get(name) === bytes, `${name} is unchanged`).to.equal(name.startsWith("conv2"));
    const writes = (part: string) =>
      dispatches.some(({ tensors }) => tensors.at(-1)!.label.includes(part));
    expect(writes("conv2.weight.grad")).to.equal(false);
    expect(writes("conv1.weight.grad")).to.equal(true);
    expect(dispatches.some(({ label }) => label.includes("conv2.dx"))).to.equal(true);
    model.destroy();
  });

  it("computes with leaky ReLUs fused into the layers before them what it does without", async () => {
    const gradients = [new Map<string, Float32Array>(), new Map<string, Float32Array>()] as const;
    const shaders: Set<string>[] = [];
    for (const [i, fuse] of [true, false].entries()) {
      const model = await new Sequential(TINY).build(device(), { seed: 3, batchSize: 6, fuse });
      const dispatches = await oneStep(device(), model, gradients[i]);
      shaders.push(new Set(dispatches.map(({ shader }) => shader)));
      const { naiveBytes, plannedBytes, liveBytes } = model.stepMemory(32);
      expect(plannedBytes).to.be.within(liveBytes, naiveBytes / 2);
      model.destroy();
    }
    const [fused, plain] = shaders;
    for (const shader of ["leaky_relu", "leaky_relu_grad"]) {
      expect(plain?.has(shader), shader).to.equal(true);
      expect(fused?.has(shader), shader).to.equal(false);
    }
    expect(fused?.has("leaky_relu_bias_grad")).to.equal(true);
    for (const [name, want] of gradients[1]) {
      const got = gradients[0].get(name)!;
      const scale = Math.max(...want.map(Math.abs));
      want.forEach((value, i) => {
        // Sums in another order: a few roundings of the largest element.
        expect(got[i], `${name}[${i}]`).to.be.closeTo(value, 1e-5 * scale);
      });
    }
  });

  it("stops backward at the lowest trainable layer", async () => {
    const model = await new Sequential(TINY).build(device(), { seed: 3, batchSize: 6 });
    model.freeze((layer) => layer.type === "Conv2D");
    const dispatches = await oneStep(device(), model);
    const labels = dispatches.map(({ label }) => label).join("\n");
    expect(labels).to.contain("dense1.weight.grad");
    expect(labels).not.to.contain("dense1.dx");
    expect(labels).not.to.contain("conv2.dx");
    expect(labels).not.to.contain("pool1.dx");
    model.unfreeze((layer) => layer.type === "Conv2D");
    expect((await oneStep(device(), model)).map(({ label }) => label).join("\n")).to.contain(
      "conv2.dx",
    );
    model.destroy();
  });

  it("refuses to train when every layer is frozen, and to freeze a layer that is not there", async () => {
    const model = await new Sequential(TINY).build(device(), { seed: 3, batchSize: 6 });
    expect(() => model.freeze(["conv9"])).to.throw('no layer "conv9"; it has conv1, relu1');
    model.freeze(() => true);
    const failed = await oneStep(device(), model).catch((error: unknown) => error);
    expect(String(failed)).to.contain("every layer is frozen");
  });

  it("puts a new head on an old body", async () => {
    const model = await new Sequential(TINY).build(device(), { seed: 3, batchSize: 6 });
    const before = await parameterBytes(device(), model);
    model.replaceHead(5, 9);
    const after = await parameterBytes(device(), model);
    expect(model.classCount).to.equal(5);
    expect(after.get("dense1.weight")).to.equal(before.get("dense1.weight"));
    expect(model.layer("dense2").parameters.map(({ shape }) => shape)).to.deep.equal([
      [10, 5],
      [5],
    ]);
    model.destroy();
  });

  it("agrees, layer by layer along its gradient, with differences of its own loss", async () => {
    // Rung three of the gradient checks.
    const options = { device: device(), batchSize: 4, seed: 5 };
    const report = await checkGradients(new Sequential(TINY), options);
    expect(report.ok, report.message).to.equal(true);
  });

  it("saves and loads a model whole, with network, classes and crop", async () => {
    const path = join(folder, "model.safetensors");
    const set = stripes(7, 2);
    const model = await new Sequential(TINY).build(device(), { seed: 3, batchSize: 4 });
    const expected = await predict(model, set, { batchSize: 4 });
    await saveModel(path, model, { classes: set.classes, crop: 0.5, dataSet: "stripes" });
    const loaded = await loadModel(device(), path, { batchSize: 4 });
    expect(loaded.info).to.deep.equal({ classes: set.classes, crop: 0.5, dataSet: "stripes" });
    expect(await predict(loaded.model, set, { batchSize: 4 })).to.deep.equal(expected);
    model.destroy();
    loaded.model.destroy();
  });

  it("gives each image the same probabilities whatever the batch, and they sum to 1", async () => {
    const model = await new Sequential(TINY).build(device(), { seed: 3, batchSize: 4 });
    const set = stripes(9, 2);
    const whole = await predict(model, set, { batchSize: 9 });
    const pieces = await predict(model, set, { batchSize: 4 });
    // Rows may be summed in other tiles: a few roundings of probabilities below 1.
    whole.forEach((p, i) => expect(pieces[i]).to.be.closeTo(p, 1e-6));
    for (let i = 0; i < 9; i++)
      expect(whole[3 * i]! + whole[3 * i + 1]! + whole[3 * i + 2]!).to.be.closeTo(1, 1e-6);
    model.destroy();
  });

  it("refuses weights of another network, and files that are no model", async () => {
    const path = join(folder, "other.safetensors");
    const other = await new Sequential({
      input: [12, 12, 3],
      layers: [{ type: "Flatten" }, { type: "Dense", name: "conv1", units: 3 }],
    }).build(device(), { seed: 1, batchSize: 1 });
    await saveModel(path, other, { classes: ["a", "b", "c"], crop: 1, dataSet: "x" });
    other.destroy();
    const model = await new Sequential(TINY).build(device(), { seed: 3, batchSize: 4 });
    const file = await openSafetensors(path);
    const failed = await loadWeights(model, file).catch((error: unknown) => error);
    await file.close();
    expect(String(failed)).to.contain("conv1.weight: expected F32 [4,4,3,4], got F32 [432,3]");
    model.destroy();
    const bare = join(folder, "bare.safetensors");
    await writeSafetensors(bare, { tensors: [], metadata: {} });
    const noNetwork = await loadModel(device(), bare).catch((error: unknown) => error);
    expect(String(noNetwork)).to.contain("no network in its metadata");
  });

  it("gives all its memory back", async () => {
    const run = async () => {
      const model = await new Sequential(TINY).build(device(), { seed: 3, batchSize: 6 });
      await oneStep(device(), model);
      await predict(model, stripes(5, 1), { batchSize: 2 });
      model.destroy();
    };
    await run();
    const before = device().memory();
    await run();
    expect(device().memory()).to.deep.equal(before);
  });
});
