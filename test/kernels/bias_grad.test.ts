import { expect } from "chai";
import { roundToFloat16, toFloat16 } from "../../src/float16.ts";
import { biasGrad } from "../../src/kernels/bias_grad.ts";
import { conv2dBiasGrad } from "../../src/kernels/conv2d.ts";
import * as reference from "../../src/reference/bias_grad.ts";
import { expectClose } from "../../src/testing/close.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16 } from "../support/skip.ts";
import { expectGradient } from "../../src/testing/differences.ts";
import { randomFloats, toFloat64 } from "../../src/testing/inputs.ts";
import { expectLinearAndRepeatable, runKernel } from "../../src/testing/kernel.ts";

// Channels at, and one off, the 64 lanes and the powers of two that share them; rows at, and one off, the 256 of a split.
const SHAPES = [
  [1, 1],
  [1, 65],
  [255, 3],
  [256, 64],
  [257, 63],
  [2, 5, 7, 3],
  [3, 129, 131, 1],
  [1, 1, 1, 1000],
  [70001, 5],
];

describe("biasGrad", () => {
  const device = useDevice();

  const run = async (dy: Float32Array, shape: number[]) => {
    const input = device().upload(dy, shape, "dy");
    const db = await runKernel(device(), [shape.at(-1)!], (ctx, out) => {
      biasGrad("biasGrad", ctx, input, out);
    });
    device().release(input);
    return db;
  };

  for (const shape of SHAPES)
    it(`dy=[${shape.join(",")}]`, async () => {
      const dy = randomFloats(shape, 1);
      const c = shape.at(-1)!;
      expectClose(await run(dy, shape), reference.biasGrad(toFloat64(dy), c), [c]);
      await expectLinearAndRepeatable(dy, (values) => run(values, shape));
    });

  for (const shape of [
    [257, 63],
    [1, 3, 3, 64],
  ])
    it(`dy=[${shape.join(",")}] float16, summed in float32`, async function () {
      skipWithoutFloat16(this, device());
      const c = shape.at(-1)!;
      const dy = roundToFloat16(randomFloats(shape, 1));
      const input = device().upload(toFloat16(dy), shape, "dy");
      const db = await runKernel(device(), [c], (ctx, out) => {
        biasGrad("biasGrad", ctx, input, out);
      });
      device().release(input);
      // The very bits that float32 storage gives.
      expect(db).to.deep.equal(await run(dy, shape));
    });

  it("the reference is the gradient of b in sum((x + b) * dy)", () => {
    const dy = toFloat64(randomFloats([7, 3], 2));
    const loss = (b: Float64Array) =>
      dy.reduce((sum, value, i) => sum + (0.5 + b[i % 3]!) * value, 0);
    expectGradient(loss, Float64Array.of(1, -2, 3), reference.biasGrad(dy, 3).values);
  });

  it("refuses a db of another length, integers and a dy without rows, beside a control", async () => {
    const said = async (dyShape: number[], dbShape: number[], dtype: "float32" | "int32") => {
      const dy = device().tensor(dyShape, dtype, "dy");
      const db = device().tensor(dbShape, "float32", "db");
      try {
        const program = await device().record("refused", (ctx) => {
          conv2dBiasGrad(ctx, { dy }, db);
        });
        program.destroy();
        return "";
      } catch (error) {
        return String(error);
      } finally {
        device().release(dy, db);
      }
    };
    expect(await said([2, 4, 4, 3], [3], "float32")).to.equal("");
    expect(await said([2, 4, 4, 3], [4], "float32")).to.contain(
      'conv2dBiasGrad: db "db": expected [3], got [4]',
    );
    expect(await said([2, 4, 4, 3], [3], "int32")).to.contain(
      'conv2dBiasGrad: "dy": expected float32, got int32',
    );
    expect(await said([3], [3], "float32")).to.contain(
      'conv2dBiasGrad: dy "dy": expected at least one row of [...,c], got [3]',
    );
  });
});

describe("biasGrad of a tensor larger than one binding", () => {
  const device = useDevice({ maxBindingBytes: 4096 });

  it("works in windows and adds them up", async () => {
    const shape = [5, 9, 11, 6];
    const dy = randomFloats(shape, 3);
    const input = device().upload(dy, shape, "dy");
    const db = await runKernel(device(), [6], (ctx, out) => {
      biasGrad("biasGrad", ctx, input, out);
    });
    device().release(input);
    expectClose(db, reference.biasGrad(toFloat64(dy), 6), [6]);
  });
});
