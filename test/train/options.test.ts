import { expect } from "chai";
import type { ImageSet } from "../../src/data/dataset.ts";
import { fit } from "../../src/train/fit.ts";
import type { FitOptions } from "../../src/train/options.ts";
import { errorOf } from "../support/errors.ts";
import { BASE, SET, useTraining } from "../support/training.ts";

describe("options of fit", () => {
  const { build } = useTraining();

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
      [{ classWeights: [1, -2, 1] }, SET, "classWeights: expected numbers from 0, not all of"],
      [{ classWeights: [0, 0, 0] }, SET, "classWeights: expected numbers from 0, not all of"],
      [{ classWeights: [1, NaN, 1] }, SET, "classWeights: expected numbers from 0, not all of"],
      [{ validation: { ...SET, count: 0 } }, SET, "stripes has no labelled images"],
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
      const error = await errorOf(() => fit(model, set, { ...BASE, ...options }));
      expect(String(error)).to.contain(message);
    }
    model.destroy();
  });
});
