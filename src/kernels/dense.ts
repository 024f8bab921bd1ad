/**
 * The dense layer y = x w + b and its gradients: matrix products whose largest operand, w, may exceed one binding.
 *
 * Work goes by windows of rows of w (the paper's dense1: 73728 x 1000, 295 MB where many adapters bind 128 MiB): the
 * forward pass adds the windows' contributions to y in order, the input gradient writes a range of columns of dx for each,
 * the weight gradient a range of rows of dw. Where x or y exceed a binding too, the batch is cut into windows of its own.
 *
 * x, w, y and their gradients are float32, or all float16; b, dw, db and all sums are float32.
 */
import {
  ceilDiv,
  expectDType,
  expectFloats,
  grid1d,
  storedType,
  type Context,
  type Capabilities,
} from "../gpu/context.ts";
import {
  elementCount,
  expectShape,
  formatShape,
  ShapeError,
  type DType,
  type Tensor,
} from "../tensor.ts";
import { biasGrad } from "./bias_grad.ts";
import { cast } from "./cast.ts";
import { matmulTiled, type Matmul, type MatrixView } from "./matmul.ts";
import { matmulSubgroup } from "./matmul_subgroup.ts";
import { prefersSubgroups, subgroupUnsupported } from "./subgroup.ts";
import { forEachWindow, leadingWindows } from "./windows.ts";

/** All that `algorithm` may be; `denseUnsupported` says which of them run where. */
export const DENSE_ALGORITHMS = ["direct", "tiled", "subgroup"] as const;
/** One of `DENSE_ALGORITHMS`. */
export type DenseAlgorithm = (typeof DENSE_ALGORITHMS)[number];

/** How to compute it. */
export interface DenseOptions {
  /** Force a variant; default: `chooseDenseAlgorithm`. */
  readonly algorithm?: DenseAlgorithm;
  /** Forward only: a leaky ReLU with this slope follows, in the same kernel. Default: none. */
  readonly leakySlope?: number | undefined;
}

/** The operands of the forward pass; float32, or x and w float16. */
export interface DenseInputs {
  /** [n,inC] */
  readonly x: Tensor;
  /** [inC,outC] */
  readonly w: Tensor;
  /** [outC] */
  readonly b?: Tensor | undefined;
}

/**
 * What an algorithm does within one window, all tensors of which fit in one binding. w and dw hold rows `first` and
 * following of the whole; x and dx are inC wide nevertheless.
 */
interface Implementation {
  readonly forward: (ctx: Context, inputs: DenseInputs, window: DenseWindow, y: Tensor) => void;
  readonly inputGrad: (
    ctx: Context,
    inputs: { dy: Tensor; w: Tensor },
    window: DenseWindow,
    dx: Tensor,
  ) => void;
  readonly weightGrad: (
    ctx: Context,
    inputs: { x: Tensor; dy: Tensor },
    window: DenseWindow,
    dw: Tensor,
  ) => void;
}

interface DenseWindow {
  /** The row of the whole w with which this window starts. */
  readonly first: number;
  /** Add to what the output holds (+=): an earlier window has written it. */
  readonly accumulate: boolean;
  /** Forward: of a leaky ReLU after the last window. */
  readonly leakySlope?: number | undefined;
}

const IMPLEMENTATIONS: Readonly<Record<DenseAlgorithm, Implementation>> = {
  direct: {
    forward: denseDirect,
    inputGrad: denseInputGradDirect,
    weightGrad: denseWeightGradDirect,
  },
  tiled: byMatmul(matmulTiled),
  subgroup: byMatmul(matmulSubgroup),
};

/**
 * The algorithm for this device. GPUs share tiles through workgroup memory; software adapters run that several times
 * slower than values broadcast within a subgroup.
 */
export function chooseDenseAlgorithm(device: Capabilities): DenseAlgorithm {
  return prefersSubgroups(device) ? "subgroup" : "tiled";
}

/** Why an algorithm cannot run on this device; undefined where it can. */
export function denseUnsupported(
  device: Capabilities,
  algorithm: DenseAlgorithm,
): string | undefined {
  return algorithm === "subgroup" ? subgroupUnsupported(device) : undefined;
}

/**
 * y = x w + b, with `leakySlope` leakyRelu(x w + b).  x [n,inC], w [inC,outC], b [outC] or none, y [n,outC].
 * Shaders: dense.wgsl, matmul_tiled.wgsl, matmul_subgroup.wgsl, cast.wgsl.  Writes y (=).
 */
