/**
 * What one training step tells its kernels through 16 bytes of GPU memory, so that a recorded program needs no change
 * from step to step; and the status that kernels raise when something is not finite.
 */

export interface StepOptions {
  /** Number of the batch, 0 for the first; dropout draws by it, and a status names it. */
  readonly step: number;
  /** Updates of the weights before this one, Adamax' t - 1. Default: `step`, where each batch is followed by one. */
  readonly update?: number;
  readonly learningRate: number;
  /** Adamax' beta1, for the bias correction. */
  readonly beta1: number;
  /** Row of the log that batchMetrics writes. */
  readonly slot: number;
}

/**
 * The words of a `step` tensor, uint32 [4], as shaders/lib/step.wgsl reads them: step number, bits of the float32
 * learningRate / (1 - beta1^t) with t = update + 1 (computed in float64), log slot, 0.
 */
export function stepState({
  step,
  update = step,
  learningRate,
  beta1,
  slot,
}: StepOptions): Uint32Array {
  for (const [name, value] of Object.entries({ step, update, slot }))
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32)
      throw new RangeError(
        `stepState: ${name}: expected an integer from 0 to 2^32 - 1, got ${value}`,
      );
  if (!Number.isFinite(learningRate) || learningRate < 0)
    throw new RangeError(`stepState: learningRate: expected a number >= 0, got ${learningRate}`);
  if (!(beta1 >= 0 && beta1 < 1))
    throw new RangeError(`stepState: beta1: expected 0 <= beta1 < 1, got ${beta1}`);
  const words = new Uint32Array([step, 0, slot, 0]);
  new Float32Array(words.buffer)[1] = learningRate / (1 - beta1 ** (update + 1));
  return words;
}

/**
 * The words of a `status` tensor, uint32 [4], when all is well: 1 once something was not finite, the first step at
 * which that was so, 0, 0.
 */
export function clearStatus(): Uint32Array {
  return new Uint32Array([0, 0xffffffff, 0, 0]);
}
