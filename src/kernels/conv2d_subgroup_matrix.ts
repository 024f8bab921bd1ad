/**
 * Convolution of float16 tensors on units for matrix products (tensor cores), by subgroup matrices: the implicit GEMM of
 * conv2d_implicit_gemm.ts, with a workgroup's tile multiplied matrix by matrix. Sums are float32.
 */
import { ceilDiv, grid1d, valueType, type Context, type Capabilities } from "../gpu/context.ts";
import type { Constants } from "../gpu/shader.ts";
import type { SubgroupMatrix } from "../gpu/subgroup_matrix.ts";
import { conv2dParams, type Conv2dGeometry } from "../geometry.ts";
import type { DType, Tensor } from "../tensor.ts";
import type { Conv2dForward, Conv2dPass } from "./conv2d_algorithm.ts";
import { splitsToFill, wantedWorkgroups } from "./occupancy.ts";
import { bindableAs } from "./repack.ts";
import { inSplits } from "./sum_splits.ts";

/** How subgroups share a tile: SUBGROUPS_M x SUBGROUPS_N of them, ROWS x COLS matrices each. */
interface MatrixTile {
  readonly SUBGROUPS_M: number;
  readonly SUBGROUPS_N: number;
  readonly ROWS: number;
  readonly COLS: number;
}

/** Of every tile: 128 invocations on GPUs with subgroups of 32. */
const SUBGROUPS = 4;
/**
 * Rows and columns of the least part of a tile that a subgroup computes, and the tile's depth along the sum; matrices of
 * every size divide it. Emulation takes less, which software adapters compile sooner.
 */
function partOf({ emulated }: SubgroupMatrix): number {
  return emulated ? 16 : 32;
}

/** Pixels that a split of the weight gradient sums at least, so that its partial sums do not cost more than they save. */
const LEAST_PIXELS_PER_SPLIT = 512;

interface Tiling extends MatrixTile {
  /** Workgroups that cover M by N. */
  readonly tiles: number;
}

/**
 * The tile for a product of M by N that `parts` splits compute: 128 rows by 32 columns, or 64 by 64, or where these are
 * many 128 by 64, which read less for each product.
 */
function tiling(
  device: Capabilities,
  matrix: SubgroupMatrix,
  [M, N]: readonly [number, number],
  parts = 1,
): Tiling {
  const { m, n } = matrix;
  const part = partOf(matrix);
  const [ROWS, COLS] = [part / m, part / n];
  const of = (tile: MatrixTile): Tiling => ({
    ...tile,
    tiles:
      ceilDiv(M, tile.SUBGROUPS_M * tile.ROWS * m) * ceilDiv(N, tile.SUBGROUPS_N * tile.COLS * n),
  });
  if (N <= part) return of({ SUBGROUPS_M: SUBGROUPS, SUBGROUPS_N: 1, ROWS, COLS });
  const low = of({ SUBGROUPS_M: 2, SUBGROUPS_N: 2, ROWS, COLS });
  const high = of({ ...low, ROWS: 2 * ROWS });
  const enough = high.tiles * parts >= wantedWorkgroups(device) / 2;
  return high.tiles < low.tiles && enough ? high : low;
}

/** Why these shaders cannot compute a pass; undefined where they can. */
export function conv2dSubgroupMatrixUnsupported(
  { subgroupMatrix }: Pick<Capabilities, "subgroupMatrix">,
  { inC, outC }: Pick<Conv2dGeometry, "inC" | "outC">,
  pass: Conv2dPass,
  dtype: DType,
): string | undefined {
  if (dtype !== "float16") return `it computes in float16, the tensors are ${dtype}`;
  if (!subgroupMatrix) return "this adapter has no subgroup matrices of float16 with float32 sums";
  if (outC % 8 > 0) return `outC is ${outC}, no multiple of 8`;
  if (pass === "input_grad" && inC % 8 > 0) return `inC is ${inC}, no multiple of 8`;
  return undefined;
}

/** What all three shaders are built with. */
function constantsOf(
  matrix: SubgroupMatrix,
  { SUBGROUPS_M, SUBGROUPS_N, ROWS, COLS }: MatrixTile,
): Constants {
  const { m, n, k, lanes, emulated } = matrix;
  const TILE_K = partOf(matrix);
  const loads = (rows: number): number => (rows * TILE_K) / 8 / (SUBGROUPS * lanes);
  return {
    ...{ SUBGROUPS_M, SUBGROUPS_N, ROWS, COLS, TILE_K },
    ...{ MATRIX_M: m, MATRIX_N: n, MATRIX_K: k, LANES: lanes },
    LOADS_A: loads(SUBGROUPS_M * ROWS * m),
    LOADS_B: loads(SUBGROUPS_N * COLS * n),
    ...(emulated ? { subgroup_matrix: "subgroup_matrix_emulated" } : {}),
  };
}

