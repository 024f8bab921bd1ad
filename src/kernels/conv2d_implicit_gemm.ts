/**
 * Convolution by implicit GEMM: workgroup tiles with register blocking over a matrix view of the convolution, for the
 * forward pass M = n*outH*outW, N = outC, K = kH*kW*inC, which is gathered tile by tile and never stored.
 */
import {
  ceilDiv,
  grid1d,
  storedType,
  valueType,
  type Context,
  type Capabilities,
} from "../gpu/context.ts";
import { conv2dParams, tapSteps, type Conv2dGeometry } from "../geometry.ts";
import type { Tensor } from "../tensor.ts";
import type { Conv2dForward, Conv2dImplementation } from "./conv2d_algorithm.ts";
import { splitsToFill, wantedWorkgroups } from "./occupancy.ts";
import { bindableAs } from "./repack.ts";
import { inSplits } from "./sum_splits.ts";

/** How invocations share a tile: LANES_M x LANES_N of them, THREAD_M x THREAD_N elements each, TILE_K along the sum. */
export interface GemmTile {
  readonly LANES_M: number;
  readonly LANES_N: number;
  readonly THREAD_M: number;
  readonly THREAD_N: number;
  readonly TILE_K: number;
}

/** Tiles that the autotuner tries beside the default; its choice goes by size and is right everywhere. */
export const GEMM_TILES = {
  implicit_gemm_64x64: { LANES_M: 16, LANES_N: 8, THREAD_M: 4, THREAD_N: 8, TILE_K: 16 },
  implicit_gemm_128x64: { LANES_M: 16, LANES_N: 8, THREAD_M: 8, THREAD_N: 8, TILE_K: 16 },
  implicit_gemm_128x128: { LANES_M: 16, LANES_N: 16, THREAD_M: 8, THREAD_N: 8, TILE_K: 16 },
} as const satisfies Record<string, GemmTile>;

/** The algorithm with one tile for all sizes, or with the default. */
export function implicitGemm(tile?: GemmTile): Conv2dImplementation {
  return {
    unsupported: (device) => (tile ? tileUnsupported(device, tile) : undefined),
    forward: (ctx, inputs, g, y) => {
      conv2dImplicitGemm(ctx, inputs, g, y, tile);
    },
    inputGrad: (ctx, inputs, g, dx) => {
      conv2dInputGradImplicitGemm(ctx, inputs, g, dx, tile);
    },
    weightGradSplits: (device, g) => conv2dWeightGradImplicitGemmSplits(device, g, tile),
    weightGrad: (ctx, inputs, g, partials) => {
      conv2dWeightGradImplicitGemm(ctx, inputs, g, partials, tile);
    },
  };
}

/** Why a device cannot run a tile; undefined where it can. */
function tileUnsupported({ limits }: Capabilities, tile: GemmTile): string | undefined {
  const { LANES_M, LANES_N, THREAD_M, THREAD_N, TILE_K } = tile;
  const invocations = LANES_M * LANES_N;
  if (invocations > limits.maxComputeInvocationsPerWorkgroup)
    return `its workgroups have ${invocations} invocations, the adapter's at most ${limits.maxComputeInvocationsPerWorkgroup}`;
  // Both tiles, the padding of one, and in the weight gradient three numbers for each row.
  const rows = LANES_M * THREAD_M;
  const bytes = 4 * TILE_K * (rows + 4 + LANES_N * THREAD_N) + 16 * rows;
  return bytes > limits.maxComputeWorkgroupStorageSize
    ? `its tiles take ${bytes} bytes of workgroup memory, the adapter has ${limits.maxComputeWorkgroupStorageSize}`
    : undefined;
}

/** 128 invocations: within every adapter's limits, as are the at most 14.5 KiB of workgroup memory that they share. */
const GEMM_LANES = { LANES_M: 16, LANES_N: 8, TILE_K: 16 } as const;
/** Pixels that a split of the weight gradient sums at least, so that its partial sums do not cost more than they save. */
const LEAST_PIXELS_PER_SPLIT = 256;
interface Tiling extends GemmTile {
  /** Workgroups that cover M by N. */
  readonly tiles: number;
}

/** The tile for a product of M by N that `parts` splits compute: by default 64 or 128 rows by 32 or 64 columns. */
function tiling(
  device: Capabilities,
  [M, N]: readonly [number, number],
  forced: GemmTile | undefined,
  parts = 1,
): Tiling {
  const tilesOf = ({ LANES_M, LANES_N, THREAD_M, THREAD_N }: GemmTile): number =>
    ceilDiv(M, LANES_M * THREAD_M) * ceilDiv(N, LANES_N * THREAD_N);
  if (forced) return { ...forced, tiles: tilesOf(forced) };
  const low = { ...GEMM_LANES, THREAD_M: 4, THREAD_N: N > 32 ? 8 : 4 };
  const high = { ...low, THREAD_M: 8 };
  const large =
    tilesOf(high) < tilesOf(low) && tilesOf(high) * parts >= wantedWorkgroups(device) / 2;
  const tile = large ? high : low;
  return { ...tile, tiles: tilesOf(tile) };
}

