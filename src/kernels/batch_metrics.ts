/**
 * The report of a training step, gathered on the GPU: mean loss, correct predictions, and whether all is finite.
 */
import type { Context } from "../gpu/context.ts";
import { expectShape, formatShape, ShapeError, type Tensor } from "../tensor.ts";

const WG_SIZE = 64;

/** Words of a `log` row: mean loss, correct predictions, rows, 1 if anything was not finite so far. */
export const LOG_COLUMNS = 4;

export interface BatchMetricsInputs {
  /** [n], as softmaxCrossEntropy writes it. */
  readonly rowLoss: Tensor;
  /** uint32 [n]. */
  readonly correct: Tensor;
  /** uint32 [4], see stepState. */
  readonly step: Tensor;
}

export interface BatchMetricsOutputs {
  /** [], mean of rowLoss. */
  readonly loss: Tensor;
  /** [slots, 4]; row `slot` of the step is written, none where `slot` is past the end. */
  readonly log: Tensor;
  /** uint32 [4], see clearStatus. */
  readonly status: Tensor;
}

/**
 * loss = sum(rowLoss) / n, in a fixed order, and one row of the log; raises the status when the loss is not finite.
 * Shader: batch_metrics.wgsl.  Writes loss and log (=), updates status.
 */
export function batchMetrics(
  ctx: Context,
  { rowLoss, correct, step }: BatchMetricsInputs,
  { loss, log, status }: BatchMetricsOutputs,
): void {
  const op = "batchMetrics";
  const [rows] = rowLoss.shape;
  if (rowLoss.shape.length !== 1 || !rows)
    throw new ShapeError(
      op,
      `rowLoss "${rowLoss.label}": expected [n], got ${formatShape(rowLoss.shape)}`,
    );
  expectShape(op, "correct", correct, [rows]);
  expectShape(op, "step", step, [4]);
  expectShape(op, "loss", loss, []);
  expectShape(op, "log", log, [log.shape[0] ?? 0, LOG_COLUMNS]);
  expectShape(op, "status", status, [4]);
  ctx.dispatch({
    label: `${op} ${rowLoss.label}`,
    shader: "batch_metrics",
    constants: { WG_SIZE },
    tensors: [rowLoss, correct, step, loss, log, status],
    params: { rows },
    workgroups: [1],
  });
}
