import { expect } from "chai";
import { roundToFloat16, toFloat16 } from "../../src/float16.ts";
import type { Context } from "../../src/gpu/context.ts";
import type { Device } from "../../src/gpu/device.ts";
import {
  dropout,
  dropoutGrad,
  dropoutThreshold,
  type DropoutOptions,
} from "../../src/kernels/dropout.ts";
import { stepState } from "../../src/kernels/step_state.ts";
import { philox4x32, seedWords, type Words4 } from "../../src/random.ts";
import type { Tensor } from "../../src/tensor.ts";
import * as reference from "../../src/reference/dropout.ts";
import { expectClose } from "../../src/testing/close.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16 } from "../support/skip.ts";
import { dot, expectGradient } from "../../src/testing/differences.ts";
import { randomFloats, toFloat64 } from "../../src/testing/inputs.ts";
import { expectLinearAndRepeatable, runKernel } from "../../src/testing/kernel.ts";

const DRAW = { rate: 0.25, seed: 42, layer: 3, step: 7 };
const SHAPES = [[1], [3], [4], [255], [257], [2, 5, 7, 3], [3, 11, 13, 17]];

async function run(
  device: Device,
  pass: "forward" | "backward",
  values: Float32Array,
  shape: number[],
  { step, ...options }: DropoutOptions & { step: number },
  stored: "float32" | "float16" = "float32",
): Promise<Float32Array> {
  const x = device.upload(stored === "float16" ? toFloat16(values) : values, shape, "x");
  const words = stepState({ step, learningRate: 0.002, beta1: 0.9, slot: 0 });
  const stepTensor = device.upload(words, [4], "step");
  const encode = (ctx: Context, out: Tensor) => {
    if (pass === "forward") dropout(ctx, { x, step: stepTensor }, options, out);
    else dropoutGrad(ctx, { dy: x, step: stepTensor }, options, out);
  };
  const y = await runKernel(device, shape, encode, stored);
  device.release(x, stepTensor);
  return y;
}

