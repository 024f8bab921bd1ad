/**
 * The convolution for software adapters, which want values shared by shuffles within a subgroup rather than through
 * workgroup memory. Its shaders take channels four at a time: tensors with other channel counts go through padded copies.
 */
import { ceilDiv, grid1d, storedType, type Context, type Capabilities } from "../gpu/context.ts";
import { conv2dParams, tapSteps, type Conv2dGeometry } from "../geometry.ts";
import {
  elementCount,
  reshape,
  sameMemory,
  sizeBytes,
  type DType,
  type Tensor,
} from "../tensor.ts";
import type { Conv2dForward, Conv2dPass } from "./conv2d_algorithm.ts";
import {
  stationaryTile,
  stationaryWorkgroups,
  tileConstants,
} from "./matmul_subgroup_stationary.ts";
import { repack, roundUp4 } from "./repack.ts";
import { subgroupLanes, subgroupTiles, subgroupUnsupported } from "./subgroup.ts";
import { alignedRows, type WindowCopy } from "./windows.ts";

/** Why this adapter or geometry cannot take these shaders; undefined where it can. */
export function conv2dSubgroupUnsupported(
  device: Capabilities,
  g: Conv2dGeometry,
  pass: Conv2dPass,
  dtype: DType,
): string | undefined {
  const { kH, kW, inC } = unfolded(g);
  const operands = [
    { shape: [g.n, g.inH, g.inW, g.inC], dtype },
    { shape: [g.n, g.outH, g.outW, g.outC], dtype },
  ];
  // The least that comes in one window of the batch.
  const n = Math.min(g.n, alignedRows(device, operands));
  const filter = {
    shape: [kH, kW, roundUp4(inC), roundUp4(g.outC)],
    dtype: pass === "weight_grad" ? "float32" : dtype,
  } as const;
  const copies = [filter, ...conv2dSubgroupCopies({ ...g, n }, pass, dtype)];
  const bytes = Math.max(...copies.map(sizeBytes));
  if (bytes > device.maxBindingBytes)
    return `a copy with channels in fours takes ${bytes} bytes, one binding ${device.maxBindingBytes}`;
  return subgroupUnsupported(device);
}

/** The copies of x and y, or of their gradients, with channels in fours, where they have not. */
export function conv2dSubgroupCopies(
  g: Conv2dGeometry,
  pass: Conv2dPass,
  dtype: DType,
): WindowCopy[] {
  const { inH, inW, inC } = unfolded(g);
  // What is added up, the taps that give dx, is float32.
  const x = {
    shape: [g.n, inH, inW, roundUp4(inC)],
    dtype: unfolds(g) && pass === "input_grad" ? "float32" : dtype,
  } as const;
  const y = { shape: [g.n, g.outH, g.outW, roundUp4(g.outC)], dtype } as const;
  const copies = [...(x.shape[3] === g.inC ? [] : [x]), ...(y.shape[3] === g.outC ? [] : [y])];
  // What is written may be summed in parts, in float32.
  const sums = pass === "forward" ? y : pass === "input_grad" ? x : undefined;
  return sums && dtype === "float16" ? [...copies, { ...sums, dtype: "float32" }] : copies;
}

/** y = x * w + b or leakyRelu(x * w + b).  Shapes as in `conv2d`.  Shaders: conv2d_subgroup.wgsl and those of packing.  Writes y (=). */
export function conv2dSubgroup(
  ctx: Context,
  { x, w, ...epilogue }: Conv2dForward,
  geometry: Conv2dGeometry,
  y: Tensor,
): void {
  const g = unfolded(geometry);
  const xPacked = packInput(ctx, x, geometry);
  const wPacked = packFilter(ctx, w, g, false);
  gather(ctx, `conv2d ${y.label}`, { x: xPacked, w: wPacked, ...epilogue }, y, {
    strideH: g.strideH,
    strideW: g.strideW,
    originH: -g.padTop,
    originW: -g.padLeft,
    stepH: g.dilationH,
    stepW: g.dilationW,
    ...{ upH: 1, upW: 1, tapStepH: 1, tapStepW: 1 },
  });
  freeCopies(ctx, [xPacked, x], [wPacked, w]);
}

