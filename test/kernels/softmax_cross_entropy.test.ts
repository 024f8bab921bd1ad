import { expect } from "chai";
import { roundToFloat16, toFloat16 } from "../../src/float16.ts";
import { softmaxCrossEntropy } from "../../src/kernels/softmax_cross_entropy.ts";
import { Random } from "../../src/random.ts";
import * as reference from "../../src/reference/softmax_cross_entropy.ts";
import { expectClose } from "../../src/testing/close.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16 } from "../support/skip.ts";
import { expectGradient } from "../../src/testing/differences.ts";
import { unwritten } from "../../src/testing/guarded.ts";
import { randomFloats, toFloat64 } from "../../src/testing/inputs.ts";

// WGSL allows exp 3 + 2|x| ULP, log 3 ULP or 2^-21 absolute (4 times 2^-23), division 2.5 ULP; the part of exp's
// error that grows with its argument is in the reference's `absSum`.
const TOLERANCE = { factor: 8 };

const randomLabels = (rows: number, classes: number, seed: number): Int32Array => {
  const random = new Random(seed, "labels");
  return Int32Array.from({ length: rows }, () => random.below(classes));
};

describe("softmaxCrossEntropy", () => {
  const device = useDevice();

  const run = async (
    x: Float32Array,
    labels: Int32Array,
    classes: number,
    classWeights?: Float32Array,
    {
      withGradient = true,
      stored = "float32",
      scale,
    }: { withGradient?: boolean; stored?: "float32" | "float16"; scale?: number } = {},
  ) => {
    const rows = labels.length;
    const inputs = {
      x: device().upload(stored === "float16" ? toFloat16(x) : x, [rows, classes], "x"),
      labels: device().upload(labels, [rows], "labels"),
      classWeights: classWeights && device().upload(classWeights, [classes], "classWeights"),
      lossScale:
        scale === undefined
          ? undefined
          : device().upload(Float32Array.of(scale, 7, 7, 7), [4], "lossScale"),
    };
    const rowLoss = unwritten(device(), [rows], "float32", "rowLoss");
    const correct = unwritten(device(), [rows], "uint32", "correct");
    const dx = unwritten(device(), [rows, classes], stored, "dx");
    await device().run("test", (ctx) => {
      softmaxCrossEntropy(ctx, inputs, {
        rowLoss: rowLoss.tensor,
        correct: correct.tensor,
        dx: withGradient ? dx.tensor : undefined,
      });
    });
    const result = {
      rowLoss: await rowLoss.readFloats(),
      correct: await correct.read(),
      dx: await dx.readFloats(),
    };
    for (const output of [rowLoss, correct, dx]) output.release();
    device().release(inputs.x, inputs.labels);
    if (inputs.classWeights) device().release(inputs.classWeights);
    if (inputs.lossScale) device().release(inputs.lossScale);
    return result;
  };

  for (const [rows, classes] of [
    [1, 1],
    [1, 3],
    [32, 3],
    [31, 10],
    [7, 9],
    [5, 300],
  ] as const)
    for (const weighted of [false, true])
      it(`x=[${rows},${classes}]${weighted ? " with class weights" : ""}`, async () => {
        const x = randomFloats([rows, classes], 1, "x", 4);
        const labels = randomLabels(rows, classes, 2);
        const weights = weighted
          ? randomFloats([classes], 3, "weights").map((value) => 1.5 + value)
          : undefined;
        const want = reference.softmaxCrossEntropy(toFloat64(x), labels, weights, classes);
        const got = await run(x, labels, classes, weights);
        expectClose(got.rowLoss, want.rowLoss, [rows], TOLERANCE);
        expectClose(got.dx, want.dx, [rows, classes], TOLERANCE);
        expect([...got.correct]).to.deep.equal([...want.correct]);
        const again = await run(x, labels, classes, weights);
        expect(again, "two runs are bit-identical").to.deep.equal(got);
      });

  it("multiplies the gradient by the loss scale, not the loss", async () => {
    const x = randomFloats([7, 9], 1, "x", 4);
    const labels = randomLabels(7, 9, 2);
    const plain = await run(x, labels, 9);
    const scaled = await run(x, labels, 9, undefined, { scale: 1024 });
    expect(scaled).to.deep.equal({ ...plain, dx: plain.dx.map((value) => 1024 * value) });
  });

  it("takes float16 logits and gives a scaled float16 gradient, the loss in float32", async function () {
    skipWithoutFloat16(this, device());
    const x = roundToFloat16(randomFloats([31, 3], 1, "x", 4));
    const labels = randomLabels(31, 3, 2);
    const weights = Float32Array.of(0.5, 1, 2);
    const want = reference.softmaxCrossEntropy(toFloat64(x), labels, weights, 3);
    const times1024 = (values: Float64Array) => values.map((value) => 1024 * value);
    const dx = {
      values: times1024(want.dx.values),
      absSum: times1024(want.dx.absSum),
      reduction: want.dx.reduction,
    };
    const got = await run(x, labels, 3, weights, { stored: "float16", scale: 1024 });
    expectClose(got.rowLoss, want.rowLoss, [31], TOLERANCE);
    expectClose(got.dx, dx, [31, 3], { ...TOLERANCE, stored: "float16" });
    expect([...got.correct]).to.deep.equal([...want.correct]);
  });

  it("has the gradient of the mean loss (central differences of the reference)", () => {
    const x = toFloat64(randomFloats([4, 5], 4, "x", 2));
    const labels = randomLabels(4, 5, 5);
    const weights = [0.5, 1, 2, 3, 0];
    const loss = (values: Float64Array) =>
      reference
        .softmaxCrossEntropy(values, labels, weights, 5)
        .rowLoss.values.reduce((sum, value) => sum + value / 4, 0);
    const { dx } = reference.softmaxCrossEntropy(x, labels, weights, 5);
    expectGradient(loss, x, dx.values);
  });

  it("neither overflows nor loses a small difference between large logits", async () => {
    const x = Float32Array.of(1e4, 1e4 + 1, -1e4, 3e38, 0, -3e38);
    const want = reference.softmaxCrossEntropy(toFloat64(x), [0, 0], undefined, 3);
    const got = await run(x, Int32Array.of(0, 0), 3);
    expectClose(got.rowLoss, want.rowLoss, [2], TOLERANCE);
    expectClose(got.dx, want.dx, [2, 3], { ...TOLERANCE, absolute: 1e-30 });
  });

  it("counts a tie for its first class", async () => {
    const x = Float32Array.of(1, 2, 2, 1, 2, 2, 5, 5, 5);
    const { correct } = await run(x, Int32Array.of(1, 2, 0), 3);
    expect([...correct]).to.deep.equal([1, 0, 1]);
  });

  it("gives NaN for a label outside the classes and leaves the other rows alone", async () => {
    const x = randomFloats([4, 3], 6);
    const labels = Int32Array.of(0, 3, -1, 2);
    const weights = Float32Array.of(1, 2, 3);
    const want = reference.softmaxCrossEntropy(toFloat64(x), labels, weights, 3);
    const got = await run(x, labels, 3, weights);
    expect([...got.rowLoss].map(Number.isNaN)).to.deep.equal([false, true, true, false]);
    expect([...got.dx.subarray(3, 9)].every(Number.isNaN)).to.equal(true);
    expect([...got.correct.subarray(1, 3)]).to.deep.equal([0, 0]);
    for (const row of [0, 3]) {
      expect(got.rowLoss[row]).to.be.closeTo(want.rowLoss.values[row]!, 1e-5);
      expect(got.dx[row * 3]).to.be.closeTo(want.dx.values[row * 3]!, 1e-6);
    }
  });

  it("lets a logit that is not finite show in the loss", async () => {
    const x = Float32Array.of(NaN, 1, 2, 1, NaN, 2, Infinity, 1, 2);
    const { rowLoss } = await run(x, Int32Array.of(1, 1, 1), 3);
    expect([...rowLoss].some(Number.isFinite)).to.equal(false);
  });

  it("computes the loss without a gradient", async () => {
    const x = randomFloats([3, 3], 7);
    const labels = Int32Array.of(0, 1, 2);
    const want = reference.softmaxCrossEntropy(toFloat64(x), labels, undefined, 3);
    const got = await run(x, labels, 3, undefined, { withGradient: false });
    expectClose(got.rowLoss, want.rowLoss, [3], TOLERANCE);
    expect(got.dx.every(Number.isNaN), "dx stays as it was").to.equal(true);
  });

  it("refuses labels of another length", async () => {
    const tensor = (shape: number[]) => device().tensor(shape, "float32", "t");
    const [x, labels, rowLoss, correct] = [tensor([2, 3]), tensor([3]), tensor([2]), tensor([2])];
    const failed = await device()
      .record("bad", (ctx) => {
        softmaxCrossEntropy(ctx, { x, labels }, { rowLoss, correct });
      })
      .catch((error: unknown) => error);
    expect(String(failed)).to.contain('softmaxCrossEntropy: labels "t": expected [2], got [3]');
    device().release(x, labels, rowLoss, correct);
  });
});