function conv2dImplicitGemm(
  ctx: Context,
  { x, w, b, leakySlope }: Conv2dForward,
  geometry: Conv2dGeometry,
  y: Tensor,
  tile: GemmTile | undefined,
): void {
  const { n, outH, outW, inC, outC, kH, kW } = geometry;
  const { tiles, ...shape } = tiling(ctx.device, [n * outH * outW, outC], tile);
  const splits = splitsToFill(ctx.device, y, { workgroups: tiles, k: kH * kW * inC });
  inSplits(ctx, y, { splits, leakySlope }, (out, slope) => {
    ctx.dispatch({
      label: `conv2d ${y.label}`,
      shader: "conv2d_implicit_gemm",
      constants: {
        ...shape,
        HAS_BIAS: b !== undefined,
        LEAKY_SLOPE: slope,
        VEC_X: inC % 4 === 0,
        VEC_W: outC % 4 === 0,
        Stored: storedType(x),
        ...storesOf(out),
      },
      tensors: [x, vec4View(ctx, x), w, vec4View(ctx, w), b ?? w, out],
      params: { ...conv2dParams(geometry), splits },
      workgroups: grid1d(ctx.device, tiles * splits),
    });
  });
}

function conv2dInputGradImplicitGemm(
  ctx: Context,
  { dy, w }: { dy: Tensor; w: Tensor },
  geometry: Conv2dGeometry,
  dx: Tensor,
  tile: GemmTile | undefined,
): void {
  const { n, inH, inW, inC, outC, kH, kW, strideH, strideW } = geometry;
  const phases = strideH * strideW;
  const pixels = n * ceilDiv(inH, strideH) * ceilDiv(inW, strideW);
  const { tiles, ...shape } = tiling(ctx.device, [pixels, inC], tile, phases);
  const steps = tapSteps(geometry);
  // Of the phases, those that have any taps, and the taps of the one that has most.
  const busy = Math.min(kH, steps.tapStepH) * Math.min(kW, steps.tapStepW);
  const taps = ceilDiv(kH, steps.tapStepH) * ceilDiv(kW, steps.tapStepW);
  const splits = splitsToFill(ctx.device, dx, { workgroups: tiles * busy, k: taps * outC });
  inSplits(ctx, dx, { splits }, (out) => {
    ctx.dispatch({
      label: `conv2dInputGrad ${dx.label}`,
      shader: "conv2d_input_grad_implicit_gemm",
      constants: {
        ...shape,
        VEC_K: outC % 4 === 0,
        STRIDED: phases > 1,
        Stored: storedType(dy),
        ...storesOf(out),
      },
      tensors: [dy, vec4View(ctx, dy), w, vec4View(ctx, w), out],
      params: { ...conv2dParams(geometry), ...steps, splits },
      workgroups: grid1d(ctx.device, tiles * phases * splits),
    });
  });
}

function conv2dWeightGradImplicitGemmSplits(
  device: Capabilities,
  geometry: Conv2dGeometry,
  tile: GemmTile | undefined,
): number {
  const { n, kH, kW, inC, outC, outH, outW } = geometry;
  const most = ceilDiv(n * outH * outW, LEAST_PIXELS_PER_SPLIT);
  const { tiles } = tiling(device, [kH * kW * inC, outC], tile, most);
  return Math.min(most, ceilDiv(wantedWorkgroups(device), tiles));
}

function conv2dWeightGradImplicitGemm(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  geometry: Conv2dGeometry,
  partials: Tensor,
  tile: GemmTile | undefined,
): void {
  const { n, kH, kW, inC, outC, outH, outW } = geometry;
  const splits = partials.shape[0] ?? 1;
  const { tiles, ...shape } = tiling(ctx.device, [kH * kW * inC, outC], tile, splits);
  ctx.dispatch({
    label: `conv2dWeightGrad ${partials.label}`,
    shader: "conv2d_weight_grad_implicit_gemm",
    constants: {
      ...shape,
      VEC_X: inC % 4 === 0,
      VEC_DY: outC % 4 === 0,
      Stored: storedType(x),
      ...storesOf(partials),
    },
    tensors: [x, vec4View(ctx, x), dy, vec4View(ctx, dy), partials],
    params: {
      ...conv2dParams(geometry),
      splits,
      pixelsPerSplit: ceilDiv(n * outH * outW, splits),
    },
    workgroups: grid1d(ctx.device, tiles * splits),
  });
}

/** What to bind as `array<vec4<Stored>>`. */
function vec4View(ctx: Context, tensor: Tensor): Tensor {
  return bindableAs(ctx, tensor, storedType(tensor) === "f16" ? 8 : 16);
}

/** How store_neighbours.wgsl writes a tensor. */
function storesOf({ shape, dtype }: Tensor) {
  const { Stored, lanes } = valueType(shape.at(-1) ?? 1, dtype);
  return lanes === 4
    ? ({ Out: Stored, FOURS: 1, SINGLES: 0 } as const)
    : ({ Out: Stored, FOURS: 0, SINGLES: 4 } as const);
}
