/**
 * Two-dimensional convolution (cross-correlation, as all frameworks have it) and its three gradients.
 *
 * With r = oh * strideH - padTop + kh * dilationH and c = ow * strideW - padLeft + kw * dilationW, terms outside of x left out:
 *   y[n,oh,ow,co]    = b[co] + sum over kh,kw,ci of x[n,r,c,ci] * w[kh,kw,ci,co]
 *   dw[kh,kw,ci,co]  = sum over n,oh,ow of x[n,r,c,ci] * dy[n,oh,ow,co]
 *   dx[n,r,c,ci]     = sum over the (oh,kh), (ow,kw) that reach r, c and over co of dy[n,oh,ow,co] * w[kh,kw,ci,co]
 *   db[co]           = sum over n,oh,ow of dy[n,oh,ow,co]
 *
 * x, y and their gradients may exceed one binding: the work then goes window by window over the batch. They and w are
 * float32, or all float16; b, dw, db and all sums are float32.
 */
import type { AlgorithmChoices, Context, Capabilities } from "../gpu/context.ts";
import { ceilDiv, expectDType, expectFloats, grid1d, storedType } from "../gpu/context.ts";
import {
  conv2dGeometry,
  conv2dParams,
  type Conv2dGeometry,
  type Conv2dSizes,
} from "../geometry.ts";
import {
  elementCount,
  expectShape,
  formatShape,
  reshape,
  ShapeError,
  sizeBytes,
  type DType,
  type Tensor,
} from "../tensor.ts";
import { biasGrad } from "./bias_grad.ts";
import type {
  Conv2dForward,
  Conv2dImplementation,
  Conv2dInputs,
  Conv2dPass,
} from "./conv2d_algorithm.ts";
import {
  conv2dGemm,
  conv2dGemmUnsupported,
  conv2dInputGradGemm,
  conv2dWeightGradGemm,
  conv2dWeightGradGemmSplits,
} from "./conv2d_gemm.ts";
import { GEMM_TILES, implicitGemm } from "./conv2d_implicit_gemm.ts";
import {
  conv2dInputGradSubgroup,
  conv2dSubgroup,
  conv2dSubgroupCopies,
  conv2dSubgroupUnsupported,
  conv2dWeightGradSubgroup,
  conv2dWeightGradSubgroupSplits,
} from "./conv2d_subgroup.ts";
import {
  conv2dInputGradSubgroupMatrix,
  conv2dSubgroupMatrix,
  conv2dSubgroupMatrixUnsupported,
  conv2dWeightGradSubgroupMatrix,
  conv2dWeightGradSubgroupMatrixSplits,
} from "./conv2d_subgroup_matrix.ts";
import { winograd, WINOGRAD_TILES } from "./conv2d_winograd.ts";
import { prefersSubgroups } from "./subgroup.ts";
import { sumSplits } from "./sum_splits.ts";
import { forEachWindow, type Window } from "./windows.ts";

/** All that `algorithm` may be; `conv2dUnsupported` says which of them run where. */
export const CONV2D_ALGORITHMS = [
  "direct",
  "implicit_gemm",
  "implicit_gemm_64x64",
  "implicit_gemm_128x64",
  "implicit_gemm_128x128",
  "subgroup",
  "subgroup_matrix",
  "gemm_1x1",
  "winograd",
  "winograd_4x4",
] as const;
/** One of `CONV2D_ALGORITHMS`. */
export type Conv2dAlgorithm = (typeof CONV2D_ALGORITHMS)[number];

/** Strides, dilations and padding, and how to compute it. */
export interface Conv2dOptions extends Conv2dSizes {
  /** Force a variant; default: `chooseConv2dAlgorithm`. */
  readonly algorithm?: Conv2dAlgorithm;
  /** Forward only: a leaky ReLU with this slope follows, in the same kernel. Default: none. */
  readonly leakySlope?: number | undefined;
}

