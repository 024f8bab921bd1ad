/**
 * Convolution with a 1x1 kernel, stride 1 and no padding: pixels do not meet, so that all three passes are plain matrix
 * products over the rows of x as [n*h*w, inC], with no index arithmetic for taps.
 */
import type { Context } from "../gpu/context.ts";
import type { Device } from "../gpu/device.ts";
import type { Conv2dGeometry } from "../geometry.ts";
import { elementCount, reshape, type Tensor } from "../tensor.ts";
import type { Conv2dForward } from "./conv2d.ts";
import { matmulTiled, type Matmul, type MatrixView } from "./matmul.ts";
import { matmulSubgroup } from "./matmul_subgroup.ts";
import { subgroupUnsupported } from "./subgroup.ts";

/** Rows of a tile of matmul_tiled.wgsl; its grid has a row of workgroups for each, unfolded. */
const ROWS_PER_WORKGROUP = 64;

/** Why a geometry is no matrix product; undefined where it is. */
export function conv2dGemmUnsupported(device: Device, g: Conv2dGeometry): string | undefined {
  if (g.kH !== 1 || g.kW !== 1) return `the kernel is ${g.kH}x${g.kW}, not 1x1`;
  if (g.strideH !== 1 || g.strideW !== 1) return `the stride is [${g.strideH},${g.strideW}], not 1`;
  const padding = [g.padTop, g.padBottom, g.padLeft, g.padRight];
  if (padding.some((size) => size > 0)) return "x is padded";
  const most = ROWS_PER_WORKGROUP * device.limits.maxComputeWorkgroupsPerDimension;
  // Of one window over the batch, in which both x and y fit in one binding.
  const windowPixels = device.maxBindingBytes / (4 * Math.max(g.inC, g.outC));
  const pixels = Math.min(g.n * g.inH * g.inW, windowPixels);
  return pixels > most ? `${Math.floor(pixels)} pixels are more than ${most}` : undefined;
}

/**
 * y = x w + b.  x [n,h,w,inC], w [1,1,inC,outC], b [outC] or none, y [n,h,w,outC].
 * Shaders: matmul_tiled.wgsl, matmul_subgroup.wgsl.  Writes y (=).
 */
export function conv2dGemm(
  ctx: Context,
  { x, w, b, leakySlope }: Conv2dForward,
  { inC, outC }: Conv2dGeometry,
  y: Tensor,
): void {
  multiply(ctx, {
    label: `conv2d ${y.label}`,
    ...{ m: elementCount(y.shape) / outC, n: outC, k: inC },
    a: matrix(x, inC),
    b: matrix(w, outC),
    bias: b,
    leakySlope,
    c: matrix(y, outC),
  });
}

/** dx = dy w^T.  dy [n,h,w,outC], w [1,1,inC,outC], dx [n,h,w,inC].  Shaders as of `conv2dGemm`.  Writes dx (=). */
export function conv2dInputGradGemm(
  ctx: Context,
  { dy, w }: { dy: Tensor; w: Tensor },
  { inC, outC }: Conv2dGeometry,
  dx: Tensor,
): void {
  multiply(ctx, {
    label: `conv2dInputGrad ${dx.label}`,
    ...{ m: elementCount(dx.shape) / inC, n: inC, k: outC },
    a: matrix(dy, outC),
    b: matrix(w, outC),
    transposeB: true,
    c: matrix(dx, inC),
  });
}

/**
 * dw = x^T dy in one part: the product itself splits its long sum.
 * x [n,h,w,inC], dy [n,h,w,outC], partials [1,1,1,inC,outC].  Shaders as of `conv2dGemm`.  Writes partials (=).
 */
export function conv2dWeightGradGemm(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  { inC, outC }: Conv2dGeometry,
  partials: Tensor,
): void {
  multiply(ctx, {
    label: `conv2dWeightGrad ${partials.label}`,
    ...{ m: inC, n: outC, k: elementCount(x.shape) / inC },
    a: matrix(x, inC),
    transposeA: true,
    b: matrix(dy, outC),
    c: matrix(partials, outC),
  });
}

/** Software adapters share values within a subgroup where they have them; see `chooseDenseAlgorithm`. */
function multiply(ctx: Context, product: Matmul): void {
  const { device } = ctx;
  const bySubgroup = device.summary.software && subgroupUnsupported(device) === undefined;
  (bySubgroup ? matmulSubgroup : matmulTiled)(ctx, product);
}

/** A tensor as a matrix with rows of `columns` elements. */
function matrix(tensor: Tensor, columns: number): MatrixView {
  const rows = elementCount(tensor.shape) / columns;
  return { tensor: reshape(tensor, [rows, columns]), firstColumn: 0, rowLength: columns };
}
