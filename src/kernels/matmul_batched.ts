/**
 * Matrix products for GPUs whose operands have rows in fours: one or many of equal size, in one dispatch, by larger tiles
 * and wider loads than `matmulTiled`, which takes any operand.
 */
import { ceilDiv, grid1d, storedType, type Context, type Capabilities } from "../gpu/context.ts";
import type { Tensor } from "../tensor.ts";
import { wantedWorkgroups } from "./occupancy.ts";
import { bindableAs, roundUp4 } from "./repack.ts";

/** Matrices in one tensor. */
export interface Matrices {
  readonly tensor: Tensor;
  /** Elements from one matrix to the next. */
  readonly block: number;
}

/**
 * c[i,j] = bias[j] + sum over p of op(a)[i,p] * op(b)[p,j]; n and the last axes of a and b are multiples of 4. a and b
 * hold float32 or both float16, c either; bias and sums are float32.
 */
export interface BatchedMatmul {
  readonly label: string;
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** [batch][m,k], or [batch][k,m] with `transposeA`. */
  readonly a: Matrices;
  readonly transposeA?: boolean;
  /** [batch][k,n], or [batch][n,k] with `transposeB`. */
  readonly b: Matrices;
  readonly transposeB?: boolean;
  /** [n] */
  readonly bias?: Tensor | undefined;
  /** [splits][batch][m,n], partial sums over parts of k. */
  readonly c: Matrices;
  /** Default 1. */
  readonly splits?: number;
  /** Add to what c holds (+=) instead of writing it (=). */
  readonly accumulate?: boolean;
  /** A leaky ReLU with this slope follows, of sums that are whole. Default: none. */
  readonly leakySlope?: number | undefined;
}

/** 128 invocations: within every adapter's limits, as are the at most 12.5 KiB of workgroup memory that they share. */
const LANES = { LANES_M: 16, LANES_N: 8, TILE_K: 16 } as const;
/** Below this, a split costs more in its second pass than it gives. */
const LEAST_K_PER_SPLIT = 256;

/** The products.  Shader: matmul_batched.wgsl.  Writes c (=) or (+=). */
export function matmulBatched(ctx: Context, product: BatchedMatmul): void {
  const { label, batch, m, n, k, a, b, bias, c, splits = 1 } = product;
  const { transposeA = false, transposeB = false, accumulate = false, leakySlope = 1 } = product;
  const { tiles, ...threads } = tileOf(ctx.device, product);
  ctx.dispatch({
    label,
    shader: "matmul_batched",
    constants: {
      ...LANES,
      ...threads,
      TRANSPOSE_A: transposeA,
      TRANSPOSE_B: transposeB,
      HAS_BIAS: bias !== undefined,
      ACCUMULATE: accumulate,
      LEAKY_SLOPE: leakySlope,
      Stored: storedType(a.tensor),
      CStored: storedType(c.tensor),
    },
    // bias is an array<vec4f> also where none is read.
    tensors: [a.tensor, b.tensor, bias ?? bindableAs(ctx, b.tensor, 16), c.tensor],
    params: {
      // A multiple of four, since loads along k come in fours.
      ...{ batch, m, n, k, splits, kPerSplit: roundUp4(ceilDiv(k, splits)) },
      ...{ aBlock: a.block, bBlock: b.block, cBlock: c.block },
    },
    workgroups: grid1d(ctx.device, tiles * splits),
  });
}

/** Into how many parts sums should be split, so that products with few tiles have work for the whole GPU. */
export function batchedSplits(
  device: Pick<Capabilities, "maxBindingBytes" | "summary">,
  sizes: { batch: number; m: number; n: number; k: number },
  blockElements = sizes.m * sizes.n,
): number {
  const wanted = ceilDiv(wantedWorkgroups(device), tileOf(device, sizes).tiles);
  const most = Math.floor(device.maxBindingBytes / (4 * sizes.batch * blockElements));
  return Math.max(1, Math.min(wanted, ceilDiv(sizes.k, LEAST_K_PER_SPLIT), most));
}

/** How many workgroups compute products of these sizes, in one part. */
export function batchedTiles(
  device: Pick<Capabilities, "summary">,
  sizes: { batch: number; m: number; n: number },
): number {
  return tileOf(device, sizes).tiles;
}

/** Tiles of 64 or 128 rows by 32 or 64 columns, the large ones where they still fill a GPU; and how many there are. */
function tileOf(
  device: Pick<Capabilities, "summary">,
  { batch, m, n }: { batch: number; m: number; n: number },
): {
  THREAD_M: number;
  THREAD_N: number;
  tiles: number;
} {
  const THREAD_N = n > 32 ? 8 : 4;
  const tilesOf = (THREAD_M: number): number =>
    batch * ceilDiv(m, LANES.LANES_M * THREAD_M) * ceilDiv(n, LANES.LANES_N * THREAD_N);
  const THREAD_M = tilesOf(8) < tilesOf(4) && tilesOf(8) >= wantedWorkgroups(device) / 2 ? 8 : 4;
  return { THREAD_M, THREAD_N, tiles: tilesOf(THREAD_M) };
}
