/**
 * The second pass of a split reduction: partial sums are added in a fixed order, so that two runs give the same bits.
 */
import { ceilDiv, grid1d, storedType, type Context } from "../gpu/context.ts";
import { elementCount, expectShape, type Tensor } from "../tensor.ts";

const WG_SIZE = 64;

export interface SumSplitsOptions {
  /** Add to what y holds (+=) instead of writing it (=). Default false. */
  readonly accumulate?: boolean;
  /** A leaky ReLU with this slope follows. Default: none. */
  readonly leakySlope?: number | undefined;
}

/**
 * y = sum over splits of partials [splits, ...shape of y], which are float32; y may be float16.
 * Shader: sum_splits.wgsl.  Writes y (=), or (+=) on request.
 */
export function sumSplits(
  ctx: Context,
  partials: Tensor,
  y: Tensor,
  { accumulate = false, leakySlope = 1 }: SumSplitsOptions = {},
): void {
  const splits = partials.shape[0] ?? 0;
  expectShape("sumSplits", "partials", partials, [splits, ...y.shape]);
  const count = elementCount(y.shape);
  ctx.dispatch({
    label: `sumSplits ${y.label}`,
    shader: "sum_splits",
    constants: {
      ...{ WG_SIZE, Stored: storedType(y) },
      ...{ ACCUMULATE: accumulate, LEAKY_SLOPE: leakySlope },
    },
    tensors: [partials, y],
    params: { count, splits },
    workgroups: grid1d(ctx.device, ceilDiv(count, WG_SIZE)),
  });
}

/** Lets `compute` write y, or its partial sums, which are then added: float32, and without the leaky ReLU. */
export function inSplits(
  ctx: Context,
  y: Tensor,
  { splits, leakySlope = 1 }: { splits: number; leakySlope?: number | undefined },
  compute: (out: Tensor, leakySlope: number) => void,
): void {
  if (splits === 1) {
    compute(y, leakySlope);
    return;
  }
  const partials = ctx.scratch([splits, ...y.shape], "float32", `${y.label} partials`);
  compute(partials, 1);
  sumSplits(ctx, partials, y, { leakySlope });
  ctx.free(partials);
}
