/**
 * The training step as programs: draw the batch, forward, loss, backward, check, update. Recorded once for each batch
 * size; a run of it writes four small buffers and submits once. A step may be made of several batches, one submission
 * each, whose gradients add up. Under mixed precision the loss is scaled, so that its float16 gradients do not underflow.
 */
import type { Device } from "../gpu/device.ts";
import type { Context } from "../gpu/context.ts";
import type { Program } from "../gpu/program.ts";
import { adamax } from "../kernels/adamax.ts";
import { add } from "../kernels/add.ts";
import { affineWarpSet } from "../kernels/affine_warp.ts";
import { allFinite } from "../kernels/all_finite.ts";
import { batchMetrics } from "../kernels/batch_metrics.ts";
import {
  INITIAL_LOSS_SCALE,
  lossScaleWords,
  readLossScale,
  updateLossScale,
  type LossScale,
} from "../kernels/loss_scale.ts";
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

/** A batch's part in a step: the gradients of several add up where they do not fit into memory together. */
export interface Part {
  /** The first of its images among those of the step, and how many there are. */
  readonly start: number;
  readonly count: number;
  /** Images of the whole step. */
  readonly of: number;
}

/** The batches of at most `batchSize` images that make a step of `images`. */
export function partsOf(images: number, batchSize: number): Part[] {
  return Array.from({ length: Math.ceil(images / batchSize) }, (_, i) => {
    const start = i * batchSize;
    return { start, count: Math.min(batchSize, images - start), of: images };
  });
}

const isFirst = ({ start }: Part): boolean => start === 0;
const isLast = ({ start, count, of }: Part): boolean => start + count === of;

/** Tells the programs of parts apart. */
const keyOf = (part: Part): string =>
  `${part.count} of ${part.of}${isFirst(part) ? ", first" : ""}${isLast(part) ? ", last" : ""}`;

/** The gradient and Adamax' moments of one parameter. */
export interface Moments {
  readonly parameter: Parameter;
  /** Of one batch. */
  readonly grad: Tensor;
  /** Of the step: `grad` itself where a step is one batch. */
  readonly sum: Tensor;
  readonly m: Tensor;
  readonly u: Tensor;
}

/** What is asked of a recorded batch beside its gradients. */
export interface GradientOptions {
  /** Sees every tensor on the way. */
  readonly observe?: Pass["observe"];
  readonly onLoss?: (rowLoss: Tensor) => void;
  /** What of a step the batch is; a step of its own by default. */
  readonly part?: Part;
}

export interface StepSettings {
  readonly images: DeviceImages;
  readonly batchSize: number;
  /** Batches in a step; default 1. */
  readonly accumulateSteps?: number;
  readonly seed: number;
  readonly adamax: { readonly beta1: number; readonly beta2: number; readonly epsilon: number };
  readonly classWeights: Float32Array | undefined;
  /** Under mixed precision, the first factor of the loss; default 2^16. */
  readonly lossScale?: number | undefined;
}

/** The buffers and programs of a training run. */
export class TrainingStep {
  readonly #model: Sequential;
  readonly #device: Device;
  readonly #settings: StepSettings;
  readonly #inputs: { indices: Tensor; matrices: Tensor; labels: Tensor; step: Tensor };
  readonly #classWeights: Tensor | undefined;
  readonly #programs = new Map<string, Program>();
  readonly moments: readonly Moments[];
  /** The moments by neighbours in memory, which are updated as one. */
  readonly #runs: readonly Moments[][];
  /** [LOG_SLOTS, 4]: mean loss, correct, rows, flag of each of the last batches. */
  readonly log: Tensor;
  readonly status: Tensor;
  /** The state of loss scaling, [4]; none in float32. */
  readonly #lossScale: Tensor | undefined;

