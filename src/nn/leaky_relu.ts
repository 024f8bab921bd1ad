import type { Context } from "../gpu/context.ts";
import { leakyRelu, leakyReluGrad } from "../kernels/leaky_relu.ts";
import { elementCount, type Shape, type Tensor } from "../tensor.ts";
import { Layer, type BackwardReads } from "./layer.ts";

/** y = x where x > 0, else slope * x; any shape. Slope 0 is ReLU; 0.3 was Keras' default for LeakyReLU. */
export class LeakyReLU extends Layer {
  override readonly type = "LeakyReLU";
  override readonly storesFloat16 = true;
  readonly slope: number;

  constructor(name: string, { slope = 0.3 }: { slope?: number } = {}) {
    super(name);
    this.slope = slope;
  }

  override outputShape(input: Shape): Shape {
    return input;
  }

  override flops(input: Shape): number {
    return elementCount(input);
  }

  override backwardReads(): BackwardReads {
    return { x: true, y: false };
  }

  override forward(ctx: Context, x: Tensor): Tensor {
    const y = ctx.scratch(x.shape, x.dtype, `${this.name}.y`);
    leakyRelu(ctx, { x }, { slope: this.slope }, y);
    return y;
  }

  override backward(
    ctx: Context,
    { x, dy }: { x: Tensor; dy: Tensor },
    needsDx: boolean,
  ): Tensor | undefined {
    if (!needsDx) return undefined;
    const dx = ctx.scratch(x.shape, dy.dtype, `${this.name}.dx`);
    leakyReluGrad(ctx, { x, dy }, { slope: this.slope }, dx);
    return dx;
  }

  override config(): Record<string, unknown> {
    return { slope: this.slope };
  }
}
