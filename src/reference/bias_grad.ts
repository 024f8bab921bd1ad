/** The gradient of a bias in float64; mirrors shaders/bias_grad.wgsl. */
import type { Reference } from "./reference.ts";

/** db[c] = sum over rows of dy[row,c], for `channels` channels. */
export function biasGrad(dy: Float64Array, channels: number): Reference {
  const values = new Float64Array(channels);
  const absSum = new Float64Array(channels);
  const rows = dy.length / channels;
  for (let row = 0; row < rows; row++)
    for (let c = 0; c < channels; c++) {
      values[c]! += dy[row * channels + c]!;
      absSum[c]! += Math.abs(dy[row * channels + c]!);
    }
  return { values, absSum, reduction: rows };
}
