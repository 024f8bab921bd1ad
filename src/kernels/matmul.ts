/**
 * Matrix products for the dense layer: what is to be multiplied, and the tiled algorithm for GPUs.
 */
import { ceilDiv, storedType, type Context, type Capabilities } from "../gpu/context.ts";
import type { Tensor } from "../tensor.ts";
import { wantedWorkgroups } from "./occupancy.ts";
import { sumSplits } from "./sum_splits.ts";

/** Columns `firstColumn` and following of a row-major matrix with rows of `rowLength` elements. */
export interface MatrixView {
  readonly tensor: Tensor;
  readonly firstColumn: number;
  readonly rowLength: number;
  /** Zeros stand behind its columns up to the next multiple of 4. Default false. */
  readonly padded?: boolean;
}

/**
 * c[i,j] = bias[j] + sum over p of a[i,p] * b[p,j]; i < m, j < n, p < k. All operands fit in one binding. a and b hold
 * float32 or both float16, c either; bias and sums are float32.
 */
export interface Matmul {
  readonly label: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** [m,k], or [k,m] with `transposeA`. */
  readonly a: MatrixView;
  readonly transposeA?: boolean;
  /** [k,n], or [n,k] with `transposeB`. */
  readonly b: MatrixView;
  readonly transposeB?: boolean;
  /** [n] */
  readonly bias?: Tensor | undefined;
  /** [m,n] */
  readonly c: MatrixView;
  /** Add to what c holds (+=) instead of writing it (=). */
  readonly accumulate?: boolean;
  /** A leaky ReLU with this slope follows. Default: none. */
  readonly leakySlope?: number | undefined;
}

/** Below this, a split costs more in its second pass than it gives. */
const LEAST_K_PER_SPLIT = 256;

/** The product by workgroup tiles with register blocking.  Shaders: matmul_tiled.wgsl, sum_splits.wgsl.  Writes c (=) or (+=). */
export function matmulTiled(ctx: Context, matmul: Matmul): void {
  const { m, n, k, c, accumulate = false, leakySlope } = matmul;
  const splits = matmulSplits(ctx.device, matmul);
  if (splits === 1) {
    dispatchTiled(ctx, matmul, k);
    return;
  }
  const kPerSplit = ceilDiv(k, splits);
  const partials = ctx.scratch([splits, m, n], "float32", `${c.tensor.label} partials`);
  const view = { tensor: partials, firstColumn: 0, rowLength: n };
  const part = { ...matmul, c: view, accumulate: false, leakySlope: undefined };
  dispatchTiled(ctx, part, kPerSplit);
  sumSplits(ctx, partials, c.tensor, { accumulate, leakySlope });
  ctx.free(partials);
}

/** Into how many parts k is split, so that a product with few tiles and a long sum has work for the whole GPU. */
export function matmulSplits(
  device: Pick<Capabilities, "maxBindingBytes" | "summary">,
  { m, n, k, c }: Matmul,
): number {
  // The second pass writes whole tensors only.
  if (c.rowLength !== n) return 1;
  const { TILE_M, TILE_N } = tiles(m);
  const wanted = ceilDiv(wantedWorkgroups(device), ceilDiv(m, TILE_M) * ceilDiv(n, TILE_N));
  const most = Math.floor(device.maxBindingBytes / (4 * m * n));
  const splits = Math.max(1, Math.min(wanted, ceilDiv(k, LEAST_K_PER_SPLIT), most));
  // No split may be left without any work.
  return ceilDiv(k, ceilDiv(k, splits));
}

/** A batch of 32 or fewer rows takes low tiles, and a deep slice of k instead. */
function tiles(m: number): { TILE_M: number; TILE_N: number; TILE_K: number } {
  return m <= 32 ? { TILE_M: 32, TILE_N: 64, TILE_K: 32 } : { TILE_M: 64, TILE_N: 64, TILE_K: 16 };
}

function dispatchTiled(ctx: Context, matmul: Matmul, kPerSplit: number): void {
  const { label, m, n, k, a, b, bias, c } = matmul;
  const { transposeA = false, transposeB = false, accumulate = false, leakySlope = 1 } = matmul;
  const tile = tiles(m);
  ctx.dispatch({
    label,
    shader: "matmul_tiled",
    constants: {
      ...tile,
      TRANSPOSE_A: transposeA,
      TRANSPOSE_B: transposeB,
      HAS_BIAS: bias !== undefined,
      ACCUMULATE: accumulate,
      LEAKY_SLOPE: leakySlope,
      Stored: storedType(a.tensor),
      CStored: storedType(c.tensor),
    },
    tensors: [a.tensor, b.tensor, bias ?? b.tensor, c.tensor],
    params: {
      m,
      n,
      k,
      kPerSplit,
      aOffset: a.firstColumn,
      aStride: a.rowLength,
      bOffset: b.firstColumn,
      bStride: b.rowLength,
      cOffset: c.firstColumn,
      cStride: c.rowLength,
    },
    workgroups: [ceilDiv(n, tile.TILE_N), ceilDiv(m, tile.TILE_M), ceilDiv(k, kPerSplit)],
  });
}
