/**
 * The matrix product for software adapters, which want values shared by shuffles within a subgroup rather than through
 * workgroup memory. Its shader takes columns four at a time: operands that do not allow it go through padded copies.
 */
import { ceilDiv, grid1d, storedType, type Capabilities, type Context } from "../gpu/context.ts";
import { sizeBytes } from "../tensor.ts";
import { matmulTiled, type Matmul, type MatrixView } from "./matmul.ts";
import type { BatchedMatmul } from "./matmul_batched.ts";
import {
  matmulSubgroupStationary,
  stationaryTile,
  SUBGROUP_COSTS,
  type ProductSizes,
} from "./matmul_subgroup_stationary.ts";
import { repack, roundUp4 } from "./repack.ts";
import { subgroupLanes, subgroupTiles, type Strided, type SubgroupMatrices } from "./subgroup.ts";
import { sumSplits } from "./sum_splits.ts";

/** Workgroups that keep the cores evenly busy; with fewer tiles than that, k is split. */
const WANTED_WORKGROUPS = 8;
/** Below this, a split costs more in its second pass than it gives. */
const LEAST_K_PER_SPLIT = 256;
/** Time of a copied element, in the unit of `SUBGROUP_COSTS`. */
const COPY = 0.15;
/** What a multiply-add takes longer in the shader that keeps c, whose sums are masked and stored in each turn. */
const MASKS = 0.035;

/**
 * The product of `Matmul`.
 * Shaders: matmul_subgroup.wgsl, matmul_subgroup_stationary.wgsl, repack.wgsl, sum_splits.wgsl.  Writes c (=) or (+=).
 */
export function matmulSubgroup(ctx: Context, matmul: Matmul): void {
  if (!multiplyTransposed(ctx, matmul)) multiplyView(ctx, matmul);
}

/**
 * By way of a transposed a or c, where that lets the many rows of the other operands pass by one that stays, in less time
 * than the copy takes: a dense layer's weight gradient (x^T is copied) and input gradient (dx^T = w dy^T).
 * @returns whether it did
 */
function multiplyTransposed(ctx: Context, matmul: Matmul): boolean {
  const { device } = ctx;
  const { label, m, n, k, a, b, c, bias, leakySlope } = matmul;
  const { transposeA = false, transposeB = false, accumulate = false } = matmul;
  const cost = outputStationaryCost(device, { batch: 1, m, n, k });
  const fits = (rows: number, columns: number): boolean =>
    4 * rows * roundUp4(columns) <= device.maxBindingBytes;
  if (transposeA && fits(m, k)) {
    const tile = stationaryTile(device, { batch: 1, m, n, k }, c.tensor.dtype);
    if (tile.cost + COPY * m * k >= cost) return false;
    const row = roundUp4(k);
    const rows = ctx.scratch([m, row], a.tensor.dtype, `${a.tensor.label} transposed`);
    const from = { offset: a.firstColumn, row: 1, column: a.rowLength, rows: m, columns: k };
    repack(ctx, a.tensor, { blocks: 1, from, to: { row, rows: m, columns: row } }, rows);
    const padded = { ...viewOf(rows, row), padded: true };
    multiplyView(ctx, { ...matmul, a: padded, transposeA: false });
    ctx.free(rows);
    return true;
  }
  if (transposeB && !transposeA && !bias && !accumulate && leakySlope === undefined && fits(n, m)) {
    const tile = stationaryTile(device, { batch: 1, m: n, n: roundUp4(m), k }, "float32");
    if (tile.cost + COPY * m * n >= cost) return false;
    const row = roundUp4(m);
    const columns = ctx.scratch([n, row], "float32", `${c.tensor.label} transposed`);
    // What the last columns hold behind m, from rows that a does not have, is not copied.
    multiplyView(ctx, { label, m: n, n: row, k, a: b, b: a, transposeB, c: viewOf(columns, row) });
    const from = { row: 1, column: row, rows: m, columns: n };
    const to = { offset: c.firstColumn, row: c.rowLength, rows: m, columns: n };
    repack(ctx, columns, { blocks: 1, from, to }, c.tensor);
    ctx.free(columns);
    return true;
  }
  return false;
}

