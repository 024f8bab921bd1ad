import { expect } from "chai";
import { batchMetrics } from "../../src/kernels/batch_metrics.ts";
import { clearStatus, stepState } from "../../src/kernels/step_state.ts";
import { batchLoss } from "../../src/reference/batch_metrics.ts";
import { expectClose } from "../../src/testing/close.ts";
import { useDevice } from "../support/device.ts";
import { guarded, unwritten } from "../../src/testing/guarded.ts";
import { randomFloats, toFloat64 } from "../../src/testing/inputs.ts";

const SLOTS = 3;

describe("batchMetrics", () => {
  const device = useDevice();

  const run = async (rowLoss: Float32Array, correct: Uint32Array, step: number, slot: number) => {
    const rows = rowLoss.length;
    const words = stepState({ step, learningRate: 0.002, beta1: 0.9, slot });
    const inputs = {
      rowLoss: device().upload(rowLoss, [rows], "rowLoss"),
      correct: device().upload(correct, [rows], "correct"),
      step: device().upload(words, [4], "step"),
    };
    const loss = unwritten(device(), [], "float32", "loss");
    const log = guarded(device(), new Float32Array(SLOTS * 4).fill(-7), [SLOTS, 4], "log");
    const status = guarded(device(), clearStatus(), [4], "status");
    await device().run("test", (ctx) => {
      batchMetrics(ctx, inputs, { loss: loss.tensor, log: log.tensor, status: status.tensor });
    });
    const result = {
      loss: await loss.readFloats(),
      log: await log.readFloats(),
      status: await status.read(),
    };
    for (const output of [loss, log, status]) output.release();
    device().release(...Object.values(inputs));
    return result;
  };

  for (const rows of [1, 3, 32, 63, 64, 65, 1000])
    it(`${rows} rows`, async () => {
      const rowLoss = randomFloats([rows], 1).map((value) => 2 + value);
      const correct = Uint32Array.from(rowLoss, (value) => Number(value < 2));
      const count = correct.reduce((a, b) => a + b);
      const got = await run(rowLoss, correct, 5, 1);
      expectClose(got.loss, batchLoss(toFloat64(rowLoss)), []);
      expect([...got.log]).to.deep.equal([
        ...[-7, -7, -7, -7],
        ...[got.loss[0], count, rows, 0],
        ...[-7, -7, -7, -7],
      ]);
      expect(got.status).to.deep.equal(clearStatus());
      expect(await run(rowLoss, correct, 5, 1), "two runs are bit-identical").to.deep.equal(got);
    });

  for (const bad of [NaN, Infinity, -Infinity])
    it(`raises the status for a loss of ${bad}`, async () => {
      const rowLoss = Float32Array.of(1, 2, bad, 4);
      const { status, log } = await run(rowLoss, new Uint32Array(4), 17, 0);
      expect([...status]).to.deep.equal([1, 17, 0, 0]);
      expect([...log.subarray(1, 4)]).to.deep.equal([0, 4, 1]);
      expect(Number.isFinite(log[0])).to.equal(false);
    });

  it("writes no row of the log for a slot past its end", async () => {
    const { log, loss } = await run(Float32Array.of(3), Uint32Array.of(1), 0, SLOTS);
    expect(loss[0]).to.equal(3);
    expect([...log].every((value) => value === -7)).to.equal(true);
  });

  it("keeps the first bad step and says in later rows that there was one", async () => {
    const inputs = {
      rowLoss: device().upload(Float32Array.of(1), [1], "rowLoss"),
      correct: device().upload(Uint32Array.of(1), [1], "correct"),
      step: device().upload(
        stepState({ step: 9, learningRate: 1, beta1: 0, slot: 0 }),
        [4],
        "step",
      ),
    };
    const outputs = {
      loss: device().tensor([], "float32", "loss"),
      log: device().tensor([1, 4], "float32", "log"),
      status: device().upload(Uint32Array.of(1, 4, 0, 0), [4], "status"),
    };
    await device().run("test", (ctx) => {
      batchMetrics(ctx, inputs, outputs);
    });
    expect([...(await device().read(outputs.log))]).to.deep.equal([1, 1, 1, 1]);
    expect([...(await device().read(outputs.status))]).to.deep.equal([1, 4, 0, 0]);
    device().release(...Object.values(inputs), ...Object.values(outputs));
  });
});
