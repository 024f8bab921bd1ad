import type { Context } from "../gpu/context.ts";
import { pool2dGeometry, type Padding } from "../geometry.ts";
import {
  maxPool2d,
  maxPool2dArgmax,
  maxPool2dArgmaxGrad,
  maxPool2dGrad,
  maxPool2dKeepsArgmax,
} from "../kernels/max_pool2d.ts";
import type { Shape, Tensor } from "../tensor.ts";
import { Layer, type BackwardReads, type LayerPass } from "./layer.ts";
import { imageShape } from "./shapes.ts";

export interface MaxPool2DConfig {
  readonly size: readonly [number, number];
  /** Default: `size`. */
  readonly strides?: readonly [number, number];
  readonly padding?: Padding;
}

/** The maximum of each window; padding never wins, a tie goes to the first element.  x: [n, h, w, c]. */
export class MaxPool2D extends Layer {
  override readonly type = "MaxPool2D";
  override readonly storesFloat16 = true;
  readonly #config: MaxPool2DConfig;

  constructor(name: string, config: MaxPool2DConfig) {
    super(name);
    this.#config = config;
  }

  override outputShape(input: Shape): Shape {
    const [h, w, c] = imageShape(this, input);
    const { outH, outW } = pool2dGeometry([1, h, w, c], this.#config);
    return [outH, outW, c];
  }

  override backwardReads({ kept }: LayerPass): BackwardReads {
    return { x: !kept?.has(this), y: false };
  }

  override forward(ctx: Context, x: Tensor, { training, kept }: LayerPass): Tensor {
    const [n = 0, ...input] = x.shape;
    const y = ctx.scratch([n, ...this.outputShape(input)], x.dtype, `${this.name}.y`);
    if (training && kept && maxPool2dKeepsArgmax(x.shape, this.#config)) {
      const argmax = ctx.scratch(y.shape, "uint8", `${this.name}.argmax`);
      maxPool2dArgmax(ctx, { x }, this.#config, { y, argmax });
      kept.set(this, argmax);
    } else maxPool2d(ctx, { x }, this.#config, y);
    return y;
  }

  override backward(
    ctx: Context,
    { x, dy }: { x: Tensor; dy: Tensor },
    needsDx: boolean,
    { kept }: LayerPass,
  ): Tensor | undefined {
    if (!needsDx) return undefined;
    const dx = ctx.scratch(x.shape, dy.dtype, `${this.name}.dx`);
    const argmax = kept?.get(this);
    if (argmax) maxPool2dArgmaxGrad(ctx, { argmax, dy }, this.#config, dx);
    else maxPool2dGrad(ctx, { x, dy }, this.#config, dx);
    return dx;
  }

  override config(): Record<string, unknown> {
    return { ...this.#config };
  }
}
