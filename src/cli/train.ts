/** `tuningfork train`: a network, a data set, a folder for what comes of it. */
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DEFAULT_AUGMENTATION } from "../data/augment.ts";
import { subset, type ImageSet } from "../data/dataset.ts";
import { loadDataSet } from "../data/load.ts";
import { validationSplit } from "../data/split.ts";
import { prepareFolder } from "../folders.ts";
import { openDevice, type Device } from "../gpu/device.ts";
import { Dense } from "../nn/dense.ts";
import { Sequential } from "../nn/model.ts";
import { NetworkError, readNetwork } from "../nn/network.ts";
import type { Precision } from "../nn/precision.ts";
import { loadWeights, modelOf, saveModel, type ModelInfo } from "../nn/weights.ts";
import { CheckpointError, openSafetensors } from "../safetensors.ts";
import { formatBytes } from "../tensor.ts";
import { NonFiniteError } from "../train/diagnose.ts";
import { fit, type FitResult } from "../train/fit.ts";
import { historyCsv } from "../train/history.ts";
import type { FitOptions, Monitor } from "../train/options.ts";
import { terminalProgress } from "./data.ts";
import { formatDuration, trainingProgress } from "./progress.ts";

export interface TrainOptions {
  readonly network?: string;
  readonly dataSet: string;
  readonly data?: string;
  readonly init?: string;
  readonly newHead?: number;
  readonly freeze?: readonly string[];
  readonly epochs: number;
  readonly batchSize: number;
  readonly accumulateSteps: number;
  readonly precision?: Precision;
  readonly learningRate?: number;
  readonly seed: number;
  readonly validation: number;
  readonly augment: boolean;
  readonly classWeights?: "balanced" | readonly number[];
  readonly earlyStopping?: number;
  readonly reduceOnPlateau?: number;
  readonly best: boolean;
  readonly crop?: number;
  readonly limit?: number;
  readonly resume: boolean;
  readonly out: string;
}

/** Ctrl-C ended the run, with a checkpoint. */
export const EXIT_INTERRUPTED = 130;

/** Trains, and writes `model.safetensors`, `history.json`, `history.csv` and `checkpoint.safetensors` into `out`. */
export async function train(options: TrainOptions): Promise<number> {
  const checkpoint = join(options.out, "checkpoint.safetensors");
  await prepareFolder(options.out);
  if (existsSync(checkpoint) && !options.resume)
    throw new CheckpointError(
      checkpoint,
      "it holds a run already; continue it with --resume, or choose another --out",
    );
  const model = await networkOf(options);
  const set = await loadImages(options, model.input);
  const device = await openDevice();
  const interrupt = onInterrupt();
  try {
    await buildModel(device, model, options);
    const info: ModelInfo = { classes: set.classes, crop: set.crop, dataSet: set.name };
    const { training, validation } = holdOut(set, options);
    console.error(model.summary(options.batchSize));
    if (options.resume && !existsSync(checkpoint))
      console.error(`${options.out} holds no run to resume; this one starts from the beginning`);
    console.error(
      `${describeDevice(device)}; ${training.count} images, ${plural(options.epochs, "epoch")}`,
    );
    const result = await run(
      model,
      training,
      validation,
      { path: checkpoint, info },
      options,
      interrupt.signal,
    );
    await writeFile(
      join(options.out, "history.json"),
      JSON.stringify(result.history, undefined, 2) + "\n",
    );
    await writeFile(join(options.out, "history.csv"), historyCsv(result.history));
    if (result.ended === "interrupted") {
      console.error(
        `interrupted: the state is in ${checkpoint}; continue with the same command and --resume`,
      );
      return EXIT_INTERRUPTED;
    }
    const path = join(options.out, "model.safetensors");
    await saveModel(path, model, info);
    report(result, path, device.memory().peakBytes);
    return 0;
  } finally {
    interrupt.stop();
    device.destroy();
  }
}

/** The network of `--network`, else that of the weights of `--init`; its head replaced when asked for. */
async function networkOf(options: TrainOptions): Promise<Sequential> {
  const model = options.network
    ? new Sequential(readNetwork(options.network))
    : await networkOfWeights(options.init);
  if (options.newHead !== undefined) model.replaceHead(options.newHead);
  model.freeze(options.freeze ?? []);
  return model;
}

async function networkOfWeights(init: string | undefined): Promise<Sequential> {
  if (init === undefined)
    throw new NetworkError(
      "train: no network; give --network FILE.json, or --init W.safetensors of a model to go on from",
    );
  const file = await openSafetensors(init);
  try {
    return modelOf(file).model;
  } finally {
    await file.close();
  }
}

async function loadImages(
  options: TrainOptions,
  input: readonly [number, number, number],
): Promise<ImageSet> {
  const progress = terminalProgress();
  const [height, width] = input;
  const { set, warnings } = await loadDataSet(options.dataSet, {
    size: Math.max(height, width),
    data: options.data,
    crop: options.crop,
    onProgress: progress.onProgress,
  });
  progress.stop();
  for (const warning of warnings) console.error(`warning: ${warning}`);
  const { limit } = options;
  if (limit === undefined || limit >= set.count) return set;
  return subset(set, validationSplit(set, limit / set.count, options.seed).test, set.name);
}

