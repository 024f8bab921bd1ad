/**
 * The convolution for software adapters, which want values shared by shuffles within a subgroup rather than through
 * workgroup memory. Its shaders take channels four at a time: tensors with other channel counts go through padded copies.
 */
import { ceilDiv, grid1d, type Context } from "../gpu/context.ts";
import type { Device } from "../gpu/device.ts";
import type { Conv2dGeometry } from "../geometry.ts";
import { elementCount, slice, type Shape, type Tensor } from "../tensor.ts";
import type { Conv2dInputs, Conv2dPass } from "./conv2d.ts";
import { repack, roundUp4 } from "./repack.ts";
import { subgroupLanes, subgroupUnsupported } from "./subgroup.ts";
import { leadingWindows } from "./windows.ts";

/** Why this adapter or geometry cannot take these shaders; undefined where it can. */
export function conv2dSubgroupUnsupported(
  device: Device,
  geometry: Conv2dGeometry,
  _pass: Conv2dPass,
): string | undefined {
  const { kH, kW, inC, outC } = geometry;
  const filterBytes = 4 * kH * kW * roundUp4(inC) * roundUp4(outC);
  if (filterBytes > device.maxBindingBytes)
    return `the filter, padded to channels in fours, takes ${filterBytes} bytes, one binding ${device.maxBindingBytes}`;
  return subgroupUnsupported(device);
}

/** y = x * w + b.  Shapes as in `conv2d`.  Shaders: conv2d_subgroup.wgsl, repack.wgsl.  Writes y (=). */
export function conv2dSubgroup(
  ctx: Context,
  { x, w, b }: Conv2dInputs,
  g: Conv2dGeometry,
  y: Tensor,
): void {
  const wPacked = packFilter(ctx, w, g, false);
  gather(ctx, `conv2d ${y.label}`, { x, w: wPacked, b }, y, {
    strideH: g.strideH,
    strideW: g.strideW,
    originH: -g.padTop,
    originW: -g.padLeft,
    stepH: g.dilationH,
    stepW: g.dilationW,
    upH: 1,
    upW: 1,
  });
  if (wPacked !== w) ctx.free(wPacked);
}

/**
 * dx from dy and w.  Shapes as in `conv2dInputGrad`.  Shaders: conv2d_subgroup.wgsl with the filter's channel axes
 * exchanged by repack.wgsl.  Writes dx (=).
 */
export function conv2dInputGradSubgroup(
  ctx: Context,
  { dy, w }: { dy: Tensor; w: Tensor },
  g: Conv2dGeometry,
  dx: Tensor,
): void {
  const wPacked = packFilter(ctx, w, g, true);
  gather(ctx, `conv2dInputGrad ${dx.label}`, { x: dy, w: wPacked }, dx, {
    strideH: 1,
    strideW: 1,
    originH: g.padTop,
    originW: g.padLeft,
    stepH: -g.dilationH,
    stepW: -g.dilationW,
    upH: g.strideH,
    upW: g.strideW,
  });
  ctx.free(wPacked);
}

/** Which input pixels an output pixel reads; see conv2d_subgroup.wgsl. */
interface Taps {
  readonly strideH: number;
  readonly strideW: number;
  readonly originH: number;
  readonly originW: number;
  readonly stepH: number;
  readonly stepW: number;
  readonly upH: number;
  readonly upW: number;
}

/** y from x and a packed filter, in windows of the batch where the padded copies exceed one binding. */
function gather(
  ctx: Context,
  label: string,
  { x, w, b }: Conv2dInputs,
  y: Tensor,
  { upH, upW, ...taps }: Taps,
): void {
  const [, inH = 0, inW = 0] = x.shape;
  const [kH = 0, kW = 0, inC = 0, outC = 0] = w.shape;
  const [n = 0, outH = 0, outW = 0, yC = 0] = y.shape;
  const lanes = subgroupLanes(ctx.device, outC);
  const whole = [x, y, withChannels(x, inC), withChannels(y, outC)];
  for (const { start, count } of leadingWindows(ctx.device, whole)) {
    const [xs, ys] = count === n ? [x, y] : [slice(x, start, count), slice(y, start, count)];
    const xPacked = packChannels(ctx, xs);
    const yPacked = yC === outC ? ys : scratchLike(ctx, withChannels(ys, outC));
    const pixels = count * outH * outW;
    ctx.dispatch({
      label,
      shader: "conv2d_subgroup",
      constants: { ...lanes, HAS_BIAS: b !== undefined, UP_H: upH, UP_W: upW },
      tensors: [xPacked, w, b ?? w, yPacked],
      params: { pixels, inH, inW, inC, kH, kW, outC, outH, outW, ...taps, biasCount: yC },
      workgroups: grid1d(
        ctx.device,
        ceilDiv(pixels, 4 * lanes.LANES) * ceilDiv(outC, 4 * lanes.LANES_N),
      ),
    });
    if (yPacked !== ys) {
      const from = { row: outC, rows: pixels, columns: outC };
      repack(ctx, yPacked, { blocks: 1, from, to: { row: yC, rows: pixels, columns: yC } }, ys);
      ctx.free(yPacked);
    }
    if (xPacked !== xs) ctx.free(xPacked);
  }
}

