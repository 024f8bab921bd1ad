import { expect } from "chai";
import { adamax } from "../../src/kernels/adamax.ts";
import { allFinite } from "../../src/kernels/all_finite.ts";
import {
  INITIAL_LOSS_SCALE,
  lossScaleWords,
  readLossScale,
  updateLossScale,
  type LossScale,
} from "../../src/kernels/loss_scale.ts";
import { clearStatus, stepState } from "../../src/kernels/step_state.ts";
import * as reference from "../../src/reference/loss_scale.ts";
import { guarded } from "../../src/testing/guarded.ts";
import { useDevice } from "../support/device.ts";

const state = (scale: number, goodSteps = 0, skippedSteps = 0): LossScale => ({
  scale,
  goodSteps,
  skippedSteps,
});

describe("updateLossScale", () => {
  const device = useDevice();

  /** A recording of several steps, `!` with a gradient that is not finite and `.` with a good one. */
  const run = async (start: LossScale, steps: string, growthInterval: number) => {
    const upload = (value: number) => device().upload(Float32Array.of(value), [1], "dw");
    const gradients = { ".": upload(1), "!": upload(Infinity) };
    const words = stepState({ step: 5, learningRate: 1, beta1: 0.9, slot: 0 });
    const step = device().upload(words, [4], "step");
    const status = guarded(device(), clearStatus(), [4], "status");
    const lossScale = guarded(device(), lossScaleWords(start), [4], "lossScale");
    await device().run("test", (ctx) => {
      for (const kind of steps) {
        allFinite(ctx, { x: gradients[kind === "!" ? "!" : "."], step }, status.tensor);
        const outputs = { lossScale: lossScale.tensor, status: status.tensor };
        updateLossScale(ctx, { growthInterval }, outputs);
      }
    });
    const result = {
      lossScale: readLossScale(await lossScale.read()),
      status: [...(await status.read())],
    };
    status.release();
    lossScale.release();
    device().release(...Object.values(gradients), step);
    return result;
  };

  const CLEAR = [...clearStatus()];
  const CASES: [string, LossScale, string, LossScale, number[]][] = [
    ["an overflow halves", INITIAL_LOSS_SCALE, "..!", state(2 ** 15, 0, 1), CLEAR],
    ["good steps count", state(8), "..", state(8, 2), CLEAR],
    ["the third good step in a row doubles", state(8, 1, 4), "..", state(16, 0, 4), CLEAR],
    ["an overflow starts the count again", state(8), "..!..", state(4, 2, 1), CLEAR],
    ["no more than 2^24", state(2 ** 24, 2), ".", state(2 ** 24, 0), CLEAR],
    ["from 2 to 1", state(2), "!", state(1, 0, 1), CLEAR],
    ["at 1 the status stays raised", state(1, 2, 6), "!", state(1, 2, 6), [1, 5, 0, 0]],
    [
      "a loss that is never finite ends at scale 1",
      INITIAL_LOSS_SCALE,
      "!".repeat(17),
      state(1, 0, 16),
      [1, 5, 0, 0],
    ],
  ];
  for (const [name, start, steps, want, status] of CASES)
    it(name, async () => {
      const got = await run(start, steps, 3);
      expect(got).to.deep.equal({ lossScale: want, status });
      let expected: ReturnType<typeof reference.updateLossScale> = { state: start, raised: false };
      for (const kind of steps)
        expected = reference.updateLossScale(expected.state, expected.raised || kind === "!", 3);
      expect({ state: got.lossScale, raised: got.status[0] === 1 }).to.deep.equal(expected);
    });

  it("has a step skipped that overflows, and the next one update by gradients without the scale", async () => {
    const upload = (...values: number[]) => device().upload(Float32Array.from(values), [2], "t");
    const step = device().upload(
      stepState({ step: 0, learningRate: 0.5, beta1: 0.5, slot: 0 }),
      [4],
      "step",
    );
    const status = device().upload(clearStatus(), [4], "status");
    const lossScale = device().upload(lossScaleWords(state(2048)), [4], "lossScale");
    const [w, m, u] = [upload(1, 2), upload(0, 0), upload(0, 0)];
    const gradients = [upload(NaN, 1), upload(2048, -4096)];
    await device().run("test", (ctx) => {
      for (const dw of gradients) {
        allFinite(ctx, { x: dw, step }, status);
        const options = { beta1: 0.5, beta2: 0.5, epsilon: 0 };
        adamax(ctx, { dw, step, status, lossScale }, options, { w, m, u });
        updateLossScale(ctx, {}, { lossScale, status });
      }
    });
    // The overflow made the scale 1024: dw = (2, -4), m = (1, -2), u = (2, 4), w -= .5 / (1 - .5) * m / u.
    expect([...(await device().readFloats(m))]).to.deep.equal([1, -2]);
    expect([...(await device().readFloats(u))]).to.deep.equal([2, 4]);
    const weights = await device().readFloats(w);
    // Division is right to 2.5 ULP: https://www.w3.org/TR/WGSL/#floating-point-accuracy
    expect(weights[0]).to.be.closeTo(0.5, 5e-7);
    expect(weights[1]).to.be.closeTo(2.5, 5e-7);
    device().release(step, status, lossScale, w, m, u, ...gradients);
  });

  it("refuses a scale that is no power of two from 1 to 2^24, and counts that are none", () => {
    expect(readLossScale(lossScaleWords(state(2 ** 24, 3, 4)))).to.deep.equal(state(2 ** 24, 3, 4));
    for (const scale of [0.5, 3, 2 ** 25, NaN])
      expect(() => lossScaleWords(state(scale))).to.throw(
        `lossScale: scale: expected a power of two from 1 to 16777216, got ${scale}`,
      );
    expect(() => lossScaleWords(state(1, -1))).to.throw(
      "lossScale: goodSteps: expected an integer",
    );
  });
});