async function buildModel(device: Device, model: Sequential, options: TrainOptions): Promise<void> {
  const { seed, batchSize, precision } = options;
  await model.build(device, { seed, batchSize, precision });
  if (options.init === undefined) return;
  const head =
    options.newHead === undefined ? undefined : model.layers.findLast((l) => l instanceof Dense);
  const file = await openSafetensors(options.init);
  try {
    await loadWeights(model, file, ({ layer }) => layer !== head);
  } finally {
    await file.close();
  }
}

function holdOut(
  set: ImageSet,
  options: TrainOptions,
): { training: ImageSet; validation?: ImageSet } {
  if (options.validation === 0) return { training: set };
  const { train: kept, test: held } = validationSplit(set, options.validation, options.seed);
  return { training: subset(set, kept), validation: subset(set, held) };
}

async function run(
  model: Sequential,
  training: ImageSet,
  validation: ImageSet | undefined,
  checkpoint: { path: string; info: ModelInfo },
  options: TrainOptions,
  signal: AbortSignal,
): Promise<FitResult> {
  const line = trainingProgress(training.name, signal);
  const monitor: Monitor = validation ? "valLoss" : "loss";
  const callbacks: Partial<FitOptions> = {
    ...(validation && { validation }),
    ...(options.classWeights && { classWeights: options.classWeights }),
    ...(options.learningRate !== undefined && {
      optimizer: { learningRate: options.learningRate },
    }),
    ...(options.earlyStopping !== undefined && {
      earlyStopping: { monitor, patience: options.earlyStopping },
    }),
    ...(options.reduceOnPlateau !== undefined && {
      reduceOnPlateau: { monitor, patience: options.reduceOnPlateau, factor: 0.5 },
    }),
    ...(options.best && { bestWeights: validation ? "valAccuracy" : "loss" }),
  };
  try {
    return await fit(model, training, {
      epochs: options.epochs,
      batchSize: options.batchSize,
      accumulateSteps: options.accumulateSteps,
      seed: options.seed,
      augment: options.augment ? DEFAULT_AUGMENTATION : false,
      checkpoint: { ...checkpoint, resume: options.resume },
      signal,
      onProgress: line.onProgress,
      onEpoch: (record) => {
        if (process.stderr.isTTY) line.stop();
        const held =
          record.valAccuracy === undefined ? "" : `  validation ${record.valAccuracy.toFixed(3)}`;
        console.error(
          `epoch ${String(record.epoch).padStart(3)}  loss ${record.loss.toFixed(4)}  accuracy ${record.accuracy.toFixed(3)}${held}  ` +
            `${record.imagesPerSecond.toFixed(1)} images/s  ${formatDuration(record.seconds)}`,
        );
      },
      ...callbacks,
    });
  } catch (error) {
    if (error instanceof NonFiniteError) {
      const path = join(options.out, "last_good.safetensors");
      await saveModel(path, model, checkpoint.info);
      throw new Error(`${error.message}; the last good weights are in ${path}`, { cause: error });
    }
    throw error;
  } finally {
    line.stop();
  }
}

function report(result: FitResult, path: string, peakBytes: number): void {
  const last = result.history.at(-1);
  const early = result.ended === "early stopping" ? ", stopped early" : "";
  const best = result.bestEpoch === undefined ? "" : `, weights of epoch ${result.bestEpoch}`;
  const scaling =
    last?.lossScale === undefined
      ? ""
      : `; loss scale ${last.lossScale}, ${plural(last.skippedSteps ?? 0, "step")} skipped`;
  const figures = last
    ? `loss ${last.loss.toFixed(4)}, accuracy ${last.accuracy.toFixed(3)}`
    : "no epoch was left to do";
  console.log(
    `${path}: ${figures} after ${plural(result.history.length, "epoch")}${early}${best}${scaling}; peak memory ${formatBytes(peakBytes)}`,
  );
}

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** The adapter in a few words, for the first line of a run. */
export function describeDevice(device: Device): string {
  const { description, device: name, software } = device.summary;
  return `${name || description}${software ? " (software)" : ""}`;
}

/** npm hands on a Ctrl-C that the terminal has sent already: within this time the two are one. */
const SAME_SIGNAL_MS = 500;

/** Ctrl-C and SIGTERM ask for an end after the current step; a second one ends at once. */
export function onInterrupt(): { readonly signal: AbortSignal; readonly stop: () => void } {
  const controller = new AbortController();
  let asked = 0;
  const handler = (signal: NodeJS.Signals) => {
    if (!controller.signal.aborted) {
      asked = Date.now();
      controller.abort(); // first, so that progress lines are gone when this is said
      console.error("ending after the current step (again to end at once) ...");
    } else if (Date.now() - asked > SAME_SIGNAL_MS) {
      stop();
      process.kill(process.pid, signal);
    }
  };
  const stop = () => {
    process.off("SIGINT", handler);
    process.off("SIGTERM", handler);
  };
  process.on("SIGINT", handler);
  process.on("SIGTERM", handler);
  return { signal: controller.signal, stop };
}