const IMPLEMENTATIONS: Readonly<Record<Conv2dAlgorithm, Conv2dImplementation>> = {
  direct: {
    unsupported: () => undefined,
    forward: conv2dDirect,
    inputGrad: conv2dInputGradDirect,
    weightGradSplits: () => 1,
    weightGrad: conv2dWeightGradDirect,
  },
  implicit_gemm: implicitGemm(),
  implicit_gemm_64x64: implicitGemm(GEMM_TILES.implicit_gemm_64x64),
  implicit_gemm_128x64: implicitGemm(GEMM_TILES.implicit_gemm_128x64),
  implicit_gemm_128x128: implicitGemm(GEMM_TILES.implicit_gemm_128x128),
  subgroup: {
    unsupported: conv2dSubgroupUnsupported,
    copies: conv2dSubgroupCopies,
    forward: conv2dSubgroup,
    inputGrad: conv2dInputGradSubgroup,
    weightGradSplits: conv2dWeightGradSubgroupSplits,
    weightGrad: conv2dWeightGradSubgroup,
  },
  subgroup_matrix: {
    unsupported: conv2dSubgroupMatrixUnsupported,
    forward: conv2dSubgroupMatrix,
    inputGrad: conv2dInputGradSubgroupMatrix,
    weightGradSplits: conv2dWeightGradSubgroupMatrixSplits,
    weightGrad: conv2dWeightGradSubgroupMatrix,
  },
  gemm_1x1: {
    unsupported: conv2dGemmUnsupported,
    forward: conv2dGemm,
    inputGrad: conv2dInputGradGemm,
    weightGradSplits: conv2dWeightGradGemmSplits,
    weightGrad: conv2dWeightGradGemm,
  },
  winograd: winograd(WINOGRAD_TILES.winograd),
  winograd_4x4: winograd(WINOGRAD_TILES.winograd_4x4),
};

/**
 * How many times the bound of a plain sum an algorithm may be off where all magnitudes are alike. Winograd's own terms
 * sum to more than the plain ones, to 9 times as much with a 2x2 kernel; with tiles of 4x4 and one channel, 17 times the
 * plain bound was seen (docs/numerics.md).
 */
export function roundingFactor(algorithm: string): number {
  return algorithm === "winograd_4x4" ? 32 : algorithm === "winograd" ? 9 : 1;
}

/**
 * Why an algorithm cannot run a pass on this device; undefined where it can.
 * @param dtype of x, w and y
 */
export function conv2dUnsupported(
  device: Capabilities,
  geometry: Conv2dGeometry,
  pass: Conv2dPass,
  algorithm: Conv2dAlgorithm,
  dtype: DType = "float32",
): string | undefined {
  return IMPLEMENTATIONS[algorithm].unsupported(device, geometry, pass, dtype);
}

/**
 * The algorithm for a geometry on this device: one that was measured, if `choices` has it. Products of float16 go to
 * tensor cores, where there are any and eight channels come in one load. A 1x1 kernel is a matrix product. Otherwise GPUs share tiles through workgroup memory; software adapters run that several times slower than
 * values broadcast within a subgroup, and 2x2, 3x3 and 5x5 kernels between many channels faster still by Winograd's.
 */
export function chooseConv2dAlgorithm(
  device: Capabilities,
  geometry: Conv2dGeometry,
  pass: Conv2dPass,
  { dtype = "float32", choices }: { dtype?: DType; choices?: AlgorithmChoices | undefined } = {},
): Conv2dAlgorithm {
  const can = (algorithm: Conv2dAlgorithm): boolean =>
    conv2dUnsupported(device, geometry, pass, algorithm, dtype) === undefined;
  const measured = choices?.algorithmFor({ op: "conv2d", pass, sizes: { ...geometry }, dtype });
  const known = CONV2D_ALGORITHMS.find((algorithm) => algorithm === measured);
  if (known && can(known)) return known;
  const tensorCores = device.subgroupMatrix?.emulated === false;
  if (tensorCores && geometry.inC % 8 === 0 && can("subgroup_matrix")) return "subgroup_matrix";
  if (can("gemm_1x1")) return "gemm_1x1";
  if (!prefersSubgroups(device) || !can("subgroup")) return "implicit_gemm";
  return WINOGRADS.find((name) => winogradPays(name, geometry) && can(name)) ?? "subgroup";
}

const WINOGRADS = ["winograd_4x4", "winograd"] as const;

/**
 * Whether Winograd's transforms cost clearly less than they save, on Mesa's llvmpipe: transforms take time as inC + outC,
 * products as inC * outC. Tiles of 4x4 take two thirds of the time of the subgroup shaders for 3x3 kernels from 32
 * channels to 32 on and 5x5 kernels from 16 to 32 on, unless too much of the tiles lies beyond the image; those of 2x2 for
 * 3x3 kernels from 32 to 64 on, of 3x3 for 2x2 kernels likewise. The batch has no say, so that training, evaluation and
 * the last few images choose alike.
 */