/**
 * dx from dy and w.  Shapes as in `conv2dInputGrad`.  Shaders: conv2d_subgroup.wgsl with the filter's channel axes
 * exchanged by repack.wgsl; with few input channels for all taps of a row at once, which conv2d_fold_width.wgsl adds up.
 * Writes dx (=).
 */
export function conv2dInputGradSubgroup(
  ctx: Context,
  { dy, w }: { dy: Tensor; w: Tensor },
  g: Conv2dGeometry,
  dx: Tensor,
): void {
  const dyPacked = packChannels(ctx, dy);
  const wPacked = packFilter(ctx, w, unfolded(g), true);
  const label = `conv2dInputGrad ${dx.label}`;
  const { tapStepH, tapStepW } = tapSteps(g);
  const rows = { strideH: 1, originH: g.padTop, stepH: -g.dilationH, upH: g.strideH, tapStepH };
  const inputs = { x: dyPacked, w: wPacked };
  if (unfolds(g)) {
    const xC = roundUp4(g.kW * g.inC);
    const taps = ctx.scratch([g.n, g.inH, g.outW, xC], "float32", `${dx.label} unfolded`);
    gather(ctx, label, inputs, taps, {
      ...{ ...rows, strideW: 1, originW: 0, stepW: 0, upW: 1, tapStepW: 1 },
    });
    fold(ctx, taps, g, dx);
    ctx.free(taps);
  } else {
    const columns = { strideW: 1, originW: g.padLeft, stepW: -g.dilationW, upW: g.strideW };
    gather(ctx, label, inputs, dx, { ...rows, ...columns, tapStepW });
  }
  freeCopies(ctx, [dyPacked, dy], [wPacked, w]);
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
  readonly tapStepH: number;
  readonly tapStepW: number;
}

/** y from packed x and w; y itself may have any number of channels. */
function gather(
  ctx: Context,
  label: string,
  { x, w, b, leakySlope = 1 }: Conv2dForward,
  y: Tensor,
  { upH, upW, ...taps }: Taps,
): void {
  const [, inH = 0, inW = 0] = x.shape;
  const [kH = 0, kW = 0, inC = 0, outC = 0] = w.shape;
  const [n = 0, outH = 0, outW = 0, yC = 0] = y.shape;
  const pixels = n * outH * outW;
  const phasePixels = n * ceilDiv(outH, upH) * ceilDiv(outW, upW);
  const k = ceilDiv(kH, taps.tapStepH) * ceilDiv(kW, taps.tapStepW) * inC;
  const sizes = { batch: upH * upW, m: phasePixels, n: outC, k };
  const tile = stationaryTile(ctx.device, sizes, y.dtype);
  const chunks = k > tile.HELD_K;
  // Parts of sums would be rounded to float16 in y.
  const dtype = chunks ? "float32" : y.dtype;
  const direct = yC === outC && dtype === y.dtype;
  const out = direct ? y : ctx.scratch([n, outH, outW, outC], dtype, `${y.label} packed`);
  ctx.dispatch({
    label,
    shader: "conv2d_subgroup",
    constants: {
      ...tileConstants(tile),
      CHUNKS: chunks,
      HAS_BIAS: b !== undefined,
      LEAKY_SLOPE: leakySlope,
      UP_H: upH,
      UP_W: upW,
      Stored: storedType(x),
      YStored: storedType(out),
    },
    tensors: [x, w, b ?? w, out],
    params: {
      ...{ n, inH, inW, inC, kH, kW, outC, outH, outW, ...taps },
      ...{ rowsPerGroup: tile.rowsPerGroup, biasCount: yC },
    },
    workgroups: grid1d(ctx.device, stationaryWorkgroups(tile, sizes)),
  });
  if (direct) return;
  const from = { row: outC, rows: pixels, columns: outC };
  repack(ctx, out, { blocks: 1, from, to: { row: yC, rows: pixels, columns: yC } }, y);
  ctx.free(out);
}

