import { expect } from "chai";
import { roundToFloat16, toFloat16 } from "../../src/float16.ts";
import { softmax } from "../../src/kernels/softmax.ts";
import * as reference from "../../src/reference/softmax.ts";
import { expectClose } from "../../src/testing/close.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16 } from "../support/skip.ts";
import { randomFloats, toFloat64 } from "../../src/testing/inputs.ts";
import { runKernel } from "../../src/testing/kernel.ts";

// WGSL allows exp 3 + 2|x| ULP and division 2.5; the rounding of x - max adds |x - max| / 2.
// `absSum` of the reference carries the part that grows with the argument.
const TOLERANCE = { factor: 8 };

describe("softmax", () => {
  const device = useDevice();

  const run = async (x: Float32Array | Uint16Array, shape: number[]) => {
    const input = device().upload(x, shape, "x");
    const y = await runKernel(device(), shape, (ctx, out) => {
      softmax(ctx, { x: input }, out);
    });
    device().release(input);
    return y;
  };

  for (const shape of [
    [1],
    [3],
    [1, 1],
    [32, 3],
    [5, 10],
    [2, 3, 7],
    [2, 3, 5, 9],
    [3, 257],
    [2, 1000],
  ])
    for (const scale of [1, 30])
      it(`x=[${shape.join(",")}] scale=${scale}`, async () => {
        const x = randomFloats(shape, 1, "x", scale);
        expectClose(
          await run(x, shape),
          reference.softmax(toFloat64(x), shape.at(-1)!),
          shape,
          TOLERANCE,
        );
      });

  for (const shape of [
    [5, 3],
    [2, 257],
  ])
    it(`x=[${shape.join(",")}] float16, y float32`, async function () {
      skipWithoutFloat16(this, device());
      const x = roundToFloat16(randomFloats(shape, 1, "x", 30));
      const want = reference.softmax(toFloat64(x), shape.at(-1)!);
      expectClose(await run(toFloat16(x), shape), want, shape, TOLERANCE);
    });

  it("does not overflow where exp would", async () => {
    const x = Float32Array.of(1000, 999, -1000, -3e38, 3e38, 0);
    const want = reference.softmax(toFloat64(x), 3);
    expectClose(await run(x, [2, 3]), want, [2, 3], { ...TOLERANCE, absolute: 1e-30 });
  });

  it("refuses a float16 output", async () => {
    const x = device().tensor([2, 3], "float16", "x");
    const y = device().tensor([2, 3], "float16", "y");
    const failed = await device()
      .record("bad", (ctx) => {
        softmax(ctx, { x }, y);
      })
      .catch((error: unknown) => error);
    expect(String(failed)).to.contain('softmax: "y": expected float32, got float16');
    device().release(x, y);
  });

  it("refuses an output of another shape, beside one of the same", async () => {
    const x = device().upload(new Float32Array(6), [2, 3], "x");
    const y = device().tensor([2, 3], "float32", "y");
    await device().run("good", (ctx) => {
      softmax(ctx, { x }, y);
    });
    const failed = await device()
      .record("bad", (ctx) => {
        softmax(ctx, { x }, { ...y, shape: [3, 2] });
      })
      .catch((error: unknown) => error);
    expect(String(failed)).to.contain('softmax: y "y": expected [2,3], got [3,2]');
    device().release(x, y);
  });
});

describe("softmax of a tensor larger than one binding", () => {
  const device = useDevice({ maxBindingBytes: 2048 });

  it("works in windows", async () => {
    const shape = [301, 3];
    const x = randomFloats(shape, 2);
    const input = device().upload(x, shape, "x");
    const y = await runKernel(device(), shape, (ctx, out) => {
      softmax(ctx, { x: input }, out);
    });
    device().release(input);
    expectClose(y, reference.softmax(toFloat64(x), 3), shape, TOLERANCE);
  });
});
