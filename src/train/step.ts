/**
 * The training step as programs: draw the batch, forward, loss, backward, check, update. Recorded once for each batch
 * size; a run of it writes four small buffers and submits once.
 */
import type { Device } from "../gpu/device.ts";
import type { Context } from "../gpu/context.ts";
import type { Program } from "../gpu/program.ts";
import { adamax } from "../kernels/adamax.ts";
import { affineWarpSet } from "../kernels/affine_warp.ts";
import { allFinite } from "../kernels/all_finite.ts";
import { batchMetrics } from "../kernels/batch_metrics.ts";
import { softmaxCrossEntropy } from "../kernels/softmax_cross_entropy.ts";
import { clearStatus } from "../kernels/step_state.ts";
import type { Parameter, Pass } from "../nn/layer.ts";
import type { Sequential } from "../nn/model.ts";
import { joined, sizeBytes, slice, type Tensor } from "../tensor.ts";
import type { DeviceImages } from "./images.ts";
import { LOG_SLOTS } from "./options.ts";

/** One batch as the host describes it: which images, warped how, labelled what. */
export interface Batch {
  readonly indices: Uint32Array;
  /** [n, 2, 3], from output to input pixels. */
  readonly matrices: Float32Array;
  readonly labels: Int32Array;
}

/** The gradient and Adamax' moments of one parameter. */
export interface Moments {
  readonly parameter: Parameter;
  readonly grad: Tensor;
  readonly m: Tensor;
  readonly u: Tensor;
}

export interface StepSettings {
  readonly images: DeviceImages;
  readonly batchSize: number;
  readonly seed: number;
  readonly adamax: { readonly beta1: number; readonly beta2: number; readonly epsilon: number };
  readonly classWeights: Float32Array | undefined;
}

/** The buffers and programs of a training run. */
export class TrainingStep {
  readonly #model: Sequential;
  readonly #device: Device;
  readonly #settings: StepSettings;
  readonly #inputs: { indices: Tensor; matrices: Tensor; labels: Tensor; step: Tensor };
  readonly #classWeights: Tensor | undefined;
  readonly #programs = new Map<number, Program>();
  readonly moments: readonly Moments[];
  /** The moments by neighbours in memory, which are updated as one. */
  readonly #runs: readonly Moments[][];
  /** [LOG_SLOTS, 4]: mean loss, correct, rows, flag of each of the last steps. */
  readonly log: Tensor;
  readonly status: Tensor;

