import { expect } from "chai";
import { leakyRelu, leakyReluGrad } from "../../src/kernels/leaky_relu.ts";
import * as reference from "../../src/reference/leaky_relu.ts";
import { expectClose } from "../support/close_to.ts";
import { useDevice } from "../support/device.ts";
import { dot, expectGradient } from "../support/gradcheck.ts";
import {
  awayFromZero,
  expectLinearAndRepeatable,
  randomFloats,
  runKernel,
  toFloat64,
} from "../support/kernel.ts";

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

describe("leakyRelu of a tensor larger than one binding", () => {
  const device = useDevice({ maxBindingBytes: 1024 });

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