describe("dropout", () => {
  const device = useDevice();

  for (const shape of SHAPES)
    for (const rate of [0, 0.25, 0.5, 0.9])
      it(`x=[${shape.join(",")}] rate=${rate}`, async () => {
        const x = randomFloats(shape, 1);
        const draw = { ...DRAW, rate };
        const y = await run(device(), "forward", x, shape, draw);
        expectClose(y, reference.dropout(toFloat64(x), draw), shape);
      });

  for (const shape of [[3], [257], [2, 5, 7, 4]])
    it(`x=[${shape.join(",")}] float16, the mask of float32`, async function () {
      skipWithoutFloat16(this, device());
      const x = roundToFloat16(randomFloats(shape, 1));
      const want = reference.dropout(toFloat64(x), DRAW);
      for (const pass of ["forward", "backward"] as const)
        expectClose(await run(device(), pass, x, shape, DRAW, "float16"), want, shape, {
          stored: "float16",
        });
    });

  // An element is kept iff its word is at least rate * 2^32, so two rates pin a word down to the bit.
  const KNOWN: { name: string; draw: Omit<typeof DRAW, "rate">; words?: Words4 }[] = [
    {
      // Random123 1.14, tests/kat_vectors, philox4x32 10 rounds, counter and key 0.
      name: "Random123's known answer",
      draw: { seed: 0, layer: 0, step: 0 },
      words: [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    },
    { name: "a seed above 2^32", draw: { seed: 2 ** 53 - 1, layer: 1, step: 2 } },
    {
      name: "the largest step and layer",
      draw: { seed: 0xffffffff, layer: 0xffffffff, step: 0xffffffff },
    },
    { name: "digits of pi", draw: { seed: 0xa4093822, layer: 0x13198a2e, step: 0x85a308d3 } },
  ];
  for (const { name, draw, words } of KNOWN)
    it(`draws the words of philox4x32: ${name}`, async () => {
      const count = 8;
      const ones = new Float32Array(count).fill(1);
      const want = [0, 1].flatMap((block) =>
        philox4x32([block, draw.step, draw.layer, 0], seedWords(draw.seed)),
      );
      if (words) expect(want.slice(0, 4)).to.deep.equal(words);
      for (const [i, word] of want.entries()) {
        const kept = async (rate: number) =>
          (await run(device(), "forward", ones, [count], { ...draw, rate }))[i] !== 0;
        expect(await kept(word / 2 ** 32), `word ${i} at its own value`).to.equal(true);
        expect(await kept((word + 1) / 2 ** 32), `word ${i} one above`).to.equal(false);
      }
    });

  it("keeps the expected fraction and mean", async () => {
    const shape = [100000];
    const ones = new Float32Array(shape[0]!).fill(1);
    const y = await run(device(), "forward", ones, shape, DRAW);
    const kept = y.filter((value) => value !== 0).length / y.length;
    // Four standard deviations of a binomial: 4 * sqrt(.75 * .25 / 100000) = .0055.
    expect(kept).to.be.closeTo(0.75, 0.0055);
    expect(y.reduce((sum, value) => sum + value, 0) / y.length).to.be.closeTo(1, 0.0075);
  });

  it("draws another mask for another step, layer and seed", async () => {
    const ones = new Float32Array(64).fill(1);
    const masks = [DRAW, { ...DRAW, step: 8 }, { ...DRAW, layer: 4 }, { ...DRAW, seed: 43 }];
    const drawn = await Promise.all(
      masks.map(async (draw) => (await run(device(), "forward", ones, [64], draw)).join()),
    );
    expect(new Set(drawn).size).to.equal(4);
  });

  it("does not depend on the size of the workgroups", async () => {
    const count = 1001;
    const x = randomFloats([count], 2);
    const want = await run(device(), "forward", x, [count], DRAW);
    const input = device().upload(x, [count], "x");
    const words = stepState({ step: DRAW.step, learningRate: 0.002, beta1: 0.9, slot: 0 });
    const step = device().upload(words, [4], "step");
    for (const WG_SIZE of [1, 32, 128]) {
      const y = await runKernel(device(), [count], (ctx, out) => {
        const dispatch = (dispatched: Parameters<typeof ctx.dispatch>[0]) => {
          ctx.dispatch({
            ...dispatched,
            constants: { ...dispatched.constants, WG_SIZE },
            workgroups: [Math.ceil(count / (4 * WG_SIZE))],
          });
        };
        const other = { device: ctx.device, dispatch } as typeof ctx;
        dropout(other, { x: input, step }, DRAW, out);
      });
      expect(y, `WG_SIZE ${WG_SIZE}`).to.deep.equal(want);
    }
    device().release(input, step);
  });

  it("refuses a rate that keeps nothing or is none", () => {
    expect(dropoutThreshold(0)).to.equal(0);
    expect(dropoutThreshold(0.5)).to.equal(2 ** 31);
    expect(dropoutThreshold(0.1)).to.equal(429496730);
    expect(dropoutThreshold(1 - 2 ** -32)).to.equal(2 ** 32 - 1);
    for (const rate of [1, -0.1, NaN, 1 - 2 ** -40])
      expect(() => dropoutThreshold(rate)).to.throw(
        `dropout: rate: expected 0 <= rate <= 1 - 2^-32, got ${rate}`,
      );
  });

  it("refuses an output of another shape", async () => {
    const x = device().tensor([4], "float32", "x");
    const y = device().tensor([2, 2], "float32", "y");
    const step = device().tensor([4], "uint32", "step");
    const failed = await device()
      .record("bad", (ctx) => {
        dropout(ctx, { x, step }, DRAW, y);
      })
      .catch((error: unknown) => error);
    expect(String(failed)).to.contain('dropout: y "y": expected [4], got [2,2]');
    device().release(x, y, step);
  });
});

describe("dropoutGrad", () => {
  const device = useDevice();

  for (const shape of SHAPES)
    it(`x=[${shape.join(",")}]`, async () => {
      const x = randomFloats(shape, 3);
      const dy = randomFloats(shape, 4);
      const want = reference.dropout(toFloat64(dy), DRAW);
      if (x.length < 1000)
        expectGradient(
          (v) => dot(reference.dropout(v, DRAW).values, toFloat64(dy)),
          toFloat64(x),
          want.values,
        );
      expectClose(await run(device(), "backward", dy, shape, DRAW), want, shape);
      await expectLinearAndRepeatable(dy, (v) => run(device(), "backward", v, shape, DRAW));
    });

  it("has the mask of forward", async () => {
    const ones = new Float32Array(999).fill(1);
    const y = await run(device(), "forward", ones, [999], DRAW);
    expect(await run(device(), "backward", ones, [999], DRAW)).to.deep.equal(y);
  });
});

describe("dropout of a tensor larger than one binding", () => {
  const device = useDevice({ maxBindingBytes: 1024 });

  it("draws the same mask in windows", async () => {
    const shape = [7, 11, 13];
    const x = randomFloats(shape, 5);
    const want = reference.dropout(toFloat64(x), DRAW);
    expectClose(await run(device(), "forward", x, shape, DRAW), want, shape);
    expectClose(await run(device(), "backward", x, shape, DRAW), want, shape);
  });
});