function multiplyView(ctx: Context, matmul: Matmul): void {
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
  const tiles = subgroupTiles(subgroupLanes(ctx.device, n), m, n);
  const splits = exact && c.rowLength === n ? splitsOf(ctx, matmul, tiles) : 1;
  const direct = exact && splits === 1;
  const out = direct
    ? c
    : viewOf(ctx.scratch([splits, m, columns], "float32", `${c.tensor.label} partials`), columns);
  multiply(ctx, {
    ...{ label, batch: 1, m, n: columns, k, splits },
    ...{ a: matricesOf(a), transposeA, b: matricesOf(b), transposeB },
    ...{ bias, biasCount: n, c: { ...matricesOf(out), block: m * out.rowLength } },
    accumulate: direct && accumulate,
    leakySlope: direct ? (leakySlope ?? 1) : 1,
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

/**
 * The products of `BatchedMatmul`, in one dispatch.
 * Shader: matmul_subgroup.wgsl or matmul_subgroup_stationary.wgsl.  Writes c (=) or (+=).
 */
export function matmulSubgroupBatched(ctx: Context, product: BatchedMatmul): void {
  const { label, batch, m, n, k, a, b, bias, c, splits = 1 } = product;
  const { transposeA = false, transposeB = false, accumulate = false, leakySlope = 1 } = product;
  const rows = (stride: number) => ({ offset: 0, stride });
  multiply(ctx, {
    ...{ label, batch, m, n, k, splits, bias, biasCount: n, accumulate, leakySlope },
    ...{ a: { ...a, ...rows(transposeA ? m : k) }, transposeA },
    ...{ b: { ...b, ...rows(transposeB ? k : n) }, transposeB },
    c: { ...c, ...rows(n) },
  });
}

/** In one dispatch, by the faster shader. */
function multiply(ctx: Context, product: SubgroupMatrices): void {
  const { k, splits, transposeA, c } = product;
  const tile = stationaryTile(ctx.device, product, c.tensor.dtype);
  // Parts of sums would be rounded to float16 in c.
  const inC = tile.HELD_K >= k || c.tensor.dtype === "float32";
  if (!transposeA && splits === 1 && inC && tile.cost < outputStationaryCost(ctx.device, product))
    matmulSubgroupStationary(ctx, product, tile);
  else multiplyOutputStationary(ctx, product);
}

function multiplyOutputStationary(ctx: Context, product: SubgroupMatrices): void {
  const { label, batch, m, n, k, splits, a, b, bias, biasCount, c } = product;
  const { transposeA, transposeB, accumulate, leakySlope } = product;
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
      ...{ batch, m, n, k, kPerSplit: kPerSplit(k, splits), splits, biasCount },
      ...{ aOffset: a.offset, aStride: a.stride, aBlock: a.block },
      ...{ bOffset: b.offset, bStride: b.stride, bBlock: b.block },
      ...{ cOffset: c.offset, cStride: c.stride, cBlock: c.block },
    },
    workgroups: grid1d(ctx.device, subgroupTiles(lanes, m, n) * batch * splits),
  });
}

/** Time of matmul_subgroup.wgsl, which keeps a tile of c; measured beside the other shader. */
function outputStationaryCost(
  device: Pick<Capabilities, "subgroupSize">,
  { batch, m, n, k }: ProductSizes,
): number {
  const lanes = subgroupLanes(device, n);
  const turn = 8 + 16 * lanes.LANES_N * (SUBGROUP_COSTS.multiplyAdd + MASKS);
  const end = 4 * lanes.LANES_N * SUBGROUP_COSTS.store;
  return batch * subgroupTiles(lanes, m, n) * (ceilDiv(k, 4) * turn + end);
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
function isPacked(view: MatrixView, columns: number): boolean {
  const { firstColumn, rowLength, padded = false } = view;
  return firstColumn % 4 === 0 && rowLength % 4 === 0 && (padded || columns % 4 === 0);
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

function matricesOf({ tensor, firstColumn, rowLength }: MatrixView): Strided {
  return { tensor, offset: firstColumn, stride: rowLength, block: 0 };
}

function viewOf(tensor: MatrixView["tensor"], rowLength: number): MatrixView {
  return { tensor, firstColumn: 0, rowLength };
}
