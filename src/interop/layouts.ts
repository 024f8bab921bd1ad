/**
 * Weights from one framework's order to another's. Ours: filters HWIO, dense weights [in, out], images flattened as
 * NHWC; Keras' and TensorFlow.js' are the same. PyTorch's: filters OIHW, dense weights [out, in], images flattened as NCHW.
 */
import type { Shape } from "../tensor.ts";

/**
 * The axes of a row-major array in another order: `axes[i]` is the old axis that becomes axis i.
 * `permute(w, [kH, kW, inC, outC], [3, 2, 0, 1])` makes HWIO to OIHW.
 */
export function permute(values: Float32Array, shape: Shape, axes: readonly number[]): Float32Array {
  const strides = shape.map((_, axis) =>
    shape.slice(axis + 1).reduce((product, size) => product * size, 1),
  );
  const sizes = axes.map((axis) => shape[axis] ?? 1);
  const steps = axes.map((axis) => strides[axis] ?? 1);
  const result = new Float32Array(values.length);
  const innerSize = sizes.at(-1) ?? 1;
  const innerStep = steps.at(-1) ?? 1;
  const index = sizes.map(() => 0);
  let from = 0;
  for (let to = 0; to < result.length; to += innerSize) {
    for (let i = 0; i < innerSize; i++) result[to + i] = values[from + i * innerStep] ?? 0;
    // Count up the outer axes, like the digits of a number; `from` follows.
    for (let axis = sizes.length - 2; axis >= 0; axis--) {
      const [digit = 0, size = 1, step = 1] = [index[axis], sizes[axis], steps[axis]];
      if (digit + 1 < size) {
        index[axis] = digit + 1;
        from += step;
        break;
      }
      index[axis] = 0;
      from -= digit * step;
    }
  }
  return result;
}

/** Filters [kH, kW, inC, outC] as PyTorch and ONNX have them, [outC, inC, kH, kW]. */
export const hwioToOihw = (w: Float32Array, shape: Shape): Float32Array =>
  permute(w, shape, [3, 2, 0, 1]);

/** Filters [outC, inC, kH, kW] as we have them, [kH, kW, inC, outC]. `shape` is that of the result. */
export function oihwToHwio(w: Float32Array, shape: Shape): Float32Array {
  const [kH = 1, kW = 1, inC = 1, outC = 1] = shape;
  return permute(w, [outC, inC, kH, kW], [2, 3, 1, 0]);
}

/**
 * A dense weight [in, out] as PyTorch has it, [out, in].
 * @param image what Flatten took apart before the layer, [h, w, c]: its inputs change from NHWC to NCHW order
 */
export function denseToTorch(w: Float32Array, shape: Shape, image?: Shape): Float32Array {
  const [inputs = 1, outputs = 1] = shape;
  if (!image) return permute(w, [inputs, outputs], [1, 0]);
  return permute(w, [...image, outputs], [3, 2, 0, 1]);
}

/** The inverse of `denseToTorch`. `shape` is that of the result, [in, out]. */
export function denseFromTorch(w: Float32Array, shape: Shape, image?: Shape): Float32Array {
  const [inputs = 1, outputs = 1] = shape;
  if (!image) return permute(w, [outputs, inputs], [1, 0]);
  const [height = 1, width = 1, channels = 1] = image;
  return permute(w, [outputs, channels, height, width], [2, 3, 1, 0]);
}