/** Bytes of x and dy, counted as float32, that one split of the weight gradient reads; its workgroups find them in the cache. */
const SPLIT_BYTES = 4 * 1024 * 1024;
/** Workgroups that keep the cores evenly busy. */
const WANTED_WORKGROUPS = 32;

/** How many partial sums `conv2dWeightGradSubgroup` wants to write; the caller may give it fewer. */
export function conv2dWeightGradSubgroupSplits(
  device: Capabilities,
  geometry: Conv2dGeometry,
): number {
  const g = unfolded(geometry);
  const tiles = subgroupTiles(subgroupLanes(device, g.outC), g.kH * g.kW * g.inC, g.outC);
  const bytes = 4 * g.n * (g.inH * g.inW * g.inC + g.outH * g.outW * g.outC);
  const wanted = Math.max(ceilDiv(bytes, SPLIT_BYTES), ceilDiv(WANTED_WORKGROUPS, tiles));
  const partial = 4 * g.kH * g.kW * roundUp4(g.inC) * roundUp4(g.outC);
  const most = Math.max(1, Math.floor(device.maxBindingBytes / partial));
  return Math.min(wanted, 64, g.n * g.outH, most);
}

/**
 * Partial sums of dw, partials [splits,kH,kW,inC,outC], each over a part of the rows of pixels.
 * Shaders: conv2d_weight_grad_subgroup.wgsl and those of packing.  Writes partials (=).
 */
export function conv2dWeightGradSubgroup(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  geometry: Conv2dGeometry,
  partials: Tensor,
): void {
  const g = unfolded(geometry);
  const [splits = 1] = partials.shape;
  const inC = roundUp4(g.inC);
  const outC = roundUp4(g.outC);
  const lanes = subgroupLanes(ctx.device, outC);
  const xPacked = packInput(ctx, x, geometry);
  const dyPacked = packChannels(ctx, dy);
  const exact = inC === g.inC && outC === g.outC;
  const packedShape = [splits, g.kH, g.kW, inC, outC];
  const packed = exact ? partials : ctx.scratch(packedShape, "float32", `${partials.label} packed`);
  ctx.dispatch({
    label: `conv2dWeightGrad ${partials.label}`,
    shader: "conv2d_weight_grad_subgroup",
    constants: { ...lanes, Stored: storedType(xPacked) },
    tensors: [xPacked, dyPacked, packed],
    params: {
      ...conv2dParams({ ...g, inC, outC }),
      splits,
      rowsPerSplit: ceilDiv(g.n * g.outH, splits),
    },
    workgroups: grid1d(ctx.device, splits * subgroupTiles(lanes, g.kH * g.kW * inC, outC)),
  });
  if (!exact) {
    const blocks = splits * g.kH * g.kW;
    const from = { block: inC * outC, row: outC, rows: inC, columns: outC };
    const to = { row: g.outC, rows: g.inC, columns: g.outC };
    repack(ctx, packed, { blocks, from, to }, partials);
    ctx.free(packed);
  }
  freeCopies(ctx, [xPacked, x], [dyPacked, dy]);
}

/**
 * The convolution with the taps of a row taken for channels (conv2d_unfold_width.wgsl), where that wastes less than
 * rounding one to three channels up to four: the paper's conv1 has K = 6 * 20 so, 6 * 6 * 4 otherwise.
 */
function unfolded(g: Conv2dGeometry): Conv2dGeometry {
  if (!unfolds(g)) return g;
  const { kW, inC, outW } = g;
  return {
    ...g,
    ...{ inW: outW, inC: kW * inC, kW: 1 },
    ...{ strideW: 1, dilationW: 1, padLeft: 0, padRight: 0 },
  };
}