/** The device's matrices, which `conv2dSubgroupMatrixUnsupported` has found. */
function matrixOf({ device }: Context): SubgroupMatrix {
  if (!device.subgroupMatrix) throw new Error("conv2d: this device has no subgroup matrices");
  return device.subgroupMatrix;
}

/**
 * y = x * w + b or leakyRelu(x * w + b).
 * x [n,inH,inW,inC], w [kH,kW,inC,outC], y [n,outH,outW,outC] float16, b [outC] float32 or none.
 * Shaders: conv2d_subgroup_matrix.wgsl, sum_splits.wgsl.  Writes y (=).
 */
export function conv2dSubgroupMatrix(
  ctx: Context,
  { x, w, b, leakySlope }: Conv2dForward,
  geometry: Conv2dGeometry,
  y: Tensor,
): void {
  const { n, kH, kW, outH, outW, inC, outC } = geometry;
  const matrix = matrixOf(ctx);
  const tile = tiling(ctx.device, matrix, [n * outH * outW, outC]);
  const splits = splitsToFill(ctx.device, y, { workgroups: tile.tiles, k: kH * kW * inC });
  inSplits(ctx, y, { splits, leakySlope }, (out, slope) => {
    ctx.dispatch({
      label: `conv2d ${y.label}`,
      shader: "conv2d_subgroup_matrix",
      constants: {
        ...constantsOf(matrix, tile),
        HAS_BIAS: b !== undefined,
        LEAKY_SLOPE: slope,
        VEC_X: inC % 8 === 0,
        Out: valueType(outC, out.dtype).Stored,
      },
      tensors: [x, bindableAs(ctx, x, 16), w, b ?? w, out],
      params: { ...conv2dParams(geometry), splits },
      workgroups: grid1d(ctx.device, tile.tiles * splits),
    });
  });
}

/**
 * dx of a convolution.  dy [n,outH,outW,outC], w [kH,kW,inC,outC], dx [n,inH,inW,inC], all float16.
 * Shaders: conv2d_input_grad_subgroup_matrix.wgsl, sum_splits.wgsl.  Writes dx (=).
 */
export function conv2dInputGradSubgroupMatrix(
  ctx: Context,
  { dy, w }: { dy: Tensor; w: Tensor },
  geometry: Conv2dGeometry,
  dx: Tensor,
): void {
  const { n, inH, inW, inC, outC, kH, kW, strideH, strideW } = geometry;
  const matrix = matrixOf(ctx);
  const tile = tiling(ctx.device, matrix, [n * inH * inW, inC]);
  const splits = splitsToFill(ctx.device, dx, { workgroups: tile.tiles, k: kH * kW * outC });
  inSplits(ctx, dx, { splits }, (out) => {
    ctx.dispatch({
      label: `conv2dInputGrad ${dx.label}`,
      shader: "conv2d_input_grad_subgroup_matrix",
      constants: {
        ...constantsOf(matrix, tile),
        STRIDED: strideH > 1 || strideW > 1,
        Out: valueType(inC, out.dtype).Stored,
      },
      tensors: [dy, w, out],
      params: { ...conv2dParams(geometry), splits },
      workgroups: grid1d(ctx.device, tile.tiles * splits),
    });
  });
}

/** How many partial sums `conv2dWeightGradSubgroupMatrix` wants to write; the caller may give it fewer. */
export function conv2dWeightGradSubgroupMatrixSplits(
  device: Capabilities,
  { n, kH, kW, inC, outC, outH, outW }: Conv2dGeometry,
): number {
  const { subgroupMatrix } = device;
  if (!subgroupMatrix) return 1;
  const most = ceilDiv(n * outH * outW, LEAST_PIXELS_PER_SPLIT);
  const { tiles } = tiling(device, subgroupMatrix, [kH * kW * inC, outC], most);
  return Math.min(most, ceilDiv(wantedWorkgroups(device), tiles));
}

/**
 * Partial sums of dw, each over a part of the pixels.
 * x [n,inH,inW,inC], dy [n,outH,outW,outC] float16, partials [splits,kH,kW,inC,outC] float32.
 * Shader: conv2d_weight_grad_subgroup_matrix.wgsl.  Writes partials (=).
 */
export function conv2dWeightGradSubgroupMatrix(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  geometry: Conv2dGeometry,
  partials: Tensor,
): void {
  const { n, kH, kW, inC, outC, outH, outW } = geometry;
  const splits = partials.shape[0] ?? 1;
  const matrix = matrixOf(ctx);
  const tile = tiling(ctx.device, matrix, [kH * kW * inC, outC], splits);
  ctx.dispatch({
    label: `conv2dWeightGrad ${partials.label}`,
    shader: "conv2d_weight_grad_subgroup_matrix",
    constants: { ...constantsOf(matrix, tile), VEC_X: inC % 8 === 0 },
    tensors: [x, bindableAs(ctx, x, 16), dy, partials],
    params: {
      ...conv2dParams(geometry),
      splits,
      pixelsPerSplit: ceilDiv(n * outH * outW, splits),
    },
    workgroups: grid1d(ctx.device, tile.tiles * splits),
  });
}
