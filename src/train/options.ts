/** Options of a training run, checked in one place. */
import type { AugmentOptions } from "../data/augment.ts";
import type { ImageSet } from "../data/dataset.ts";
import { INITIAL_LOSS_SCALE, lossScaleWords } from "../kernels/loss_scale.ts";
import type { ModelInfo } from "../nn/weights.ts";
import type { EpochRecord } from "./history.ts";

/** The optimizer's settings (Kingma & Ba 2014). */
export interface AdamaxOptions {
  /** Default 0.002 (Kingma & Ba 2014; Keras up to 2.3). */
  readonly learningRate?: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
}

/** Kingma & Ba's rate and betas, as Keras had them up to 2.3; epsilon as Keras has it. */
export const ADAMAX_DEFAULTS = {
  learningRate: 0.002,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-7,
} as const;

/** Which figure of an epoch a callback watches: smaller is better for losses, larger for accuracies. */
export type Monitor = "loss" | "accuracy" | "valLoss" | "valAccuracy";

/** How far a run is. */
export interface FitProgress {
  readonly epoch: number;
  readonly epochs: number;
  /** Steps done in this epoch, and how many it has. */
  readonly step: number;
  readonly steps: number;
  /** Running means of this epoch, as of the last read. */
  readonly loss: number;
  readonly accuracy: number;
  readonly imagesPerSecond: number;
  readonly secondsLeft: number;
}

/** What `fit` takes; `epochs` alone is required. */
export interface FitOptions {
  readonly epochs: number;
  /** Default 32; the last batch of an epoch is smaller when the set does not divide. */
  readonly batchSize?: number;
  /**
   * Batches whose gradients make one step, as one batch of so many times `batchSize` would: for batches that do not fit
   * into memory. Default 1.
   */
  readonly accumulateSteps?: number;
  /** Shuffling, augmentation and dropout all draw from it. */
  readonly seed: number;
  readonly optimizer?: AdamaxOptions;
  /** Rotation, flips, scale and shift; false for none. */
  readonly augment?: AugmentOptions | false;
  /**
   * Of a model built for mixed precision: the first factor of the loss, a power of two up to 2^24. It halves when a
   * gradient overflows float16, and that step is skipped; it doubles after 2000 steps without. Default 2^16.
   */
  readonly lossScale?: number;
  /** Images held out, watched after each epoch. */
  readonly validation?: ImageSet;
  /** A weight for each class, "balanced" for count / (classes * members), as Keras applies them. */
  readonly classWeights?: readonly number[] | "balanced";
  readonly earlyStopping?: { readonly monitor: Monitor; readonly patience: number };
  readonly reduceOnPlateau?: {
    readonly monitor: Monitor;
    readonly patience: number;
    readonly factor: number;
    readonly minLearningRate?: number;
  };
  /** Ends with the weights of the best epoch by this figure. */
  readonly bestWeights?: Monitor;
  /** Losses are read from the GPU every so many batches; at most 32. Default 10. */
  readonly logEvery?: number;
  /** Where checkpoints go, after every epoch and at an interruption; none without it. */
  readonly checkpoint?: {
    readonly path: string;
    readonly info: ModelInfo;
    /** Continue from the file at `path` if there is one. */
    readonly resume: boolean;
  };
  /** Aborting it ends the run after the current step, with a checkpoint. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: FitProgress) => void;
  readonly onEpoch?: (record: EpochRecord) => void;
  /** Called before each step is submitted, with its number. */
  readonly onStep?: (step: number) => void;
}

/** Throws a RangeError that names the option, what it must be and what came. */
export function checkFitOptions(options: FitOptions, set: ImageSet, classCount: number): void {
  const { batchSize = 32, accumulateSteps = 1, logEvery = 10, epochs, classWeights } = options;
  const optimizer = { ...ADAMAX_DEFAULTS, ...options.optimizer };
  const integer = (name: string, value: number, least: number, most = Number.MAX_SAFE_INTEGER) => {
    if (!Number.isInteger(value) || value < least || value > most)
      throw new RangeError(
        `fit: ${name}: expected an integer from ${least}${most < 2 ** 31 ? ` to ${most}` : ""}, got ${value}`,
      );
  };
  integer("epochs", epochs, 1);
  integer("batchSize", batchSize, 1);
  integer("accumulateSteps", accumulateSteps, 1, LOG_SLOTS);
  integer("logEvery", logEvery, 1, LOG_SLOTS);
  if (options.lossScale !== undefined)
    lossScaleWords({ ...INITIAL_LOSS_SCALE, scale: options.lossScale }); // throws
  const { learningRate, beta1 } = optimizer;
  // The first step's rate, corrected for its bias; were it infinite, weights would be lost before any gradient is.
  if (!(learningRate > 0 && Number.isFinite(Math.fround(learningRate / (1 - beta1)))))
    throw new RangeError(
      `fit: learningRate: expected a number above 0, within float32, got ${learningRate}`,
    );
  for (const { name, count } of [set, ...(options.validation ? [options.validation] : [])])
    if (count === 0)
      throw new RangeError(
        `fit: data set ${name} has no labelled images; take more, or another set`,
      );
  if (set.classes.length !== classCount)
    throw new RangeError(
      `fit: data set ${set.name} has ${set.classes.length} classes, the network ${classCount} outputs; give it a new head (replaceHead(${set.classes.length}), or --new-head ${set.classes.length})`,
    );
  const unlabelled = set.labels.findIndex((label) => label < 0 || label >= classCount);
  if (unlabelled >= 0)
    throw new RangeError(
      `fit: image ${set.ids[unlabelled] ?? unlabelled} of ${set.name} has no label; leave it out`,
    );
  if (Array.isArray(classWeights) && classWeights.length !== classCount)
    throw new RangeError(
      `fit: classWeights: expected ${classCount} numbers, got ${classWeights.length}`,
    );
  if (
    Array.isArray(classWeights) &&
    !(classWeights.every((w) => w >= 0 && Number.isFinite(w)) && classWeights.some((w) => w > 0))
  )
    throw new RangeError(
      `fit: classWeights: expected numbers from 0, not all of them 0, got ${classWeights.join(", ")}`,
    );
  for (const watcher of [options.earlyStopping, options.reduceOnPlateau])
    if (watcher?.monitor.startsWith("val") && !options.validation)
      throw new RangeError(
        `fit: ${watcher.monitor} is watched, but no validation images were given`,
      );
  if (options.bestWeights?.startsWith("val") && !options.validation)
    throw new RangeError(
      `fit: ${options.bestWeights} chooses the best weights, but no validation images were given`,
    );
  if (options.bestWeights && !options.checkpoint)
    throw new RangeError(
      "fit: bestWeights: expected a checkpoint, beside which the best are kept, got none; give its path",
    );
}

/** Rows of the log ring on the GPU, one for each batch. */
export const LOG_SLOTS = 32;
