/** Dynamic loss scaling; mirrors shaders/loss_scale.wgsl. */

export interface LossScaleState {
  readonly scale: number;
  readonly goodSteps: number;
  readonly skippedSteps: number;
}

/** The state after a step, and whether the status is raised then; `raised` is whether it was. */
export function updateLossScale(
  state: LossScaleState,
  raised: boolean,
  growthInterval: number,
): { state: LossScaleState; raised: boolean } {
  const { scale, goodSteps, skippedSteps } = state;
  if (raised && scale === 1) return { state, raised };
  if (raised)
    return {
      state: { scale: scale / 2, goodSteps: 0, skippedSteps: skippedSteps + 1 },
      raised: false,
    };
  const grows = goodSteps + 1 >= growthInterval;
  return {
    state: {
      scale: grows ? Math.min(2 * scale, 2 ** 24) : scale,
      goodSteps: grows ? 0 : goodSteps + 1,
      skippedSteps,
    },
    raised: false,
  };
}
