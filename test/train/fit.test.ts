import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "csv-parse/sync";
import { expect } from "chai";
import { DEFAULT_AUGMENTATION } from "../../src/data/augment.ts";
import type { ImageSet } from "../../src/data/dataset.ts";
import { accuracy, argmax, meanCrossEntropy } from "../../src/metrics/accuracy.ts";
import { Sequential } from "../../src/nn/model.ts";
import type { LayerConfig } from "../../src/nn/layer.ts";
import type { NetworkConfig } from "../../src/nn/network.ts";
import { readSafetensors } from "../../src/safetensors.ts";
import { fit, type FitResult } from "../../src/train/fit.ts";
import { historyCsv, type EpochRecord } from "../../src/train/history.ts";
import type { FitOptions } from "../../src/train/options.ts";
import { predict } from "../../src/train/predict.ts";
import { useDevice } from "../support/device.ts";
import { stripes, TINY } from "../support/tiny.ts";

/** 50 images in batches of 16: four steps an epoch, the last of two images. */
const SET = stripes(50, 1);
const HELD_OUT = stripes(21, 2);
const BASE = { epochs: 1, batchSize: 16, seed: 4 } as const;
/** So small that no float32 weight moves. */
const STANDING_STILL = { learningRate: 1e-30 } as const;
const INFO = { classes: SET.classes, crop: 1, dataSet: "stripes" };

const withoutDropout: NetworkConfig = {
  ...TINY,
  layers: TINY.layers.filter(({ type }) => type !== "Dropout"),
};

/** The history without what the clock has a part in. */
const figures = (history: readonly EpochRecord[]) =>
  history.map((record) => ({ ...record, seconds: 0, imagesPerSecond: 0 }));

