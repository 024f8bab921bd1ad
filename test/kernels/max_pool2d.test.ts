import { expect } from "chai";
import { pool2dGeometry, type Pool2dSizes } from "../../src/geometry.ts";
import { roundToFloat16, toFloat16 } from "../../src/float16.ts";
import type { Device } from "../../src/gpu/device.ts";
import {
  maxPool2d,
  maxPool2dArgmax,
  maxPool2dArgmaxGrad,
  maxPool2dGrad,
  maxPool2dKeepsArgmax,
} from "../../src/kernels/max_pool2d.ts";
import type { Context } from "../../src/gpu/context.ts";
import type { Tensor } from "../../src/tensor.ts";
import * as reference from "../../src/reference/max_pool2d.ts";
import { expectClose } from "../../src/testing/close.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16 } from "../support/skip.ts";
import { dot, expectGradient } from "../../src/testing/differences.ts";
import { distinctFloats, randomFloats, toFloat64 } from "../../src/testing/inputs.ts";
import { expectLinearAndRepeatable, runKernel } from "../../src/testing/kernel.ts";

const CASES: [number[], Pool2dSizes][] = [
  [[1, 1, 1, 1], { size: 1 }],
  [[1, 2, 2, 1], { size: 2 }],
  [[2, 6, 8, 5], { size: 2 }],
  [[1, 5, 7, 3], { size: 2 }],
  [[2, 5, 7, 3], { size: 2, padding: "same" }],
  [[1, 9, 8, 2], { size: 3, strides: 1 }],
  [[2, 7, 9, 3], { size: 3, strides: 2, padding: "same" }],
  [[1, 6, 6, 4], { size: 3, strides: 1, padding: "same" }],
  [[1, 11, 6, 2], { size: [4, 1], strides: [3, 2] }],
  [[1, 9, 9, 2], { size: 2, strides: 3 }],
  [
    [2, 5, 4, 3],
    {
      size: [3, 2],
      strides: [2, 1],
      padding: [
        [2, 1],
        [1, 0],
      ],
    },
  ],
  [[3, 4, 23, 33], { size: 2 }],
];

const outShape = (shape: number[], options: Pool2dSizes): number[] => {
  const g = pool2dGeometry(shape, options);
  return [g.n, g.outH, g.outW, g.c];
};

type Storage = "float32" | "float16";

const upload = (device: Device, x: Float32Array, shape: number[], stored: Storage, label: string) =>
  device.upload(stored === "float16" ? toFloat16(x) : x, shape, label);

async function pool(
  device: Device,
  x: Float32Array,
  shape: number[],
  options: Pool2dSizes,
  stored: Storage = "float32",
) {
  const input = upload(device, x, shape, stored, "x");
  const encode = (ctx: Context, out: Tensor) => {
    maxPool2d(ctx, { x: input }, options, out);
  };
  const y = await runKernel(device, outShape(shape, options), encode, stored);
  device.release(input);
  return y;
}

async function poolGrad(
  device: Device,
  x: Float32Array,
  dy: Float32Array,
  shape: number[],
  options: Pool2dSizes,
  stored: Storage = "float32",
) {
  const inputs = {
    x: upload(device, x, shape, stored, "x"),
    dy: upload(device, dy, outShape(shape, options), stored, "dy"),
  };
  const encode = (ctx: Context, out: Tensor) => {
    maxPool2dGrad(ctx, inputs, options, out);
  };
  const dx = await runKernel(device, shape, encode, stored);
  device.release(inputs.x, inputs.dy);
  return dx;
}

describe("maxPool2d", () => {
  const device = useDevice();

  for (const [shape, options] of CASES)
    it(`x=[${shape.join(",")}] ${JSON.stringify(options)}`, async () => {
      const x = randomFloats(shape, 1);
      const want = reference.maxPool2d(toFloat64(x), pool2dGeometry(shape, options));
      expectClose(await pool(device(), x, shape, options), want, outShape(shape, options));
    });

  it("never lets padding win over negative elements", async () => {
    const x = new Float32Array(9).fill(-5);
    const y = await pool(device(), x, [1, 3, 3, 1], { size: 3, strides: 1, padding: "same" });
    expect([...y]).to.deep.equal(new Array(9).fill(-5));
  });

  it("refuses an output of another shape", async () => {
    const x = device().tensor([1, 4, 4, 1], "float32", "x");
    const y = device().tensor([1, 3, 2, 1], "float32", "y");
    const failed = await device()
      .record("bad", (ctx) => {
        maxPool2d(ctx, { x }, { size: 2 }, y);
      })
      .catch((error: unknown) => error);
    expect(String(failed)).to.contain('maxPool2d: y "y": expected [1,2,2,1], got [1,3,2,1]');
    device().release(x, y);
  });
});

