import { expect } from "chai";
import { leakyRelu, leakyReluBiasGrad, leakyReluGrad } from "../../src/kernels/leaky_relu.ts";
import { biasGrad } from "../../src/reference/bias_grad.ts";
import { roundToFloat16, toFloat16 } from "../../src/float16.ts";
import type { Context } from "../../src/gpu/context.ts";
import type { Device } from "../../src/gpu/device.ts";
import type { Tensor } from "../../src/tensor.ts";
import * as reference from "../../src/reference/leaky_relu.ts";
import { expectClose } from "../../src/testing/close.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16 } from "../support/skip.ts";
import { dot, expectGradient } from "../../src/testing/differences.ts";
import { awayFromZero, randomFloats, toFloat64 } from "../../src/testing/inputs.ts";
import { expectLinearAndRepeatable, runKernel } from "../../src/testing/kernel.ts";

const SHAPES = [[1], [63], [65], [2, 5, 7, 3], [3, 11, 13, 17], [1, 1, 1, 1], [3, 5, 7, 12]];
const SLOPES = [0, 0.3, 1.5, -0.2];

describe("leakyRelu", () => {
  const device = useDevice();

  for (const shape of SHAPES)
    for (const slope of SLOPES)
      it(`x=[${shape.join(",")}] slope=${slope}`, async () => {
        const x = randomFloats(shape, 1);
        const input = device().upload(x, shape, "x");
        const y = await runKernel(device(), shape, (ctx, out) => {
          leakyRelu(ctx, { x: input }, { slope }, out);
        });
        device().release(input);
        expectClose(y, reference.leakyRelu(toFloat64(x), slope), shape);
      });

  for (const shape of [[5], [64], [3, 11, 13, 17]])
    it(`x=[${shape.join(",")}] float16`, async function () {
      skipWithoutFloat16(this, device());
      const x = roundToFloat16(randomFloats(shape, 1));
      const input = device().upload(toFloat16(x), shape, "x");
      const encode = (ctx: Context, out: Tensor) => {
        leakyRelu(ctx, { x: input }, { slope: 0.3 }, out);
      };
      const y = await runKernel(device(), shape, encode, "float16");
      device().release(input);
      expectClose(y, reference.leakyRelu(toFloat64(x), 0.3), shape, { stored: "float16" });
    });

  it("refuses an output of another shape", async () => {
    const x = device().upload(new Float32Array(6), [2, 3], "x");
    const y = device().tensor([3, 2], "float32", "y");
    const failed = await device()
      .record("bad", (ctx) => {
        leakyRelu(ctx, { x }, { slope: 0 }, y);
      })
      .catch((error: unknown) => error);
    expect(String(failed)).to.contain('leakyRelu: y "y": expected [2,3], got [3,2]');
    device().release(x, y);
  });
});

describe("leakyReluGrad", () => {
  const device = useDevice();

  for (const shape of [[65], [3, 5, 7, 12]])
    it(`x=[${shape.join(",")}] float16`, async function () {
      skipWithoutFloat16(this, device());
      const x = roundToFloat16(awayFromZero(shape, 2));
      const dy = roundToFloat16(randomFloats(shape, 3));
      const inputs = {
        x: device().upload(toFloat16(x), shape, "x"),
        dy: device().upload(toFloat16(dy), shape, "dy"),
      };
      const encode = (ctx: Context, out: Tensor) => {
        leakyReluGrad(ctx, inputs, { slope: 0.3 }, out);
      };
      const dx = await runKernel(device(), shape, encode, "float16");
      device().release(inputs.x, inputs.dy);
      const want = reference.leakyReluGrad(toFloat64(x), toFloat64(dy), 0.3);
      expectClose(dx, want, shape, { stored: "float16" });
    });

  const gpuGradient = async (x: Float32Array, dy: Float32Array, shape: number[], slope: number) => {
    const inputs = { x: device().upload(x, shape, "x"), dy: device().upload(dy, shape, "dy") };
    const dx = await runKernel(device(), shape, (ctx, out) => {
      leakyReluGrad(ctx, inputs, { slope }, out);
    });
    device().release(inputs.x, inputs.dy);
    return dx;
  };

  for (const shape of SHAPES)
    for (const slope of SLOPES)
      it(`x=[${shape.join(",")}] slope=${slope}`, async () => {
        const x = awayFromZero(shape, 2);
        const dy = randomFloats(shape, 3);
        const want = reference.leakyReluGrad(toFloat64(x), toFloat64(dy), slope);
        if (x.length < 300)
          expectGradient(
            (v) => dot(reference.leakyRelu(v, slope).values, toFloat64(dy)),
            toFloat64(x),
            want.values,
          );
        expectClose(await gpuGradient(x, dy, shape, slope), want, shape);
        await expectLinearAndRepeatable(dy, (values) => gpuGradient(x, values, shape, slope));
      });
});

