/**
 * Softmax over the last axis, any rank.
 */
import { expectDType, expectFloats, grid1d, storedType, type Context } from "../gpu/context.ts";
import {
  elementCount,
  expectShape,
  formatShape,
  reshape,
  ShapeError,
  type Tensor,
} from "../tensor.ts";
import { forEachWindow } from "./windows.ts";

/** Invocations for a row of `columns` elements: a power of two, for few classes no more than a subgroup. */
export function rowWorkgroupSize(columns: number): number {
  return Math.min(256, Math.max(8, 2 ** Math.ceil(Math.log2(columns))));
}

/**
 * y = exp(x - max) / sum(exp(x - max)) over the last axis.  x float32 or float16, y float32: equal shapes.
 * Shader: softmax.wgsl.  Writes y (=).
 */
export function softmax(ctx: Context, { x }: { x: Tensor }, y: Tensor): void {
  const columns = x.shape.at(-1);
  if (columns === undefined || elementCount(x.shape) === 0)
    throw new ShapeError(
      "softmax",
      `x "${x.label}": expected [..., classes], got ${formatShape(x.shape)}`,
    );
  expectShape("softmax", "y", y, x.shape);
  expectFloats("softmax", x);
  expectDType("softmax", "float32", y);
  const rows = elementCount(x.shape) / columns;
  const matrices = [x, y].map((tensor) => reshape(tensor, [rows, columns]));
  forEachWindow(ctx.device, matrices, (tensors, { count }) => {
    ctx.dispatch({
      label: `softmax ${y.label}`,
      shader: "softmax",
      constants: { WG_SIZE: rowWorkgroupSize(columns), Stored: storedType(x) },
      tensors,
      params: { rows: count, columns },
      workgroups: grid1d(ctx.device, count),
    });
  });
}
