import { parse } from "csv-parse/sync";
import { expect } from "chai";
import { DEFAULT_AUGMENTATION } from "../../src/data/augment.ts";
import { accuracy, argmax, meanCrossEntropy } from "../../src/metrics/accuracy.ts";
import type { LayerConfig } from "../../src/nn/layer.ts";
import { fit } from "../../src/train/fit.ts";
import { historyCsv } from "../../src/train/history.ts";
import type { FitOptions } from "../../src/train/options.ts";
import { predict } from "../../src/train/predict.ts";
import { stripes } from "../support/tiny.ts";
import {
  BASE,
  figures,
  HELD_OUT,
  SET,
  tensorsOf,
  useTraining,
  WITHOUT_DROPOUT,
} from "../support/training.ts";

/** So small that no float32 weight moves. */
const STANDING_STILL = { learningRate: 1e-30 } as const;

const equalBytes = (a: Float32Array, b: Float32Array): boolean =>
  Buffer.from(a.buffer).equals(Buffer.from(b.buffer));

describe("fit", () => {
  const { device, build, weightsOf, trained, checkpointIn } = useTraining();

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

  it("counts each image once, also those of the smaller last batch", async () => {
    const model = await build({ network: WITHOUT_DROPOUT });
    const probabilities = await predict(model, SET);
    const { history } = await fit(model, SET, { ...BASE, optimizer: STANDING_STILL });
    const [record] = history;
    // float32 against float64: some roundings of a loss near 1.
    expect(record!.loss).to.be.closeTo(meanCrossEntropy(SET.labels, probabilities, 3), 1e-6);
    expect(record!.accuracy).to.equal(accuracy(SET.labels, argmax(probabilities, 3)));
    model.destroy();
  });

  it("adds up the gradients of several batches to what one large batch gives", async () => {
    const options = { epochs: 3, augment: DEFAULT_AUGMENTATION, validation: HELD_OUT };
    const run = { network: WITHOUT_DROPOUT };
    // 50 images: a step of 16 + 16 + 16 and one of 2.
    const parts = await trained({ ...options, batchSize: 16, accumulateSteps: 3 }, run);
    const whole = await trained({ ...options, batchSize: 48 }, run);
    for (const [name, values] of Object.entries(parts.weights)) {
      const wanted = whole.weights[name]!;
      const scale = Math.max(...wanted.map(Math.abs));
      values.forEach((value, i) => {
        // Sums in another order, over six steps: some roundings of the largest element.
        expect(value, name).to.be.closeTo(wanted[i]!, 1e-5 * scale);
      });
    }
    parts.history.forEach((record, i) => {
      expect(record.loss).to.be.closeTo(whole.history[i]!.loss, 1e-5);
      expect(record.accuracy).to.equal(whole.history[i]!.accuracy);
    });
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
    // Rounded otherwise: batches of another size may take other tiles.
    const valLoss = meanCrossEntropy(HELD_OUT.labels, probabilities, 3);
    expect(history[1]!.valLoss).to.be.closeTo(valLoss, 1e-6);
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
    const model = await build({ network: WITHOUT_DROPOUT });
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
    // float32 against float64, as above, with weights up to 3.
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
});
