import { expect } from "chai";
import type { Context } from "../../src/gpu/context.ts";
import { ceilDiv } from "../../src/gpu/context.ts";
import { registerShader, type Constants } from "../../src/gpu/shader.ts";
import { dense, denseInputGrad, denseWeightGrad } from "../../src/kernels/dense.ts";
import { Conv2D } from "../../src/nn/conv2d.ts";
import { Dense } from "../../src/nn/dense.ts";
import { Dropout } from "../../src/nn/dropout.ts";
import { Flatten } from "../../src/nn/flatten.ts";
import { zeros } from "../../src/nn/init.ts";
import { Layer, type Parameter, type ParameterSpec } from "../../src/nn/layer.ts";
import { LeakyReLU } from "../../src/nn/leaky_relu.ts";
import { MaxPool2D } from "../../src/nn/max_pool2d.ts";
import { Softmax } from "../../src/nn/softmax.ts";
import * as reference from "../../src/reference/dense.ts";
import { elementCount, reshape, slice, type Shape, type Tensor } from "../../src/tensor.ts";
import {
  checkGradients,
  expectCorrectGradients,
  GradientError,
  type CheckOptions,
  type GradientFunction,
  type GradientReport,
} from "../../src/testing/index.ts";
import { useDevice } from "../support/device.ts";

registerShader("test_faulty", new URL("./faulty.wgsl", import.meta.url));

/** out = 3 * v, or what `constants` make of it. */
function times(
  ctx: Context,
  v: Tensor,
  out: Tensor,
  constants: Constants = {},
  count?: number,
): void {
  const length = count ?? elementCount(v.shape);
  ctx.dispatch({
    label: `test ${out.label}`,
    shader: "test_faulty",
    constants,
    tensors: [v, out],
    params: { count: length },
    workgroups: [ceilDiv(length, 64)],
  });
}

/** y = 3 x, dx = 3 dy, and a bias that is never added whose gradient is 3 * (first of dy): a frame for slips. */
class Frame extends Layer {
  override readonly type: string = "Frame";

  constructor() {
    super("frame1");
  }

  override outputShape(input: Shape): Shape {
    return input;
  }

  override forward(ctx: Context, x: Tensor): Tensor {
    const y = ctx.scratch(x.shape, "float32", "y");
    times(ctx, x, y);
    return y;
  }

  override backward(
    ctx: Context,
    { dy }: { x: Tensor; y: Tensor; dy: Tensor },
    needsDx: boolean,
  ): Tensor | undefined {
    if (!needsDx) return undefined;
    const dx = ctx.scratch(dy.shape, "float32", "dx");
    this.dx(ctx, dy, dx);
    return dx;
  }

  /** The part that most slips replace. */
  protected dx(ctx: Context, dy: Tensor, dx: Tensor): void {
    times(ctx, dy, dx);
  }

  override config(): Record<string, unknown> {
    return {};
  }
}

/** A Frame whose dx is computed in another way. */
const withDx = (dx: (ctx: Context, dy: Tensor, dx: Tensor) => void): Layer =>
  new (class extends Frame {
    protected override dx(ctx: Context, dy: Tensor, out: Tensor): void {
      dx(ctx, dy, out);
    }
  })();

/** A Frame whose forward is another. */
const withForward = (forward: (ctx: Context, x: Tensor) => Tensor): Layer =>
  new (class extends Frame {
    override forward(ctx: Context, x: Tensor): Tensor {
      return forward(ctx, x);
    }
  })();

/** y = 3 x + 0 * scale, so that dscale = 0; `gradient` records what the slip makes of it. */
const withParameter = (gradient: (ctx: Context, scale: Parameter, dy: Tensor) => void): Layer =>
  new (class extends Frame {
    override parameterSpecs(): ParameterSpec[] {
      return [{ name: "scale", shape: [4], init: zeros }];
    }

    override backward(
      ctx: Context,
      tensors: { x: Tensor; y: Tensor; dy: Tensor },
      needsDx: boolean,
    ): Tensor | undefined {
      gradient(ctx, this.parameter("scale"), tensors.dy);
      return super.backward(ctx, tensors, needsDx);
    }
  })();