/** dx and db of y = leakyRelu(z + b), from y. */
async function biasGradient(
  device: Device,
  y: Float32Array,
  dy: Float32Array,
  shape: number[],
  slope: number,
) {
  const c = shape.at(-1)!;
  const inputs = { y: device.upload(y, shape, "y"), dy: device.upload(dy, shape, "dy") };
  const other = {
    dx: device.tensor(shape, "float32", "dx"),
    db: device.tensor([c], "float32", "db"),
  };
  const dx = await runKernel(device, shape, (ctx, out) => {
    leakyReluBiasGrad(ctx, inputs, { slope }, { dx: out, db: other.db });
  });
  const db = await runKernel(device, [c], (ctx, out) => {
    leakyReluBiasGrad(ctx, inputs, { slope }, { dx: other.dx, db: out });
  });
  device.release(inputs.y, inputs.dy, other.dx, other.db);
  return { dx, db };
}

function expectBiasGradient(
  { dx, db }: { dx: Float32Array; db: Float32Array },
  y: Float32Array,
  dy: Float32Array,
  shape: number[],
  slope: number,
): void {
  const want = reference.leakyReluGrad(toFloat64(y), toFloat64(dy), slope);
  expectClose(dx, want, shape);
  // Of the gradients that the shader has, which are rounded: their sum is what db is held to.
  expectClose(db, biasGrad(toFloat64(dx), shape.at(-1)!), [shape.at(-1)!]);
}

describe("leakyReluBiasGrad", () => {
  const device = useDevice();

  for (const shape of [...SHAPES, [4, 9, 9, 300], [1000, 3], [300, 64]])
    for (const slope of [0, 0.3])
      it(`y=[${shape.join(",")}] slope=${slope}`, async () => {
        const y = awayFromZero(shape, 2).map((x) => (x > 0 ? x : slope * x));
        const dy = randomFloats(shape, 3);
        expectBiasGradient(await biasGradient(device(), y, dy, shape, slope), y, dy, shape, slope);
        for (const part of ["dx", "db"] as const)
          await expectLinearAndRepeatable(
            dy,
            async (values) => (await biasGradient(device(), y, values, shape, slope))[part],
          );
      });

  for (const shape of [
    [257, 3],
    [2, 9, 9, 12],
  ])
    it(`y=[${shape.join(",")}] float16, db summed in float32`, async function () {
      skipWithoutFloat16(this, device());
      const y = roundToFloat16(awayFromZero(shape, 2));
      const dy = roundToFloat16(randomFloats(shape, 3));
      const c = shape.at(-1)!;
      const inputs = {
        y: device().upload(toFloat16(y), shape, "y"),
        dy: device().upload(toFloat16(dy), shape, "dy"),
      };
      const half = device().tensor(shape, "float16", "dx");
      const single = device().tensor([c], "float32", "db");
      const encodeDx = (ctx: Context, dx: Tensor) => {
        leakyReluBiasGrad(ctx, inputs, { slope: 0.3 }, { dx, db: single });
      };
      const encodeDb = (ctx: Context, db: Tensor) => {
        leakyReluBiasGrad(ctx, inputs, { slope: 0.3 }, { dx: half, db });
      };
      const dx = await runKernel(device(), shape, encodeDx, "float16");
      const db = await runKernel(device(), [c], encodeDb);
      device().release(inputs.y, inputs.dy, half, single);
      const want = reference.leakyReluGrad(toFloat64(y), toFloat64(dy), 0.3);
      expectClose(dx, want, shape, { stored: "float16" });
      // Of the gradients before they are rounded to float16.
      expectClose(db, biasGrad(want.values, c), [c]);
    });

  it("refuses a slope below 0, where the sign of y is not that of its input", async () => {
    const t = device().tensor([1, 1], "float32", "t");
    const failed = await device()
      .record("bad", (ctx) => {
        leakyReluBiasGrad(ctx, { y: t, dy: t }, { slope: -1 }, { dx: t, db: t });
      })
      .catch((error: unknown) => error);
    expect(String(failed)).to.contain("leakyReluBiasGrad: slope: expected 0 or more, got -1");
    device().release(t);
  });
});

describe("leakyRelu of a tensor larger than one binding", () => {
  const device = useDevice({ maxBindingBytes: 1024 });

  it("has its bias gradient summed over windows", async () => {
    const shape = [130, 8];
    const y = awayFromZero(shape, 2);
    const dy = randomFloats(shape, 3);
    expectBiasGradient(await biasGradient(device(), y, dy, shape, 0.3), y, dy, shape, 0.3);
  });

  it("works in windows", async () => {
    const shape = [7, 11, 13];
    const x = randomFloats(shape, 4);
    const input = device().upload(x, shape, "x");
    const y = await runKernel(device(), shape, (ctx, out) => {
      leakyRelu(ctx, { x: input }, { slope: 0.3 }, out);
    });
    device().release(input);
    expectClose(y, reference.leakyRelu(toFloat64(x), 0.3), shape);
  });
});
