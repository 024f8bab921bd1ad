import { expect, use } from "chai";
import { WrongSwish } from "../../examples/swish/wrong_swish.ts";
import { Dense } from "../../src/nn/dense.ts";
import { Sequential } from "../../src/nn/model.ts";
import { elementwise, tuningforkChai } from "../../src/testing/index.ts";
import { useDevice } from "../support/device.ts";
import { TINY } from "../support/tiny.ts";

use(tuningforkChai);

const messageOf = async (assertion: () => Promise<void>): Promise<string> => {
  try {
    await assertion();
    return "";
  } catch (error) {
    return error instanceof Error ? `${error.constructor.name}: ${error.message}` : "";
  }
};

describe("tuningforkChai", () => {
  const device = useDevice();
  const values = Float32Array.of(1, 2, 3);

  it("correctGradients of a layer and of a network", async () => {
    await expect(new Dense("d", { units: 2 })).to.have.correctGradients({
      device: device(),
      inputShape: [2, 3],
    });
    await expect(new Sequential(TINY)).to.have.correctGradients({ device: device() });
  });

  it("correctGradients fails with the report, and its negation passes", async () => {
    const options = { device: device(), inputShape: [2, 3] };
    const wrong = new WrongSwish("swish1");
    expect(await messageOf(() => expect(wrong).to.have.correctGradients(options))).to.contain(
      'AssertionError: WrongSwish "swish1" at [2,3]: 1 problem\n- dbeta is -1 times what it should be',
    );
    await expect(wrong).not.to.have.correctGradients(options);
    const right = new Dense("d", { units: 2 });
    expect(await messageOf(() => expect(right).not.to.have.correctGradients(options))).to.contain(
      "wrong gradients were expected",
    );
  });

  it("correctGradients says what it needs", async () => {
    expect(
      await messageOf(() => expect(new Dense("d", { units: 2 })).to.have.correctGradients()),
    ).to.contain("inputShape: expected e.g. [2,7,7,3], got nothing");
  });

  it("closeToReference of arrays, within the bound and beyond it", async () => {
    const want = Float64Array.of(1, 2, 3 + 2e-7);
    await expect(values).to.be.closeToReference(want);
    await expect(values).to.be.closeToReference(elementwise(want));
    const far = Float64Array.of(1, 2, 3.00001);
    await expect(values).not.to.be.closeToReference(far);
    await expect(values).to.be.closeToReference(far, { factor: 100 });
    expect(
      await messageOf(() => expect(values).to.be.closeToReference(far, { shape: [1, 3] })),
    ).to.match(
      /1 of 3 elements differ from the reference\n +element +got +want +bound\n +\[0,2\] +3\.000000 +3\.000010 +3\.6e-7 +worst/,
    );
    expect(
      await messageOf(() => expect(values).to.be.closeToReference(Float64Array.of(1))),
    ).to.contain("the reference has 1 elements, the result has 3");
  });

  it("closeToReference of a tensor of a device", async () => {
    const tensor = device().upload(values, [3], "t");
    await expect(tensor).to.be.closeToReference(Float64Array.of(1, 2, 3), { device: device() });
    expect(
      await messageOf(() => expect(tensor).to.be.closeToReference(Float64Array.of(1, 2, 3))),
    ).to.contain("a tensor is read from its device; give { device }");
    device().release(tensor);
    expect(
      await messageOf(() => expect("x").to.be.closeToReference(Float64Array.of(1))),
    ).to.contain("expected a Float32Array or a tensor, got neither");
  });
});
