/**
 * After a loss or gradient that was not finite: replays that batch and names the layer in which it first appeared.
 */
import { allFinite } from "../kernels/all_finite.ts";
import { clearStatus } from "../kernels/step_state.ts";
import type { Context } from "../gpu/context.ts";
import type { Sequential } from "../nn/model.ts";
import { castTo } from "../nn/precision.ts";
import type { Tensor } from "../tensor.ts";
import type { Batch, TrainingStep } from "./step.ts";

/** Training met a value that is not finite. The model keeps the last good weights. */
export class NonFiniteError extends Error {
  override readonly name = "NonFiniteError";
  readonly epoch: number;
  readonly step: number;
  /** Where it first appeared, e.g. `conv3: output`. */
  readonly where: string;

  constructor(epoch: number, step: number, where: string) {
    super(
      `training: not finite at epoch ${epoch}, step ${step}: first in ${where}; the weights are those of the step ` +
        `before; lower the learning rate, or look at that layer's input`,
    );
    this.epoch = epoch;
    this.step = step;
    this.where = where;
  }
}

/** Replays a step without updating anything; the first tensor that is not finite, in the order of computation. */
export async function firstNonFinite(
  model: Sequential,
  training: TrainingStep,
  batch: Batch,
  step: Uint32Array,
): Promise<string> {
  const { device } = model;
  const checks: { where: string; status: Tensor }[] = [];
  const stepTensor = device.upload(step, [4], "replay.step");
  const check = (ctx: Context, where: string, x: Tensor) => {
    const status = device.upload(clearStatus(), [4], `status of ${where}`);
    checks.push({ where, status });
    const wide = x.dtype === "float16" ? castTo(ctx, x, "float32") : x;
    allFinite(ctx, { x: wide, step: stepTensor }, status);
    if (wide !== x) ctx.free(wide);
  };
  training.write(batch, step);
  const replay = (ctx: Context) => {
    for (const { name, value } of model.parameters())
      check(ctx, `${name}: value before the step`, value);
    training.recordGradients(ctx, batch.indices.length, {
      observe: (inner, { name, kind, tensor }) => {
        check(inner, `${name}: ${kind}`, tensor);
      },
      onLoss: (rowLoss) => {
        check(ctx, "the loss", rowLoss);
      },
    });
  };
  const program = await device.record("replay", replay, training.largest);
  for (const { parameter } of training.moments) delete parameter.grad;
  device.submit(program);
  let found: string | undefined;
  for (const { where, status } of checks) {
    const [raised] = await device.read(status);
    if (raised) {
      found = where;
      break;
    }
  }
  program.destroy();
  device.release(stepTensor, ...checks.map(({ status }) => status));
  return found ?? "no tensor of the replayed step (the replay was finite)";
}
