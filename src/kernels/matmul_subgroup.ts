/**
 * The matrix product for software adapters, which want values shared by shuffles within a subgroup rather than through
 * workgroup memory. Its shader takes columns four at a time: operands that do not allow it go through padded copies.
 */
import { ceilDiv, grid1d, storedType, type Context } from "../gpu/context.ts";
import { sizeBytes } from "../tensor.ts";
import { matmulTiled, type Matmul, type MatrixView } from "./matmul.ts";
import type { BatchedMatmul } from "./matmul_batched.ts";
import { repack, roundUp4 } from "./repack.ts";
import { subgroupLanes, subgroupTiles } from "./subgroup.ts";
import { sumSplits } from "./sum_splits.ts";

/** Workgroups that keep the cores evenly busy; with fewer tiles than that, k is split. */
const WANTED_WORKGROUPS = 8;
/** Below this, a split costs more in its second pass than it gives. */
const LEAST_K_PER_SPLIT = 256;

/** The product of `Matmul`.  Shaders: matmul_subgroup.wgsl, repack.wgsl, sum_splits.wgsl.  Writes c (=) or (+=). */
export function matmulSubgroup(ctx: Context, matmul: Matmul): void {
  const { label, m, n, k, bias, c } = matmul;
  const { transposeA = false, transposeB = false, accumulate = false, leakySlope } = matmul;
  const columns = roundUp4(n);
  const [aRows, aColumns] = transposeA ? [k, m] : [m, k];
  const [bRows, bColumns] = transposeB ? [n, k] : [k, n];
  const exact = n % 4 === 0 && c.rowLength % 4 === 0 && c.firstColumn % 4 === 0;
  const copyBytes = (view: MatrixView, viewRows: number, viewColumns: number): number =>
    isPacked(view, viewColumns)
      ? 0
      : sizeBytes({ shape: [viewRows, roundUp4(viewColumns)], dtype: view.tensor.dtype });
  const tooLarge = [
    copyBytes(matmul.a, aRows, aColumns),
    copyBytes(matmul.b, bRows, bColumns),
    exact ? 0 : 4 * m * columns,
  ].some((bytes) => bytes > ctx.device.maxBindingBytes);
  if (tooLarge) {
    matmulTiled(ctx, matmul);
    return;
  }
  const a = packView(ctx, matmul.a, aRows, aColumns);
  const b = packView(ctx, matmul.b, bRows, bColumns);
  const lanes = subgroupLanes(ctx.device, n);
  const tiles = subgroupTiles(lanes, m, n);
  const splits = exact && c.rowLength === n ? splitsOf(ctx, matmul, tiles) : 1;
  const direct = exact && splits === 1;
  const out = direct
    ? c
    : viewOf(ctx.scratch([splits, m, columns], "float32", `${c.tensor.label} partials`), columns);
  ctx.dispatch({
    label,
    shader: "matmul_subgroup",
    constants: {
      ...lanes,
      TRANSPOSE_A: transposeA,
      TRANSPOSE_B: transposeB,
      HAS_BIAS: bias !== undefined,
      ACCUMULATE: direct && accumulate,
      LEAKY_SLOPE: direct ? (leakySlope ?? 1) : 1,
      Stored: storedType(a.tensor),
      CStored: storedType(out.tensor),
    },
    tensors: [a.tensor, b.tensor, bias ?? b.tensor, out.tensor],
    params: {
      ...{ batch: 1, m, n: columns, k, kPerSplit: kPerSplit(k, splits), splits, biasCount: n },
      ...{ aOffset: a.firstColumn, aStride: a.rowLength, aBlock: 0 },
      ...{ bOffset: b.firstColumn, bStride: b.rowLength, bBlock: 0 },
      ...{ cOffset: out.firstColumn, cStride: out.rowLength, cBlock: m * out.rowLength },
    },
    workgroups: grid1d(ctx.device, tiles * splits),
  });
  if (splits > 1) sumSplits(ctx, out.tensor, c.tensor, { accumulate, leakySlope });
  else if (!direct) {
    const from = { row: columns, rows: m, columns };
    const to = { offset: c.firstColumn, row: c.rowLength, rows: m, columns: n };
    repack(ctx, out.tensor, { blocks: 1, from, to, accumulate, leakySlope }, c.tensor);
  }
  if (!direct) ctx.free(out.tensor);
  if (a.tensor !== matmul.a.tensor) ctx.free(a.tensor);
  if (b.tensor !== matmul.b.tensor) ctx.free(b.tensor);
}

/** The products of `BatchedMatmul`, in one dispatch.  Shader: matmul_subgroup.wgsl.  Writes c (=) or (+=). */
export function matmulSubgroupBatched(ctx: Context, product: BatchedMatmul): void {
  const { label, batch, m, n, k, a, b, bias, c, splits = 1 } = product;
  const { transposeA = false, transposeB = false, accumulate = false, leakySlope = 1 } = product;
  const lanes = subgroupLanes(ctx.device, n);
  ctx.dispatch({
    label,
    shader: "matmul_subgroup",
    constants: {
      ...lanes,
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
      ...{ batch, m, n, k, kPerSplit: kPerSplit(k, splits), splits, biasCount: n },
      ...{ aOffset: 0, aStride: transposeA ? m : k, aBlock: a.block },
      ...{ bOffset: 0, bStride: transposeB ? k : n, bBlock: b.block },
      ...{ cOffset: 0, cStride: n, cBlock: c.block },
    },
    workgroups: grid1d(ctx.device, subgroupTiles(lanes, m, n) * batch * splits),
  });
}

function splitsOf(ctx: Context, { m, n, k }: Matmul, tiles: number): number {
  const most = Math.floor(ctx.device.maxBindingBytes / (4 * m * n));
  const wanted = Math.min(ceilDiv(WANTED_WORKGROUPS, tiles), ceilDiv(k, LEAST_K_PER_SPLIT), most);
  // No split may be left without any work.
  return ceilDiv(k, kPerSplit(k, Math.max(1, wanted)));
}

function kPerSplit(k: number, splits: number): number {
  return roundUp4(ceilDiv(k, splits));
}

/** Whether the shader can read a view of `columns` columns where it lies. */
function isPacked({ firstColumn, rowLength }: MatrixView, columns: number): boolean {
  return firstColumn % 4 === 0 && rowLength % 4 === 0 && columns % 4 === 0;
}

/** The view itself, or a copy with zeros behind its columns. */
function packView(ctx: Context, view: MatrixView, rows: number, columns: number): MatrixView {
  if (isPacked(view, columns)) return view;
  const row = roundUp4(columns);
  const packed = ctx.scratch([rows, row], view.tensor.dtype, `${view.tensor.label} packed`);
  const from = { offset: view.firstColumn, row: view.rowLength, rows, columns };
  repack(ctx, view.tensor, { blocks: 1, from, to: { row, rows, columns: row } }, packed);
  return viewOf(packed, row);
}

function viewOf(tensor: MatrixView["tensor"], rowLength: number): MatrixView {
  return { tensor, firstColumn: 0, rowLength };
}