export function dense(
  ctx: Context,
  { x, w, b }: DenseInputs,
  options: DenseOptions,
  y: Tensor,
): void {
  const sizes = denseSizes("dense", x, w);
  const { n, outC } = sizes;
  if (b) expectShape("dense", "b", b, [outC]);
  expectShape("dense", "y", y, [n, outC]);
  expectFloats("dense", x, w, y);
  if (b) expectDType("dense", "float32", b);
  const { forward } = implementation("dense", ctx, "forward", sizes, x.dtype, options.algorithm);
  // Windows of w after the first add to what is there: in float32, so that y is rounded once.
  const inParts = y.dtype === "float16" && leadingWindows(ctx.device, [w]).length > 1;
  const sums = inParts ? ctx.scratch(y.shape, "float32", `${y.label} sums`) : y;
  forEachWindow(ctx.device, [x, sums], ([xs = x, ys = sums]) => {
    forEachWindow(ctx.device, [w], ([ws = w], { start, count }) => {
      const last = start + count === w.shape[0];
      const leakySlope = last ? options.leakySlope : undefined;
      const window = { first: start, accumulate: start > 0, leakySlope };
      forward(ctx, { x: xs, w: ws, b: start > 0 ? undefined : b }, window, ys);
    });
  });
  if (!inParts) return;
  cast(ctx, { x: sums }, y);
  ctx.free(sums);
}

/**
 * dx = dy w^T, the gradient of the input.  dy [n,outC], w [inC,outC], dx [n,inC].
 * Shaders: dense_input_grad.wgsl, matmul_tiled.wgsl, matmul_subgroup.wgsl, matmul_subgroup_stationary.wgsl, repack.wgsl.  Writes dx (=).
 */
export function denseInputGrad(
  ctx: Context,
  { dy, w }: { dy: Tensor; w: Tensor },
  options: DenseOptions,
  dx: Tensor,
): void {
  const sizes = denseSizes("denseInputGrad", dx, w, "dx");
  const { n, outC } = sizes;
  expectShape("denseInputGrad", "dy", dy, [n, outC]);
  expectFloats("denseInputGrad", dy, w, dx);
  const { inputGrad } = implementation(
    "denseInputGrad",
    ctx,
    "input_grad",
    sizes,
    dy.dtype,
    options.algorithm,
  );
  forEachWindow(ctx.device, [dy, dx], ([dys = dy, dxs = dx]) => {
    forEachWindow(ctx.device, [w], ([ws = w], { start }) => {
      inputGrad(ctx, { dy: dys, w: ws }, { first: start, accumulate: false }, dxs);
    });
  });
}

/**
 * dw = x^T dy, the gradient of the weights.  x [n,inC], dy [n,outC], dw [inC,outC].
 * Shaders: dense_weight_grad.wgsl, matmul_tiled.wgsl, matmul_subgroup.wgsl, matmul_subgroup_stationary.wgsl, repack.wgsl.  Writes dw (=).
 */
export function denseWeightGrad(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  options: DenseOptions,
  dw: Tensor,
): void {
  const sizes = denseSizes("denseWeightGrad", x, dw, "x", "dw");
  const { n, outC } = sizes;
  expectShape("denseWeightGrad", "dy", dy, [n, outC]);
  expectFloats("denseWeightGrad", x, dy);
  expectDType("denseWeightGrad", "float32", dw);
  const { weightGrad } = implementation(
    "denseWeightGrad",
    ctx,
    "weight_grad",
    sizes,
    x.dtype,
    options.algorithm,
  );
  forEachWindow(ctx.device, [x, dy], ([xs = x, dys = dy], batch) => {
    forEachWindow(ctx.device, [dw], ([dws = dw], { start }) => {
      weightGrad(ctx, { x: xs, dy: dys }, { first: start, accumulate: batch.start > 0 }, dws);
    });
  });
}

/** db = sum of dy over the batch.  dy [n,outC], db [outC].  Shaders: bias_grad.wgsl, sum_splits.wgsl.  Writes db (=). */
export function denseBiasGrad(ctx: Context, { dy }: { dy: Tensor }, db: Tensor): void {
  if (dy.shape.length !== 2)
    throw new ShapeError(
      "denseBiasGrad",
      `dy "${dy.label}": expected [n,outC], got ${formatShape(dy.shape)}`,
      { dy: dy.shape },
    );
  biasGrad("denseBiasGrad", ctx, dy, db);
}

function implementation(
  op: string,
  { device, choices }: Context,
  pass: "forward" | "input_grad" | "weight_grad",
  sizes: { n: number; inC: number; outC: number },
  dtype: DType,
  forced: DenseAlgorithm | undefined,
): Implementation {
  const measured = choices?.algorithmFor({ op: "dense", pass, sizes, dtype });
  const known = DENSE_ALGORITHMS.find((name) => name === measured);
  const usable = known !== undefined && denseUnsupported(device, known) === undefined;
  const algorithm = forced ?? (usable ? known : chooseDenseAlgorithm(device));
  if (!DENSE_ALGORITHMS.includes(algorithm))
    throw new ShapeError(
      op,
      `unknown algorithm: expected ${DENSE_ALGORITHMS.join(", ")}, got "${algorithm as string}"`,
    );
  const reason = denseUnsupported(device, algorithm);
  if (reason !== undefined)
    throw new ShapeError(
      op,
      `algorithm "${algorithm}" cannot run here: ${reason}; leave algorithm out or use "tiled"`,
    );
  return IMPLEMENTATIONS[algorithm];
}