describe("maxPool2dGrad", () => {
  const device = useDevice();

  for (const [shape, options] of CASES)
    it(`x=[${shape.join(",")}] ${JSON.stringify(options)}`, async () => {
      const g = pool2dGeometry(shape, options);
      const x = distinctFloats(shape, 2);
      const dy = randomFloats(outShape(shape, options), 3);
      const want = reference.maxPool2dGrad(toFloat64(x), toFloat64(dy), g);
      // The large case adds nothing to the check of the reference, and would take seconds.
      if (x.length < 1000)
        expectGradient(
          (v) => dot(reference.maxPool2d(v, g).values, toFloat64(dy)),
          toFloat64(x),
          want.values,
        );
      expectClose(await poolGrad(device(), x, dy, shape, options), want, shape);
      await expectLinearAndRepeatable(dy, (v) => poolGrad(device(), x, v, shape, options));
    });

  it("gives a tie to the first element of the window, also in windows that overlap", async () => {
    const shape = [1, 3, 3, 1];
    const x = new Float32Array(9).fill(2);
    const dy = Float32Array.of(1, 2, 4, 8);
    const dx = await poolGrad(device(), x, dy, shape, { size: 2, strides: 1 });
    expect([...dx]).to.deep.equal([1, 2, 0, 4, 8, 0, 0, 0, 0]);
  });

  it("agrees with the reference where many elements are equal, as after ReLU", async () => {
    const shape = [2, 9, 7, 3];
    const options: Pool2dSizes = { size: 3, strides: 2, padding: "same" };
    const x = randomFloats(shape, 5).map((value) => Math.max(0, Math.round(2 * value)));
    const dy = randomFloats(outShape(shape, options), 6);
    const g = pool2dGeometry(shape, options);
    const want = reference.maxPool2dGrad(toFloat64(x), toFloat64(dy), g);
    expectClose(await poolGrad(device(), x, dy, shape, options), want, shape);
  });
});

/** Forward and backward by way of the places of the maxima. */
async function poolByArgmax(
  device: Device,
  x: Float32Array,
  dy: Float32Array,
  shape: number[],
  options: Pool2dSizes,
  stored: Storage = "float32",
) {
  const out = outShape(shape, options);
  const input = upload(device, x, shape, stored, "x");
  const dyTensor = upload(device, dy, out, stored, "dy");
  const argmax = device.tensor(out, "uint8", "argmax");
  const forward = (ctx: Context, tensor: Tensor) => {
    maxPool2dArgmax(ctx, { x: input }, options, { y: tensor, argmax });
  };
  const backward = (ctx: Context, tensor: Tensor) => {
    maxPool2dArgmaxGrad(ctx, { argmax, dy: dyTensor }, options, tensor);
  };
  const y = await runKernel(device, out, forward, stored);
  const dx = await runKernel(device, shape, backward, stored);
  device.release(input, dyTensor, argmax);
  return { y, dx };
}

