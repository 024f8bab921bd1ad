import { expect, use } from "chai";
import { openDevice, type Device } from "tuningfork";
import { checkGradients, tuningforkChai } from "tuningfork/testing";
import { Swish } from "./swish.ts";
import { WrongSwish } from "./wrong_swish.ts";

use(tuningforkChai);

describe("Swish", () => {
  let device: Device;
  before(async function () {
    this.timeout(60_000);
    device = await openDevice();
  });
  after(() => {
    device.destroy();
  });

  // Odd sizes, and one value more than a workgroup takes.
  for (const inputShape of [
    [2, 7, 7, 3],
    [3, 5],
    [1, 65],
    [1, 1, 1, 1],
  ])
    it(`has the gradients of its forward pass at [${inputShape.join(",")}]`, async () => {
      await expect(new Swish("swish1")).to.have.correctGradients({ device, inputShape });
    });

  it("computes the formula", async () => {
    const forward = (x: Float64Array, { beta = x }: Record<string, Float64Array>) =>
      x.map((value, i) => value / (1 + Math.exp(-(beta[i % beta.length] ?? NaN) * value)));
    const options = { device, inputShape: [2, 4, 5, 3], reference: { forward } };
    await expect(new Swish("swish1")).to.have.correctGradients(options);
  });

  it("with a wrong sign is found out, and told why", async () => {
    const report = await checkGradients(new WrongSwish("swish1"), {
      device,
      inputShape: [2, 7, 7, 3],
    });
    expect(report.ok).to.equal(false);
    expect(report.message).to.contain("dbeta is -1 times what it should be: a sign is wrong");
    expect(report.problems).to.have.length(1);
  });
});
