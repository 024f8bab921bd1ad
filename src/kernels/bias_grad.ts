/**
 * The gradient of a bias: the sum of dy over everything but its last axis. Shared by conv2d and dense.
 */
import { ceilDiv, expectDType, expectFloats, storedType, type Context } from "../gpu/context.ts";
import { elementCount, expectShape, reshape, ShapeError, type Tensor } from "../tensor.ts";
import { sumSplits } from "./sum_splits.ts";
import { forEachWindow } from "./windows.ts";

const WG_SIZE = 64;
/** Rows that one workgroup sums, and how many workgroups share the rows at most: enough to fill a GPU. */
const ROWS_PER_SPLIT = 256;
const MOST_SPLITS = 256;

/**
 * db[c] = sum over rows of dy[row,c], in two passes of fixed order.
 * dy [...,c] float32 or float16, db [c] float32.  Shaders: bias_grad.wgsl, sum_splits.wgsl.  Writes db (=).
 * @param op names the operation in errors and labels
 */
export function biasGrad(op: string, ctx: Context, dy: Tensor, db: Tensor): void {
  const c = dy.shape.at(-1) ?? 0;
  if (dy.shape.length < 2 || elementCount(dy.shape) === 0)
    throw new ShapeError(
      op,
      `dy "${dy.label}": expected at least one row of [...,c], got [${dy.shape.join(",")}]`,
      { dy: dy.shape },
    );
  expectShape(op, "db", db, [c]);
  expectFloats(op, dy);
  expectDType(op, "float32", db);
  const rows = reshape(dy, [elementCount(dy.shape) / c, c]);
  // Lanes side by side read neighbouring channels; with few channels the others take further rows.
  const CHANNEL_LANES = Math.min(WG_SIZE, 2 ** Math.ceil(Math.log2(c)));
  forEachWindow(ctx.device, [rows], ([window = rows], { start, count }) => {
    const splits = Math.min(MOST_SPLITS, ceilDiv(count, ROWS_PER_SPLIT));
    const partials = ctx.scratch([splits, c], "float32", `${db.label} partials`);
    ctx.dispatch({
      label: `${op} ${db.label}`,
      shader: "bias_grad",
      constants: { WG_SIZE, CHANNEL_LANES, Stored: storedType(dy) },
      tensors: [window, partials],
      params: { rows: count, c, rowsPerSplit: ceilDiv(count, splits) },
      workgroups: [ceilDiv(c, CHANNEL_LANES), splits],
    });
    sumSplits(ctx, partials, db, { accumulate: start > 0 });
    ctx.free(partials);
  });
}
