/**
 * Leaky ReLU: y = max(x, 0) + slope * min(x, 0), any shape. Slope 0 is ReLU.
 */
import {
  ceilDiv,
  expectDType,
  expectFloats,
  chunkGrid,
  valueType,
  type Context,
} from "../gpu/context.ts";
import { elementCount, expectShape, reshape, ShapeError, type Tensor } from "../tensor.ts";
import { sumSplits } from "./sum_splits.ts";
import { flat, forEachWindow } from "./windows.ts";

const WG_SIZE = 64;

/** The one setting of a leaky ReLU. */
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
  expectFloats("leakyRelu", x, y);
  forEachWindow(ctx.device, flat(x, y), (tensors, { count }) => {
    const { Value, Stored, lanes } = valueType(count, x.dtype);
    ctx.dispatch({
      label: `leakyRelu ${y.label}`,
      shader: "leaky_relu",
      constants: { WG_SIZE, Value, Stored },
      tensors,
      params: { count: count / lanes, slope },
      workgroups: chunkGrid(ctx.device, count / lanes, WG_SIZE),
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
  expectFloats("leakyReluGrad", x, dy, dx);
  forEachWindow(ctx.device, flat(x, dy, dx), (tensors, { count }) => {
    const { Value, Stored, lanes } = valueType(count, x.dtype);
    ctx.dispatch({
      label: `leakyReluGrad ${dx.label}`,
      shader: "leaky_relu_grad",
      constants: { WG_SIZE, Value, Stored },
      tensors,
      params: { count: count / lanes, slope },
      workgroups: chunkGrid(ctx.device, count / lanes, WG_SIZE),
    });
  });
}

/** Rows that one workgroup of `leakyReluBiasGrad` sums, and how many workgroups share the rows at most. */
const ROWS_PER_SPLIT = 256;
const MOST_SPLITS = 256;

/**
 * The gradients of y = leakyRelu(z + b), whose z + b was never stored: dx = dy where y > 0, else slope * dy, and
 * db = sum of dx over all but the last axis, in two passes of fixed order. The slope must not be negative: y then has
 * the sign of its input.
 * y, dy, dx [...,c] float32 or float16, db [c] float32.  Shaders: leaky_relu_bias_grad.wgsl, sum_splits.wgsl.  Writes dx and db (=).
 */
export function leakyReluBiasGrad(
  ctx: Context,
  { y, dy }: { y: Tensor; dy: Tensor },
  { slope }: LeakyReluOptions,
  { dx, db }: { dx: Tensor; db: Tensor },
): void {
  const c = y.shape.at(-1) ?? 1;
  if (slope < 0)
    throw new ShapeError("leakyReluBiasGrad", `slope: expected 0 or more, got ${slope}`);
  expectShape("leakyReluBiasGrad", "dy", dy, y.shape);
  expectShape("leakyReluBiasGrad", "dx", dx, y.shape);
  expectShape("leakyReluBiasGrad", "db", db, [c]);
  expectFloats("leakyReluBiasGrad", y, dy, dx);
  expectDType("leakyReluBiasGrad", "float32", db);
  const { Value, Stored, lanes } = valueType(c, y.dtype);
  const CHANNEL_LANES = Math.min(WG_SIZE, 2 ** Math.ceil(Math.log2(c / lanes)));
  const rows = [y, dy, dx].map((tensor) => reshape(tensor, [elementCount(y.shape) / c, c]));
  forEachWindow(ctx.device, rows, (tensors, { start, count }) => {
    const splits = Math.min(MOST_SPLITS, ceilDiv(count, ROWS_PER_SPLIT));
    const partials = ctx.scratch([splits, c], "float32", `${db.label} partials`);
    ctx.dispatch({
      label: `leakyReluBiasGrad ${dx.label}`,
      shader: "leaky_relu_bias_grad",
      constants: { WG_SIZE, CHANNEL_LANES, Value, Stored },
      tensors: [...tensors, partials],
      params: { rows: count, c: c / lanes, rowsPerSplit: ceilDiv(count, splits), slope },
      workgroups: [ceilDiv(c / lanes, CHANNEL_LANES), splits],
    });
    sumSplits(ctx, partials, db, { accumulate: start > 0 });
    ctx.free(partials);
  });
}
