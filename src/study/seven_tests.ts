/**
 * The seven tests: what each is pre-trained on, which layers it trains, and how it does on the shared test split.
 */
import { existsSync } from "node:fs";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DEFAULT_AUGMENTATION } from "../data/augment.ts";
import { subset, type ImageSet } from "../data/dataset.ts";
import { makeFolder } from "../folders.ts";
import type { Device } from "../gpu/device.ts";
import { accuracy, argmax } from "../metrics/accuracy.ts";
import { collapsed } from "../metrics/confusion.ts";
import { scoresOf } from "../metrics/scores.ts";
import { Sequential } from "../nn/model.ts";
import { forwardFlops, trainingFlops } from "../nn/summary.ts";
import { loadModel, saveModel, type ModelInfo } from "../nn/weights.ts";
import { fit } from "../train/fit.ts";
import type { EpochRecord } from "../train/history.ts";
import type { FitProgress } from "../train/options.ts";
import { predict } from "../train/predict.ts";
import type { Predictions, PretrainingRecord, TestId, TestResult } from "./results.ts";
import type { StudySettings } from "./settings.ts";
import type { StudySources } from "./sources.ts";

export type Pretraining = "dissimilar" | "similar";

interface TestPlan {
  readonly pretraining: Pretraining | undefined;
  readonly fineTuned: "all" | "none" | "dense" | "conv3 conv4 + dense";
}

/** Tables 2 and 3 of the paper. */
export const SEVEN_TESTS: Readonly<Record<TestId, TestPlan>> = {
  a: { pretraining: undefined, fineTuned: "all" },
  b: { pretraining: "dissimilar", fineTuned: "none" },
  c: { pretraining: "dissimilar", fineTuned: "dense" },
  d: { pretraining: "dissimilar", fineTuned: "conv3 conv4 + dense" },
  e: { pretraining: "similar", fineTuned: "none" },
  f: { pretraining: "similar", fineTuned: "dense" },
  g: { pretraining: "similar", fineTuned: "conv3 conv4 + dense" },
};

/** Freezes what a test does not train: every convolution, or all but the last two. */
export function freezeFor(model: Sequential, fineTuned: TestPlan["fineTuned"]): void {
  const convolutions = model.layers
    .filter((layer) => layer.type === "Conv2D")
    .map(({ name }) => name);
  if (fineTuned === "dense") model.freeze(convolutions);
  else if (fineTuned === "conv3 conv4 + dense") model.freeze(convolutions.slice(0, -2));
}

/** The run was asked to end; what is done is kept. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";
}

/** One thing that a study does, for the progress line: how much work, and how far it is. */
export interface PhaseProgress {
  readonly phase: string;
  /** FLOPs of this phase that are done. */
  readonly flops: number;
  readonly fit?: FitProgress;
}

export interface StudyContext {
  readonly device: Device;
  readonly settings: StudySettings;
  readonly sources: StudySources;
  readonly seed: number;
  readonly out: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: PhaseProgress) => void;
  readonly onPhase?: (phase: string) => void;
}

/** A finished test: its figures, and the evidence for the report. */
export interface TestRecord {
  readonly result: TestResult;
  readonly predictions: Predictions;
}

/** FLOPs of everything that a study of these tests does, by phase: what the time left is reckoned from. */
export function plannedFlops(
  settings: StudySettings,
  sources: StudySources,
  tests: readonly TestId[],
): Map<string, number> {
  const plan = new Map<string, number>();
  const model = new Sequential(settings.network);
  const forward = forwardFlops(model);
  for (const which of neededPretraining(tests)) {
    const flops = sources[which].count * settings.pretrainEpochs[which] * trainingFlops(model);
    plan.set(pretrainingPhase(which), flops);
  }
  for (const id of tests) {
    const { fineTuned } = SEVEN_TESTS[id];
    const tuned = new Sequential(settings.network);
    freezeFor(tuned, fineTuned);
    const steps = fineTuned === "none" ? 0 : sources.split.train.length * settings.epochs;
    const tested = sources.split.test.length + (fineTuned === "none" ? sources.target.count : 0);
    plan.set(testPhase(id), steps * trainingFlops(tuned) + tested * forward);
  }
  return plan;
}

