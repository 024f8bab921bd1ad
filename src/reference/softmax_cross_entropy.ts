/** Softmax and cross-entropy in float64; mirrors shaders/softmax_cross_entropy.wgsl. */
import type { Reference } from "./reference.ts";
import { softmax } from "./softmax.ts";

export interface CrossEntropy {
  /** weight[label] * (log(sum exp(x - max)) - (x[label] - max)), [rows]. */
  readonly rowLoss: Reference;
  /** 1 where the first largest x is at the label, [rows]. */
  readonly correct: Uint32Array;
  /** Gradient of sum(rowLoss) / rows, [rows, classes]. */
  readonly dx: Reference;
}

/** x: [rows, classes], labels: [rows], weights: [classes], 1 each by default. */
export function softmaxCrossEntropy(
  x: Float64Array,
  labels: ArrayLike<number>,
  weights: ArrayLike<number> | undefined,
  classes: number,
): CrossEntropy {
  const rows = labels.length;
  const probability = softmax(x, classes);
  const rowLoss = new Float64Array(rows);
  const lossAbsSum = new Float64Array(rows);
  const correct = new Uint32Array(rows);
  const dx = new Float64Array(x.length);
  const dxAbsSum = new Float64Array(x.length);
  for (let row = 0; row < rows; row++) {
    const values = x.subarray(row * classes, (row + 1) * classes);
    const label = labels[row]!;
    const known = label >= 0 && label < classes;
    const weight = known ? (weights?.[label] ?? 1) : NaN;
    const rowMax = values.reduce((a, b) => Math.max(a, b));
    const logSum = Math.log(values.reduce((sum, value) => sum + Math.exp(value - rowMax), 0));
    const below = rowMax - (known ? values[label]! : 0);
    rowLoss[row] = weight * (logSum + below);
    // 1: the error of log near 1 is absolute, and so is that of a sum whose largest term is exp(0).
    lossAbsSum[row] = weight * (logSum + below + 1);
    correct[row] = Number(values.indexOf(rowMax) === label);
    for (let column = 0; column < classes; column++) {
      const i = row * classes + column;
      const hit = Number(column === label);
      dx[i] = (weight * (probability.values[i]! - hit)) / rows;
      dxAbsSum[i] = (weight * (probability.absSum[i]! + hit)) / rows;
    }
  }
  return {
    rowLoss: { values: rowLoss, absSum: lossAbsSum, reduction: classes },
    correct,
    dx: { values: dx, absSum: dxAbsSum, reduction: classes },
  };
}
