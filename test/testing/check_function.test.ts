import { expect } from "chai";
import type { Context } from "../../src/gpu/context.ts";
import { dense, denseInputGrad, denseWeightGrad } from "../../src/kernels/dense.ts";
import * as reference from "../../src/reference/dense.ts";
import { slice, type Shape, type Tensor } from "../../src/tensor.ts";
import { checkGradients, type GradientFunction } from "../../src/testing/index.ts";
import { useDevice } from "../support/device.ts";
import { errorOf } from "../support/errors.ts";
import { times } from "./frame.ts";

describe("checkGradients of a function", () => {
  const device = useDevice();
  const scale = (gradientOfW: number) => ({
    name: "scale",
    parameters: { w: [3] },
    outputShape: (x: Shape) => x,
    forward: (ctx: Context, { x }: { x: Tensor }, y: Tensor) => {
      times(ctx, x, y);
    },
    gradients: {
      x: (ctx: Context, { dy }: { dy: Tensor }, out: Tensor) => {
        times(ctx, dy, out);
      },
      w: (ctx: Context, { dy }: { dy: Tensor }, out: Tensor) => {
        times(ctx, slice(dy, 0, 1), out, { FACTOR: gradientOfW });
      },
    },
  });

  it("checks the gradient of each tensor it takes", async () => {
    const options = { device: device(), inputShape: [64, 3] };
    expect((await checkGradients(scale(0), options)).problems).to.deep.equal([]);
    const report = await checkGradients(scale(1), options);
    expect(report.problems.map(({ tensor }) => tensor?.name)).to.deep.equal(["dw"]);
  });

  it("takes the engine's kernels, by differences and by a reference", async () => {
    const options = { device: device(), inputShape: [2, 3] };
    const product: GradientFunction<"w"> = {
      name: "dense",
      parameters: { w: [3, 4] },
      outputShape: ([n = 0]) => [n, 4],
      forward: (ctx, { x, w }, y) => {
        dense(ctx, { x, w }, {}, y);
      },
      gradients: {
        x: (ctx, { dy, w }, dx) => {
          denseInputGrad(ctx, { dy, w }, {}, dx);
        },
        w: (ctx, { x, dy }, dw) => {
          denseWeightGrad(ctx, { x, dy }, {}, dw);
        },
      },
    };
    const byDifferences = await checkGradients(product, options);
    expect(byDifferences.problems).to.deep.equal([]);
    const sizes = { n: 2, inC: 3, outC: 4 };
    const report = await checkGradients(product, {
      ...options,
      reference: {
        forward: (x, { w = x }) => reference.dense(x, w, undefined, sizes),
        backward: (x, { w = x }, dy) => ({
          x: reference.denseInputGrad(dy, w, sizes),
          w: reference.denseWeightGrad(x, dy, sizes),
        }),
      },
    });
    expect(report.problems).to.deep.equal([]);
    expect(report.tensors.map(({ name }) => name)).to.have.members(["y", "dx", "dw"]);
  });

  it("refuses a function without one of its gradients", async () => {
    const { gradients, ...rest } = scale(0);
    const without = { ...rest, gradients: { x: gradients.x } } as unknown as GradientFunction;
    const options = { device: device(), inputShape: [2, 3] };
    const error = await errorOf(() => checkGradients(without, options));
    expect(error.message).to.contain('"scale": gradients: expected one for w, got x');
  });
});
