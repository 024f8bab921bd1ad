import { expect } from "chai";
import { Swish } from "../../examples/swish/swish.ts";
import { WrongSwish } from "../../examples/swish/wrong_swish.ts";
import type { Device } from "../../src/gpu/device.ts";
import { Conv2D } from "../../src/nn/conv2d.ts";
import { Dense } from "../../src/nn/dense.ts";
import { Flatten } from "../../src/nn/flatten.ts";
import type { Layer } from "../../src/nn/layer.ts";
import { Sequential } from "../../src/nn/model.ts";
import { checkGradients } from "../../src/testing/index.ts";
import { rejection } from "../support/errors.ts";
import { useDevice } from "../support/device.ts";
import { TINY } from "../support/tiny.ts";

const withLayer = (layer: Layer, units = 3): Sequential =>
  new Sequential({
    input: [6, 6, 2],
    layers: [
      new Conv2D("conv1", { filters: 3, kernelSize: [3, 3] }),
      layer,
      new Flatten("flatten"),
      new Dense("dense1", { units }),
    ],
  });

describe("checkGradients of a network", () => {
  const device = useDevice();

  for (const seed of [1, 2, 3])
    it(`agrees with differences of the loss, dropout and all, seed ${seed}`, async () => {
      const report = await checkGradients(new Sequential(TINY), { device: device(), seed });
      expect(report.ok, report.message).to.equal(true);
      expect(report.tensors.map(({ name }) => name)).to.deep.equal(
        ["Conv2D conv1", "Conv2D conv2", "Dense dense1", "Dense dense2"].map((text) =>
          text.replace(/(\w+) (\w+)/, 'gradients of $1 "$2"'),
        ),
      );
    });

  it("takes the device of a network that is built, and refuses another", async () => {
    const model = await new Sequential(TINY).build(device(), { seed: 1, batchSize: 2 });
    const report = await checkGradients(model);
    expect(report.ok, report.message).to.equal(true);
    const other = checkGradients(model, { device: Object.create(device()) as Device });
    expect(await rejection(other)).to.match(/device: the network is built for another one/);
    model.destroy();
  });

  it("takes the output itself for the loss of a network with one output", async () => {
    const report = await checkGradients(withLayer(new Swish("swish1"), 1), { device: device() });
    expect(report.ok, report.message).to.equal(true);
  });

  it("names the layer whose parameters have a wrong gradient, and no other", async () => {
    const report = await checkGradients(withLayer(new WrongSwish("swish1")), { device: device() });
    expect(report.problems).to.have.length(1);
    expect(report.message).to.contain(
      'WrongSwish "swish1": along its gradient the loss changes at',
    );
    expect(report.problems[0]!.tensor!.worst!.got).to.be.greaterThan(0);
    expect(report.problems[0]!.tensor!.worst!.want).to.be.lessThan(0);
  });

  it("finds a dx that is wrong through the layers below it", async () => {
    /** Right gradients of its parameters, but what it hands down is dy as it came. */
    class PassesDyOn extends Dense {
      override backward(...args: Parameters<Dense["backward"]>) {
        super.backward(...args);
        const [, { dy }, needsDx] = args;
        return needsDx ? dy : undefined;
      }
    }
    const model = new Sequential({
      input: [4, 4, 1],
      layers: [
        new Flatten("flatten"),
        new Dense("dense1", { units: 6 }),
        new PassesDyOn("dense2", { units: 6 }),
        new Dense("dense3", { units: 3 }),
      ],
    });
    const report = await checkGradients(model, { device: device() });
    expect(report.problems.map(({ message }) => message.split(":")[0])).to.include(
      'Dense "dense1"',
    );
    expect(report.message).not.to.contain('Dense "dense3": along');
  });

  it("gives a built model its parameters back, and builds one that is not", async () => {
    const model = await new Sequential(TINY).build(device(), { seed: 3, batchSize: 2 });
    const values = async () =>
      Promise.all(model.parameters().map(async ({ value }) => device().readFloats(value)));
    const before = await values();
    expect((await checkGradients(model, { device: device() })).ok).to.equal(true);
    expect(await values()).to.deep.equal(before);
    expect(model.parameters().every(({ grad }) => grad === undefined)).to.equal(true);
    model.destroy();
    const memory = device().memory().liveTensors;
    await checkGradients(new Sequential(TINY), { device: device() });
    expect(device().memory().liveTensors).to.equal(memory);
  });

  it("checks only what learns", async () => {
    const model = new Sequential(TINY);
    model.freeze(["conv1", "conv2", "dense1"]);
    const report = await checkGradients(model, { device: device() });
    expect(report.tensors.map(({ name }) => name)).to.deep.equal(['gradients of Dense "dense2"']);
  });
});
