/** Every slip in a layer that the checks know, and what they say of it. */
import { expect } from "chai";
import type { Context } from "../../src/gpu/context.ts";
import type { Layer } from "../../src/nn/layer.ts";
import { elementCount, reshape, slice, type Shape, type Tensor } from "../../src/tensor.ts";
import { checkGradients, type GradientReport } from "../../src/testing/index.ts";
import { useDevice } from "../support/device.ts";
import { Frame, times, withDx, withDxTimes, withForward, withParameter } from "./frame.ts";

describe("checkGradients of a layer with a slip", () => {
  const device = useDevice();
  const check = (layer: Layer): Promise<GradientReport> =>
    checkGradients(layer, { device: device(), inputShape: [2, 5, 7, 3] });

  it("finds nothing wrong with the frame of the slips below", async () => {
    expect((await check(new Frame())).problems).to.deep.equal([]);
    const learns = withParameter((ctx, scale, dy) => {
      if (scale.grad)
        times(ctx, slice(reshape(dy, [elementCount(dy.shape)]), 0, 4), scale.grad, { FACTOR: 0 });
    });
    expect((await check(learns)).problems).to.deep.equal([]);
  });

  /** Slips, the kind of problem that they are, and what is said of them. */
  const WRONG: [string, () => Layer, string, string][] = [
    [
      "a sign",
      () => withDxTimes({ FACTOR: -3 }),
      "gradient",
      "dx is -1 times what it should be: a sign is wrong",
    ],
    ["a factor", () => withDxTimes({ FACTOR: 6 }), "gradient", "dx is 2 times what it should be"],
    [
      "a factor near one",
      () => withDxTimes({ FACTOR: 3.02 }),
      "gradient",
      "dx is 1.01 times what it should be",
    ],
    [
      "dy handed on",
      () =>
        new (class extends Frame {
          override backward(_: Context, { dy }: { dy: Tensor }, needsDx: boolean) {
            return needsDx ? dy : undefined;
          }
        })(),
      "gradient",
      "dx is dy itself",
    ],
    ["nothing computed", () => withDxTimes({ FACTOR: 0 }), "gradient", "dx is zero everywhere"],
    [
      "not linear in dy",
      () => withDxTimes({ SQUARE: true }),
      "not linear",
      "dx: 2 * dy does not double it",
    ],
    [
      "a kernel that is not dispatched",
      () => withDx(() => undefined),
      "not written",
      "dx: 210 of 210 elements are never written, the first of them [0,0,0,0]; is the kernel dispatched",
    ],
    [
      "a tail left out",
      () => withDxTimes({}, 192),
      "not written",
      "dx: 18 of 210 elements are never written, the first of them [1,4,1,0]; is the number of workgroups rounded up",
    ],
    [
      "one element too many",
      () =>
        withDx((ctx, dy, dx) => {
          times(ctx, dy, { ...dx, shape: [211] }, {}, 211);
        }),
      "written outside",
      '"dx" [2,5,7,3]: a kernel wrote outside it',
    ],
    [
      "an element of another image",
      () =>
        withDx((ctx, dy, dx) => {
          times(ctx, dy, { ...dx, shape: [212] }, { SHIFT: 1 });
        }),
      "written outside",
      "a kernel wrote outside it",
    ],
    [
      "+= for =",
      () => withDxTimes({ ADD: true }),
      "not finite",
      "the kernel adds to it (+=), and must write it (=)",
    ],
    [
      "NaN backward",
      () => withDxTimes({ NOT_A_NUMBER: true }),
      "not finite",
      "dx: 1 of 210 elements are not finite, the first of them [0,0,1,2] (NaN)",
    ],
    [
      "NaN forward",
      () =>
        withForward((ctx, x) => {
          const y = ctx.scratch(x.shape, "float32", "y");
          times(ctx, x, y, { NOT_A_NUMBER: true });
          return y;
        }),
      "not finite",
      "y: 1 of 210 elements are not finite",
    ],
    [
      "an outputShape that lies",
      () =>
        new (class extends Frame {
          override outputShape([h = 0, w = 0]: Shape) {
            return [h, w, 4];
          }
        })(),
      "shape",
      'forward returned y of [2,5,7,3]; expected [2,5,7,4]: outputShape of Frame "frame1" and what forward makes must be the same',
    ],
    [
      "a dx of another shape",
      () =>
        new (class extends Frame {
          override backward(
            ctx: Context,
            t: { x: Tensor; y: Tensor; dy: Tensor },
            needsDx: boolean,
          ) {
            const dx = super.backward(ctx, t, needsDx);
            return dx && reshape(dx, [2, 105]);
          }
        })(),
      "shape",
      "backward returned dx of [2,105]; expected [2,5,7,3]: it has the shape of x",
    ],
    [
      "no dx",
      () =>
        new (class extends Frame {
          override backward() {
            return undefined;
          }
        })(),
      "shape",
      "backward returned dx: expected [2,5,7,3], got nothing",
    ],
    [
      "dx although nobody needs it",
      () =>
        new (class extends Frame {
          override backward(ctx: Context, t: { x: Tensor; y: Tensor; dy: Tensor }) {
            return super.backward(ctx, t, true);
          }
        })(),
      "frozen",
      "dx is computed although it is not asked for",
    ],
    [
      "an input that is written to",
      () =>
        withForward((ctx, x) => {
          const y = ctx.scratch(x.shape, "float32", "y");
          times(ctx, x, y);
          times(ctx, y, x);
          return y;
        }),
      "overwritten",
      '"x" was changed',
    ],
    [
      "a tensor used after it was freed",
      () =>
        withForward((ctx, x) => {
          const y = ctx.scratch(x.shape, "float32", "y");
          ctx.free(y);
          times(ctx, x, y);
          return y;
        }),
      "error",
      'forward failed: test y: uses "y" after ctx.free',
    ],
    [
      "an input freed",
      () =>
        withForward((ctx, x) => {
          ctx.free(x);
          return x;
        }),
      "error",
      'free: "x" is no live scratch tensor',
    ],
    [
      "a shader that does not compile",
      () => withDxTimes({ WG_SIZE: "vec4f" }),
      "error",
      "backward failed: test_faulty.wgsl: override WG_SIZE is no type, got vec4f",
    ],
    [
      "a gradient for a frozen layer",
      () =>
        withParameter((ctx, scale, dy) => {
          times(
            ctx,
            slice(reshape(dy, [elementCount(dy.shape)]), 0, 4),
            scale.grad ?? ctx.scratch([4], "float32", "unused"),
            { FACTOR: 0 },
          );
        }),
      "frozen",
      "frozen, the layer dispatches as much as when it learns",
    ],
    [
      "a frozen layer forgotten",
      () =>
        withParameter((ctx, scale, dy) => {
          times(ctx, slice(reshape(dy, [elementCount(dy.shape)]), 0, 4), scale.grad!, {
            FACTOR: 0,
          });
        }),
      "error",
      "backward of the frozen layer failed: ",
    ],
    [
      "two runs that differ",
      () => {
        let runs = 0;
        return withDx((ctx, dy, dx) => {
          times(ctx, dy, dx, { FACTOR: 3 + 1e-6 * runs++ });
        });
      },
      "not repeatable",
      "dx: two runs differ in bits",
    ],
  ];
  for (const [what, make, kind, message] of WRONG)
    it(`says of ${what}: ${kind}`, async () => {
      const report = await check(make());
      expect(report.ok).to.equal(false);
      const found = report.problems.find((problem) => problem.kind === kind);
      expect(found?.message, report.message).to.contain(message);
      expect(report.message).to.contain(message);
    });

  it("shows the worst element with index, got, want and bound", async () => {
    const layer = withDxTimes({ FACTOR: -3 });
    const { tensors, message } = await check(layer);
    const { worst, failed, checked, share } = tensors.find(({ name }) => name === "dx")!;
    expect([failed, checked]).to.deep.equal([210, 210]);
    expect(worst!.got).to.be.closeTo(-worst!.want, 1e-3);
    expect(share).to.be.greaterThan(100);
    expect(message).to.match(/element +got +want +bound\n +\[\d,\d,\d,\d\] .* worst/);
  });
});