/** Bytes of x and dy that one split of the weight gradient reads; its workgroups find them in the cache. */
const SPLIT_BYTES = 4 * 1024 * 1024;
/** Workgroups that keep the cores evenly busy. */
const WANTED_WORKGROUPS = 32;

/** How many partial sums `conv2dWeightGradSubgroup` wants to write; the caller may give it fewer. */
export function conv2dWeightGradSubgroupSplits(device: Device, g: Conv2dGeometry): number {
  const { LANES, LANES_N } = subgroupLanes(device, g.outC);
  const tiles = ceilDiv(g.kH * g.kW * roundUp4(g.inC), 4 * LANES) * ceilDiv(g.outC, 4 * LANES_N);
  const bytes = 4 * g.n * (g.inH * g.inW * g.inC + g.outH * g.outW * g.outC);
  const wanted = Math.max(ceilDiv(bytes, SPLIT_BYTES), ceilDiv(WANTED_WORKGROUPS, tiles));
  return Math.min(wanted, 64, g.n * g.outH);
}

/**
 * Partial sums of dw, partials [splits,kH,kW,inC,outC], each over a part of the rows of pixels.
 * Shaders: conv2d_weight_grad_subgroup.wgsl, repack.wgsl.  Writes partials (=).
 */
export function conv2dWeightGradSubgroup(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  g: Conv2dGeometry,
  partials: Tensor,
): void {
  const [splits = 1] = partials.shape;
  const inC = roundUp4(g.inC);
  const outC = roundUp4(g.outC);
  const lanes = subgroupLanes(ctx.device, outC);
  const xPacked = packChannels(ctx, x);
  const dyPacked = packChannels(ctx, dy);
  const exact = inC === g.inC && outC === g.outC;
  const packedShape = [splits, g.kH, g.kW, inC, outC];
  const packed = exact ? partials : ctx.scratch(packedShape, "float32", `${partials.label} packed`);
  const tiles = ceilDiv(g.kH * g.kW * inC, 4 * lanes.LANES) * ceilDiv(outC, 4 * lanes.LANES_N);
  ctx.dispatch({
    label: `conv2dWeightGrad ${partials.label}`,
    shader: "conv2d_weight_grad_subgroup",
    constants: { ...lanes },
    tensors: [xPacked, dyPacked, packed],
    params: {
      ...{ n: g.n, inH: g.inH, inW: g.inW, inC, kH: g.kH, kW: g.kW, outC },
      ...{ outH: g.outH, outW: g.outW, strideH: g.strideH, strideW: g.strideW },
      ...{ dilationH: g.dilationH, dilationW: g.dilationW, padTop: g.padTop, padLeft: g.padLeft },
      ...{ splits, rowsPerSplit: ceilDiv(g.n * g.outH, splits) },
    },
    workgroups: grid1d(ctx.device, tiles * splits),
  });
  if (!exact) {
    const blocks = splits * g.kH * g.kW;
    const from = { block: inC * outC, row: outC, rows: inC, columns: outC };
    const to = { row: g.outC, rows: g.inC, columns: g.outC };
    repack(ctx, packed, { blocks, from, to }, partials);
    ctx.free(packed);
  }
  if (xPacked !== x) ctx.free(xPacked);
  if (dyPacked !== dy) ctx.free(dyPacked);
}

/** The filter with channels in fours, its channel axes exchanged if asked: [kH,kW,inC,outC] or [kH,kW,outC,inC]. */
function packFilter(ctx: Context, w: Tensor, g: Conv2dGeometry, transpose: boolean): Tensor {
  const { kH, kW, inC, outC } = g;
  if (!transpose && inC % 4 === 0 && outC % 4 === 0) return w;
  const rows = roundUp4(transpose ? outC : inC);
  const columns = roundUp4(transpose ? inC : outC);
  const packed = ctx.scratch([kH, kW, rows, columns], "float32", `${w.label} packed`);
  const from = transpose
    ? { row: 1, column: outC, rows: outC, columns: inC }
    : { row: outC, rows: inC, columns: outC };
  repack(ctx, w, { blocks: kH * kW, from, to: { row: columns, rows, columns } }, packed);
  return packed;
}

/** x [...,c] itself, or a copy with zeros behind its channels where c is no multiple of four. */
function packChannels(ctx: Context, x: Tensor): Tensor {
  const c = x.shape.at(-1) ?? 1;
  if (c % 4 === 0) return x;
  const packed = scratchLike(ctx, withChannels(x, roundUp4(c)));
  const rows = elementCount(x.shape) / c;
  const from = { row: c, rows, columns: c };
  repack(ctx, x, { blocks: 1, from, to: { row: roundUp4(c), rows, columns: roundUp4(c) } }, packed);
  return packed;
}

/** What a tensor would be with another number of channels; for sizes only. */
function withChannels(tensor: Tensor, channels: number): Tensor {
  const shape: Shape = [...tensor.shape.slice(0, -1), channels];
  return { ...tensor, shape, label: `${tensor.label} packed` };
}

function scratchLike(ctx: Context, { shape, label }: Tensor): Tensor {
  return ctx.scratch(shape, "float32", label);
}