  constructor(model: Sequential, settings: StepSettings) {
    const { device } = model;
    const { batchSize, accumulateSteps = 1 } = settings;
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
    const { lossScale: scale = INITIAL_LOSS_SCALE.scale } = settings;
    if (model.precision === "mixed")
      this.#lossScale = device.upload(
        lossScaleWords({ ...INITIAL_LOSS_SCALE, scale }),
        [4],
        "lossScale",
      );
    this.#runs = runsOf(device, model.trainableParameters()).map((run) =>
      momentsOf(device, run, accumulateSteps > 1),
    );
    this.moments = this.#runs.flat();
  }

  /** Records the programs for steps of so many images, the largest batch first: the others share its memory. */
  async prepare(images: readonly number[]): Promise<void> {
    const parts = images.flatMap((count) => partsOf(count, this.#settings.batchSize));
    const programs = new Map(parts.map((part) => [keyOf(part), part]));
    for (const [key, part] of [...programs].sort(([, a], [, b]) => b.count - a.count))
      this.#programs.set(key, await this.#recordPart(part, this.largest));
  }

  /** The program whose scratch memory others may share, e.g. that of validation. */
  get largest(): Program | undefined {
    return this.#programs.values().next().value;
  }

  /**
   * Queues the inputs of a batch and submits it.
   * @param part what of a step the batch is; the whole by default
   */
  submit(batch: Batch, step: Uint32Array, part = wholeStep(batch)): void {
    this.write(batch, step);
    const program = this.#programs.get(keyOf(part));
    if (!program) throw new Error(`training step: no program for ${keyOf(part)} images`);
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

  /** The state of loss scaling after all that was submitted; undefined in float32. */
  async lossScale(): Promise<LossScale | undefined> {
    if (!this.#lossScale) return undefined;
    return readLossScale((await this.#device.read(this.#lossScale)) as Uint32Array);
  }

  /** Continues from an earlier run's state of loss scaling. */
  setLossScale(state: LossScale): void {
    if (this.#lossScale) this.#device.write(this.#lossScale, lossScaleWords(state));
  }

  #recordPart(part: Part, scratchFrom: Program | undefined): Promise<Program> {
    const whole = isFirst(part) && isLast(part);
    return this.#device.record(
      `training step n=${whole ? part.count : keyOf(part)}`,
      (ctx) => {
        this.recordGradients(ctx, part.count, { part });
        ctx.scope = "optimizer";
        if (!isFirst(part))
          for (const run of this.#runs)
            add(ctx, { x: joined(run.map(({ grad }) => grad)) }, joined(run.map(({ sum }) => sum)));
        if (isLast(part)) this.#recordUpdate(ctx);
        for (const { parameter } of this.moments) delete parameter.grad;
      },
      scratchFrom,
    );
  }

  #recordUpdate(ctx: Context): void {
    const { beta1, beta2, epsilon } = this.#settings.adamax;
    const { step } = this.#inputs;
    const { status } = this;
    const lossScale = this.#lossScale;
    for (const run of this.#runs)
      allFinite(ctx, { x: joined(run.map(({ sum }) => sum)), step }, status);
    for (const run of this.#runs) {
      const dw = joined(run.map(({ sum }) => sum));
      const w = joined(run.map(({ parameter }) => parameter.value));
      const m = joined(run.map((moments) => moments.m));
      const u = joined(run.map((moments) => moments.u));
      adamax(ctx, { dw, step, status, lossScale }, { beta1, beta2, epsilon }, { w, m, u });
    }
    // Adamax' t counts skipped steps too: its first updates are then smaller than they would be, never larger.
    if (lossScale) updateLossScale(ctx, {}, { lossScale, status });
  }

  /** Records a batch of n images up to and including the gradients, which stay in the parameters' `grad`. */
  recordGradients(ctx: Context, n: number, options: GradientOptions = {}): void {
    const { observe, onLoss, part } = options;
    const { images, seed } = this.#settings;
    const { step } = this.#inputs;
    const indices = slice(this.#inputs.indices, 0, n);
    const matrices = slice(this.#inputs.matrices, 0, n);
    const labels = slice(this.#inputs.labels, 0, n);
    for (const { parameter, grad, sum } of this.moments)
      parameter.grad = part && isFirst(part) ? sum : grad;
    const x = ctx.scratch([n, ...this.#model.input], this.#model.activationType, "batch.x");
    ctx.scope = "batch";
    affineWarpSet(ctx, { chunks: images.chunks, indices, matrices }, x);
    const pass: Pass = { training: true, seed, step, ...(observe && { observe }) };
    const activations = this.#model.forward(ctx, x, pass);
    const logits = this.#model.logits(activations);
    const rowLoss = ctx.scratch([n], "float32", "rowLoss");
    const correct = ctx.scratch([n], "uint32", "correct");
    const dx = ctx.scratch(logits.shape, logits.dtype, "logits.dx");
    const loss = ctx.scratch([], "float32", "loss");
    const { of: meanOver } = part ?? {};
    const [classWeights, lossScale] = [this.#classWeights, this.#lossScale];
    ctx.scope = "loss";
    softmaxCrossEntropy(
      ctx,
      { x: logits, labels, classWeights, meanOver, lossScale },
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
    for (const { grad, sum, m, u } of this.moments)
      this.#device.release(m, u, ...(sum === grad ? [grad] : [grad, sum]));
    for (const tensor of [this.#classWeights, this.#lossScale])
      if (tensor) this.#device.release(tensor);
  }
}

/** A batch that is a step of its own. */
function wholeStep({ indices }: Batch): Part {
  return { start: 0, count: indices.length, of: indices.length };
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

function momentsOf(device: Device, run: readonly Parameter[], accumulates: boolean): Moments[] {
  const packed = (label: (name: string) => string) =>
    device.packed(run.map(({ name, shape }) => ({ shape, label: label(name) })));
  const grads = packed((name) => `${name}.grad`);
  const sums = accumulates ? packed((name) => `${name}.grad of the step`) : grads;
  const ms = packed((name) => `adamax.m.${name}`);
  const us = packed((name) => `adamax.u.${name}`);
  return run.flatMap((parameter, i) => {
    const [grad, sum, m, u] = [grads[i], sums[i], ms[i], us[i]];
    return grad && sum && m && u ? [{ parameter, grad, sum, m, u }] : [];
  });
}
