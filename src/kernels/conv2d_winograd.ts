/**
 * Convolution with a 2x2, 3x3 or 5x5 kernel by Winograd's minimal filtering (Lavin & Gray 2015,
 * https://arxiv.org/abs/1509.09308): tiles of x and filters are transformed, multiplied point by point and summed over
 * channels as one matrix product for each point, and transformed back to tiles of y:
 *   kernel  tile of x  tile of y  products, where the plain sum has
 *   2x2     4x4        3x3        16         36
 *   3x3     4x4        2x2        16         36
 *           6x6        4x4        36        144
 *   5x5     6x6        2x2        36        100
 *           8x8        4x4        64        400
 *   forward          y  = A^T [ sum over ci of (G g G^T) . (B^T d B) ] A     d a tile of x, g a filter
 *   input gradient   the same of dy and the filters turned by 180 degrees
 *   weight gradient  dw = G^T [ sum over tiles of (B^T d B) . (A e A^T) ] G    e a tile of dy
 *
 * Transformed tensors are [points][rows, columns], a matrix for each point, with channels in fours and zeros behind, in
 * float32 whatever the others are stored as. They come in windows over the tiles, since they are up to nine times as many as what
 * they are made of.
 */
import { ceilDiv, grid1d, storedType, type Context, type Capabilities } from "../gpu/context.ts";
import type { Conv2dGeometry } from "../geometry.ts";
import type { Tensor } from "../tensor.ts";
import type { Conv2dForward, Conv2dImplementation } from "./conv2d_algorithm.ts";
import { batchedSplits, matmulBatched } from "./matmul_batched.ts";
import { matmulSubgroupBatched } from "./matmul_subgroup.ts";
import { roundUp4 } from "./repack.ts";
import { prefersSubgroups } from "./subgroup.ts";

const WG_SIZE = 64;

/** Rows of a tile of y, by rows of the kernel. */
export type OutTiles = Readonly<Record<number, number>>;

/** The tiles of the algorithms: larger ones take fewer products, and more points, with which roundings grow. */
export const WINOGRAD_TILES = {
  winograd: { 2: 3, 3: 2, 5: 2 },
  winograd_4x4: { 3: 4, 5: 4 },
} as const satisfies Record<string, OutTiles>;

/** The algorithm with these tiles. */
export function winograd(outTiles: OutTiles): Conv2dImplementation {
  const formOf = ({ kH: KERNEL }: Conv2dGeometry): Form => {
    const OUT_TILE = outTiles[KERNEL] ?? 1;
    const IN_TILE = OUT_TILE + KERNEL - 1;
    return { KERNEL, OUT_TILE, IN_TILE, points: IN_TILE * IN_TILE };
  };
  return {
    unsupported: (device, g) => unsupported(device, outTiles, g, formOf(g)),
    forward: (ctx, inputs, g, y) => {
      conv2dWinograd(ctx, inputs, g, formOf(g), y);
    },
    inputGrad: (ctx, inputs, g, dx) => {
      conv2dInputGradWinograd(ctx, inputs, g, formOf(g), dx);
    },
    weightGradSplits: () => 1, // the products themselves split their long sums
    weightGrad: (ctx, inputs, g, partials) => {
      conv2dWeightGradWinograd(ctx, inputs, g, formOf(g), partials);
    },
  };
}

/** Why this geometry or adapter cannot take the algorithm; undefined where it can. */
function unsupported(
  device: Capabilities,
  outTiles: OutTiles,
  g: Conv2dGeometry,
  { points }: Form,
): string | undefined {
  if (g.kH !== g.kW || !(g.kH in outTiles)) {
    const kernels = Object.keys(outTiles).map((size) => `${size}x${size}`);
    return `the kernel is ${g.kH}x${g.kW}, not ${kernels.slice(0, -1).join(", ")} or ${kernels.at(-1) ?? ""}`;
  }
  if (g.strideH !== 1 || g.strideW !== 1) return `the stride is [${g.strideH},${g.strideW}], not 1`;
  if (g.dilationH !== 1 || g.dilationW !== 1)
    return `the dilation is [${g.dilationH},${g.dilationW}], not 1`;
  const bytes = 4 * points * roundUp4(g.inC) * roundUp4(g.outC);
  return bytes > device.maxBindingBytes
    ? `the transformed filter takes ${bytes} bytes, one binding ${device.maxBindingBytes}`
    : undefined;
}

/** F(OUT_TILE x OUT_TILE, KERNEL x KERNEL), with `points` values of a transformed tile. */
interface Form {
  readonly KERNEL: number;
  readonly OUT_TILE: number;
  readonly IN_TILE: number;
  readonly points: number;
}

/**
 * y = x * w + b.  Shapes as in `conv2d`.
 * Shaders: conv2d_winograd_filter.wgsl, _input.wgsl, _output.wgsl and those of the products.  Writes y (=).
 */
function conv2dWinograd(
  ctx: Context,
  inputs: Conv2dForward,
  g: Conv2dGeometry,
  form: Form,
  y: Tensor,
): void {
  convolve(ctx, `conv2d ${y.label}`, inputs, form, y, {
    flip: false,
    originH: -g.padTop,
    originW: -g.padLeft,
  });
}