describe("checkGradients of a layer", () => {
  const device = useDevice();
  const check = (layer: Layer, options: Partial<CheckOptions> = {}): Promise<GradientReport> =>
    checkGradients(layer, { device: device(), inputShape: [2, 5, 7, 3], ...options });

  const RIGHT: [string, () => Layer, Shape][] = [
    [
      "Conv2D same",
      () => new Conv2D("c", { filters: 4, kernelSize: [3, 3], padding: "same" }),
      [2, 5, 7, 3],
    ],
    [
      "Conv2D strides",
      () => new Conv2D("c", { filters: 3, kernelSize: [2, 3], strides: [2, 1], useBias: false }),
      [2, 5, 6, 2],
    ],
    ["Dense", () => new Dense("d", { units: 5 }), [3, 7]],
    ["LeakyReLU", () => new LeakyReLU("r", { slope: 0.3 }), [2, 5, 7, 3]],
    [
      "MaxPool2D",
      () => new MaxPool2D("p", { size: [3, 3], strides: [2, 2], padding: "same" }),
      [2, 5, 7, 3],
    ],
    ["Dropout", () => new Dropout("o", { rate: 0.25 }), [2, 5, 7, 3]],
    ["Flatten", () => new Flatten("f"), [2, 5, 7, 3]],
  ];
  for (const [name, make, inputShape] of RIGHT) {
    it(`${name} is right by its reference`, async () => {
      const report = await check(make(), { inputShape });
      expect(report.ok, report.message).to.equal(true);
      expect(report.tensors.map((tensor) => tensor.against)).to.include("float64 reference");
      expect(report.tensors.map((tensor) => tensor.name)).to.include.members(["y", "dx"]);
    });

    it(`${name} is right by differences of its own forward pass`, async () => {
      const report = await check(make(), { inputShape, reference: "none", maxElements: 64 });
      expect(report.ok, report.message).to.equal(true);
      expect(report.tensors[0]!.against).to.equal("differences of its own forward pass");
    });
  }

  it("Softmax is right forward; its gradient is the loss kernel's", async () => {
    const report = await check(new Softmax("s"), { inputShape: [3, 5] });
    expect(report.ok, report.message).to.equal(true);
    expect(report.tensors.map(({ name }) => name)).to.deep.equal(["y"]);
  });

  it("leaves a layer's own parameters and its trainable flag alone", async () => {
    const layer = new Dense("d", { units: 2 });
    layer.trainable = false;
    const own = (layer.parameters = []);
    await check(layer, { inputShape: [2, 3] });
    expect(layer.trainable).to.equal(false);
    expect(layer.parameters).to.equal(own);
  });

  it("gives all memory back, whether right or wrong", async () => {
    await check(new Dense("d", { units: 2 }), { inputShape: [2, 3] });
    const before = device().memory().liveTensors;
    await check(new Dense("d", { units: 2 }), { inputShape: [2, 3], reference: "none" });
    await check(
      withDx((ctx, dy, dx) => {
        times(ctx, dy, dx, { NOT_A_NUMBER: true });
      }),
    );
    expect(device().memory().liveTensors).to.equal(before);
  });

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
      () =>
        withDx((ctx, dy, dx) => {
          times(ctx, dy, dx, { FACTOR: -3 });
        }),
      "gradient",
      "dx is -1 times what it should be: a sign is wrong",
    ],
    [
      "a factor",
      () =>
        withDx((ctx, dy, dx) => {
          times(ctx, dy, dx, { FACTOR: 6 });
        }),
      "gradient",
      "dx is 2 times what it should be",
    ],
    [
      "a slip of a thousandth",
      () =>
        withDx((ctx, dy, dx) => {
          times(ctx, dy, dx, { FACTOR: 3.02 });
        }),
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
    [
      "nothing computed",
      () =>
        withDx((ctx, dy, dx) => {
          times(ctx, dy, dx, { FACTOR: 0 });
        }),
      "gradient",
      "dx is zero everywhere",
    ],
    [
      "not linear in dy",
      () =>
        withDx((ctx, dy, dx) => {
          times(ctx, dy, dx, { SQUARE: true });
        }),
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
      () =>
        withDx((ctx, dy, dx) => {
          times(ctx, dy, dx, {}, 192);
        }),
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
      () =>
        withDx((ctx, dy, dx) => {
          times(ctx, dy, dx, { ADD: true });
        }),
      "not finite",
      "the kernel adds to it (+=), and must write it (=)",
    ],
    [
      "NaN backward",
      () =>
        withDx((ctx, dy, dx) => {
          times(ctx, dy, dx, { NOT_A_NUMBER: true });
        }),
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
      () =>
        withDx((ctx, dy, dx) => {
          times(ctx, dy, dx, { WG_SIZE: "vec4f" });
        }),
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
    const layer = withDx((ctx, dy, dx) => {
      times(ctx, dy, dx, { FACTOR: -3 });
    });
    const { tensors, message } = await check(layer);
    const { worst, failed, checked, share } = tensors.find(({ name }) => name === "dx")!;
    expect([failed, checked]).to.deep.equal([210, 210]);
    expect(worst!.got).to.be.closeTo(-worst!.want, 1e-3);
    expect(share).to.be.greaterThan(100);
    expect(message).to.match(/element +got +want +bound\n +\[\d,\d,\d,\d\] .* worst/);
  });

  it("says that differences find no derivative where inputs lie at a kink", async () => {
    const x = new Float32Array(15).fill(1e-4);
    const report = await check(new LeakyReLU("r", { slope: 0 }), {
      inputShape: [3, 5],
      x,
      reference: "none",
    });
    expect(report.problems.map(({ kind }) => kind)).to.deep.equal(["not smooth"]);
    expect(report.message).to.contain("give inputs of your own");
  });

  it("takes a reference of one's own, and finds a forward pass that is another", async () => {
    const right = { forward: (x: Float64Array) => x.map((value) => 3 * value) };
    expect((await check(new Frame(), { reference: right })).problems).to.deep.equal([]);
    const other = { forward: (x: Float64Array) => x.map((value) => 3.5 * value) };
    const report = await check(new Frame(), { reference: other });
    expect(report.problems.map(({ kind }) => kind)).to.deep.equal(["forward", "gradient"]);
    expect(report.message).to.contain("the output of forward is not that of the reference");
  });

  it("throws a GradientError with the report, for runners without chai", async () => {
    const wrong = withDx((ctx, dy, dx) => {
      times(ctx, dy, dx, { FACTOR: -3 });
    });
    const options = { device: device(), inputShape: [2, 3] };
    const error = await expectCorrectGradients(wrong, options).catch((e: unknown) => e);
    expect(error).to.be.instanceOf(GradientError);
    expect((error as GradientError).report.problems).to.have.length(1);
    await expectCorrectGradients(new Frame(), options);
  });

  it("refuses options that make no sense", async () => {
    const refused = async (options: Partial<CheckOptions>) =>
      String(
        await check(new Dense("d", { units: 2 }), { inputShape: [2, 3], ...options }).catch(
          (e: unknown) => e,
        ),
      );
    expect(await refused({ inputShape: [0, 3] })).to.contain(
      "inputShape: expected [n, ...] of integers above 0, got [0,3]",
    );
    expect(await refused({ x: new Float32Array(5) })).to.contain(
      "x: expected 6 values for [2,3], got 5",
    );
    expect(await refused({ dy: new Float32Array(5) })).to.contain(
      "dy: expected 4 values for [2,2], got 5",
    );
    expect(await refused({ parameters: { w: new Float32Array(1) } })).to.contain(
      'Dense "d" has no "w"; it has weight, bias',
    );
    expect(await refused({ parameters: { bias: new Float32Array(1) } })).to.contain(
      "parameters.bias: expected 2 values for [2], got 1",
    );
  });
});

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
    const error: unknown = await checkGradients(without, {
      device: device(),
      inputShape: [2, 3],
    }).catch((e: unknown) => e);
    expect(String(error)).to.contain('"scale": gradients: expected one for w, got x');
  });
});
