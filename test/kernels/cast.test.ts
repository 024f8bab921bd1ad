import { expect } from "chai";
import { roundToFloat16, toFloat16 } from "../../src/float16.ts";
import { cast } from "../../src/kernels/cast.ts";
import { randomFloats } from "../../src/testing/inputs.ts";
import { runKernel } from "../../src/testing/kernel.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16 } from "../support/skip.ts";

const SHAPES = [[1], [64], [67], [3, 11, 13, 17]];

describe("cast", () => {
  const device = useDevice();

  beforeEach(function () {
    skipWithoutFloat16(this, device());
  });

  for (const shape of SHAPES) {
    it(`float32 to float16 rounds to nearest, x=[${shape.join(",")}]`, async () => {
      const values = randomFloats(shape, 1);
      const x = device().upload(values, shape, "x");
      const encode = (ctx: Parameters<typeof cast>[0], y: typeof x) => {
        cast(ctx, { x }, y);
      };
      const y = await runKernel(device(), shape, encode, "float16");
      device().release(x);
      // WGSL leaves the direction open; either neighbour is within one unit in the last place.
      const nearest = roundToFloat16(values);
      y.forEach((value, i) => {
        expect(value).to.be.closeTo(nearest[i]!, 2 ** -10 * Math.abs(values[i]!) + 2 ** -24);
      });
    });

    it(`float16 to float32 is exact, x=[${shape.join(",")}]`, async () => {
      const values = roundToFloat16(randomFloats(shape, 2));
      const x = device().upload(toFloat16(values), shape, "x");
      const y = await runKernel(device(), shape, (ctx, out) => {
        cast(ctx, { x }, out);
      });
      device().release(x);
      expect(y).to.deep.equal(values);
    });
  }

  it("refuses integers", async () => {
    const x = device().upload(randomFloats([5], 3), [5], "x");
    const y = device().tensor([5], "int32", "y");
    const failed = await device()
      .record("bad", (ctx) => {
        cast(ctx, { x }, y);
      })
      .catch((error: unknown) => error);
    expect(String(failed)).to.contain('cast: "y": expected float32 or float16, got int32');
    device().release(x, y);
  });
});
