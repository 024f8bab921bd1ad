/**
 * Dynamic loss scaling on the GPU: the factor that keeps float16 gradients from underflowing, halved when they overflow
 * and doubled when they long have not. Its state lies in 16 bytes, so that no step waits for the host.
 */
import type { Context } from "../gpu/context.ts";
import { expectShape, type Tensor } from "../tensor.ts";

/** What loss scaling knows. */
export interface LossScale {
  /** Factor of the loss: a power of two from 1 to 2^24, so that no gradient is rounded by it. */
  readonly scale: number;
  /** Steps in a row without an overflow, since the scale last changed. */
  readonly goodSteps: number;
  /** Steps that changed no weight, because a gradient had overflowed. */
  readonly skippedSteps: number;
}

/** PyTorch's GradScaler starts there too. */
export const INITIAL_LOSS_SCALE: LossScale = { scale: 2 ** 16, goodSteps: 0, skippedSteps: 0 };

const LARGEST_SCALE = 2 ** 24;

/**
 * The words of a `lossScale` tensor, uint32 [4]: bits of the float32 scale, good steps in a row, skipped steps, 0.
 * @throws RangeError for a scale that is no power of two from 1 to 2^24, or a count that is no uint32
 */
export function lossScaleWords({
  scale,
  goodSteps,
  skippedSteps,
}: LossScale = INITIAL_LOSS_SCALE): Uint32Array {
  if (!(scale >= 1 && scale <= LARGEST_SCALE && Number.isInteger(Math.log2(scale))))
    throw new RangeError(
      `lossScale: scale: expected a power of two from 1 to ${LARGEST_SCALE}, got ${scale}`,
    );
  for (const [name, value] of Object.entries({ goodSteps, skippedSteps }))
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32)
      throw new RangeError(
        `lossScale: ${name}: expected an integer from 0 to 2^32 - 1, got ${value}`,
      );
  const words = new Uint32Array([0, goodSteps, skippedSteps, 0]);
  new Float32Array(words.buffer)[0] = scale;
  return words;
}

/** What the words of a `lossScale` tensor say. */
export function readLossScale(words: Uint32Array): LossScale {
  const [goodSteps = 0, skippedSteps = 0] = words.subarray(1);
  return { scale: new Float32Array(words.slice(0, 1).buffer)[0] ?? NaN, goodSteps, skippedSteps };
}

export interface LossScaleOptions {
  /** Good steps in a row after which the scale doubles. Default 2000. */
  readonly growthInterval?: number;
}

/**
 * Once a step, after allFinite and adamax: a raised status halves the scale and is cleared, so that training goes on with
 * the next step; at scale 1 it stays. Else the step was good, and growthInterval of them double the scale, up to 2^24.
 * lossScale: uint32 [4], see lossScaleWords; status: uint32 [4], see clearStatus.
 * Shader: loss_scale.wgsl.  Updates lossScale and status in place.
 */
export function updateLossScale(
  ctx: Context,
  { growthInterval = 2000 }: LossScaleOptions,
  { lossScale, status }: { lossScale: Tensor; status: Tensor },
): void {
  expectShape("updateLossScale", "lossScale", lossScale, [4]);
  expectShape("updateLossScale", "status", status, [4]);
  ctx.dispatch({
    label: `updateLossScale ${lossScale.label}`,
    shader: "loss_scale",
    tensors: [lossScale, status],
    params: { growth_interval: growthInterval },
    workgroups: [1],
  });
}
