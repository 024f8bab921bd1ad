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
 * Operations of the simpler kernels for each element of their output, counted in their formulas; integer work, such as
 * random numbers and indices, is left out. Kernels that only move or test values compute nothing.
 */
const PER_OUTPUT: Readonly<Record<string, number>> = {
  adamax: 10,
  affine_warp: 12,
  all_finite: 0,
  batch_metrics: 0,
  conv2d_unfold_width: 0,
  dropout: 1,
  leaky_relu: 2,
  leaky_relu_grad: 2,
  repack: 0,
  softmax: 4,
  softmax_cross_entropy: 6,
};

function flopsOf({ shader, params, constants, tensors }: ProfiledDispatch): number | undefined {
  const param = (name: string) => params[name] ?? 1;
  const has = (...names: string[]) => names.every((name) => name in params);
  const outputs = tensors.filter(({ access }) => access === "read_write");
  const largest = Math.max(0, ...outputs.map(({ shape }) => elementCount(shape)));
  if (has("m", "n", "k")) return 2 * param("m") * param("n") * param("k") * param("batch");
  if (shader.startsWith("conv2d") && has("kH", "kW", "inC", "outC", "outH", "outW")) {
    const pixels = params["pixels"] ?? param("n") * param("outH") * param("outW");
    // Between the rows and columns of a strided gradient lie zeros, which the kernel skips.
    const skipped = Number(constants["UP_H"] ?? 1) * Number(constants["UP_W"] ?? 1);
    return (2 * pixels * param("kH") * param("kW") * param("inC") * param("outC")) / skipped;
  }
  if (shader.startsWith("dense") && has("n", "count", "outC"))
    return 2 * param("n") * param("count") * param("outC");
  if (shader.startsWith("max_pool2d")) return largest * param("kH") * param("kW");
  if (shader === "sum_splits") return largest * param("splits");
  if (shader === "bias_grad") return param("rows") * param("c");
  const each = PER_OUTPUT[shader];
  return each === undefined ? undefined : each * largest;
}

/** Each tensor once; what is updated in place, twice. */
function bytesOf({ shader, constants, params, tensors }: ProfiledDispatch): number {
  const updates = shader === "adamax" || constants["ACCUMULATE"] === true;
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