/** dx from dy and w.  Shapes as in `conv2dInputGrad`, shaders as of `conv2dWinograd`.  Writes dx (=). */
function conv2dInputGradWinograd(
  ctx: Context,
  { dy, w }: { dy: Tensor; w: Tensor },
  g: Conv2dGeometry,
  form: Form,
  dx: Tensor,
): void {
  convolve(ctx, `conv2dInputGrad ${dx.label}`, { x: dy, w }, form, dx, {
    flip: true,
    originH: g.padTop - (g.kH - 1),
    originW: g.padLeft - (g.kW - 1),
  });
}

interface Convolution {
  /** Turn the filters by 180 degrees and sum over their output channels. */
  readonly flip: boolean;
  /** The pixel of x at which the tile of the first pixel of y starts. */
  readonly originH: number;
  readonly originW: number;
}

function convolve(
  ctx: Context,
  label: string,
  { x, w, b, leakySlope = 1 }: Conv2dForward,
  form: Form,
  y: Tensor,
  { flip, originH, originW }: Convolution,
): void {
  const [, , , xC = 0] = x.shape;
  const [, outH = 0, outW = 0, yC = 0] = y.shape;
  const k = roundUp4(xC);
  const n = roundUp4(yC);
  const { OUT_TILE, IN_TILE, points } = form;
  const u = transformFilter(ctx, label, form, w, flip);
  for (const window of tileWindows(ctx.device, form, Math.max(k, n), y)) {
    const { tiles, ...place } = window;
    const v = transformInput(ctx, label, form, x, window, { originH, originW });
    const m = transformed(ctx, points, tiles, n, `${y.label} products`);
    const sizes = { m: tiles, n, k };
    multiply(ctx, {
      label: `${label} products`,
      points,
      ...sizes,
      a: v,
      b: u,
      transposeB: flip,
      c: m,
    });
    ctx.free(v);
    ctx.dispatch({
      label: `${label} output transform`,
      shader: "conv2d_winograd_output",
      constants: {
        ...{ WG_SIZE, Stored: storedType(y), OUT_TILE, IN_TILE },
        ...{ HAS_BIAS: b !== undefined, LEAKY_SLOPE: leakySlope },
      },
      tensors: [m, b ?? m, y],
      params: {
        ...{ outH, outW, yC: yC, mC: n, mPoint: tiles * n },
        ...{ tiles, ...place },
      },
      workgroups: grid1d(ctx.device, ceilDiv(tiles * yC, WG_SIZE)),
    });
    ctx.free(m);
  }
  ctx.free(u);
}

/**
 * dw in one part.  x [n,inH,inW,inC], dy [n,outH,outW,outC], partials [1,kH,kW,inC,outC].
 * Shaders: conv2d_winograd_input.wgsl, _output_grad.wgsl, _filter_grad.wgsl and those of the products.  Writes partials (=).
 */
function conv2dWeightGradWinograd(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  g: Conv2dGeometry,
  form: Form,
  partials: Tensor,
): void {
  const label = `conv2dWeightGrad ${partials.label}`;
  const { inC, outC, outH, outW } = g;
  const m = roundUp4(inC);
  const n = roundUp4(outC);
  const { KERNEL, OUT_TILE, IN_TILE, points } = form;
  const windows = tileWindows(ctx.device, form, Math.max(m, n), dy);
  const sizes = { batch: points, m, n, k: windows[0]?.tiles ?? 1 };
  const splits = prefersSubgroups(ctx.device) // the points alone keep its cores busy
    ? 1
    : batchedSplits(ctx.device, sizes);
  const products = ctx.scratch([splits, points, m, n], "float32", `${partials.label} products`);
  for (const window of windows) {
    const { tiles, ...place } = window;
    const origin = { originH: -g.padTop, originW: -g.padLeft };
    const v = transformInput(ctx, label, form, x, window, origin);
    const z = transformed(ctx, points, tiles, n, `${dy.label} transformed`);
    ctx.dispatch({
      label: `${label} output transform`,
      shader: "conv2d_winograd_output_grad",
      constants: { WG_SIZE, Stored: storedType(dy), OUT_TILE, IN_TILE },
      tensors: [dy, z],
      params: {
        ...{ outH, outW, yC: outC, zC: n, zPoint: tiles * n },
        ...{ tiles, ...place },
      },
      workgroups: grid1d(ctx.device, ceilDiv(tiles * n, WG_SIZE)),
    });
    multiply(ctx, {
      label: `${label} products`,
      ...{ points, m, n, k: tiles, a: v, transposeA: true, b: z, c: products, splits },
      accumulate: place.firstTile > 0,
    });
    ctx.free(z);
    ctx.free(v);
  }
  ctx.dispatch({
    label: `${label} filter transform`,
    shader: "conv2d_winograd_filter_grad",
    constants: { WG_SIZE, KERNEL, IN_TILE },
    tensors: [products, partials],
    params: { inC, outC, mC: n, mPoint: m * n, splits },
    workgroups: grid1d(ctx.device, ceilDiv(inC * outC, WG_SIZE)),
  });
  ctx.free(products);
}

