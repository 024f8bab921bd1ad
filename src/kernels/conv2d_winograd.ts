/**
 * Convolution with a 2x2, 3x3 or 5x5 kernel by Winograd's minimal filtering (Lavin & Gray 2015,
 * https://arxiv.org/abs/1509.09308): tiles of x and filters are transformed, multiplied point by point and summed over
 * channels as one matrix product for each point, and transformed back to tiles of y:
 *   kernel  tile of x  tile of y  products, where the plain sum has
 *   2x2     4x4        3x3        16         36
 *   3x3     4x4        2x2        16         36
 *   5x5     6x6        2x2        36        100
 *   forward          y  = A^T [ sum over ci of (G g G^T) . (B^T d B) ] A     d a tile of x, g a filter
 *   input gradient   the same of dy and the filters turned by 180 degrees
 *   weight gradient  dw = G^T [ sum over tiles of (B^T d B) . (A e A^T) ] G    e a tile of dy
 *
 * Transformed tensors are [points][rows, columns], a matrix for each point, with channels in fours and zeros behind, in
 * float32 whatever the others are stored as. They come in windows over the tiles, since they are up to nine times as many as what
 * they are made of.
 */
import { ceilDiv, grid1d, valueType, type Context, type Capabilities } from "../gpu/context.ts";
import type { Conv2dGeometry } from "../geometry.ts";
import type { Tensor } from "../tensor.ts";
import type { Conv2dForward } from "./conv2d_algorithm.ts";
import { batchedSplits, matmulBatched } from "./matmul_batched.ts";
import { matmulSubgroupBatched } from "./matmul_subgroup.ts";
import { roundUp4 } from "./repack.ts";
import { prefersSubgroups } from "./subgroup.ts";

const WG_SIZE = 64;
/** Rows of a tile of y, by rows of the kernel: 4 or 6 points a line, since with more the roundings grow. */
const OUT_TILES: Readonly<Record<number, number>> = { 2: 3, 3: 2, 5: 2 };

/** Why this geometry or adapter cannot take Winograd's algorithm; undefined where it can. */
export function conv2dWinogradUnsupported(
  device: Capabilities,
  g: Conv2dGeometry,
): string | undefined {
  if (g.kH !== g.kW || !(g.kH in OUT_TILES))
    return `the kernel is ${g.kH}x${g.kW}, not 2x2, 3x3 or 5x5`;
  if (g.strideH !== 1 || g.strideW !== 1) return `the stride is [${g.strideH},${g.strideW}], not 1`;
  if (g.dilationH !== 1 || g.dilationW !== 1)
    return `the dilation is [${g.dilationH},${g.dilationW}], not 1`;
  const bytes = 4 * formOf(g).points * roundUp4(g.inC) * roundUp4(g.outC);
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

function formOf({ kH: KERNEL }: Conv2dGeometry): Form {
  const OUT_TILE = OUT_TILES[KERNEL] ?? 1;
  const IN_TILE = OUT_TILE + KERNEL - 1;
  return { KERNEL, OUT_TILE, IN_TILE, points: IN_TILE * IN_TILE };
}

/**
 * y = x * w + b.  Shapes as in `conv2d`.
 * Shaders: conv2d_winograd_filter.wgsl, _input.wgsl, _output.wgsl and those of the products.  Writes y (=).
 */
export function conv2dWinograd(
  ctx: Context,
  inputs: Conv2dForward,
  g: Conv2dGeometry,
  y: Tensor,
): void {
  convolve(ctx, `conv2d ${y.label}`, inputs, g, y, {
    flip: false,
    originH: -g.padTop,
    originW: -g.padLeft,
  });
}

/** dx from dy and w.  Shapes as in `conv2dInputGrad`, shaders as of `conv2dWinograd`.  Writes dx (=). */
export function conv2dInputGradWinograd(
  ctx: Context,
  { dy, w }: { dy: Tensor; w: Tensor },
  g: Conv2dGeometry,
  dx: Tensor,
): void {
  convolve(ctx, `conv2dInputGrad ${dx.label}`, { x: dy, w }, g, dx, {
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
  g: Conv2dGeometry,
  y: Tensor,
  { flip, originH, originW }: Convolution,
): void {
  const [, , , xC = 0] = x.shape;
  const [, outH = 0, outW = 0, yC = 0] = y.shape;
  const k = roundUp4(xC);
  const n = roundUp4(yC);
  const form = formOf(g);
  const { OUT_TILE, IN_TILE, points } = form;
  const u = transformFilter(ctx, label, form, w, flip);
  const { Value, Stored, lanes } = valueType(yC, y.dtype);
  for (const window of tileWindows(ctx.device, g, y)) {
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
        ...{ WG_SIZE, Value, Stored, OUT_TILE, IN_TILE },
        ...{ HAS_BIAS: b !== undefined, LEAKY_SLOPE: leakySlope },
      },
      tensors: [m, b ?? m, y],
      params: {
        ...{ outH, outW, yC: yC / lanes, mC: n / lanes, mPoint: (tiles * n) / lanes },
        ...{ tiles, ...place },
      },
      workgroups: grid1d(ctx.device, ceilDiv((tiles * yC) / lanes, WG_SIZE)),
    });
    ctx.free(m);
  }
  ctx.free(u);
}

