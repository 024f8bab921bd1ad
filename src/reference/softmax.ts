/** Softmax in float64; mirrors shaders/softmax.wgsl. */
import type { Reference } from "./reference.ts";

/**
 * y = exp(x - max) / sum(exp(x - max)) of each row of x [rows, columns]. `absSum` grows with max - x: the relative
 * error of exp in float32 is proportional to the size of its argument.
 */
export function softmax(x: Float64Array, columns: number): Reference {
  const values = new Float64Array(x.length);
  const absSum = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += columns) {
    const row = x.subarray(start, start + columns);
    const rowMax = row.reduce((a, b) => Math.max(a, b));
    const rowSum = row.reduce((sum, value) => sum + Math.exp(value - rowMax), 0);
    for (let column = 0; column < columns; column++) {
      const below = rowMax - row[column]!;
      values[start + column] = Math.exp(-below) / rowSum;
      absSum[start + column] = values[start + column]! * (1 + below);
    }
  }
  return { values, absSum, reduction: columns };
}