describe("fit", () => {
  const device = useDevice();
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "tuningfork-fit-"));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  const build = (network = TINY, seed = 2): Promise<Sequential> =>
    new Sequential(network).build(device(), { seed, batchSize: 16 });

  const weightsOf = async (model: Sequential): Promise<Record<string, Float32Array>> => {
    const weights: Record<string, Float32Array> = {};
    for (const { name, value } of model.parameters())
      weights[name] = await device().readFloats(value);
    return weights;
  };

  /** Trains a fresh model and gives its memory back. */
  const trained = async (
    options: Partial<FitOptions>,
    {
      network = TINY,
      set = SET,
      seed = 2,
    }: { network?: NetworkConfig; set?: ImageSet; seed?: number } = {},
  ): Promise<FitResult & { weights: Record<string, Float32Array> }> => {
    const model = await build(network, seed);
    try {
      const result = await fit(model, set, { ...BASE, ...options });
      return { ...result, weights: await weightsOf(model) };
    } finally {
      model.destroy();
    }
  };

  const checkpointIn = (resume = false, name = "checkpoint") => ({
    path: join(folder, `${name}.safetensors`),
    info: INFO,
    resume,
  });

  /** All tensors of a checkpoint: weights and both moments. */
  const tensorsOf = async (path: string) => {
    const { tensors } = await readSafetensors(path);
    return Object.fromEntries([...tensors].map(([name, { values }]) => [name, values]));
  };

  const failure = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => undefined,
      (error: unknown) => error,
    );

  it("learns to tell stripes apart, on images that it has not seen", async () => {
    const model = await build();
    const { history } = await fit(model, stripes(120, 1), {
      ...BASE,
      epochs: 8,
      optimizer: { learningRate: 0.005 },
    });
    expect(history[0]!.accuracy).to.be.below(0.8);
    expect(history.at(-1)!.accuracy).to.be.above(0.95);
    expect(history.at(-1)!.loss).to.be.below(0.5 * history[0]!.loss);
    const unseen = stripes(60, 99);
    const found = argmax(await predict(model, unseen), 3);
    expect(accuracy(unseen.labels, found)).to.be.above(0.9);
    model.destroy();
  });

  it("gives the same bits twice, and others with another seed", async () => {
    const options = { epochs: 2, augment: DEFAULT_AUGMENTATION, validation: HELD_OUT };
    const first = await trained(options);
    const again = await trained(options);
    expect(again.weights).to.deep.equal(first.weights);
    expect(figures(again.history)).to.deep.equal(figures(first.history));
    const other = await trained({ ...options, seed: 5 });
    expect(other.history[0]!.loss).not.to.equal(first.history[0]!.loss);
  });

  it("a steady step creates nothing, submits once and reads nothing back", async () => {
    const calls = recordCalls(device().handle);
    const perStep: Record<string, number>[] = [];
    try {
      const model = await build();
      await fit(model, stripes(160, 1), {
        ...BASE,
        batchSize: 8,
        logEvery: 10,
        augment: DEFAULT_AUGMENTATION,
        onStep: () => perStep.push(calls.take()),
      });
      model.destroy();
    } finally {
      calls.stop();
    }
    expect(perStep).to.have.length(20);
    // perStep[k] is what happened since step k - 1 was about to be submitted; step 10 is followed by a log read.
    const steady = [...perStep.slice(1, 10), ...perStep.slice(13)];
    for (const made of steady) expect(made).to.deep.equal({ submit: 1, writeBuffer: 4 });
    // The read after ten steps copies the log and the status out, in two submissions beside that of the step.
    const reading = perStep.slice(10, 13);
    const sum = (name: string) => reading.reduce((total, made) => total + (made[name] ?? 0), 0);
    expect(sum("submit")).to.equal(3 + 2);
    expect(sum("mapAsync")).to.equal(2);
    expect(sum("copyBufferToBuffer")).to.equal(2);
  });

  it("keeps at most two steps in flight", async () => {
    const { queue } = device().handle;
    const submit = queue.submit.bind(queue);
    let inFlight = 0;
    let most = 0;
    let training = false; // before the first step, moments and status are submitted, too
    const model = await build();
    // A method on the object hides the prototype's.
    queue.submit = (buffers) => {
      submit(buffers);
      if (!training) return;
      most = Math.max(most, ++inFlight);
      void queue.onSubmittedWorkDone().then(() => inFlight--);
    };
    try {
      await fit(model, stripes(160, 1), {
        ...BASE,
        batchSize: 8,
        logEvery: 32,
        onStep: () => (training = true),
      });
    } finally {
      delete (queue as Partial<GPUQueue>).submit;
    }
    expect(most).to.equal(2);
    model.destroy();
  });

  it("counts each image once, also those of the smaller last batch", async () => {
    const model = await build(withoutDropout);
    const probabilities = await predict(model, SET);
    const { history } = await fit(model, SET, { ...BASE, optimizer: STANDING_STILL });
    const [record] = history;
    expect(record!.loss).to.be.closeTo(meanCrossEntropy(SET.labels, probabilities, 3), 1e-6);
    expect(record!.accuracy).to.equal(accuracy(SET.labels, argmax(probabilities, 3)));
    model.destroy();
  });

  it("adds up the gradients of several batches to what one large batch gives", async () => {
    const options = { epochs: 3, augment: DEFAULT_AUGMENTATION, validation: HELD_OUT };
    const run = { network: withoutDropout };
    // 50 images: a step of 16 + 16 + 16 and one of 2.
    const parts = await trained({ ...options, batchSize: 16, accumulateSteps: 3 }, run);
    const whole = await trained({ ...options, batchSize: 48 }, run);
    for (const [name, values] of Object.entries(parts.weights)) {
      const wanted = whole.weights[name]!;
      const scale = Math.max(...wanted.map(Math.abs));
      values.forEach((value, i) => {
        expect(value, name).to.be.closeTo(wanted[i]!, 1e-5 * scale);
      });
    }
    parts.history.forEach((record, i) => {
      expect(record.loss).to.be.closeTo(whole.history[i]!.loss, 1e-5);
      expect(record.accuracy).to.equal(whole.history[i]!.accuracy);
    });
  });

  it("needs less memory for a step of several batches than for one of all their images", async () => {
    const set = stripes(256, 1);
    const bytes = async (options: Partial<FitOptions>) => {
      const model = await build();
      device().trim();
      let most = 0;
      const onStep = () => (most = Math.max(most, device().memory().liveBytes));
      await fit(model, set, { ...BASE, ...options, onStep });
      model.destroy();
      return most;
    };
    const whole = await bytes({ batchSize: 256 });
    const parts = await bytes({ batchSize: 16, accumulateSteps: 16 });
    expect(parts).to.be.below(0.5 * whole);
  });

  it("trains on a set that is smaller than one batch", async () => {
    const { history } = await trained({ batchSize: 64 });
    expect(history).to.have.length(1);
    expect(history[0]!.loss).to.be.within(0.5, 3);
  });

  it("trains networks whose last layers pass their input on, and such as start with them", async () => {
    const body: LayerConfig[] = [
      { type: "Conv2D", name: "conv1", filters: 4, kernelSize: [3, 3], strides: [3, 3] },
      { type: "LeakyReLU", name: "relu1", slope: 0.3 },
    ];
    const convolutional = { type: "Conv2D", name: "conv2", filters: 3, kernelSize: [4, 4] };
    const ends: LayerConfig[][] = [
      [...body, convolutional, { type: "Flatten", name: "flatten" }],
      [
        { type: "Dropout", name: "drop0", rate: 0 },
        ...body,
        convolutional,
        { type: "Flatten", name: "flatten" },
        { type: "Dropout", name: "drop1", rate: 0 },
        { type: "Softmax", name: "softmax" },
      ],
      [
        { type: "Flatten", name: "flatten" },
        { type: "Dense", name: "dense1", units: 3 },
        { type: "LeakyReLU", name: "relu1", slope: 0.3 },
        { type: "Dropout", name: "drop1", rate: 0.1 },
      ],
    ];
    for (const layers of ends) {
      const network = { input: [12, 12, 3] as const, layers };
      const options = { epochs: 6, optimizer: { learningRate: 0.01 } };
      const { history } = await trained(options, { network });
      expect(history.at(-1)!.loss).to.be.below(0.9 * history[0]!.loss);
    }
  });

  it("validates after each epoch, without dropout", async () => {
    const model = await build();
    const { history } = await fit(model, SET, { ...BASE, epochs: 2, validation: HELD_OUT });
    const probabilities = await predict(model, HELD_OUT);
    expect(history[1]!.valLoss).to.equal(meanCrossEntropy(HELD_OUT.labels, probabilities, 3));
    expect(history[1]!.valAccuracy).to.equal(accuracy(HELD_OUT.labels, argmax(probabilities, 3)));
    expect(history[0]!.valLoss).not.to.equal(history[1]!.valLoss);
    model.destroy();
  });

  it("stops early when a figure has not improved for `patience` epochs", async () => {
    const { history, ended } = await trained({
      epochs: 9,
      optimizer: STANDING_STILL,
      validation: HELD_OUT,
      earlyStopping: { monitor: "valLoss", patience: 2 },
    });
    expect(ended).to.equal("early stopping");
    expect(history.map(({ epoch }) => epoch)).to.deep.equal([1, 2, 3]);
  });

  it("reduces the learning rate on a plateau, down to the least", async () => {
    const { history } = await trained({
      epochs: 8,
      optimizer: STANDING_STILL,
      validation: HELD_OUT,
      reduceOnPlateau: { monitor: "valAccuracy", patience: 2, factor: 0.5, minLearningRate: 3e-31 },
    });
    const rates = history.map(({ learningRate }) => learningRate);
    expect(rates).to.deep.equal([1e-30, 1e-30, 1e-30, 5e-31, 5e-31, 3e-31, 3e-31, 3e-31]);
  });

  it("ends with the weights of the best epoch, also after a resumption", async () => {
    const best = await trained({ epochs: 1, validation: HELD_OUT });
    const model = await build();
    const spoil = (step: number) => {
      const { value } = model.layer("dense2").parameters[0]!;
      if (step === 4)
        device().write(
          value,
          new Float32Array(30).map((_, i) => 2000 * Math.sin(i)),
        );
    };
    const options = { ...BASE, validation: HELD_OUT, bestWeights: "valLoss" } as const;
    const result = await fit(model, SET, {
      ...options,
      epochs: 3,
      checkpoint: checkpointIn(),
      onStep: spoil,
    });
    expect(result.bestEpoch).to.equal(1);
    expect(await weightsOf(model)).to.deep.equal(best.weights);
    model.destroy();
    const resumed = await trained(
      { ...options, epochs: 3, checkpoint: checkpointIn(true) },
      { seed: 77 },
    );
    expect(resumed.bestEpoch).to.equal(1);
    expect(resumed.weights).to.deep.equal(best.weights);
  });

  it("weighs classes as Keras does: sum(weight[label] * loss) / batch", async () => {
    const model = await build(withoutDropout);
    const set = { ...SET, labels: SET.labels.map((label, i) => (i < 20 ? 0 : label)) };
    const probabilities = await predict(model, set);
    const weighted = (weights: readonly number[]) =>
      set.labels.reduce((sum, label, i) => {
        return sum - weights[label]! * Math.log(probabilities[i * 3 + label]!);
      }, 0) / set.count;
    const lossWith = async (classWeights: FitOptions["classWeights"]) => {
      const { history } = await fit(model, set, {
        ...BASE,
        optimizer: STANDING_STILL,
        ...(classWeights && { classWeights }),
      });
      return history[0]!.loss;
    };
    const members = [0, 1, 2].map((k) => set.labels.filter((label) => label === k).length);
    expect(await lossWith([3, 0.5, 0])).to.be.closeTo(weighted([3, 0.5, 0]), 2e-6);
    const balanced = members.map((count) => set.count / (3 * count));
    expect(await lossWith("balanced")).to.be.closeTo(weighted(balanced), 2e-6);
    model.destroy();
  });

  it("gives the history as CSV, a line an epoch, empty where nothing was measured", async () => {
    const { history } = await trained({ epochs: 2 });
    const rows = parse(historyCsv(history), { columns: true }) as unknown as Record<
      string,
      string
    >[];
    expect(rows).to.have.length(2);
    expect(Object.keys(rows[0]!).join()).to.equal(
      "epoch,loss,accuracy,valLoss,valAccuracy,learningRate,seconds,imagesPerSecond",
    );
    expect(Number(rows[1]!["loss"])).to.equal(history[1]!.loss);
    expect(rows[1]!["valLoss"]).to.equal("");
    expect(JSON.parse(JSON.stringify(history))).to.deep.equal(history);
  });

  it("leaves frozen layers byte for byte as they were, and keeps no moments for them", async () => {
    const model = await build();
    const before = await weightsOf(model);
    model.freeze(["conv1", "dense1"]);
    await fit(model, SET, { ...BASE, checkpoint: checkpointIn() });
    const after = await weightsOf(model);
    const moved = Object.keys(after).filter((name) => !equalBytes(after[name]!, before[name]!));
    expect(moved).to.deep.equal(["conv2.weight", "conv2.bias", "dense2.weight", "dense2.bias"]);
    const saved = Object.keys(await tensorsOf(checkpointIn().path));
    expect(saved.filter((name) => name.startsWith("adamax.m."))).to.deep.equal(
      ["conv2.bias", "conv2.weight", "dense2.bias", "dense2.weight"].map((n) => `adamax.m.${n}`),
    );
    model.destroy();
  });

  describe("resume", () => {
    /** Everything that has a state: dropout, augmentation, a rate that falls, best weights, stopping. */
    const options: Partial<FitOptions> = {
      epochs: 4,
      augment: DEFAULT_AUGMENTATION,
      validation: HELD_OUT,
      bestWeights: "valLoss",
      reduceOnPlateau: { monitor: "loss", patience: 1, factor: 0.5 },
      earlyStopping: { monitor: "valAccuracy", patience: 4 },
      optimizer: { learningRate: 0.05 },
      logEvery: 3,
    };
    type Trained = Awaited<ReturnType<typeof trained>>;
    let whole: Trained | undefined;
    let wholeTensors: Record<string, unknown>;
    let wholeState: string;

    /** A checkpoint's state without what the clock has a part in. */
    const stateOf = async (path: string): Promise<string> => {
      const { metadata } = await readSafetensors(path);
      const state = JSON.parse(metadata["state"]!) as { history: EpochRecord[] };
      return JSON.stringify({ ...state, history: figures(state.history), seconds: 0 });
    };

    const expectSameAsWhole = async (result: Trained) => {
      expect(result.weights).to.deep.equal(whole!.weights);
      expect(figures(result.history)).to.deep.equal(figures(whole!.history));
      expect(result.bestEpoch).to.equal(whole!.bestEpoch);
      expect(result.ended).to.equal(whole!.ended);
      expect(await tensorsOf(checkpointIn().path)).to.deep.equal(wholeTensors);
      expect(await stateOf(checkpointIn().path)).to.equal(wholeState);
    };

    beforeEach(async () => {
      if (whole) return;
      const checkpoint = checkpointIn(false, "whole");
      whole = await trained({ ...options, checkpoint });
      wholeTensors = await tensorsOf(checkpoint.path);
      wholeState = await stateOf(checkpoint.path);
    });

    it("from the checkpoint of an epoch: bit for bit the uninterrupted run", async () => {
      await trained({ ...options, epochs: 2, checkpoint: checkpointIn() });
      // Another seed of the initial weights: all of them must come from the file.
      const result = await trained({ ...options, checkpoint: checkpointIn(true) }, { seed: 77 });
      await expectSameAsWhole(result);
    });

    it("between steps of several batches: bit for bit the uninterrupted run", async () => {
      const several = { ...options, batchSize: 5, accumulateSteps: 3 };
      const uninterrupted = await trained({ ...several, checkpoint: checkpointIn() });
      const checkpoint = (resume: boolean) => checkpointIn(resume, "several");
      const abort = new AbortController();
      const first = await trained({
        ...{ ...several, checkpoint: checkpoint(false), signal: abort.signal },
        onStep: (step) => {
          if (step === 5) abort.abort();
        },
      });
      expect(first.ended).to.equal("interrupted");
      const resumed = await trained({ ...several, checkpoint: checkpoint(true) });
      expect(resumed.weights).to.deep.equal(uninterrupted.weights);
      expect(figures(resumed.history)).to.deep.equal(figures(uninterrupted.history));
    });

    for (const stopBefore of [0, 1, 6, 8, 15])
      it(`interrupted as step ${stopBefore} is submitted: bit for bit the uninterrupted run`, async () => {
        const abort = new AbortController();
        const first = await trained({
          ...options,
          checkpoint: checkpointIn(),
          signal: abort.signal,
          onStep: (step) => {
            if (step === stopBefore) abort.abort();
          },
        });
        // The last step of the last epoch leaves nothing to be interrupted.
        expect(first.ended).to.equal(stopBefore === 15 ? "epochs" : "interrupted");
        expect(first.history).to.have.length(Math.floor((stopBefore + 1) / 4));
        const result = await trained({ ...options, checkpoint: checkpointIn(true) }, { seed: 77 });
        await expectSameAsWhole(result);
      });

    it("twice interrupted, once before the first step", async () => {
      const aborted = AbortSignal.abort();
      const none = await trained({ ...options, checkpoint: checkpointIn(), signal: aborted });
      expect(none.history).to.deep.equal([]);
      const again = await trained(
        { ...options, checkpoint: checkpointIn(true), signal: aborted },
        { seed: 77 },
      );
      expect(again.ended).to.equal("interrupted");
      const result = await trained({ ...options, checkpoint: checkpointIn(true) }, { seed: 78 });
      await expectSameAsWhole(result);
    });

    it("of a finished run does nothing", async () => {
      await trained({ ...options, checkpoint: checkpointIn() });
      const steps: number[] = [];
      const onStep = (step: number) => steps.push(step);
      const result = await trained(
        { ...options, checkpoint: checkpointIn(true), onStep },
        { seed: 77 },
      );
      expect(steps).to.deep.equal([]);
      await expectSameAsWhole(result);
    });

    const slope = (value: number): NetworkConfig => ({
      ...TINY,
      layers: TINY.layers.map((layer) =>
        layer.name === "relu2" ? { ...layer, slope: value } : layer,
      ),
    });
    const frozen: NetworkConfig = {
      ...TINY,
      layers: TINY.layers.map((l) => (l.name === "conv1" ? { ...l, trainable: false } : l)),
    };
    const wider: NetworkConfig = {
      ...TINY,
      layers: TINY.layers.map((layer) =>
        layer.name === "dense1" ? { ...layer, units: 11 } : layer,
      ),
    };
    const refusals: [
      string,
      Partial<FitOptions>,
      { network?: NetworkConfig; set?: ImageSet },
      RegExp,
    ][] = [
      ["seed", { seed: 5 }, {}, /seed was 4, now it is 5/],
      ["batch size", { batchSize: 8 }, {}, /batchSize was 16, now it is 8/],
      ["accumulated batches", { accumulateSteps: 3 }, {}, /accumulateSteps was 1, now it is 3/],
      ["count of images", {}, { set: stripes(49, 1) }, /count was 50, now it is 49/],
      ["data set", {}, { set: { ...SET, name: "gz2" } }, /dataSet was "stripes", now it is "gz2"/],
      ["crop", {}, { set: { ...SET, crop: 0.5 } }, /crop was 1, now it is 0.5/],
      [
        "learning rate",
        { optimizer: { learningRate: 0.01 } },
        {},
        /optimizer was .*0\.002.* now it is .*0\.01/,
      ],
      ["augmentation", { augment: DEFAULT_AUGMENTATION }, {}, /augment was false, now it is \{/],
      [
        "class weights",
        { classWeights: "balanced" },
        {},
        /classWeights was null, now it is "balanced"/,
      ],
      ["slope", {}, { network: slope(0.1) }, /layer 6 was .*"slope":0.3.* now it is .*"slope":0.1/],
      [
        "frozen layer",
        {},
        { network: frozen },
        /layer 1 was .* now it is .*"trainable":false.*--freeze/,
      ],
      ["width", {}, { network: wider }, /layer 8 was .*"units":10.* now it is .*"units":11/],
    ];
    it("with other settings is refused, saying which", async () => {
      await trained({ checkpoint: checkpointIn() });
      for (const [what, changed, run, message] of refusals) {
        const error = await failure(
          trained({ epochs: 2, checkpoint: checkpointIn(true), ...changed }, run),
        );
        expect(String(error), what).to.match(message);
        expect(String(error), what).to.match(/resume with the same .*or choose another --out/);
      }
      // The control: nothing changed but the epochs, and it goes on.
      const { history } = await trained({ epochs: 2, checkpoint: checkpointIn(true) });
      expect(history).to.have.length(2);
    });
  });

  describe("values that are not finite", () => {
    /** Trains until it fails; `spoil` may write into the model as a step is submitted. */
    const failing = async (
      options: Partial<FitOptions>,
      spoil?: (model: Sequential, step: number) => void,
    ): Promise<{ error: unknown; weights: Record<string, Float32Array> }> => {
      const model = await build();
      const onStep = (step: number) => spoil?.(model, step);
      const error = await failure(fit(model, SET, { ...BASE, epochs: 3, ...options, onStep }));
      const weights = await weightsOf(model);
      model.destroy();
      return { error, weights };
    };

    /** The weights of the same run as they were before a step. */
    const weightsBefore = async (step: number, options: Partial<FitOptions> = {}) => {
      const abort = new AbortController();
      const onStep = (next: number) => {
        if (next === step - 1) abort.abort();
      };
      return (await trained({ epochs: 3, ...options, signal: abort.signal, onStep })).weights;
    };

    for (const bad of [NaN, Infinity, -Infinity])
      it(`${bad} among the weights of a layer at step 6: named, and nothing else was touched`, async () => {
        const before = await weightsBefore(6);
        const { error, weights } = await failing({}, (model, step) => {
          if (step !== 6) return;
          const [weight] = model.layer("conv2").parameters;
          device().write(weight!.value, new Float32Array(4 * 9 * 8).fill(bad, 100, 101));
        });
        expect(error).to.have.property("name", "NonFiniteError");
        expect(error).to.include({
          epoch: 2,
          step: 3,
          where: "conv2.weight: value before the step",
        });
        delete before["conv2.weight"];
        delete weights["conv2.weight"];
        expect(weights).to.deep.equal(before);
      });

    for (const logEvery of [1, 10])
      it(`a learning rate of 1e30, read every ${logEvery} steps: the layer that overflows, the weights before`, async () => {
        const options = { optimizer: { learningRate: 1e30 }, logEvery };
        const { error, weights } = await failing(options);
        expect(error).to.have.property("name", "NonFiniteError");
        expect(error).to.include({ epoch: 1, step: 2, where: "conv2: output" });
        expect(String(error)).to.match(
          /epoch 1, step 2: first in conv2: output; .* lower the learning rate/,
        );
        for (const [name, values] of Object.entries(weights))
          expect(values.every(Number.isFinite), name).to.equal(true);
        expect(weights).to.deep.equal(await weightsBefore(1, options));
      });

    it("gives all its memory back, and the model can be trained on", async () => {
      const model = await build();
      const { liveTensors } = device().memory();
      const { value } = model.layer("conv1").parameters[0]!;
      const good = await device().readFloats(value);
      device().write(
        value,
        good.map(() => NaN),
      );
      const error = await failure(fit(model, SET, BASE));
      expect(error).to.include({ epoch: 1, step: 1, where: "conv1.weight: value before the step" });
      expect(device().memory().liveTensors).to.equal(liveTensors);
      device().write(value, good);
      const { history } = await fit(model, SET, BASE);
      expect(history[0]!.loss).to.be.within(0.5, 3);
      model.destroy();
    });
  });

  it("refuses options that do not fit, saying what would", async () => {
    const cases: [Partial<FitOptions>, ImageSet, string][] = [
      [{ epochs: 0 }, SET, "epochs: expected an integer from 1, got 0"],
      [{ batchSize: 2.5 }, SET, "batchSize: expected an integer from 1, got 2.5"],
      [{ accumulateSteps: 33 }, SET, "accumulateSteps: expected an integer from 1 to 32, got 33"],
      [{ logEvery: 33 }, SET, "logEvery: expected an integer from 1 to 32, got 33"],
      [{ optimizer: { learningRate: -1 } }, SET, "learningRate: expected a number above 0"],
      [{ optimizer: { learningRate: NaN } }, SET, "learningRate: expected a number above 0"],
      [{ optimizer: { learningRate: 1e38 } }, SET, "within float32, got 1e+38"],
      [{ classWeights: [1, 2] }, SET, "classWeights: expected 3 numbers, got 2"],
      [
        { earlyStopping: { monitor: "valLoss", patience: 1 } },
        SET,
        "no validation images were given",
      ],
      [{ bestWeights: "valLoss" }, SET, "no validation images were given"],
      [{ bestWeights: "loss" }, SET, "bestWeights: expected a checkpoint"],
      [
        {},
        { ...SET, classes: ["a", "b"] },
        "has 2 classes, the network 3 outputs; give it a new head",
      ],
      [
        {},
        { ...SET, labels: SET.labels.map((l, i) => (i === 7 ? -1 : l)) },
        "stripe-7 of stripes has no label",
      ],
    ];
    const model = await build();
    for (const [options, set, message] of cases) {
      const error = await failure(fit(model, set, { ...BASE, ...options }));
      expect(String(error)).to.contain(message);
    }
    model.destroy();
  });
});