/** The tiles firstTile and following of all n * tilesH * tilesW. */
interface TileWindow {
  readonly firstTile: number;
  readonly tiles: number;
  readonly tilesH: number;
  readonly tilesW: number;
}

/** u = G g G^T of all filters [kH,kW,inC,outC], as a scratch tensor [points][inC,outC]. */
function transformFilter(
  ctx: Context,
  label: string,
  { KERNEL, IN_TILE, points }: Form,
  w: Tensor,
  flip: boolean,
): Tensor {
  const [, , inC = 0, outC = 0] = w.shape;
  const rows = roundUp4(inC);
  const columns = roundUp4(outC);
  const u = transformed(ctx, points, rows, columns, `${w.label} transformed`);
  ctx.dispatch({
    label: `${label} filter transform`,
    shader: "conv2d_winograd_filter",
    constants: { WG_SIZE, Stored: storedType(w), KERNEL, IN_TILE, FLIP: flip },
    tensors: [w, u],
    params: {
      ...{ inC, outC, uRows: rows, uC: columns },
      uPoint: rows * columns,
    },
    workgroups: grid1d(ctx.device, ceilDiv(rows * columns, WG_SIZE)),
  });
  return u;
}

/** v = B^T d B of the tiles of a window of x, as a scratch tensor. */
function transformInput(
  ctx: Context,
  label: string,
  { OUT_TILE, IN_TILE, points }: Form,
  x: Tensor,
  window: TileWindow,
  origin: { originH: number; originW: number },
): Tensor {
  const [, inH = 0, inW = 0, xC = 0] = x.shape;
  const { tiles } = window;
  const channels = roundUp4(xC);
  const v = transformed(ctx, points, tiles, channels, `${x.label} transformed`);
  ctx.dispatch({
    label: `${label} input transform`,
    shader: "conv2d_winograd_input",
    constants: { WG_SIZE, Stored: storedType(x), OUT_TILE, IN_TILE },
    tensors: [x, v],
    params: {
      ...{ inH, inW, xC, vC: channels },
      ...{ vPoint: tiles * channels, ...window, ...origin },
    },
    workgroups: grid1d(ctx.device, ceilDiv(tiles * channels, WG_SIZE)),
  });
  return v;
}

/** A scratch tensor of a matrix for each point. */
function transformed(
  ctx: Context,
  points: number,
  rows: number,
  columns: number,
  label: string,
): Tensor {
  return ctx.scratch([points, rows, columns], "float32", label);
}

/**
 * Bytes of a transformed tensor. Windows that fit into a cache gain nothing on Mesa's adapter (4, 16 and 64 MiB took the
 * same time, the smallest the longest), and each costs the host three dispatches to encode.
 */
const WINDOW_BYTES = 64 * 1024 * 1024;

/** Windows over the tiles of y [n,outH,outW,outC], which have `channels` at most once they are transformed. */
function tileWindows(
  device: Capabilities,
  { OUT_TILE, points }: Form,
  channels: number,
  y: Tensor,
): TileWindow[] {
  const [n = 0, outH = 0, outW = 0] = y.shape;
  const tileBytes = 4 * points * channels;
  // At least 4 wherever the transformed filter fits in one binding.
  const fits = Math.floor(device.maxBindingBytes / tileBytes);
  const most = Math.min(fits, Math.max(64, Math.floor(WINDOW_BYTES / tileBytes)));
  const tilesH = ceilDiv(outH, OUT_TILE);
  const tilesW = ceilDiv(outW, OUT_TILE);
  const all = n * tilesH * tilesW;
  // Of equal size, so that the last one is not left with a few tiles.
  const count = ceilDiv(all, ceilDiv(all, most));
  const windows: TileWindow[] = [];
  for (let firstTile = 0; firstTile < all; firstTile += count)
    windows.push({ firstTile, tiles: Math.min(count, all - firstTile), tilesH, tilesW });
  return windows;
}

/** c[i,j] = sum over q of op(a)[i,q] * op(b)[q,j] for each point. */
interface Products {
  readonly label: string;
  readonly points: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** [points][m,k], or [points][k,m] with `transposeA`. */
  readonly a: Tensor;
  readonly transposeA?: boolean;
  /** [points][k,n], or [points][n,k] with `transposeB`. */
  readonly b: Tensor;
  readonly transposeB?: boolean;
  /** [splits][points][m,n], partial sums over parts of k. */
  readonly c: Tensor;
  /** Default 1. */
  readonly splits?: number;
  /** Add to what c holds (+=) instead of writing it (=). */
  readonly accumulate?: boolean;
}

function multiply(ctx: Context, { points, a, b, c, ...product }: Products): void {
  const { m, n, k } = product;
  const multiplyAll = prefersSubgroups(ctx.device) ? matmulSubgroupBatched : matmulBatched;
  multiplyAll(ctx, {
    ...{ ...product, batch: points },
    a: { tensor: a, block: m * k },
    b: { tensor: b, block: k * n },
    c: { tensor: c, block: m * n },
  });
}
