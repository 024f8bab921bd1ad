import type { Context } from "../gpu/context.ts";
import { softmax } from "../kernels/softmax.ts";
import { ShapeError, type Shape, type Tensor } from "../tensor.ts";
import { Layer } from "./layer.ts";
import { layerLabel, vectorShape } from "./shapes.ts";

/**
 * Probabilities from logits, at the end of a network.  x: [n, classes], y: the same as float32, whatever x is. In training the loss kernel takes the logits
 * themselves (softmax and cross-entropy are one kernel there), so this layer never runs backward.
 */
export class Softmax extends Layer {
  override readonly type = "Softmax";
  override readonly storesFloat16 = true;

  override outputShape(input: Shape): Shape {
    return [vectorShape(this, input)];
  }

  override forward(ctx: Context, x: Tensor): Tensor {
    const y = ctx.scratch(x.shape, "float32", `${this.name}.y`);
    softmax(ctx, { x }, y);
    return y;
  }

  override backward(): Tensor | undefined {
    throw new ShapeError(
      layerLabel(this),
      "only the last layer may be a Softmax; its gradient is the loss kernel's",
    );
  }

  override config(): Record<string, unknown> {
    return {};
  }
}
