/**
 * Training: epochs of steps over an image set that lies in GPU memory.
 */
import { join, dirname } from "node:path";
import { augmentationMatrix, type AugmentOptions } from "../data/augment.ts";
import { countPerClass, type ImageSet } from "../data/dataset.ts";
import { stepState } from "../kernels/step_state.ts";
import { accuracy, argmax, meanCrossEntropy } from "../metrics/accuracy.ts";
import type { Sequential } from "../nn/model.ts";
import { loadWeights, saveModel } from "../nn/weights.ts";
import { Random } from "../random.ts";
import { openSafetensors } from "../safetensors.ts";
import {
  checkpointChoices,
  initialState,
  loadCheckpoint,
  saveCheckpoint,
  type RunIdentity,
  type RunState,
} from "./checkpoint.ts";
import { firstNonFinite, NonFiniteError } from "./diagnose.ts";
import type { EpochRecord } from "./history.ts";
import { releaseImages, uploadImages, type DeviceImages } from "./images.ts";
import {
  ADAMAX_DEFAULTS,
  checkFitOptions,
  LOG_SLOTS,
  type FitOptions,
  type Monitor,
} from "./options.ts";
import { Pace } from "./pace.ts";
import { evaluationMatrices, predictUploaded } from "./predict.ts";
import { partsOf, TrainingStep, type Batch, type Part } from "./step.ts";

/** How a run went. */
export interface FitResult {
  readonly history: readonly EpochRecord[];
  /** Why the run ended. */
  readonly ended: "epochs" | "early stopping" | "interrupted";
  /** The epoch whose weights the model has now, when the best were asked for. */
  readonly bestEpoch?: number;
}

/**
 * Trains the layers that are trainable. The optimizer starts fresh unless a checkpoint is resumed.
 * @throws RangeError for options that do not fit, NonFiniteError, CheckpointError, DeviceError
 */
export async function fit(
  model: Sequential,
  set: ImageSet,
  options: FitOptions,
): Promise<FitResult> {
  checkFitOptions(options, set, model.classCount);
  const run = await Run.open(model, set, options);
  try {
    return await run.train();
  } finally {
    run.close();
  }
}

class Run {
  readonly #model: Sequential;
  readonly #set: ImageSet;
  readonly #options: FitOptions;
  readonly #batchSize: number;
  readonly #accumulateSteps: number;
  /** Images of a step, but for the last of an epoch. */
  readonly #imagesPerStep: number;
  readonly #images: DeviceImages;
  readonly #validation: DeviceImages | undefined;
  readonly #training: TrainingStep;
  readonly #pace: Pace;
  readonly #identity: RunIdentity;
  #state: RunState;
  /** Batches submitted in the current epoch's steps, counted through all epochs, and those whose log rows were read. */
  #submitted = 0;
  #unread = 0;

