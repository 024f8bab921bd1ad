import { expect } from "chai";
import { DEFAULT_AUGMENTATION } from "../../src/data/augment.ts";
import type { NetworkConfig } from "../../src/nn/network.ts";
import { readSafetensors } from "../../src/safetensors.ts";
import type { EpochRecord } from "../../src/train/history.ts";
import type { FitOptions } from "../../src/train/options.ts";
import { errorOf } from "../support/errors.ts";
import { stripes, TINY } from "../support/tiny.ts";
import {
  figures,
  HELD_OUT,
  SET,
  tensorsOf,
  useTraining,
  type Run,
  type Trained,
} from "../support/training.ts";

describe("fit: resume", () => {
  const { trained, checkpointIn } = useTraining();
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
    layers: TINY.layers.map((layer) => (layer.name === "dense1" ? { ...layer, units: 11 } : layer)),
  };
  const refusals: [string, Partial<FitOptions>, Run, RegExp][] = [
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
      const error = await errorOf(() =>
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