const equalBytes = (a: Float32Array, b: Float32Array): boolean =>
  Buffer.from(a.buffer).equals(Buffer.from(b.buffer));

/** Counts raw WebGPU calls, whoever makes them, by replacing methods of the prototypes. */
function recordCalls(handle: GPUDevice): {
  take: () => Record<string, number>;
  stop: () => void;
} {
  let counts: Record<string, number> = {};
  const encoder = Object.getPrototypeOf(handle.createCommandEncoder()) as object;
  const watched: [object, RegExp][] = [
    [Object.getPrototypeOf(handle) as object, /^(create(?!CommandEncoder)|importExternal)/],
    [Object.getPrototypeOf(handle.queue) as object, /^(submit|write)/],
    [encoder, /^(copy|clear|resolve)/],
    [GPUBuffer.prototype, /^mapAsync$/],
  ];
  const restore: (() => void)[] = [];
  for (const [prototype, names] of watched)
    for (const name of Object.getOwnPropertyNames(prototype).filter((n) => names.test(n))) {
      const descriptor = Object.getOwnPropertyDescriptor(prototype, name)!;
      const original = descriptor.value as (...args: unknown[]) => unknown;
      Object.defineProperty(prototype, name, {
        ...descriptor,
        value(this: unknown, ...args: unknown[]) {
          counts[name] = (counts[name] ?? 0) + 1;
          return original.apply(this, args);
        },
      });
      restore.push(() => Object.defineProperty(prototype, name, descriptor));
    }
  return {
    take: () => {
      const taken = counts;
      counts = {};
      return taken;
    },
    stop: () => {
      for (const put of restore) put();
    },
  };
}