  private constructor(model: Sequential, set: ImageSet, options: FitOptions) {
    const { device } = model;
    const optimizer = { ...ADAMAX_DEFAULTS, ...options.optimizer };
    this.#model = model;
    this.#set = set;
    this.#options = options;
    this.#batchSize = Math.min(options.batchSize ?? 32, set.count);
    this.#accumulateSteps = options.accumulateSteps ?? 1;
    this.#imagesPerStep = Math.min(this.#batchSize * this.#accumulateSteps, set.count);
    this.#images = uploadImages(device, set);
    this.#validation = options.validation && uploadImages(device, options.validation);
    this.#training = new TrainingStep(model, {
      images: this.#images,
      batchSize: this.#batchSize,
      accumulateSteps: this.#accumulateSteps,
      seed: options.seed,
      adamax: optimizer,
      classWeights: classWeights(set, options.classWeights),
      lossScale: options.lossScale,
    });
    this.#pace = new Pace(device);
    this.#state = initialState(optimizer.learningRate);
    this.#identity = {
      seed: options.seed,
      batchSize: this.#batchSize,
      accumulateSteps: this.#accumulateSteps,
      precision: model.precision,
      dataSet: set.name,
      count: set.count,
      optimizer,
      augment: options.augment ?? false,
      classWeights: options.classWeights ?? null,
      crop: set.crop,
    };
  }

  static async open(model: Sequential, set: ImageSet, options: FitOptions): Promise<Run> {
    const run = new Run(model, set, options);
    try {
      const { checkpoint } = options;
      const choices = checkpoint?.resume ? await checkpointChoices(checkpoint.path) : undefined;
      if (choices) model.useChoices(choices);
      const images = run.#imagesPerStep;
      const rest = set.count % images;
      await run.#training.prepare(rest > 0 ? [images, rest] : [images]);
      if (checkpoint?.resume) {
        const state = await loadCheckpoint(
          checkpoint.path,
          model,
          run.#training.moments,
          run.#identity,
        );
        if (state) run.#state = state;
        if (state?.lossScale) run.#training.setLossScale(state.lossScale);
      }
      return run;
    } catch (error) {
      run.close();
      throw error;
    }
  }

  async train(): Promise<FitResult> {
    const { epochs, signal } = this.#options;
    let ended: FitResult["ended"] = this.#stopped() ? "early stopping" : "epochs";
    while (this.#state.epoch < epochs && ended === "epochs") {
      await this.#epoch();
      if (this.#state.stepInEpoch < this.#stepsPerEpoch) {
        await this.#checkpoint();
        return { history: this.#state.history, ended: "interrupted" };
      }
      await this.#endEpoch();
      if (this.#stopped()) ended = "early stopping";
      await this.#checkpoint();
      if (signal?.aborted && this.#state.epoch < epochs && ended === "epochs")
        ended = "interrupted";
    }
    const best = ended === "interrupted" ? undefined : await this.#restoreBest();
    return { history: this.#state.history, ended, ...(best !== undefined && { bestEpoch: best }) };
  }

  get #stepsPerEpoch(): number {
    return Math.ceil(this.#set.count / this.#imagesPerStep);
  }

  /** Runs the steps of the current epoch that are left, or up to an interruption. */
  async #epoch(): Promise<void> {
    const state = this.#state;
    const { signal, onStep, logEvery = 10 } = this.#options;
    const order = new Random(this.#options.seed, "shuffle", state.epoch).permutation(
      this.#set.count,
    );
    const started = performance.now();
    const secondsBefore = state.seconds;
    this.#submitted = this.#unread = state.step * this.#accumulateSteps;
    let pending: (() => Promise<void>) | undefined;
    const elapsed = () => secondsBefore + (performance.now() - started) / 1000;
    while (state.stepInEpoch < this.#stepsPerEpoch && !signal?.aborted) {
      onStep?.(state.step);
      const parts = this.#parts(state.stepInEpoch);
      for (const [index, part] of parts.entries()) {
        const batch = this.#batch(order, state.stepInEpoch, part);
        await this.#pace.submit(() => {
          this.#training.submit(batch, this.#stepWords(state.step, index), part);
        });
        this.#submitted = state.step * this.#accumulateSteps + index + 1;
        // A log row is read one submission after its copy was queued, when it lies there.
        await pending?.();
        pending = undefined;
        const due = this.#submitted - this.#unread >= logEvery;
        if (due) pending = this.#queueLogRead(elapsed, index === parts.length - 1);
      }
      state.step++;
      state.stepInEpoch++;
    }
    await this.#model.device.finish();
    await pending?.();
    if (this.#submitted > this.#unread) await this.#queueLogRead(elapsed)();
    state.seconds = elapsed();
  }

  /** The batches of a step. */
  #parts(stepInEpoch: number): Part[] {
    const left = this.#set.count - stepInEpoch * this.#imagesPerStep;
    return partsOf(Math.min(this.#imagesPerStep, left), this.#batchSize);
  }

  /** @param index of the batch within its step */
  #stepWords(step: number, index: number): Uint32Array {
    const beta1 = this.#options.optimizer?.beta1 ?? ADAMAX_DEFAULTS.beta1;
    const batch = step * this.#accumulateSteps + index;
    return stepState({
      step: batch,
      update: step,
      learningRate: this.#state.learningRate,
      beta1,
      slot: batch % LOG_SLOTS,
    });
  }

  /** The images of one batch: their places in the epoch's order, their warps and labels. */
  #batch(order: Uint32Array, stepInEpoch: number, part: Part): Batch {
    const start = stepInEpoch * this.#imagesPerStep + part.start;
    const indices = order.slice(start, start + part.count);
    const labels = Int32Array.from(indices, (index) => this.#set.labels[index] ?? -1);
    return { indices, matrices: this.#matrices(indices), labels };
  }

  #matrices(indices: Uint32Array): Float32Array {
    const { augment, seed } = this.#options;
    if (!augment) return evaluationMatrices(this.#set, this.#model.input, indices.length);
    const matrices = new Float32Array(indices.length * 6);
    indices.forEach((index, i) => {
      const drawn = this.#state.epoch * this.#set.count + index;
      matrices.set(augmentationFor(this.#set, this.#model.input, augment, seed, drawn), i * 6);
    });
    return matrices;
  }

  /**
   * Queues a copy of the log; the returned function waits for it and adds the rows to the epoch's sums.
   * @param afterStep whether the last batch ended its step: only then does loss scaling tell an overflow from a failure
   */
  #queueLogRead(elapsed: () => number, afterStep = true): () => Promise<void> {
    const { device } = this.#model;
    const [first, end] = [this.#unread, this.#submitted];
    this.#unread = end;
    const log = device.copyOut(this.#training.log);
    const status = device.copyOut(this.#training.status);
    return async () => {
      const rows = (await log.finish()) as Float32Array;
      const [raised, badBatch = 0] = await status.finish();
      const isMixed = this.#model.precision === "mixed";
      if (raised && (afterStep || !isMixed)) await this.#fail(badBatch);
      for (let batch = first; batch < end; batch++) {
        const at = (batch % LOG_SLOTS) * 4;
        const [loss = 0, , count = 0] = rows.subarray(at);
        // The outputs of a skipped step may have overflowed, and its loss with them.
        if (isMixed && !Number.isFinite(loss)) continue;
        this.#state.lossSum += loss * count;
        this.#state.correct += rows[at + 1] ?? 0;
        this.#state.rows += count;
      }
      this.#report(elapsed());
    };
  }

  #report(seconds: number): void {
    const { lossSum, correct, rows, epoch, stepInEpoch } = this.#state;
    const { epochs } = this.#options;
    const imagesPerSecond = rows / seconds;
    const left = (epochs - epoch) * this.#set.count - rows;
    this.#options.onProgress?.({
      epoch: epoch + 1,
      epochs,
      step: stepInEpoch,
      steps: this.#stepsPerEpoch,
      loss: lossSum / rows,
      accuracy: correct / rows,
      imagesPerSecond,
      secondsLeft: left / imagesPerSecond,
    });
  }

  /** Names the layer where a value first was not finite. The weights are still those of before that step. */
  async #fail(badBatch: number): Promise<never> {
    await this.#model.device.finish();
    const { epoch, step, stepInEpoch } = this.#state;
    const order = new Random(this.#options.seed, "shuffle", epoch).permutation(this.#set.count);
    const badStep = Math.floor(badBatch / this.#accumulateSteps);
    const index = badBatch % this.#accumulateSteps;
    const inEpoch = stepInEpoch - (step - badStep);
    const [part = { start: 0, count: 0, of: 0 }] = this.#parts(inEpoch).slice(index);
    const where = await firstNonFinite(
      this.#model,
      this.#training,
      this.#batch(order, inEpoch, part),
      this.#stepWords(badStep, index),
    );
    throw new NonFiniteError(epoch + 1, inEpoch + 1, where);
  }

  async #endEpoch(): Promise<void> {
    const state = this.#state;
    const validation = this.#validation && (await this.#validate(this.#validation));
    const scaling = await this.#training.lossScale();
    const record: EpochRecord = {
      epoch: state.epoch + 1,
      loss: state.lossSum / state.rows,
      accuracy: state.correct / state.rows,
      ...validation,
      learningRate: state.learningRate,
      seconds: state.seconds,
      imagesPerSecond: state.rows / state.seconds,
      ...(scaling && { lossScale: scaling.scale, skippedSteps: scaling.skippedSteps }),
    };
    state.history.push(record);
    Object.assign(state, {
      epoch: state.epoch + 1,
      stepInEpoch: 0,
      lossSum: 0,
      correct: 0,
      rows: 0,
      seconds: 0,
    });
    this.#options.onEpoch?.(record);
    this.#reduceOnPlateau(record);
    const { earlyStopping } = this.#options;
    if (earlyStopping) watch(state.stopping, record, earlyStopping.monitor);
    await this.#keepBest(record);
  }

  async #validate(images: DeviceImages): Promise<{ valLoss: number; valAccuracy: number }> {
    const { classCount } = this.#model;
    const probabilities = await predictUploaded(this.#model, images, {
      batchSize: this.#batchSize,
      scratchFrom: this.#training.largest,
    });
    const { labels } = images.set;
    return {
      valLoss: meanCrossEntropy(labels, probabilities, classCount),
      valAccuracy: accuracy(labels, argmax(probabilities, classCount)),
    };
  }

  #reduceOnPlateau(record: EpochRecord): void {
    const { reduceOnPlateau: rule } = this.#options;
    if (!rule) return;
    const { plateau } = this.#state;
    watch(plateau, record, rule.monitor);
    if (plateau.wait < rule.patience) return;
    plateau.wait = 0;
    this.#state.learningRate = Math.max(
      rule.minLearningRate ?? 0,
      this.#state.learningRate * rule.factor,
    );
  }

  #stopped(): boolean {
    const { earlyStopping } = this.#options;
    return earlyStopping !== undefined && this.#state.stopping.wait >= earlyStopping.patience;
  }

  /** Where the best weights wait: beside the checkpoint, so that a resumed run still has them. */
  get #bestPath(): string {
    return join(dirname(this.#options.checkpoint?.path ?? ""), "best.safetensors");
  }

  async #keepBest(record: EpochRecord): Promise<void> {
    const { bestWeights, checkpoint } = this.#options;
    const value = bestWeights && record[bestWeights];
    if (bestWeights === undefined || value === undefined || !checkpoint) return;
    const { best } = this.#state;
    if (best && !isBetter(bestWeights, value, best.value)) return;
    this.#state.best = { epoch: record.epoch, value };
    await saveModel(this.#bestPath, this.#model, checkpoint.info);
  }

  async #restoreBest(): Promise<number | undefined> {
    const { best, epoch } = this.#state;
    if (!this.#options.bestWeights || !best) return undefined;
    if (best.epoch !== epoch) {
      const file = await openSafetensors(this.#bestPath);
      try {
        await loadWeights(this.#model, file);
      } finally {
        await file.close();
      }
    }
    return best.epoch;
  }

  async #checkpoint(): Promise<void> {
    const { checkpoint } = this.#options;
    if (!checkpoint) return;
    const { moments } = this.#training;
    this.#state.lossScale = await this.#training.lossScale();
    await saveCheckpoint(
      checkpoint.path,
      this.#model,
      moments,
      this.#state,
      this.#identity,
      checkpoint.info,
    );
  }

  close(): void {
    const { device } = this.#model;
    this.#training.destroy();
    releaseImages(device, this.#images);
    if (this.#validation) releaseImages(device, this.#validation);
  }
}

/** The warp of one image in one epoch, by the run's seed and how many images were drawn before. */
export function augmentationFor(
  set: ImageSet,
  input: readonly [number, number, number],
  augment: AugmentOptions,
  seed: number,
  drawn: number,
): Float32Array {
  const [height, width] = input;
  const size = { height: set.height, width: set.width };
  return augmentationMatrix(new Random(seed, "augment", drawn), augment, size, { height, width });
}

function isBetter(monitor: Monitor, value: number, than: number): boolean {
  return monitor.toLowerCase().endsWith("loss") ? value < than : value > than;
}

/** Counts the epochs since a figure was at its best. */
function watch(
  state: { best: number | null; wait: number },
  record: EpochRecord,
  monitor: Monitor,
): void {
  const value = record[monitor];
  if (value === undefined) return;
  if (state.best === null || isBetter(monitor, value, state.best)) {
    state.best = value;
    state.wait = 0;
  } else state.wait++;
}

function classWeights(set: ImageSet, how: FitOptions["classWeights"]): Float32Array | undefined {
  if (how === undefined) return undefined;
  if (how !== "balanced") return Float32Array.from(how);
  const counts = countPerClass(set);
  return Float32Array.from(counts, (count) =>
    count > 0 ? set.count / (counts.length * count) : 0,
  );
}
