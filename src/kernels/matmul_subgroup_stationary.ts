/**
 * The matrix product for software adapters where many rows meet one matrix b: b stays, rows of a pass by.
 */
import { ceilDiv, grid1d, storedType, type Capabilities, type Context } from "../gpu/context.ts";
import type { DType } from "../tensor.ts";
import type { SubgroupMatrices } from "./subgroup.ts";

/** How much of b a workgroup holds, and what a turn of its rows is; see matmul_subgroup_stationary.wgsl. */
export interface StationaryTile {
  readonly LANES: number;
  readonly LANES_N: number;
  /** Rows of b that are held; k goes by in such chunks. */
  readonly HELD_K: number;
  /** Quads of columns of b that a lane holds. */
  readonly QUADS: number;
  /** Rows of a that a lane group takes in a turn. */
  readonly ROWS: number;
  /** Rows of a for a workgroup. */
  readonly rowsPerGroup: number;
  /** See `SUBGROUP_COSTS`. */
  readonly cost: number;
}

/** Sizes of a product as of `Matmul`, `batch` times. */
export interface ProductSizes {
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/**
 * What the shaders for software adapters spend their time on, in loads of four values by each lane of a subgroup: about
 * 20 ns on two cores with Mesa's llvmpipe, which fetches and stores value by value. Found by timing tiles of many shapes.
 */
export const SUBGROUP_COSTS = {
  /** A store of four values by each lane. */
  store: 2,
  /** A multiply-add of four values by each lane, of operands in registers or on the stack. */
  multiplyAdd: 0.06,
  /** What each turn of the shader that keeps b takes beside. */
  turn: 1,
  /** A quad of b, loaded and put where only the run knows. */
  hold: 2,
} as const;

/**
 * Multiply-adds of quads in a turn. On Mesa's llvmpipe twice as many took up to twice as long for each: neither the
 * unrolled code nor what is held of b may outgrow the first caches.
 */
const TURN = 128;
/**
 * A turn of 32 compiles in a third of the time, which is all that counts where there are few multiply-adds of quads.
 * It takes less of k, so not for float16; see `stationaryTile`.
 */
const SMALL = { turn: 32, multiplyAdds: 200_000 } as const;
/** Loads of a lane in a turn, for the same reason. */
const MOST_LOADS = 8;
/** Workgroups that keep the cores evenly busy, where they have turns enough to make up for loading b. */
const WANTED_WORKGROUPS = 32;

/**
 * The fastest tile for these sizes, with a result of this type. Where one can, a float16 result is summed at once: parts of
 * its sums would take a float32 copy.
 */
export function stationaryTile(
  device: Pick<Capabilities, "subgroupSize">,
  sizes: ProductSizes,
  dtype: DType,
): StationaryTile {
  const all = stationaryTiles(device, sizes, dtype);
  const whole = dtype === "float16" ? all.filter(({ HELD_K }) => HELD_K >= sizes.k) : [];
  const tiles = whole.length > 0 ? whole : all;
  return tiles.reduce((best, tile) => (tile.cost < best.cost ? tile : best));
}

/** The tiles to choose from; at least one. */
export function stationaryTiles(
  { subgroupSize: LANES }: Pick<Capabilities, "subgroupSize">,
  sizes: ProductSizes,
  dtype: DType,
): StationaryTile[] {
  const quads = ceilDiv(sizes.n, 4);
  let LANES_N = 1;
  while (LANES_N < Math.min(LANES, quads)) LANES_N *= 2;
  const multiplyAdds = (sizes.batch * sizes.m * quads * sizes.k) / LANES;
  const small = dtype === "float32" && multiplyAdds < SMALL.multiplyAdds;
  const most = small ? Math.max(SMALL.turn, 4 * LANES) : TURN;
  const tiles: StationaryTile[] = [];
  for (const QUADS of [1, 2, 4, 8])
    for (const ROWS of [1, 2, 4, 8]) {
      // The quads of a in a turn are dealt to the lanes evenly.
      const step = Math.max(4, (4 * LANES_N) / ROWS);
      const turn = Math.min(most / QUADS, MOST_LOADS * 4 * LANES_N);
      const held = Math.floor(turn / ROWS / step) * step;
      if (held === 0 || QUADS * ROWS > 8) continue;
      const HELD_K = ceilDiv(ceilDiv(sizes.k, ceilDiv(sizes.k, held)), step) * step;
      tiles.push(withRows(sizes, { LANES, LANES_N, HELD_K, QUADS, ROWS }));
    }
  return tiles;
}

/** Deals the rows to workgroups, and estimates the time. */
function withRows(
  { batch, m, n, k }: ProductSizes,
  tile: Omit<StationaryTile, "rowsPerGroup" | "cost">,
): StationaryTile {
  const { LANES, LANES_N, HELD_K, QUADS, ROWS } = tile;
  const turnRows = ROWS * (LANES / LANES_N);
  const columnTiles = batch * ceilDiv(n, 4 * QUADS * LANES_N);
  const even = ceilDiv(m, ceilDiv(WANTED_WORKGROUPS, columnTiles));
  const least = HELD_K * QUADS * turnRows;
  const rowsPerGroup = ceilDiv(Math.min(m, Math.max(least, even)), turnRows) * turnRows;
  const { store, multiplyAdd, hold } = SUBGROUP_COSTS;
  const chunks = ceilDiv(k, HELD_K);
  const loads = (ROWS * HELD_K) / (4 * LANES_N) + (chunks > 1 ? ROWS * QUADS : 0);
  const turn = SUBGROUP_COSTS.turn + loads + ROWS * QUADS * (store + HELD_K * multiplyAdd);
  const turns = ceilDiv(m, turnRows);
  const holds = ceilDiv(m, rowsPerGroup) * HELD_K * QUADS;
  return { ...tile, rowsPerGroup, cost: columnTiles * chunks * (turns * turn + holds * hold) };
}

/** What a shader is built with for a tile. */
export function tileConstants({ LANES, LANES_N, HELD_K, QUADS, ROWS }: StationaryTile) {
  return { LANES, LANES_N, HELD_K, QUADS, ROWS, SLOTS: (ROWS * HELD_K) / (4 * LANES_N) };
}

/** Workgroups for products of these sizes. */
export function stationaryWorkgroups(
  { LANES_N, QUADS, rowsPerGroup }: StationaryTile,
  { batch, m, n }: ProductSizes,
): number {
  return batch * ceilDiv(n, 4 * QUADS * LANES_N) * ceilDiv(m, rowsPerGroup);
}

/** The products.  Shader: matmul_subgroup_stationary.wgsl.  Writes c (=) or (+=). */
export function matmulSubgroupStationary(
  ctx: Context,
  product: SubgroupMatrices,
  tile: StationaryTile,
): void {
  const { label, batch, m, n, k, a, b, bias, biasCount, c } = product;
  const { transposeB, accumulate, leakySlope } = product;
  ctx.dispatch({
    label,
    shader: "matmul_subgroup_stationary",
    constants: {
      ...tileConstants(tile),
      TRANSPOSE_B: transposeB,
      CHUNKS: k > tile.HELD_K,
      HAS_BIAS: bias !== undefined,
      ACCUMULATE: accumulate,
      LEAKY_SLOPE: leakySlope,
      Stored: storedType(a.tensor),
      CStored: storedType(c.tensor),
    },
    tensors: [a.tensor, b.tensor, bias ?? b.tensor, c.tensor],
    params: {
      ...{ batch, m, n, k, rowsPerGroup: tile.rowsPerGroup, biasCount },
      ...{ aOffset: a.offset, aStride: a.stride, aBlock: a.block },
      ...{ bOffset: b.offset, bStride: b.stride, bBlock: b.block },
      ...{ cOffset: c.offset, cStride: c.stride, cBlock: c.block },
    },
    workgroups: grid1d(ctx.device, stationaryWorkgroups(tile, product)),
  });
}
