/**
 * Leaky ReLU: y = max(x, 0) + slope * min(x, 0), any shape. Slope 0 is ReLU.
 */
import { strideGrid, valueType, type Context } from "../gpu/context.ts";
import { expectShape, type Tensor } from "../tensor.ts";
import { flat, forEachWindow } from "./windows.ts";

const WG_SIZE = 64;

export interface LeakyReluOptions {
  /** Factor for negative inputs, e.g. 0.3 (Keras' default of 2021); 0 is ReLU. */
  readonly slope: number;
}

/** y = x where x > 0, else slope * x.  x, y: any shape, equal.  Shader: leaky_relu.wgsl.  Writes y (=). */
export function leakyRelu(
  ctx: Context,
  { x }: { x: Tensor },
  { slope }: LeakyReluOptions,
  y: Tensor,
): void {
  expectShape("leakyRelu", "y", y, x.shape);
  forEachWindow(ctx.device, flat(x, y), (tensors, { count }) => {
    const { Value, lanes } = valueType(count);
    ctx.dispatch({
      label: `leakyRelu ${y.label}`,
      shader: "leaky_relu",
      constants: { WG_SIZE, Value },
      tensors,
      params: { count: count / lanes, slope },
      workgroups: strideGrid(ctx.device, count / lanes, WG_SIZE),
    });
  });
}

/** dx = dy where x > 0, else slope * dy.  x, dy, dx: equal shapes.  Shader: leaky_relu_grad.wgsl.  Writes dx (=). */
export function leakyReluGrad(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  { slope }: LeakyReluOptions,
  dx: Tensor,
): void {
  expectShape("leakyReluGrad", "dy", dy, x.shape);
  expectShape("leakyReluGrad", "dx", dx, x.shape);
  forEachWindow(ctx.device, flat(x, dy, dx), (tensors, { count }) => {
    const { Value, lanes } = valueType(count);
    ctx.dispatch({
      label: `leakyReluGrad ${dx.label}`,
      shader: "leaky_relu_grad",
      constants: { WG_SIZE, Value },
      tensors,
      params: { count: count / lanes, slope },
      workgroups: strideGrid(ctx.device, count / lanes, WG_SIZE),
    });
  });
}