/** What the phases of a study are called, in its plan and in its progress line. */
export const pretrainingPhase = (which: Pretraining): string => `pre-training on the ${which} set`;
export const testPhase = (id: TestId): string => `test ${id}`;

/** The pre-trainings that these tests share, each once. */
export function neededPretraining(tests: readonly TestId[]): Pretraining[] {
  return (["dissimilar", "similar"] as const).filter((which) =>
    tests.some((id) => SEVEN_TESTS[id].pretraining === which),
  );
}

/** Pre-trains once, or takes the result of an earlier run in the same folder. */
export async function pretrain(
  study: StudyContext,
  which: Pretraining,
): Promise<PretrainingRecord> {
  const { settings, sources, out } = study;
  const record = join(out, "models", `pretrained_${which}.json`);
  const done = await readRecord<PretrainingRecord>(record);
  if (done) return done;
  const set = sources[which];
  const phase = pretrainingPhase(which);
  const epochs = settings.pretrainEpochs[which];
  study.onPhase?.(
    `${phase} (${set.name}, ${set.count} images, ${epochs} ${epochs === 1 ? "epoch" : "epochs"})`,
  );
  const model = new Sequential(settings.network);
  model.replaceHead(set.classes.length);
  const { batchSize, precision } = settings;
  await model.build(study.device, { seed: study.seed, batchSize, precision });
  const info: ModelInfo = { classes: set.classes, crop: set.crop, dataSet: set.name };
  const run = await trainPhase(
    study,
    phase,
    model,
    set,
    settings.pretrainEpochs[which],
    info,
    `pretrained_${which}`,
  );
  await saveModel(modelPath(out, `pretrained_${which}`), model, info);
  model.destroy();
  return writeRecord(record, {
    name: which,
    data_set: set.name,
    n: set.count,
    ...run,
  });
}

/** Runs one test, or takes the result of an earlier run in the same folder. */
export async function runTest(study: StudyContext, id: TestId): Promise<TestRecord> {
  const { settings, sources, out, device } = study;
  const record = join(out, "models", `${id}.json`);
  const done = await readRecord<StoredTest>(record);
  if (done) return restore(done);
  const { pretraining, fineTuned } = SEVEN_TESTS[id];
  const training = subset(sources.target, sources.split.train, `${sources.target.name}/train`);
  const test = subset(sources.target, sources.split.test, `${sources.target.name}/test`);
  study.onPhase?.(
    `${testPhase(id)} (${pretraining ? `pre-trained on ${sources[pretraining].name}` : "no pre-training"}, trains ${fineTuned})`,
  );
  const model = await startingModel(study, pretraining);
  freezeFor(model, fineTuned);
  const info: ModelInfo = {
    classes: sources.classes,
    crop: sources.target.crop,
    dataSet: fineTuned === "none" ? sources[pretraining ?? "similar"].name : training.name,
  };
  const trained =
    fineTuned === "none"
      ? undefined
      : await trainPhase(study, testPhase(id), model, training, settings.epochs, info, id);
  const started = performance.now();
  const probabilities = await predict(model, test, { batchSize: settings.batchSize });
  const seconds = (performance.now() - started) / 1000;
  const scores = scoresOf(test, probabilities);
  // A test that trains nothing has the time and speed of its predictions.
  const run = trained ?? { history: [], seconds, images_per_s: test.count / seconds };
  const result: TestResult = {
    pretrained_on: pretraining ? sources[pretraining].name : null,
    trained_on: fineTuned === "none" ? null : sources.target.name,
    fine_tuned: fineTuned,
    ...scores,
    collapsed: collapsed(scores.confusion),
    n_pretrain: pretraining ? sources[pretraining].count : 0,
    n_train: fineTuned === "none" ? 0 : training.count,
    n_test: test.count,
    ...(fineTuned === "none" && (await judgeWhole(model, sources.target, settings))),
    classes: sources.classes,
    ...run,
  };
  await saveModel(modelPath(out, id), model, info);
  model.destroy();
  device.trim();
  const predictions: Predictions = {
    classes: sources.classes,
    labels: test.labels,
    probabilities,
    ids: test.ids,
  };
  await writeRecord(record, store({ result, predictions }));
  return { result, predictions };
}

