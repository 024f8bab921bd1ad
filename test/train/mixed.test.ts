import { expect } from "chai";
import type { Device } from "../../src/gpu/device.ts";
import { accuracy, argmax } from "../../src/metrics/accuracy.ts";
import { Sequential } from "../../src/nn/model.ts";
import type { Precision } from "../../src/nn/precision.ts";
import type { DType } from "../../src/tensor.ts";
import { activationsOf } from "../../src/train/activations.ts";
import { fit } from "../../src/train/fit.ts";
import { historyCsv } from "../../src/train/history.ts";
import type { FitOptions } from "../../src/train/options.ts";
import { predict } from "../../src/train/predict.ts";
import { errorOf } from "../support/errors.ts";
import { skipWithoutFloat16 } from "../support/skip.ts";
import { stripes, TINY } from "../support/tiny.ts";
import { useTraining } from "../support/training.ts";

/** Five steps an epoch, the last of 8 images. */
const SET = stripes(72, 1);
const BASE = { epochs: 1, batchSize: 16, seed: 4, optimizer: { learningRate: 0.005 } } as const;

describe("mixed precision", () => {
  const { device, build, weightsOf, trained: trainedOn, checkpointIn } = useTraining();
  before(function () {
    skipWithoutFloat16(this, device());
  });

  const trained = (precision: Precision, options: Partial<FitOptions>) =>
    trainedOn({ ...BASE, ...options }, { set: SET, precision });

  it("learns what float32 learns, in losses, predictions and feature maps", async () => {
    const unseen = stripes(60, 99);
    const run = async (precision: Precision) => {
      const model = await build({ precision });
      const { history } = await fit(model, stripes(120, 1), { ...BASE, epochs: 6 });
      const probabilities = await predict(model, unseen);
      const maps = await activationsOf(model, unseen, 0, ["relu2", "softmax"]);
      model.destroy();
      return { losses: history.map(({ loss }) => loss), probabilities, maps };
    };
    const [wide, mixed] = [await run("float32"), await run("mixed")];
    // Measured: 0.6 % at most.
    mixed.losses.forEach((loss, i) => {
      expect(loss).to.be.closeTo(wide.losses[i]!, 0.03 * wide.losses[i]!);
    });
    expect(mixed.losses).not.to.deep.equal(wide.losses);
    const right = (probabilities: Float32Array) =>
      accuracy(unseen.labels, argmax(probabilities, 3));
    expect(right(mixed.probabilities)).to.be.above(0.9);
    expect(right(mixed.probabilities)).to.be.closeTo(right(wide.probabilities), 0.05);
    mixed.maps.forEach(({ values }, i) => {
      const wanted = wide.maps[i]!.values;
      const scale = Math.max(...wanted.map(Math.abs));
      values.forEach((value, j) => {
        expect(value).to.be.closeTo(wanted[j]!, 0.03 * scale);
      });
    });
  });

  it("skips steps that overflow, halves the scale for each, and learns on", async () => {
    const { history } = await trained("mixed", { epochs: 6, lossScale: 2 ** 22 });
    const [first, last] = [history[0], history.at(-1)];
    expect(first!.skippedSteps).to.be.within(1, 4);
    expect(first!.lossScale).to.equal(2 ** (22 - first!.skippedSteps!));
    expect(last!.skippedSteps).to.be.at.least(first!.skippedSteps!);
    expect(last!.loss).to.be.below(0.5 * first!.loss);
    const [head = "", row = ""] = historyCsv(history).split("\n");
    expect(head).to.match(/,lossScale,skippedSteps$/);
    expect(row).to.match(new RegExp(`,${first!.lossScale!},${first!.skippedSteps!}$`));
  });

  it("gives the same bits twice, and after an interruption, scale and all", async () => {
    // Steps of two batches; the interruption falls between overflows and good steps.
    const options = { epochs: 2, lossScale: 2 ** 22, accumulateSteps: 2 };
    const straight = await trained("mixed", options);
    const again = await trained("mixed", options);
    expect(again.weights).to.deep.equal(straight.weights);

    const controller = new AbortController();
    const { ended } = await trained("mixed", {
      ...options,
      checkpoint: checkpointIn(false),
      signal: controller.signal,
      onStep: (step) => {
        if (step === 3) controller.abort();
      },
    });
    expect(ended).to.equal("interrupted");
    const other = await errorOf(() =>
      trained("float32", { ...options, checkpoint: checkpointIn(true) }),
    );
    expect(String(other)).to.contain(
      'it belongs to another run: precision was "mixed", now it is "float32"; resume with the same settings',
    );
    const { lossScale, ...rest } = options;
    const resumed = await trained("mixed", { ...rest, checkpoint: checkpointIn(true) });
    expect(resumed.weights).to.deep.equal(straight.weights);
    const figures = ({ history }: typeof straight) =>
      history.map(({ loss, lossScale, skippedSteps }) => [loss, lossScale, skippedSteps]);
    expect(figures(resumed)).to.deep.equal(figures(straight));
    expect(lossScale / straight.history[1]!.lossScale!).to.be.within(2, 2 ** 5); // of six steps
  });

  it("ends with the layer's name when no scale helps", async () => {
    const model = await build({ precision: "mixed" });
    const { value } = model.layer("conv2").parameters[0]!;
    device().write(value, new Float32Array(3 * 3 * 4 * 8).fill(NaN));
    const error = await errorOf(() => fit(model, SET, { ...BASE, lossScale: 2 }));
    expect(String(error)).to.match(
      /not finite at epoch 1, step 2: first in conv2.weight: value before the step/,
    );
    model.destroy();
  });

  it("casts for a layer that knows float32 only, forward and backward", async () => {
    const seen: DType[] = [];
    const run = async (narrow: boolean) => {
      const model = await build({ precision: "mixed", fuse: false });
      // Layers whose kernels compute in float32 anyway give the same bits, cast or not.
      for (const layer of model.layers) {
        if (["Conv2D", "Dense", "Softmax"].includes(layer.type) || !narrow) continue;
        const [forward, backward] = [layer.forward.bind(layer), layer.backward.bind(layer)];
        Object.assign(layer, {
          storesFloat16: false,
          forward: (...args: Parameters<typeof forward>) => {
            seen.push(args[1].dtype);
            return forward(...args);
          },
          backward: (...args: Parameters<typeof backward>) => {
            seen.push(args[1].dy.dtype);
            return backward(...args);
          },
        });
      }
      const { history } = await fit(model, SET, BASE);
      const weights = await weightsOf(model);
      model.destroy();
      return { loss: history[0]!.loss, weights };
    };
    const wanted = await run(false);
    expect(await run(true)).to.deep.equal(wanted);
    expect(new Set(seen)).to.deep.equal(new Set(["float32"]));
  });

  it("takes little more than half the memory for activations, and says so", async () => {
    const memory = async (precision: Precision) => {
      const model = await build({ precision });
      const { plannedBytes } = model.stepMemory(64);
      const text = model.summary(64);
      model.destroy();
      return { plannedBytes, text };
    };
    const [wide, mixed] = [await memory("float32"), await memory("mixed")];
    expect(mixed.plannedBytes).to.be.within(0.45 * wide.plannedBytes, 0.6 * wide.plannedBytes);
    expect(mixed.text).to.match(/^conv1 .* 73.7 kB$/m);
    expect(mixed.text).to.contain("precision          mixed");
    expect(wide.text).to.match(/^conv1 .* 147.5 kB$/m);
    expect(wide.text).not.to.contain("mixed");
  });

  it("is chosen by the environment too", async () => {
    process.env["TUNINGFORK_PRECISION"] = "mixed";
    try {
      const model = await build();
      expect(model.precision).to.equal("mixed");
      model.destroy();
    } finally {
      delete process.env["TUNINGFORK_PRECISION"];
    }
  });

  it("refuses a loss scale that it has not", async () => {
    const error = await errorOf(() => trained("mixed", { lossScale: 3 }));
    expect(error.message).to.contain("expected a power of two from 1 to 16777216, got 3");
  });
});

describe("mixed precision is refused", () => {
  const { device, build } = useTraining();

  it("where the adapter cannot store float16", async () => {
    const without = Object.create(device(), { hasFloat16: { value: false } }) as Device;
    const refused = await errorOf(() =>
      new Sequential(TINY).build(without, { seed: 1, precision: "mixed" }),
    );
    expect(refused.message).to.match(
      /precision "mixed": expected an adapter with the feature shader-f16, got .+ without it; use "float32", or/,
    );
  });

  it("by a name that it has not", async () => {
    process.env["TUNINGFORK_PRECISION"] = "half";
    try {
      expect((await errorOf(() => build())).message).to.contain(
        'TUNINGFORK_PRECISION: expected float32 or mixed, got "half"',
      );
    } finally {
      delete process.env["TUNINGFORK_PRECISION"];
    }
  });
});