function winogradPays(
  name: (typeof WINOGRADS)[number],
  { kH, outH, outW, inC, outC }: Conv2dGeometry,
): boolean {
  const productsPerTransform = (inC * outC) / (inC + outC);
  if (name === "winograd")
    return (
      productsPerTransform >= (kH === 5 ? 16 : 21) && ceilDiv(outH, 2) * ceilDiv(outW, 2) >= 32
    );
  const covered = 16 * ceilDiv(outH, 4) * ceilDiv(outW, 4);
  return productsPerTransform >= (kH === 5 ? 10 : 16) && covered <= 1.35 * outH * outW;
}

/**
 * y = x * w + b, with `leakySlope` leakyRelu(x * w + b).
 * x [n,inH,inW,inC] NHWC, w [kH,kW,inC,outC] HWIO, b [outC] or none, y [n,outH,outW,outC].
 * Shaders: conv2d.wgsl and its variants.  Writes y (=).
 */
export function conv2d(
  ctx: Context,
  { x, w, b }: Conv2dInputs,
  options: Conv2dOptions,
  y: Tensor,
): void {
  const g = conv2dGeometry(x.shape, w.shape, options, "conv2d");
  if (b) expectShape("conv2d", "b", b, [g.outC]);
  expectShape("conv2d", "y", y, [g.n, g.outH, g.outW, g.outC]);
  expectFloats("conv2d", x, w, y);
  if (b) expectDType("conv2d", "float32", b);
  expectOneBinding("conv2d", ctx.device, "w", w);
  const { forward, copies } = implementation(
    "conv2d",
    ctx,
    g,
    "forward",
    x.dtype,
    options.algorithm,
  );
  const body = ([xs = x, ys = y]: readonly Tensor[], { count }: Window) => {
    const { leakySlope } = options;
    forward(ctx, { x: xs, w, b, leakySlope }, { ...g, n: count }, ys);
  };
  forEachWindow(ctx.device, [x, y], body, copies?.(g, "forward", x.dtype));
}

/**
 * dx, the gradient of the input; dx's shape says which sizes of x are meant.
 * dy [n,outH,outW,outC], w [kH,kW,inC,outC], dx [n,inH,inW,inC].
 * Shaders: conv2d_input_grad.wgsl and its variants.  Writes dx (=).
 */
export function conv2dInputGrad(
  ctx: Context,
  { dy, w }: { dy: Tensor; w: Tensor },
  options: Conv2dOptions,
  dx: Tensor,
): void {
  const g = conv2dGeometry(dx.shape, w.shape, options, "conv2dInputGrad");
  expectShape("conv2dInputGrad", "dy", dy, [g.n, g.outH, g.outW, g.outC]);
  expectFloats("conv2dInputGrad", dy, w, dx);
  expectOneBinding("conv2dInputGrad", ctx.device, "w", w);
  const { inputGrad, copies } = implementation(
    "conv2dInputGrad",
    ctx,
    g,
    "input_grad",
    dy.dtype,
    options.algorithm,
  );
  const body = ([dys = dy, dxs = dx]: readonly Tensor[], { count }: Window) => {
    inputGrad(ctx, { dy: dys, w }, { ...g, n: count }, dxs);
  };
  forEachWindow(ctx.device, [dy, dx], body, copies?.(g, "input_grad", dy.dtype));
}

/**
 * dw, the gradient of the filter; dw's shape says which filter is meant. Partial sums over parts of the batch are added
 * in a fixed order, so that two runs give the same bits.
 * x [n,inH,inW,inC], dy [n,outH,outW,outC], dw [kH,kW,inC,outC].
 * Shaders: conv2d_weight_grad.wgsl and its variants, sum_splits.wgsl.  Writes dw (=).
 */
export function conv2dWeightGrad(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  options: Conv2dOptions,
  dw: Tensor,
): void {
  const g = conv2dGeometry(x.shape, dw.shape, options, "conv2dWeightGrad");
  expectShape("conv2dWeightGrad", "dy", dy, [g.n, g.outH, g.outW, g.outC]);
  expectFloats("conv2dWeightGrad", x, dy);
  expectDType("conv2dWeightGrad", "float32", dw);
  expectOneBinding("conv2dWeightGrad", ctx.device, "dw", dw);
  const { weightGradSplits, weightGrad, copies } = implementation(
    "conv2dWeightGrad",
    ctx,
    g,
    "weight_grad",
    x.dtype,
    options.algorithm,
  );
  const mostSplits = Math.max(1, Math.floor(ctx.device.maxBindingBytes / sizeBytes(dw)));
  const body = ([xs = x, dys = dy]: readonly Tensor[], { start, count }: Window) => {
    const window = { ...g, n: count };
    const splits = Math.min(weightGradSplits(ctx.device, window), mostSplits);
    if (splits === 1 && count === g.n) {
      weightGrad(ctx, { x: xs, dy: dys }, window, reshape(dw, [1, ...dw.shape]));
      return;
    }
    const partials = ctx.scratch([splits, ...dw.shape], "float32", `${dw.label} partials`);
    weightGrad(ctx, { x: xs, dy: dys }, window, partials);
    sumSplits(ctx, partials, dw, { accumulate: start > 0 });
    ctx.free(partials);
  };
  forEachWindow(ctx.device, [x, dy], body, copies?.(g, "weight_grad", x.dtype));
}

