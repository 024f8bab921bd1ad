import { expect } from "chai";
import type { Sequential } from "../../src/nn/model.ts";
import { fit } from "../../src/train/fit.ts";
import type { FitOptions } from "../../src/train/options.ts";
import { errorOf } from "../support/errors.ts";
import { BASE, SET, useTraining, type Weights } from "../support/training.ts";

describe("training meets values that are not finite", () => {
  const { device, build, weightsOf, trained } = useTraining();
  /** Trains until it fails; `spoil` may write into the model as a step is submitted. */
  const failing = async (
    options: Partial<FitOptions>,
    spoil?: (model: Sequential, step: number) => void,
  ): Promise<{ error: Error; weights: Weights }> => {
    const model = await build();
    const onStep = (step: number) => spoil?.(model, step);
    const error = await errorOf(() => fit(model, SET, { ...BASE, epochs: 3, ...options, onStep }));
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
    const error = await errorOf(() => fit(model, SET, BASE));
    expect(error).to.include({ epoch: 1, step: 1, where: "conv1.weight: value before the step" });
    expect(device().memory().liveTensors).to.equal(liveTensors);
    device().write(value, good);
    const { history } = await fit(model, SET, BASE);
    expect(history[0]!.loss).to.be.within(0.5, 3);
    model.destroy();
  });
});
