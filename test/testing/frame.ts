/** A layer whose parts can be replaced by slips, for tests of what the checks say of them. */
import { ceilDiv, type Context } from "../../src/gpu/context.ts";
import { registerShader, type Constants } from "../../src/gpu/shader.ts";
import { zeros } from "../../src/nn/init.ts";
import { Layer, type Parameter, type ParameterSpec } from "../../src/nn/layer.ts";
import { elementCount, type Shape, type Tensor } from "../../src/tensor.ts";

registerShader("test_faulty", new URL("./faulty.wgsl", import.meta.url));

/** out = 3 * v, or what `constants` make of it. */
export function times(
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
export class Frame extends Layer {
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
export const withDx = (dx: (ctx: Context, dy: Tensor, dx: Tensor) => void): Layer =>
  new (class extends Frame {
    protected override dx(ctx: Context, dy: Tensor, out: Tensor): void {
      dx(ctx, dy, out);
    }
  })();

/** A Frame whose dx is what `constants` make of 3 * dy, for the first `count` elements. */
export const withDxTimes = (constants: Constants, count?: number): Layer =>
  withDx((ctx, dy, dx) => {
    times(ctx, dy, dx, constants, count);
  });

/** A Frame whose forward is another. */
export const withForward = (forward: (ctx: Context, x: Tensor) => Tensor): Layer =>
  new (class extends Frame {
    override forward(ctx: Context, x: Tensor): Tensor {
      return forward(ctx, x);
    }
  })();

/** y = 3 x + 0 * scale, so that dscale = 0; `gradient` records what the slip makes of it. */
export const withParameter = (
  gradient: (ctx: Context, scale: Parameter, dy: Tensor) => void,
): Layer =>
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