/** An untrained network, or a pre-trained body; a body of other classes gets a new, untrained head. */
async function startingModel(
  study: StudyContext,
  pretraining: Pretraining | undefined,
): Promise<Sequential> {
  const { device, settings, sources, seed, out } = study;
  const { batchSize, precision } = settings;
  if (!pretraining)
    return new Sequential(settings.network).build(device, { seed, batchSize, precision });
  const { model } = await loadModel(device, modelPath(out, `pretrained_${pretraining}`), {
    batchSize,
    seed,
    precision,
  });
  if (pretraining === "dissimilar") model.replaceHead(sources.classes.length, seed);
  return model;
}

/** Where a study keeps the model of a test, or a pre-trained one. */
export function modelPath(out: string, name: string): string {
  return join(out, "models", `${name}.safetensors`);
}

/** Trains with a checkpoint of its own, which is gone when the training is done. */
async function trainPhase(
  study: StudyContext,
  phase: string,
  model: Sequential,
  set: ImageSet,
  epochs: number,
  info: ModelInfo,
  name: string,
): Promise<{ history: readonly EpochRecord[]; seconds: number; images_per_s: number }> {
  const { settings, seed, signal } = study;
  const path = join(study.out, "models", `${name}.checkpoint.safetensors`);
  await makeFolder(join(study.out, "models"));
  const perImage = trainingFlops(model);
  const { history, ended } = await fit(model, set, {
    epochs,
    batchSize: settings.batchSize,
    seed,
    optimizer: { learningRate: settings.learningRate },
    // Galaxies have no up and no down; clothes have.
    augment: set === study.sources.dissimilar ? false : DEFAULT_AUGMENTATION,
    checkpoint: { path, info, resume: true },
    ...(signal && { signal }),
    onProgress: (progress) => {
      const images = (progress.epoch - 1) * set.count + progress.step * settings.batchSize;
      study.onProgress?.({ phase, flops: images * perImage, fit: progress });
    },
  });
  if (ended === "interrupted") throw new InterruptedError(`study: interrupted in ${phase}`);
  await rm(path, { force: true });
  const seconds = history.reduce((sum, epoch) => sum + epoch.seconds, 0);
  return { history, seconds, images_per_s: (set.count * history.length) / seconds };
}

async function judgeWhole(
  model: Sequential,
  target: ImageSet,
  { batchSize }: StudySettings,
): Promise<{ accuracy_all: number; n_all: number }> {
  const probabilities = await predict(model, target, { batchSize });
  return {
    accuracy_all: accuracy(target.labels, argmax(probabilities, target.classes.length)),
    n_all: target.count,
  };
}

interface StoredTest {
  readonly result: TestResult;
  readonly labels: readonly number[];
  readonly probabilities: readonly number[];
  readonly ids: readonly string[];
}

const store = ({ result, predictions }: TestRecord): StoredTest => ({
  result,
  labels: [...predictions.labels],
  probabilities: [...predictions.probabilities],
  ids: predictions.ids,
});

const restore = ({ result, labels, probabilities, ids }: StoredTest): TestRecord => ({
  result,
  predictions: {
    classes: result.classes,
    labels: Int32Array.from(labels),
    probabilities: Float32Array.from(probabilities),
    ids,
  },
});

async function readRecord<T>(path: string): Promise<T | undefined> {
  return existsSync(path) ? (JSON.parse(await readFile(path, "utf8")) as T) : undefined;
}

/** Written last and renamed into place: a record says that all before it is there. */
async function writeRecord<T>(path: string, record: T): Promise<T> {
  await writeFile(`${path}.part`, JSON.stringify(record));
  await rename(`${path}.part`, path);
  return record;
}
