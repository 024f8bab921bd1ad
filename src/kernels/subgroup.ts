/**
 * What the shaders for software adapters share: how a subgroup's lanes are laid out over a tile of the product, and how
 * its matrices lie.
 */
import { ceilDiv, type Capabilities } from "../gpu/context.ts";
import type { Tensor } from "../tensor.ts";

/** Lanes of a subgroup, and how many of them lie along the columns with four columns each; the rest lie along the rows. */
export interface Lanes {
  readonly LANES: number;
  readonly LANES_N: number;
}

/** Matrices in one tensor, in elements: the first starts at `offset`, rows are `stride` apart, matrices `block`. */
export interface Strided {
  readonly tensor: Tensor;
  readonly offset: number;
  readonly stride: number;
  readonly block: number;
}

/** `batch` products, or `splits` parts of each. All sizes and distances are such as the shaders want them. */
export interface SubgroupMatrices {
  readonly label: string;
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly splits: number;
  readonly a: Strided;
  readonly transposeA: boolean;
  readonly b: Strided;
  readonly transposeB: boolean;
  readonly bias: Tensor | undefined;
  readonly biasCount: number;
  readonly c: Strided;
  readonly accumulate: boolean;
  readonly leakySlope: number;
}

/** The layout with the least work for a product with `columns` columns. */
export function subgroupLanes(device: Pick<Capabilities, "subgroupSize">, columns: number): Lanes {
  const LANES = device.subgroupSize;
  const quads = ceilDiv(columns, 4);
  // A turn of the shaders takes time for its loads, whatever the layout, and for 64 * LANES_N multiply-adds; on Mesa's
  // llvmpipe the loads take as long as about 600 of these.
  const cost = (lanesN: number): number => ceilDiv(quads, lanesN) * (600 + 64 * lanesN);
  let best = 1;
  for (let lanesN = 2; lanesN <= LANES; lanesN *= 2) if (cost(lanesN) < cost(best)) best = lanesN;
  return { LANES, LANES_N: best };
}

/** Workgroups for a product of rows x columns: each computes 4 * LANES rows by 4 * LANES_N columns. */
export function subgroupTiles({ LANES, LANES_N }: Lanes, rows: number, columns: number): number {
  return ceilDiv(rows, 4 * LANES) * ceilDiv(columns, 4 * LANES_N);
}

/** Why an adapter cannot run these shaders; undefined where it can. */
export function subgroupUnsupported(
  device: Pick<Capabilities, "subgroupSize">,
): string | undefined {
  const size = device.subgroupSize;
  if (size === 0) return "this adapter has no subgroups of one known size";
  // Accumulators grow with the lanes: a GPU's 32 lanes would take 512 registers.
  return size > 16
    ? `subgroups of ${size} lanes are more than these shaders are made for`
    : undefined;
}

/** Whether products go through these shaders: software adapters run tiles in workgroup memory several times slower. */
export function prefersSubgroups(device: Pick<Capabilities, "subgroupSize" | "summary">): boolean {
  return device.summary.software && subgroupUnsupported(device) === undefined;
}
