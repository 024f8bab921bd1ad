import type { Context } from "../gpu/context.ts";
import { elementCount, reshape, type Shape, type Tensor } from "../tensor.ts";
import { Layer, type BackwardReads } from "./layer.ts";

/** [n, h, w, c] seen as [n, h * w * c]: row-major, so NHWC order. Nothing is copied. */
export class Flatten extends Layer {
  override readonly type = "Flatten";
  override readonly storesFloat16 = true;

  override outputShape(input: Shape): Shape {
    return [elementCount(input)];
  }

  override backwardReads(): BackwardReads {
    return { x: false, y: false };
  }

  override forward(_ctx: Context, x: Tensor): Tensor {
    const [n = 0, ...input] = x.shape;
    return reshape(x, [n, elementCount(input)]);
  }

  override backward(
    _ctx: Context,
    { x, dy }: { x: Tensor; dy: Tensor },
    needsDx: boolean,
  ): Tensor | undefined {
    return needsDx ? reshape(dy, x.shape) : undefined;
  }

  override config(): Record<string, unknown> {
    return {};
  }
}
