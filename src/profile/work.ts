/**
 * What a dispatch computes and moves: what its wrapper declares, else what follows from its shader's name, its params
 * and its tensors.
 */
import type { ProfiledDispatch } from "../gpu/profiler.ts";
import { elementCount, sizeBytes } from "../tensor.ts";

export interface Work {
  /** Floating-point operations, two for a multiply-add; none where nobody knows. */
  readonly flops: number | undefined;
  readonly bytes: number;
}

/** What a dispatch does on each run. */
export function workOf(dispatch: ProfiledDispatch): Work {
  return {
    flops: dispatch.flops ?? flopsOf(dispatch),
    bytes: dispatch.bytes ?? bytesOf(dispatch),
  };
}

/**
 * Operations of the simpler kernels for each element of their largest output, counted in their formulas; integer work,
 * such as random numbers and indices, is left out. Kernels that only move or test values compute nothing.
 */
const PER_OUTPUT: Readonly<Record<string, number>> = {
  adamax: 10,
  add: 1,
  affine_warp: 12,
  all_finite: 0,
  batch_metrics: 0,
  cast: 0,
  conv2d_unfold_width: 0,
  conv2d_winograd_filter: 2,
  conv2d_winograd_filter_grad: 3,
  conv2d_winograd_input: 2,
  conv2d_winograd_output: 6,
  conv2d_winograd_output_grad: 1,
  dropout: 1,
  leaky_relu: 2,
  leaky_relu_grad: 2,
  leaky_relu_bias_grad: 3,
  loss_scale: 0,
  max_pool2d_argmax_grad: 1,
  repack: 0,
  softmax: 4,
  softmax_cross_entropy: 6,
  subgroup_matrix_check: 0,
};

/** Kernels that add each element of their first input once. */
const SUMS = ["bias_grad", "conv2d_fold_width", "sum_splits"];

function flopsOf({ shader, params, constants, tensors }: ProfiledDispatch): number | undefined {
  const param = (name: string) => params[name] ?? 1;
  const has = (...names: string[]) => names.every((name) => name in params);
  if (has("m", "n", "k")) return 2 * param("m") * param("n") * param("k") * param("batch");
  if (has("kH", "kW", "inC", "outC", "outH", "outW")) {
    const pixels = param("n") * param("outH") * param("outW");
    // An input pixel of a strided gradient is read through one tap in so many.
    const skipped = Number(constants["UP_H"] ?? 1) * Number(constants["UP_W"] ?? 1);
    return (2 * pixels * param("kH") * param("kW") * param("inC") * param("outC")) / skipped;
  }
  if (has("n", "count", "outC")) return 2 * param("n") * param("count") * param("outC");
  if (SUMS.includes(shader)) return elementCount(tensors[0]?.shape ?? [0]);
  const outputs = tensors.filter(({ access }) => access === "read_write");
  const largest = Math.max(0, ...outputs.map(({ shape }) => elementCount(shape)));
  const window = Number(constants["SIZE_H"] ?? 1) * Number(constants["SIZE_W"] ?? 1);
  const each = PER_OUTPUT[shader] ?? (shader.startsWith("max_pool2d") ? window : undefined);
  return each === undefined ? undefined : each * largest;
}

/** Each tensor once; what is updated in place, twice. */
function bytesOf({ shader, constants, params, tensors }: ProfiledDispatch): number {
  const updates = ["adamax", "add"].includes(shader) || constants["ACCUMULATE"] === true;
  return tensors.reduce((sum, tensor, i) => {
    const bytes = sizeBytes(tensor);
    // Of a whole image set, a batch reads no more than its own images.
    if (shader === "affine_warp" && i === 0) {
      const [, ...image] = tensor.shape;
      return sum + Math.min(bytes, (params["n"] ?? 0) * elementCount(image));
    }
    return sum + bytes * (updates && tensor.access === "read_write" ? 2 : 1);
  }, 0);
}
