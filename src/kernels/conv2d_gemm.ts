/**
 * Convolution with a 1x1 kernel, stride 1 and no padding: pixels do not meet, so that all three passes are plain matrix
 * products over the rows of x as [n*h*w, inC], with no index arithmetic for taps.
 */
import type { Context, Capabilities } from "../gpu/context.ts";
import type { Conv2dGeometry } from "../geometry.ts";
import { elementCount, reshape, type DType, type Tensor } from "../tensor.ts";
import type { Conv2dForward, Conv2dPass } from "./conv2d_algorithm.ts";
import { conv2dSubgroupUnsupported } from "./conv2d_subgroup.ts";
import { batchedSplits, batchedTiles, matmulBatched } from "./matmul_batched.ts";
import { matmulSubgroup } from "./matmul_subgroup.ts";
import { splitsToFill } from "./occupancy.ts";
import { prefersSubgroups } from "./subgroup.ts";
import { inSplits } from "./sum_splits.ts";

/** Why a geometry is no matrix product that this adapter takes; undefined where it is. */
export function conv2dGemmUnsupported(
  device: Capabilities,
  g: Conv2dGeometry,
  pass: Conv2dPass,
  dtype: DType,
): string | undefined {
  if (g.kH !== 1 || g.kW !== 1) return `the kernel is ${g.kH}x${g.kW}, not 1x1`;
  if (g.strideH !== 1 || g.strideW !== 1) return `the stride is [${g.strideH},${g.strideW}], not 1`;
  const padding = [g.padTop, g.padBottom, g.padLeft, g.padRight];
  if (padding.some((size) => size > 0)) return "x is padded";
  if (prefersSubgroups(device)) return conv2dSubgroupUnsupported(device, g, pass, dtype);
  return g.inC % 4 === 0 && g.outC % 4 === 0
    ? undefined
    : `channels are no multiples of 4: inC is ${g.inC}, outC ${g.outC}`;
}

/**
 * y = x w + b or leakyRelu(x w + b).  x [n,h,w,inC], w [1,1,inC,outC], b [outC] or none, y [n,h,w,outC].
 * Shaders: matmul_batched.wgsl with sum_splits.wgsl, or those of `matmulSubgroup`.  Writes y (=).
 */
export function conv2dGemm(
  ctx: Context,
  { x, w, b, leakySlope }: Conv2dForward,
  { inC, outC }: Conv2dGeometry,
  y: Tensor,
): void {
  multiplyInSplits(ctx, {
    label: `conv2d ${y.label}`,
    ...{ m: elementCount(y.shape) / outC, n: outC, k: inC },
    ...{ a: x, b: w, bias: b, c: y, leakySlope },
  });
}

/** dx = dy w^T.  dy [n,h,w,outC], w [1,1,inC,outC], dx [n,h,w,inC].  Shaders as of `conv2dGemm`.  Writes dx (=). */
export function conv2dInputGradGemm(
  ctx: Context,
  { dy, w }: { dy: Tensor; w: Tensor },
  { inC, outC }: Conv2dGeometry,
  dx: Tensor,
): void {
  multiplyInSplits(ctx, {
    label: `conv2dInputGrad ${dx.label}`,
    ...{ m: elementCount(dx.shape) / inC, n: inC, k: outC },
    ...{ a: dy, b: w, transposeB: true, c: dx },
  });
}

/** How many partial sums `conv2dWeightGradGemm` wants to write; the caller may give it fewer. */
export function conv2dWeightGradGemmSplits(device: Capabilities, g: Conv2dGeometry): number {
  if (prefersSubgroups(device)) return 1; // matmulSubgroup splits by itself
  return batchedSplits(device, { batch: 1, m: g.inC, n: g.outC, k: g.n * g.inH * g.inW });
}

/**
 * Partial sums of dw = x^T dy, each over a part of the pixels.
 * x [n,h,w,inC], dy [n,h,w,outC], partials [splits,1,1,inC,outC].  Shaders as of `conv2dGemm`.  Writes partials (=).
 */
export function conv2dWeightGradGemm(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  { inC, outC }: Conv2dGeometry,
  partials: Tensor,
): void {
  multiply(ctx, {
    label: `conv2dWeightGrad ${partials.label}`,
    ...{ m: inC, n: outC, k: elementCount(x.shape) / inC, splits: partials.shape[0] },
    ...{ a: x, transposeA: true, b: dy, c: partials },
  });
}

/** c[i,j] = bias[j] + sum over q of op(a)[i,q] * op(b)[q,j] of tensors of any shape with the right rows. */
interface Product {
  readonly label: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: Tensor;
  readonly transposeA?: boolean;
  readonly b: Tensor;
  readonly transposeB?: boolean;
  readonly bias?: Tensor | undefined;
  readonly c: Tensor;
  readonly splits?: number | undefined;
  readonly leakySlope?: number | undefined;
}

/** The product, in parts where its tiles alone would leave a GPU idle. */
function multiplyInSplits(ctx: Context, product: Product): void {
  const { m, n, k, c, leakySlope } = product;
  const workgroups = batchedTiles(ctx.device, { batch: 1, m, n });
  const splits = prefersSubgroups(ctx.device) // matmulSubgroup splits by itself
    ? 1
    : splitsToFill(ctx.device, c, { workgroups, k });
  inSplits(ctx, c, { splits, leakySlope }, (out, slope) => {
    multiply(ctx, { ...product, c: out, splits, leakySlope: slope });
  });
}

function multiply(ctx: Context, { a, b, c, splits = 1, ...product }: Product): void {
  const { m, n, k } = product;
  if (!prefersSubgroups(ctx.device)) {
    matmulBatched(ctx, {
      ...{ ...product, batch: 1, splits },
      ...{ a: { tensor: a, block: 0 }, b: { tensor: b, block: 0 }, c: { tensor: c, block: m * n } },
    });
    return;
  }
  const matrix = (tensor: Tensor, rows: number, columns: number) => ({
    tensor: reshape(tensor, [rows, columns]),
    firstColumn: 0,
    rowLength: columns,
  });
  matmulSubgroup(ctx, {
    ...product,
    a: product.transposeA === true ? matrix(a, k, m) : matrix(a, m, k),
    b: product.transposeB === true ? matrix(b, n, k) : matrix(b, k, n),
    c: matrix(c, m, n),
  });
}
