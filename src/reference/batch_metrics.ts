/** The mean loss of a batch in float64; mirrors shaders/batch_metrics.wgsl. */
import type { Reference } from "./reference.ts";

/** loss = sum(rowLoss) / n, []. */
export function batchLoss(rowLoss: Float64Array): Reference {
  const mean = (terms: Float64Array) => terms.reduce((sum, value) => sum + value, 0) / terms.length;
  return {
    values: Float64Array.of(mean(rowLoss)),
    absSum: Float64Array.of(mean(rowLoss.map(Math.abs))),
    reduction: rowLoss.length,
  };
}