/** n, inC and outC of a product of x [n,inC] and w [inC,outC], or of tensors of their shapes. */
function denseSizes(
  op: string,
  x: Tensor,
  w: Tensor,
  xName = "x",
  wName = "w",
): { n: number; inC: number; outC: number } {
  const shapes = { [xName]: x.shape, [wName]: w.shape };
  const [inC = 0, outC = 0] = w.shape;
  const [n = 0, xInC] = x.shape;
  if (w.shape.length !== 2 || inC === 0 || outC === 0)
    throw new ShapeError(
      op,
      `${wName} "${w.label}": expected [inC,outC] with sizes of at least 1, got ${formatShape(w.shape)}`,
      shapes,
    );
  if (x.shape.length !== 2 || n === 0)
    throw new ShapeError(
      op,
      `${xName} "${x.label}": expected [n,${inC}] with n of at least 1, got ${formatShape(x.shape)}` +
        (x.shape.length > 2 ? "; flatten it before" : ""),
      shapes,
    );
  if (xInC !== inC)
    throw new ShapeError(
      op,
      `input channels differ: ${xName} ${formatShape(x.shape)} has ${xInC ?? 0}, ` +
        `${wName} ${formatShape(w.shape)} [inC,outC] expects ${inC}`,
      shapes,
    );
  return { n, inC, outC };
}

// direct: one invocation an output element. The documentation of what the other shaders compute.

const WG_SIZE = 64;

function directParams(x: Tensor, w: Tensor, { first }: DenseWindow): Record<string, number> {
  const [n = 0, inC = 0] = x.shape;
  const [count = 0, outC = 0] = w.shape;
  return { n, inC, outC, first, count };
}

function denseDirect(ctx: Context, { x, w, b }: DenseInputs, window: DenseWindow, y: Tensor): void {
  ctx.dispatch({
    label: `dense ${w.label}`,
    shader: "dense",
    constants: {
      WG_SIZE,
      HAS_BIAS: b !== undefined,
      ACCUMULATE: window.accumulate,
      LEAKY_SLOPE: window.leakySlope ?? 1,
      Stored: storedType(x),
      YStored: storedType(y),
    },
    tensors: [x, w, b ?? w, y],
    params: directParams(x, w, window),
    workgroups: grid1d(ctx.device, ceilDiv(elementCount(y.shape), WG_SIZE)),
  });
}

function denseInputGradDirect(
  ctx: Context,
  { dy, w }: { dy: Tensor; w: Tensor },
  window: DenseWindow,
  dx: Tensor,
): void {
  const params = directParams(dx, w, window);
  const elements = (params["n"] ?? 0) * (params["count"] ?? 0);
  ctx.dispatch({
    label: `denseInputGrad ${w.label}`,
    shader: "dense_input_grad",
    constants: { WG_SIZE, Stored: storedType(dy) },
    tensors: [dy, w, dx],
    params,
    workgroups: grid1d(ctx.device, ceilDiv(elements, WG_SIZE)),
  });
}

function denseWeightGradDirect(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  window: DenseWindow,
  dw: Tensor,
): void {
  ctx.dispatch({
    label: `denseWeightGrad ${dw.label}`,
    shader: "dense_weight_grad",
    constants: { WG_SIZE, ACCUMULATE: window.accumulate, Stored: storedType(x) },
    tensors: [x, dy, dw],
    params: directParams(x, dw, window),
    workgroups: grid1d(ctx.device, ceilDiv(elementCount(dw.shape), WG_SIZE)),
  });
}

// tiled and subgroup: the three passes as matrix products.

/** The three passes by way of one matrix product. */
function byMatmul(matmul: (ctx: Context, product: Matmul) => void): Implementation {
  return {
    forward: (ctx, { x, w, b }, { first, accumulate, leakySlope }, y) => {
      const [n = 0] = x.shape;
      const [count = 0, outC = 0] = w.shape;
      matmul(ctx, {
        label: `dense ${w.label}`,
        ...{ m: n, n: outC, k: count },
        a: columns(x, first),
        b: columns(w),
        bias: b,
        c: columns(y),
        accumulate,
        leakySlope,
      });
    },
    inputGrad: (ctx, { dy, w }, { first }, dx) => {
      const [n = 0, outC = 0] = dy.shape;
      const [count = 0] = w.shape;
      matmul(ctx, {
        label: `denseInputGrad ${w.label}`,
        ...{ m: n, n: count, k: outC },
        a: columns(dy),
        b: columns(w),
        transposeB: true,
        c: columns(dx, first),
      });
    },
    weightGrad: (ctx, { x, dy }, { first, accumulate }, dw) => {
      const [n = 0] = x.shape;
      const [count = 0, outC = 0] = dw.shape;
      matmul(ctx, {
        label: `denseWeightGrad ${dw.label}`,
        ...{ m: count, n: outC, k: n },
        a: columns(x, first),
        transposeA: true,
        b: columns(dy),
        c: columns(dw),
        accumulate,
      });
    },
  };
}

function columns(tensor: Tensor, firstColumn = 0): MatrixView {
  return { tensor, firstColumn, rowLength: tensor.shape[1] ?? 0 };
}
