import { expect } from "chai";
import type { Task } from "../../bench/engine.ts";
import { chosenAlgorithm, operationOf, unsupportedReason } from "../../bench/kernels.ts";
import type { Device } from "../../src/gpu/device.ts";
import { Choices } from "../../src/kernels/choices.ts";

/** What a large GPU says of itself, as far as algorithms go by it. */
const GPU = {
  ...{
    subgroupSize: 32,
    maxBindingBytes: 2 ** 30,
    limits: { maxComputeInvocationsPerWorkgroup: 1024, minStorageBufferOffsetAlignment: 16 },
  },
  summary: { software: false, class: "hardware", kind: "discrete" },
} as unknown as Device;

const CONV: Task = {
  ...{ pass: "weightGrad", algorithm: "auto", precision: "float32" },
  work: {
    ...{ op: "conv2d", n: 32, inH: 8, inW: 8, inC: 16, kH: 3, kW: 3, outC: 16 },
    ...{ stride: [1, 1], dilation: [1, 1] },
    padding: [
      [1, 1],
      [1, 1],
    ],
  },
};
const DENSE: Task = { ...CONV, work: { op: "dense", n: 32, inC: 64, outC: 8 } };

describe("bench: algorithms", () => {
  for (const [name, task, byKind, measured] of [
    ["a convolution", CONV, "implicit_gemm", "winograd"],
    ["a dense layer", DENSE, "tiled", "direct"],
  ] as const) {
    it(`auto takes for ${name} what was measured, else goes by the kind of adapter`, () => {
      expect(chosenAlgorithm(GPU, task)).to.equal(byKind);
      const choices = new Choices();
      choices.set(operationOf(task)!, measured);
      expect(chosenAlgorithm(GPU, task, choices)).to.equal(measured);
      expect(chosenAlgorithm(GPU, { ...task, algorithm: "direct" }, choices)).to.equal("direct");
    });

    it(`subgroups too large for the shaders leave ${name} out, rather than let it fail`, () => {
      expect(unsupportedReason(GPU, { ...task, algorithm: "subgroup" })).to.contain("32 lanes");
    });
  }

  it("a measured algorithm that cannot run here is passed over", () => {
    const choices = new Choices([]);
    choices.set(operationOf(DENSE)!, "subgroup");
    expect(chosenAlgorithm(GPU, DENSE, choices)).to.equal("tiled");
  });
});