function unfolds({ kW, inC }: Conv2dGeometry): boolean {
  return inC < 4 && kW > 1;
}

/** x [n,inH,inW,inC] with channels in fours; with the taps of a row as channels where `unfolded` says so. */
function packInput(ctx: Context, x: Tensor, g: Conv2dGeometry): Tensor {
  if (!unfolds(g)) return packChannels(ctx, x);
  const yC = roundUp4(g.kW * g.inC);
  const packed = ctx.scratch([g.n, g.inH, g.outW, yC], x.dtype, `${x.label} unfolded`);
  const { inW, inC, kW, outW, strideW, dilationW, padLeft } = g;
  const rows = g.n * g.inH;
  ctx.dispatch({
    label: `unfold ${x.label}`,
    shader: "conv2d_unfold_width",
    constants: { WG_SIZE: 64, K_W: kW, IN_C: inC, QUADS: yC / 4, Stored: storedType(x) },
    tensors: [x, packed],
    params: { rows, inW, outW, strideW, dilationW, padLeft },
    workgroups: grid1d(ctx.device, ceilDiv(rows * outW, 64)),
  });
  return packed;
}

/** dx [n,inH,inW,inC], the sum of what the taps of a row give: taps [n,inH,outW,kW*inC and more], float32. */
function fold(ctx: Context, taps: Tensor, g: Conv2dGeometry, dx: Tensor): void {
  const { inW, inC, kW, outW, strideW, dilationW, padLeft } = g;
  const rows = g.n * g.inH;
  ctx.dispatch({
    label: `fold ${dx.label}`,
    shader: "conv2d_fold_width",
    constants: { WG_SIZE: 64, K_W: kW, IN_C: inC, STRIDE_W: strideW, Stored: storedType(dx) },
    tensors: [taps, dx],
    params: { rows, inW, outW, xC: taps.shape[3] ?? 0, dilationW, padLeft },
    workgroups: grid1d(ctx.device, ceilDiv(rows * inW, 64)),
  });
}

/** The filter with channels in fours, as [kH,kW,inC,outC] or, with its channel axes exchanged, [kH,kW,outC,inC]. */
function packFilter(ctx: Context, w: Tensor, g: Conv2dGeometry, transpose: boolean): Tensor {
  const { kH, kW, inC, outC } = g;
  if (!transpose && inC % 4 === 0 && outC % 4 === 0) return reshape(w, [kH, kW, inC, outC]);
  const rows = roundUp4(transpose ? outC : inC);
  const columns = roundUp4(transpose ? inC : outC);
  const packed = ctx.scratch([kH, kW, rows, columns], w.dtype, `${w.label} packed`);
  const from = transpose
    ? { row: 1, column: outC, rows: outC, columns: inC }
    : { row: outC, rows: inC, columns: outC };
  repack(ctx, w, { blocks: kH * kW, from, to: { row: columns, rows, columns } }, packed);
  return packed;
}

/** x [...,c] itself, or a copy with zeros behind its channels where c is no multiple of four. */
function packChannels(ctx: Context, x: Tensor): Tensor {
  const c = x.shape.at(-1) ?? 1;
  const row = roundUp4(c);
  if (c === row) return x;
  const packed = ctx.scratch([...x.shape.slice(0, -1), row], x.dtype, `${x.label} packed`);
  const rows = elementCount(x.shape) / c;
  const from = { row: c, rows, columns: c };
  repack(ctx, x, { blocks: 1, from, to: { row, rows, columns: row } }, packed);
  return packed;
}

/** Frees each first tensor of a pair that is not the second: a copy of it. */
function freeCopies(ctx: Context, ...pairs: readonly (readonly [Tensor, Tensor])[]): void {
  for (const [copy, original] of pairs) if (!sameMemory(copy, original)) ctx.free(copy);
}
