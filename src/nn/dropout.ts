import type { Context } from "../gpu/context.ts";
import { dropout, dropoutGrad } from "../kernels/dropout.ts";
import type { Shape, Tensor } from "../tensor.ts";
import { Layer, type BackwardReads, type LayerPass } from "./layer.ts";

/** Inverted dropout in training (Srivastava et al. 2014), identity at evaluation; any shape. */
export class Dropout extends Layer {
  override readonly type = "Dropout";
  override readonly storesFloat16 = true;
  readonly rate: number;

  constructor(name: string, { rate }: { rate: number }) {
    super(name);
    this.rate = rate;
  }

  override outputShape(input: Shape): Shape {
    return input;
  }

  override backwardReads(): BackwardReads {
    return { x: false, y: false };
  }

  override forward(ctx: Context, x: Tensor, pass: LayerPass): Tensor {
    if (!pass.training || !pass.step || this.rate === 0) return x;
    const y = ctx.scratch(x.shape, x.dtype, `${this.name}.y`);
    dropout(ctx, { x, step: pass.step }, this.#options(pass), y);
    return y;
  }

  override backward(
    ctx: Context,
    { dy }: { dy: Tensor },
    needsDx: boolean,
    pass: LayerPass,
  ): Tensor | undefined {
    if (!needsDx) return undefined;
    if (!pass.step || this.rate === 0) return dy;
    const dx = ctx.scratch(dy.shape, dy.dtype, `${this.name}.dx`);
    dropoutGrad(ctx, { dy, step: pass.step }, this.#options(pass), dx);
    return dx;
  }

  #options(pass: LayerPass): { rate: number; seed: number; layer: number } {
    return { rate: this.rate, seed: pass.seed, layer: pass.index };
  }

  override config(): Record<string, unknown> {
    return { rate: this.rate };
  }
}
