import { expect } from "chai";
import { readdirSync, readFileSync } from "node:fs";
import { analyseProfile } from "../../src/profile/analyse.ts";
import { formatProfile } from "../../src/profile/format.ts";
import { workOf } from "../../src/profile/work.ts";
import { DENSE, RECORDING, RELU } from "./fixture.ts";

describe("analyseProfile", () => {
  const profile = analyseProfile(RECORDING, { phase: "steps" });

  it("counts from the encoding of the first step to the end of the phase", () => {
    expect(profile).to.include({ step: "step", steps: 2, wallMs: 31, gpuMs: 15 });
    expect(profile.busyMs + profile.idleMs).to.equal(profile.wallMs);
    expect(profile.busyMs).to.equal(15);
  });

  it("says why the GPU was idle, moment by moment", () => {
    const idle = Object.fromEntries(profile.idle.map(({ reason, ms }) => [reason, ms]));
    expect(idle).to.deep.equal({
      "a result is on its way to the host": 8, // 20 to 28
      "the host computes (batches, callbacks)": 2, // 28 to 30
      "the host encodes": 2, // 10 to 11, 30 to 31
      "the host submits": 2,
      "between dispatches of one submission": 1, // 17 to 18
      "the host has yet to hear that the GPU is done": 1, // 40 to 41
    });
  });

  it("adds up by layer and by kernel, a step at a time, the longest first", () => {
    const rows = ({ layers, kernels }: typeof profile) =>
      [layers, kernels].map((all) => all.map(({ name, calls, ms }) => [name, calls, ms]));
    expect(rows(profile)).to.deep.equal([
      [
        ["head forward", 1, 5],
        ["relu forward", 1, 2.5],
      ],
      [
        ["matmul_tiled", 1, 5],
        ["leaky_relu", 1, 2.5],
      ],
    ]);
    expect(profile.layers.map(({ share }) => share)).to.deep.equal([2 / 3, 1 / 3]);
    expect(profile.layers[1]).to.include({ p10Ms: 2, p90Ms: 3 });
  });

  it("counts operations and bytes of a step", () => {
    expect(profile.layers[0]).to.include({ flops: 64, bytes: 144 });
    expect(profile.layers[1]).to.include({ flops: 8, bytes: 32 });
  });

  it("has no ceiling unless it is given one", () => {
    expect(profile.layers[0]).not.to.have.any.keys("ceilingShare", "bound");
    expect(formatProfile(profile)).to.include("not measured");
  });

  it("finds which ceiling is met first, and how near", () => {
    // 64 operations take 4 ms at 16 op/ms, 144 bytes 1.44 ms at 100 bytes/ms; 8 take 0.5 ms, 32 bytes 0.32 ms.
    const ceilings = { gflops: 16e-6, gbps: 100e-6 };
    const [dense, relu] = analyseProfile(RECORDING, { phase: "steps", ceilings }).layers;
    expect(dense).to.include({ bound: "compute", ceilingShare: 4 / 5 });
    expect(relu).to.include({ bound: "compute", ceilingShare: 0.5 / 2.5 });
    const narrow = { gflops: 16e-6, gbps: 10e-6 };
    const [bound] = analyseProfile(RECORDING, { phase: "steps", ceilings: narrow }).layers;
    expect(bound).to.include({ bound: "memory" });
    expect(bound?.ceilingShare).to.be.closeTo(14.4 / 5, 1e-12);
  });

  it("calls it launch where little work takes no longer than the shortest dispatch", () => {
    const ceilings = { gflops: 1, gbps: 1 };
    const rows = analyseProfile(RECORDING, { phase: "steps", ceilings }).layers;
    expect(rows.map(({ bound }) => bound)).to.deep.equal(["launch", "launch"]);
  });

  it("takes spans that run side by side once for the busy time, twice for the sum", () => {
    const [first, second, ...rest] = RECORDING.gpu;
    const overlapping = { ...RECORDING, gpu: [first!, { ...second!, startMs: 14 }, ...rest] };
    const { busyMs, gpuMs, idleMs } = analyseProfile(overlapping, { phase: "steps" });
    expect({ busyMs, gpuMs, idleMs }).to.deep.equal({ busyMs: 16, gpuMs: 19, idleMs: 15 });
  });

  it("refuses a phase that was not recorded, and a recording of nothing", () => {
    expect(() => analyseProfile(RECORDING, { phase: "nap" })).to.throw(
      'profile: no phase "nap" was recorded; name one with device.span',
    );
    expect(() => analyseProfile({ ...RECORDING, gpu: [] })).to.throw(
      "profile: nothing was submitted to the GPU while it was taken",
    );
  });
});

describe("workOf", () => {
  it("takes what a dispatch declares", () => {
    expect(workOf({ ...DENSE, flops: 7, bytes: 9 })).to.deep.equal({ flops: 7, bytes: 9 });
  });

  it("knows no operations of a kernel that it does not know", () => {
    expect(workOf({ ...RELU, shader: "swish" })).to.deep.equal({ flops: undefined, bytes: 32 });
  });

  it("counts convolutions with their padding, whichever pass", () => {
    const params = { n: 2, inC: 3, outC: 4, kH: 5, kW: 6, outH: 7, outW: 8 };
    const flops = 2 * (2 * 7 * 8) * 4 * (5 * 6 * 3);
    for (const shader of ["conv2d_implicit_gemm", "conv2d_input_grad", "conv2d_weight_grad"])
      expect(workOf({ ...DENSE, shader, params }).flops, shader).to.equal(flops);
    const strided = { ...DENSE, shader: "conv2d_subgroup", params };
    expect(workOf({ ...strided, constants: { UP_H: 2, UP_W: 2 } }).flops).to.equal(flops / 4);
  });

  it("knows every kernel of this project", () => {
    const folder = new URL("../../shaders/", import.meta.url);
    const shaders = readdirSync(folder).flatMap(
      (file) => /^(?!bench_)(.+)\.wgsl$/.exec(file)?.[1] ?? [],
    );
    expect(shaders).to.include("conv2d");
    // Their own params, all 1: those tell products and convolutions from the rest.
    for (const shader of shaders) {
      const text = readFileSync(new URL(`${shader}.wgsl`, folder), "utf8");
      const fields = /struct Params \{([^}]*)\}/.exec(text)?.[1] ?? "";
      const params = Object.fromEntries([...fields.matchAll(/(\w+)\s*:/g)].map((m) => [m[1]!, 1]));
      const { flops } = workOf({ ...RELU, shader, params });
      expect(flops, `operations of ${shader}.wgsl: add it to src/profile/work.ts`).to.be.a(
        "number",
      );
    }
  });

  it("counts what is updated in place twice", () => {
    const state = { label: "w", shape: [4], dtype: "float32", access: "read_write" } as const;
    const adamax = { ...RELU, shader: "adamax", tensors: [...RELU.tensors.slice(0, 1), state] };
    expect(workOf(adamax).bytes).to.equal(16 + 2 * 16);
    const add = { ...DENSE, constants: { ACCUMULATE: true } };
    expect(workOf(add).bytes).to.equal(64 + 64 + 2 * 16);
  });
});