  constructor(model: Sequential, settings: StepSettings) {
    const { device } = model;
    const { batchSize } = settings;
    this.#model = model;
    this.#device = device;
    this.#settings = settings;
    this.#inputs = {
      indices: device.tensor([batchSize], "uint32", "batch.indices"),
      matrices: device.tensor([batchSize, 2, 3], "float32", "batch.matrices"),
      labels: device.tensor([batchSize], "int32", "batch.labels"),
      step: device.tensor([4], "uint32", "step"),
    };
    this.#classWeights =
      settings.classWeights &&
      device.upload(settings.classWeights, [settings.classWeights.length], "classWeights");
    this.log = device.tensor([LOG_SLOTS, 4], "float32", "log");
    this.status = device.upload(clearStatus(), [4], "status");
    this.#runs = runsOf(device, model.trainableParameters()).map((run) => momentsOf(device, run));
    this.moments = this.#runs.flat();
  }

  /** Records the programs for these batch sizes, largest first: the others share its memory. */
  async prepare(batchSizes: readonly number[]): Promise<void> {
    for (const n of [...new Set(batchSizes)].sort((a, b) => b - a)) {
      const [largest] = this.#programs.values();
      this.#programs.set(n, await this.#recordStep(n, largest));
    }
  }

  /** The program whose scratch memory others may share, e.g. that of validation. */
  get largest(): Program | undefined {
    return this.#programs.values().next().value;
  }

  /** Queues the inputs of a step and submits it. */
  submit(batch: Batch, step: Uint32Array): void {
    this.write(batch, step);
    const program = this.#programs.get(batch.indices.length);
    if (!program) throw new Error(`training step: no program for ${batch.indices.length} images`);
    this.#device.submit(program);
  }

  write(batch: Batch, step: Uint32Array): void {
    const n = batch.indices.length;
    const { indices, matrices, labels } = this.#inputs;
    this.#device.write(slice(indices, 0, n), batch.indices);
    this.#device.write(slice(matrices, 0, n), batch.matrices);
    this.#device.write(slice(labels, 0, n), batch.labels);
    this.#device.write(this.#inputs.step, step);
  }

  #recordStep(n: number, scratchFrom: Program | undefined): Promise<Program> {
    const { beta1, beta2, epsilon } = this.#settings.adamax;
    const { step } = this.#inputs;
    return this.#device.record(
      `training step n=${n}`,
      (ctx) => {
        this.recordGradients(ctx, n);
        ctx.scope = "optimizer";
        for (const run of this.#runs)
          allFinite(ctx, { x: joined(run.map(({ grad }) => grad)), step }, this.status);
        for (const run of this.#runs) {
          const dw = joined(run.map(({ grad }) => grad));
          const w = joined(run.map(({ parameter }) => parameter.value));
          const m = joined(run.map((moments) => moments.m));
          const u = joined(run.map((moments) => moments.u));
          adamax(ctx, { dw, step, status: this.status }, { beta1, beta2, epsilon }, { w, m, u });
        }
        for (const { parameter } of this.moments) delete parameter.grad;
      },
      scratchFrom,
    );
  }

  /**
   * Records a step up to and including the gradients, which stay in the parameters' `grad`.
   * @param observe sees every tensor on the way
   */
  recordGradients(
    ctx: Context,
    n: number,
    observe?: Pass["observe"],
    onLoss?: (rowLoss: Tensor) => void,
  ): void {
    const { images, seed } = this.#settings;
    const { step } = this.#inputs;
    const indices = slice(this.#inputs.indices, 0, n);
    const matrices = slice(this.#inputs.matrices, 0, n);
    const labels = slice(this.#inputs.labels, 0, n);
    for (const { parameter, grad } of this.moments) parameter.grad = grad;
    const x = ctx.scratch([n, ...this.#model.input], "float32", "batch.x");
    ctx.scope = "batch";
    affineWarpSet(ctx, { chunks: images.chunks, indices, matrices }, x);
    const pass: Pass = { training: true, seed, step, ...(observe && { observe }) };
    const activations = this.#model.forward(ctx, x, pass);
    const logits = this.#model.logits(activations);
    const rowLoss = ctx.scratch([n], "float32", "rowLoss");
    const correct = ctx.scratch([n], "uint32", "correct");
    const dx = ctx.scratch(logits.shape, "float32", "logits.dx");
    const loss = ctx.scratch([], "float32", "loss");
    const weights = this.#classWeights;
    ctx.scope = "loss";
    softmaxCrossEntropy(
      ctx,
      weights ? { x: logits, labels, classWeights: weights } : { x: logits, labels },
      { rowLoss, correct, dx },
    );
    onLoss?.(rowLoss);
    batchMetrics(ctx, { rowLoss, correct, step }, { loss, log: this.log, status: this.status });
    this.#model.backward(ctx, activations, dx, pass);
  }

  destroy(): void {
    for (const program of [...this.#programs.values()].reverse()) program.destroy();
    this.#programs.clear();
    const { indices, matrices, labels, step } = this.#inputs;
    this.#device.release(indices, matrices, labels, step, this.log, this.status);
    this.#device.release(...this.moments.flatMap(({ grad, m, u }) => [grad, m, u]));
    if (this.#classWeights) this.#device.release(this.#classWeights);
  }
}

/** Parameters that lie one after another in memory, together. */
function runsOf(device: Device, parameters: readonly Parameter[]): Parameter[][] {
  // Alignment leaves less than this between neighbours; a frozen parameter in between leaves at least as much.
  const alignment = device.limits.minStorageBufferOffsetAlignment;
  const runs: Parameter[][] = [];
  for (const parameter of parameters) {
    const run = runs.at(-1);
    const before = run?.at(-1)?.value;
    const { buffer, offsetBytes } = parameter.value;
    const gap = before ? offsetBytes - before.offsetBytes - sizeBytes(before) : 0;
    if (run && before?.buffer === buffer && gap >= 0 && gap < alignment) run.push(parameter);
    else runs.push([parameter]);
  }
  return runs;
}

function momentsOf(device: Device, run: readonly Parameter[]): Moments[] {
  const packed = (label: (name: string) => string) =>
    device.packed(run.map(({ name, shape }) => ({ shape, label: label(name) })));
  const grads = packed((name) => `${name}.grad`);
  const ms = packed((name) => `adamax.m.${name}`);
  const us = packed((name) => `adamax.u.${name}`);
  return run.flatMap((parameter, i) => {
    const [grad, m, u] = [grads[i], ms[i], us[i]];
    return grad && m && u ? [{ parameter, grad, m, u }] : [];
  });
}
