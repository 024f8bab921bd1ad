import { expect } from "chai";
import type { Device } from "../../src/gpu/device.ts";
import type { DeviceOptions } from "../../src/gpu/device_core.ts";
import { adamax } from "../../src/kernels/adamax.ts";
import { clearStatus, stepState } from "../../src/kernels/step_state.ts";
import * as reference from "../../src/reference/adamax.ts";
import { expectClose } from "../../src/testing/close.ts";
import { useDevice } from "../support/device.ts";
import { guarded } from "../../src/testing/guarded.ts";
import { randomFloats, toFloat64 } from "../../src/testing/inputs.ts";

const OPTIONS = { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
const LEARNING_RATE = 0.002;
// Rate and betas are rounded to float32, the division may err by 2.5 ULP, the product and the sum by one half each.
const TOLERANCE = { factor: 4 };

interface State {
  w: Float32Array;
  m: Float32Array;
  u: Float32Array;
}

async function gpuStep(
  device: Device,
  dw: Float32Array,
  shape: number[],
  state: State,
  { step = 0, learningRate = LEARNING_RATE, options = OPTIONS, status = clearStatus() } = {},
): Promise<State> {
  const words = stepState({ step, learningRate, beta1: options.beta1, slot: 0 });
  const inputs = {
    dw: device.upload(dw, shape, "dw"),
    step: device.upload(words, [4], "step"),
    status: device.upload(status, [4], "status"),
  };
  const w = guarded(device, state.w, shape, "w");
  const m = guarded(device, state.m, shape, "m");
  const u = guarded(device, state.u, shape, "u");
  await device.run("test", (ctx) => {
    adamax(ctx, inputs, options, { w: w.tensor, m: m.tensor, u: u.tensor });
  });
  const next = { w: await w.readFloats(), m: await m.readFloats(), u: await u.readFloats() };
  for (const tensor of [w, m, u]) tensor.release();
  device.release(...Object.values(inputs));
  return next;
}

const randomState = (shape: number[]): State => ({
  w: randomFloats(shape, 1, "w"),
  m: randomFloats(shape, 2, "m", 0.1),
  u: randomFloats(shape, 3, "u").map(Math.abs),
});

const CASES: { name: string; options: DeviceOptions; shapes: number[][] }[] = [
  { name: "adamax", options: {}, shapes: [[1], [63], [65], [3, 3, 5, 7], [1000]] },
  {
    name: "adamax of parameters larger than one binding",
    options: { maxBindingBytes: 1024 },
    shapes: [[1000], [29, 31]],
  },
];

for (const { name, options, shapes } of CASES)
  describe(name, () => {
    const device = useDevice(options);

    for (const shape of shapes)
      it(`w=[${shape.join(",")}]`, async () => {
        const state = randomState(shape);
        const dw = randomFloats(shape, 4, "dw");
        const step = 2;
        const rate = LEARNING_RATE / (1 - OPTIONS.beta1 ** (step + 1));
        const want = reference.adamax(
          toFloat64(dw),
          { ...OPTIONS, rate },
          { w: toFloat64(state.w), m: toFloat64(state.m), u: toFloat64(state.u) },
        );
        const got = await gpuStep(device(), dw, shape, state, { step });
        expectClose(got.w, want.w, shape, TOLERANCE);
        expectClose(got.m, want.m, shape, TOLERANCE);
        expectClose(got.u, want.u, shape, TOLERANCE);
        expect(await gpuStep(device(), dw, shape, state, { step }), "repeated").to.deep.equal(got);
      });

    it("changes nothing once the status says that something was not finite", async () => {
      const shape = shapes.at(-1)!;
      const state = randomState(shape);
      const dw = randomFloats(shape, 4, "dw").fill(NaN, 0, 3);
      const status = Uint32Array.of(1, 0, 0, 0);
      expect(await gpuStep(device(), dw, shape, state, { status })).to.deep.equal(state);
    });

    it("leaves a parameter without gradient and history where it is", async () => {
      const zeros = new Float32Array(300);
      const state = { w: randomFloats([300], 1), m: zeros, u: zeros };
      expect(await gpuStep(device(), zeros, [300], state)).to.deep.equal(state);
    });
  });

describe("adamax, two steps worked by hand", () => {
  const device = useDevice();

  // learning rate .1, beta1 .5, beta2 .5, epsilon 0; w = (1, 2), m = u = 0.
  // Step 1, dw = (2, -4):  m = .5 * 0 + .5 * dw = (1, -2)    u = max(0, |dw|) = (2, 4)
  //   rate = .1 / (1 - .5) = .2                              w = (1 - .2 * 1/2, 2 + .2 * 2/4) = (.9, 2.1)
  // Step 2, dw = (-.5, -1): m = (.5 - .25, -1 - .5) = (.25, -1.5)
  //   u = (max(1, .5), max(2, 1)) = (1, 2)                   rate = .1 / (1 - .25) = .4/3
  //   w = (.9 - .4/3 * .25, 2.1 + .4/3 * .75) = (.9 - 1/30, 2.2)
  it("agrees", async () => {
    const options = { beta1: 0.5, beta2: 0.5, epsilon: 0 };
    const zeros = Float32Array.of(0, 0);
    const start = { w: Float32Array.of(1, 2), m: zeros, u: zeros };
    const common = { learningRate: 0.1, options };
    const first = await gpuStep(device(), Float32Array.of(2, -4), [2], start, common);
    expect([...first.m, ...first.u]).to.deep.equal([1, -2, 2, 4]);
    // The weights within the roundings of .1, of a division and of a sum near 1 or 2.
    expect(first.w[0]).to.be.closeTo(0.9, 1e-7);
    expect(first.w[1]).to.be.closeTo(2.1, 3e-7);
    const dw = Float32Array.of(-0.5, -1);
    const second = await gpuStep(device(), dw, [2], first, { ...common, step: 1 });
    expect([...second.m, ...second.u]).to.deep.equal([0.25, -1.5, 1, 2]);
    expect(second.w[0]).to.be.closeTo(0.9 - 1 / 30, 2e-7);
    expect(second.w[1]).to.be.closeTo(2.2, 5e-7);
  });

  it("refuses a state of another shape", async () => {
    const tensor = (label: string, shape: number[], dtype: "float32" | "uint32" = "float32") =>
      device().tensor(shape, dtype, label);
    const inputs = {
      dw: tensor("dw", [3]),
      step: tensor("step", [4], "uint32"),
      status: tensor("status", [4], "uint32"),
    };
    const state = { w: tensor("w", [3]), m: tensor("m", [3]), u: tensor("u", [4]) };
    const failed = await device()
      .record("bad", (ctx) => {
        adamax(ctx, inputs, OPTIONS, state);
      })
      .catch((error: unknown) => error);
    expect(String(failed)).to.contain('adamax: u "u": expected [3], got [4]');
    device().release(...Object.values(inputs), ...Object.values(state));
  });
});