/** db = sum of dy over all pixels.  dy [n,outH,outW,outC], db [outC].  Shaders: bias_grad.wgsl, sum_splits.wgsl.  Writes db (=). */
export function conv2dBiasGrad(ctx: Context, { dy }: { dy: Tensor }, db: Tensor): void {
  biasGrad("conv2dBiasGrad", ctx, dy, db);
}

function implementation(
  op: string,
  { device, choices }: Context,
  geometry: Conv2dGeometry,
  pass: Conv2dPass,
  dtype: DType,
  forced: Conv2dAlgorithm | undefined,
): Conv2dImplementation {
  const algorithm = forced ?? chooseConv2dAlgorithm(device, geometry, pass, { dtype, choices });
  if (!CONV2D_ALGORITHMS.includes(algorithm))
    throw new ShapeError(
      op,
      `unknown algorithm: expected ${CONV2D_ALGORITHMS.join(", ")}, got "${algorithm as string}"`,
    );
  const reason = conv2dUnsupported(device, geometry, pass, algorithm, dtype);
  if (reason !== undefined)
    throw new ShapeError(
      op,
      `algorithm "${algorithm}" cannot run here: ${reason}; leave algorithm out or use "implicit_gemm"`,
    );
  return IMPLEMENTATIONS[algorithm];
}

/** Filters are read whole by each workgroup, so that they do not come in windows. */
function expectOneBinding(op: string, device: Capabilities, name: string, w: Tensor): void {
  if (sizeBytes(w) > device.maxBindingBytes)
    throw new ShapeError(
      op,
      `${name} "${w.label}" ${formatShape(w.shape)} exceeds one binding: expected at most ` +
        `${device.maxBindingBytes} bytes on this adapter, got ${sizeBytes(w)}; use fewer filters or a smaller kernel`,
      { [name]: w.shape },
    );
}

// direct: one invocation an output element, no tiles. The documentation of what the other shaders compute.

const DIRECT_WG_SIZE = 64;

function conv2dDirect(
  ctx: Context,
  { x, w, b, leakySlope = 1 }: Conv2dForward,
  geometry: Conv2dGeometry,
  y: Tensor,
): void {
  ctx.dispatch({
    label: `conv2d ${y.label}`,
    shader: "conv2d",
    constants: {
      WG_SIZE: DIRECT_WG_SIZE,
      HAS_BIAS: b !== undefined,
      LEAKY_SLOPE: leakySlope,
      Stored: storedType(x),
    },
    tensors: [x, w, b ?? w, y],
    params: conv2dParams(geometry),
    workgroups: grid1d(ctx.device, ceilDiv(elementCount(y.shape), DIRECT_WG_SIZE)),
  });
}

function conv2dInputGradDirect(
  ctx: Context,
  { dy, w }: { dy: Tensor; w: Tensor },
  geometry: Conv2dGeometry,
  dx: Tensor,
): void {
  ctx.dispatch({
    label: `conv2dInputGrad ${dx.label}`,
    shader: "conv2d_input_grad",
    constants: { WG_SIZE: DIRECT_WG_SIZE, Stored: storedType(dy) },
    tensors: [dy, w, dx],
    params: conv2dParams(geometry),
    workgroups: grid1d(ctx.device, ceilDiv(elementCount(dx.shape), DIRECT_WG_SIZE)),
  });
}

function conv2dWeightGradDirect(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  geometry: Conv2dGeometry,
  partials: Tensor,
): void {
  ctx.dispatch({
    label: `conv2dWeightGrad ${partials.label}`,
    shader: "conv2d_weight_grad",
    constants: { WG_SIZE: DIRECT_WG_SIZE, Stored: storedType(x) },
    tensors: [x, dy, partials],
    params: conv2dParams(geometry),
    workgroups: grid1d(ctx.device, ceilDiv(elementCount(partials.shape), DIRECT_WG_SIZE)),
  });
}
