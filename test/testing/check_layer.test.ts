import { expect } from "chai";
import { Conv2D } from "../../src/nn/conv2d.ts";
import { Dense } from "../../src/nn/dense.ts";
import { Dropout } from "../../src/nn/dropout.ts";
import { Flatten } from "../../src/nn/flatten.ts";
import type { Layer } from "../../src/nn/layer.ts";
import { LeakyReLU } from "../../src/nn/leaky_relu.ts";
import { MaxPool2D } from "../../src/nn/max_pool2d.ts";
import { Softmax } from "../../src/nn/softmax.ts";
import type { Shape } from "../../src/tensor.ts";
import {
  checkGradients,
  expectCorrectGradients,
  GradientError,
  type CheckOptions,
  type GradientReport,
} from "../../src/testing/index.ts";
import { useDevice } from "../support/device.ts";
import { errorOf, rejection } from "../support/errors.ts";
import { Frame, withDxTimes } from "./frame.ts";

describe("checkGradients of a layer", () => {
  const device = useDevice();
  const check = (layer: Layer, options: Partial<CheckOptions> = {}): Promise<GradientReport> =>
    checkGradients(layer, { device: device(), inputShape: [2, 5, 7, 3], ...options });

  const RIGHT: [string, () => Layer, Shape][] = [
    [
      "Conv2D same",
      () => new Conv2D("c", { filters: 4, kernelSize: [3, 3], padding: "same" }),
      [2, 5, 7, 3],
    ],
    [
      "Conv2D strides",
      () => new Conv2D("c", { filters: 3, kernelSize: [2, 3], strides: [2, 1], useBias: false }),
      [2, 5, 6, 2],
    ],
    ["Dense", () => new Dense("d", { units: 5 }), [3, 7]],
    ["LeakyReLU", () => new LeakyReLU("r", { slope: 0.3 }), [2, 5, 7, 3]],
    [
      "MaxPool2D",
      () => new MaxPool2D("p", { size: [3, 3], strides: [2, 2], padding: "same" }),
      [2, 5, 7, 3],
    ],
    ["Dropout", () => new Dropout("o", { rate: 0.25 }), [2, 5, 7, 3]],
    ["Flatten", () => new Flatten("f"), [2, 5, 7, 3]],
  ];
  for (const [name, make, inputShape] of RIGHT) {
    it(`${name} is right by its reference`, async () => {
      const report = await check(make(), { inputShape });
      expect(report.ok, report.message).to.equal(true);
      expect(report.tensors.map((tensor) => tensor.against)).to.include("float64 reference");
      expect(report.tensors.map((tensor) => tensor.name)).to.include.members(["y", "dx"]);
    });

    it(`${name} is right by differences of its own forward pass`, async () => {
      const report = await check(make(), { inputShape, reference: "none", maxElements: 64 });
      expect(report.ok, report.message).to.equal(true);
      expect(report.tensors[0]!.against).to.equal("differences of its own forward pass");
    });
  }

  it("Softmax is right forward; its gradient is the loss kernel's", async () => {
    const report = await check(new Softmax("s"), { inputShape: [3, 5] });
    expect(report.ok, report.message).to.equal(true);
    expect(report.tensors.map(({ name }) => name)).to.deep.equal(["y"]);
  });

  it("leaves a layer's own parameters and its trainable flag alone", async () => {
    const layer = new Dense("d", { units: 2 });
    layer.trainable = false;
    const own = (layer.parameters = []);
    await check(layer, { inputShape: [2, 3] });
    expect(layer.trainable).to.equal(false);
    expect(layer.parameters).to.equal(own);
  });

  it("gives all memory back, whether right or wrong", async () => {
    await check(new Dense("d", { units: 2 }), { inputShape: [2, 3] });
    const before = device().memory().liveTensors;
    await check(new Dense("d", { units: 2 }), { inputShape: [2, 3], reference: "none" });
    await check(withDxTimes({ NOT_A_NUMBER: true }));
    expect(device().memory().liveTensors).to.equal(before);
  });

  it("says that differences find no derivative where inputs lie at a kink", async () => {
    const x = new Float32Array(15).fill(1e-4);
    const report = await check(new LeakyReLU("r", { slope: 0 }), {
      inputShape: [3, 5],
      x,
      reference: "none",
    });
    expect(report.problems.map(({ kind }) => kind)).to.deep.equal(["not smooth"]);
    expect(report.message).to.contain("give inputs of your own");
  });

  it("takes a reference of one's own, and finds a forward pass that is another", async () => {
    const right = { forward: (x: Float64Array) => x.map((value) => 3 * value) };
    expect((await check(new Frame(), { reference: right })).problems).to.deep.equal([]);
    const other = { forward: (x: Float64Array) => x.map((value) => 3.5 * value) };
    const report = await check(new Frame(), { reference: other });
    expect(report.problems.map(({ kind }) => kind)).to.deep.equal(["forward", "gradient"]);
    expect(report.message).to.contain("the output of forward is not that of the reference");
  });

  it("throws a GradientError with the report, for runners without chai", async () => {
    const wrong = withDxTimes({ FACTOR: -3 });
    const options = { device: device(), inputShape: [2, 3] };
    const error: unknown = await errorOf(() => expectCorrectGradients(wrong, options));
    expect(error).to.be.instanceOf(GradientError);
    expect((error as GradientError).report.problems).to.have.length(1);
    await expectCorrectGradients(new Frame(), options);
  });

  it("refuses options that make no sense", async () => {
    const refused = (options: Partial<CheckOptions>) =>
      rejection(check(new Dense("d", { units: 2 }), { inputShape: [2, 3], ...options }));
    expect(await refused({ inputShape: [0, 3] })).to.contain(
      "inputShape: expected [n, ...] of integers above 0, got [0,3]",
    );
    expect(await refused({ x: new Float32Array(5) })).to.contain(
      "x: expected 6 values for [2,3], got 5",
    );
    expect(await refused({ dy: new Float32Array(5) })).to.contain(
      "dy: expected 4 values for [2,2], got 5",
    );
    expect(await refused({ parameters: { w: new Float32Array(1) } })).to.contain(
      'Dense "d" has no "w"; it has weight, bias',
    );
    expect(await refused({ parameters: { bias: new Float32Array(1) } })).to.contain(
      "parameters.bias: expected 2 values for [2], got 1",
    );
  });
});