/**
 * dw in one part: the products themselves split their long sums.
 * x [n,inH,inW,inC], dy [n,outH,outW,outC], partials [1,kH,kW,inC,outC].
 * Shaders: conv2d_winograd_input.wgsl, _output_grad.wgsl, _filter_grad.wgsl and those of the products.  Writes partials (=).
 */
export function conv2dWeightGradWinograd(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  g: Conv2dGeometry,
  partials: Tensor,
): void {
  const label = `conv2dWeightGrad ${partials.label}`;
  const { inC, outC, outH, outW } = g;
  const m = roundUp4(inC);
  const n = roundUp4(outC);
  const form = formOf(g);
  const { KERNEL, OUT_TILE, IN_TILE, points } = form;
  const windows = tileWindows(ctx.device, g, dy);
  const sizes = { batch: points, m, n, k: windows[0]?.tiles ?? 1 };
  const splits = prefersSubgroups(ctx.device) // the points alone keep its cores busy
    ? 1
    : batchedSplits(ctx.device, sizes);
  const products = ctx.scratch([splits, points, m, n], "float32", `${partials.label} products`);
  const { Value, Stored, lanes } = valueType(outC, dy.dtype);
  for (const window of windows) {
    const { tiles, ...place } = window;
    const origin = { originH: -g.padTop, originW: -g.padLeft };
    const v = transformInput(ctx, label, form, x, window, origin);
    const z = transformed(ctx, points, tiles, n, `${dy.label} transformed`);
    ctx.dispatch({
      label: `${label} output transform`,
      shader: "conv2d_winograd_output_grad",
      constants: { WG_SIZE, Value, Stored, OUT_TILE, IN_TILE },
      tensors: [dy, z],
      params: {
        ...{ outH, outW, yC: outC / lanes, zC: n / lanes, zPoint: (tiles * n) / lanes },
        ...{ tiles, ...place },
      },
      workgroups: grid1d(ctx.device, ceilDiv((tiles * n) / lanes, WG_SIZE)),
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
    constants: { WG_SIZE, Value, KERNEL, IN_TILE },
    tensors: [products, partials],
    params: { inC, wC: outC / lanes, mC: n / lanes, mPoint: (m * n) / lanes, splits },
    workgroups: grid1d(ctx.device, ceilDiv((inC * outC) / lanes, WG_SIZE)),
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
  const { Value, Stored, lanes } = valueType(outC, w.dtype);
  const u = transformed(ctx, points, rows, columns, `${w.label} transformed`);
  ctx.dispatch({
    label: `${label} filter transform`,
    shader: "conv2d_winograd_filter",
    constants: { WG_SIZE, Value, Stored, KERNEL, IN_TILE, FLIP: flip },
    tensors: [w, u],
    params: {
      ...{ inC, wC: outC / lanes, uRows: rows, uC: columns / lanes },
      uPoint: (rows * columns) / lanes,
    },
    workgroups: grid1d(ctx.device, ceilDiv((rows * columns) / lanes, WG_SIZE)),
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
  const { Value, Stored, lanes } = valueType(xC, x.dtype);
  const v = transformed(ctx, points, tiles, channels, `${x.label} transformed`);
  ctx.dispatch({
    label: `${label} input transform`,
    shader: "conv2d_winograd_input",
    constants: { WG_SIZE, Value, Stored, OUT_TILE, IN_TILE },
    tensors: [x, v],
    params: {
      ...{ inH, inW, xC: xC / lanes, vC: channels / lanes },
      ...{ vPoint: (tiles * channels) / lanes, ...window, ...origin },
    },
    workgroups: grid1d(ctx.device, ceilDiv((tiles * channels) / lanes, WG_SIZE)),
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

/** How many transformed tiles a window holds; at least 4 wherever the transformed filter fits in one binding. */
function tilesPerWindow(device: Capabilities, g: Conv2dGeometry): number {
  const tileBytes = 4 * formOf(g).points * roundUp4(Math.max(g.inC, g.outC));
  const fits = Math.floor(device.maxBindingBytes / tileBytes);
  return Math.min(fits, Math.max(64, Math.floor(WINDOW_BYTES / tileBytes)));
}

/** Windows over the tiles of y [n,outH,outW,outC]. */
function tileWindows(device: Capabilities, g: Conv2dGeometry, y: Tensor): TileWindow[] {
  const [n = 0, outH = 0, outW = 0] = y.shape;
  const { OUT_TILE } = formOf(g);
  const tilesH = ceilDiv(outH, OUT_TILE);
  const tilesW = ceilDiv(outW, OUT_TILE);
  const all = n * tilesH * tilesW;
  // Of equal size, so that the last one is not left with a few tiles.
  const count = ceilDiv(all, ceilDiv(all, tilesPerWindow(device, g)));
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