describe("maxPool2dArgmax", () => {
  const device = useDevice();
  const inFours = CASES.map(([[n, h, w, c], options]): [number[], Pool2dSizes] => [
    [n!, h!, w!, 4 * c!],
    options,
  ]);

  for (const [shape, options] of inFours)
    for (const ties of [false, true])
      it(`x=[${shape.join(",")}] ${JSON.stringify(options)}${ties ? " with ties" : ""}`, async () => {
        const g = pool2dGeometry(shape, options);
        const x = ties
          ? randomFloats(shape, 5).map((value) => Math.max(0, Math.round(2 * value)))
          : randomFloats(shape, 1);
        const dy = randomFloats(outShape(shape, options), 3);
        const { y, dx } = await poolByArgmax(device(), x, dy, shape, options);
        expectClose(y, reference.maxPool2d(toFloat64(x), g), outShape(shape, options));
        expectClose(dx, reference.maxPool2dGrad(toFloat64(x), toFloat64(dy), g), shape);
        await expectLinearAndRepeatable(
          dy,
          async (v) => (await poolByArgmax(device(), x, v, shape, options)).dx,
        );
      });

  it("lets a NaN win", async () => {
    const x = Float32Array.of(NaN, 1, 1, 1, 2, 2, NaN, 2, 3, 3, 3, 3, 4, 4, 4, 4);
    const { y } = await poolByArgmax(device(), x, new Float32Array(4), [1, 2, 2, 4], { size: 2 });
    expect([...y]).to.deep.equal([NaN, 4, NaN, 4]);
  });

  it("is refused where channels do not come in fours or a window exceeds a byte", () => {
    expect(maxPool2dKeepsArgmax([1, 4, 4, 8], { size: 2 })).to.equal(true);
    expect(maxPool2dKeepsArgmax([1, 4, 4, 6], { size: 2 })).to.equal(false);
    expect(maxPool2dKeepsArgmax([1, 20, 20, 4], { size: 17 })).to.equal(false);
  });
});

describe("maxPool2d in float16", () => {
  const device = useDevice();

  for (const [shape, options] of [
    [[1, 5, 7, 3], { size: 2, strides: 1 }],
    [[2, 5, 7, 8], { size: 2, padding: "same" }],
  ] as [number[], Pool2dSizes][])
    it(`x=[${shape.join(",")}] ${JSON.stringify(options)}`, async function () {
      skipWithoutFloat16(this, device());
      const g = pool2dGeometry(shape, options);
      // Rounded values tie now and then, as float16 activations do.
      const x = roundToFloat16(randomFloats(shape, 9));
      const dy = roundToFloat16(randomFloats(outShape(shape, options), 10));
      const y = await pool(device(), x, shape, options, "float16");
      const want = reference.maxPool2d(toFloat64(x), g);
      expect(y, "a maximum is not rounded").to.deep.equal(Float32Array.from(want.values));
      const dx = await poolGrad(device(), x, dy, shape, options, "float16");
      const wantDx = reference.maxPool2dGrad(toFloat64(x), toFloat64(dy), g);
      expectClose(dx, wantDx, shape, { stored: "float16" });
      if (maxPool2dKeepsArgmax(shape, options))
        expect(await poolByArgmax(device(), x, dy, shape, options, "float16")).to.deep.equal({
          y,
          dx,
        });
    });

  it("lets a NaN win", async function () {
    skipWithoutFloat16(this, device());
    const x = Float32Array.of(NaN, 1, 1, 1, 2, 2, NaN, 2, 3, 3, 3, 3, 4, 4, 4, 4);
    const dy = new Float32Array(4);
    const { y } = await poolByArgmax(device(), x, dy, [1, 2, 2, 4], { size: 2 }, "float16");
    expect([...y]).to.deep.equal([NaN, 4, NaN, 4]);
  });

  it("refuses one tensor in float16 and one in float32", async () => {
    const x = device().tensor([1, 4, 4, 4], "float16", "x");
    const y = device().tensor([1, 2, 2, 4], "float32", "y");
    const failed = await device()
      .record("bad", (ctx) => {
        maxPool2d(ctx, { x }, { size: 2 }, y);
      })
      .catch((error: unknown) => error);
    expect(String(failed)).to.contain('maxPool2d: "y": expected float16, got float32');
    device().release(x, y);
  });
});

describe("maxPool2d of a tensor larger than one binding", () => {
  const device = useDevice({ maxBindingBytes: 4096 });

  it("works in windows over the batch, forward and backward", async () => {
    const shape = [11, 4, 8, 4];
    const options: Pool2dSizes = { size: 2 };
    const g = pool2dGeometry(shape, options);
    const x = distinctFloats(shape, 7);
    const dy = randomFloats(outShape(shape, options), 8);
    const y = await pool(device(), x, shape, options);
    expectClose(y, reference.maxPool2d(toFloat64(x), g), outShape(shape, options));
    const dx = await poolGrad(device(), x, dy, shape, options);
    expectClose(dx, reference.maxPool2dGrad(toFloat64(x), toFloat64(dy), g), shape);
    const byArgmax = await poolByArgmax(device(), x, dy, shape, options);
    expect(byArgmax).to.deep.equal({ y, dx });
  });
});
