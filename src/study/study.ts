/**
 * A whole study: pre-training, the seven tests, other seeds, evidence, report. Each part is kept on disk as it is done,
 * so that an interrupted study continues where it was.
 */
import { existsSync } from "node:fs";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { OnProgress } from "../data/dataset.ts";
import { makeFolder } from "../folders.ts";
import type { Device } from "../gpu/device.ts";
import { systemReason } from "../system_errors.ts";
import { trainingFlops } from "../nn/summary.ts";
import { Sequential } from "../nn/model.ts";
import type { Precision } from "../nn/precision.ts";
import { gatherEvidence } from "./evidence.ts";
import { writeReport } from "./report.ts";
import type { DataSetChoice, Preset, SeedStatistics, StudyResults, TestId } from "./results.ts";
import {
  freezeFor,
  neededPretraining,
  plannedFlops,
  pretrain,
  pretrainingPhase,
  runTest,
  SEVEN_TESTS,
  testPhase,
  type StudyContext,
  type TestRecord,
} from "./seven_tests.ts";
import { studySettings, type StudySettings } from "./settings.ts";
import { loadSources, type StudySources } from "./sources.ts";

export interface StudyOptions {
  readonly preset: Preset;
  /** Sizes other than those of the preset on this adapter. */
  readonly settings?: StudySettings;
  readonly choice: DataSetChoice;
  readonly data?: string | undefined;
  readonly tests: readonly TestId[];
  readonly seed: number;
  readonly seeds: number;
  /** Default: that of `settings`. */
  readonly precision?: Precision;
  readonly out: string;
  readonly resume: boolean;
  readonly signal?: AbortSignal;
  /** One line for each thing that begins or is worth saying. */
  readonly onMessage?: (text: string) => void;
  readonly onLoading?: OnProgress;
  /** `done` and `secondsLeft` of all the training of the study. */
  readonly onProgress?: (progress: { done: number; secondsLeft: number; text: string }) => void;
}

/** Runs, or resumes, a study and writes its report. Returns the paths written. @throws InterruptedError */
export async function runStudy(
  device: Device,
  options: StudyOptions,
): Promise<{ results: StudyResults; written: string[] }> {
  const { out, seed, tests, preset, choice } = options;
  const started = Date.now();
  await openFolder(device, options);
  const given = options.settings ?? studySettings(preset, device.summary.class);
  const settings = { ...given, precision: options.precision ?? given.precision };
  const first = await runSeed(device, settings, options, seed, out);
  const statistics = await otherSeeds(device, settings, options, first.records);
  const estimate = paperEstimate(settings, first.context.sources, first.records);
  for (const line of estimate) options.onMessage?.(line);
  options.onMessage?.("drawing the report");
  const extras = await gatherEvidence(first.context, first.records);
  const seconds = await addSeconds(out, (Date.now() - started) / 1000);
  const results: StudyResults = {
    preset,
    data_set: choice,
    seed,
    adapter: publishedAdapter(device),
    node: process.version,
    started: new Date(started).toISOString(),
    seconds,
    tests: Object.fromEntries(tests.map((id) => [id, first.records[id]?.result])),
    ...(statistics && { seeds: statistics }),
    pretraining: first.pretraining,
  };
  const written = await writeReport(
    results,
    {
      notes: [...first.context.sources.notes, ...estimate],
      settings: describeSettings(settings, first.context.sources),
      predictions: Object.fromEntries(tests.map((id) => [id, first.records[id]?.predictions])),
      ...extras,
    },
    out,
  );
  return { results, written };
}

/** What a folder's study was asked to do; a resumed one must be the same. */
function identity(
  device: Device,
  { preset, choice, seed, precision }: StudyOptions,
): Record<string, unknown> {
  // The adapter's class chooses the sizes of the quick preset.
  const base = { preset, data_set: choice, seed, adapter: device.summary.class };
  // Earlier studies, all in float32, do not name it.
  return precision === "mixed" ? { ...base, precision } : base;
}

async function openFolder(device: Device, options: StudyOptions): Promise<void> {
  const { out, resume } = options;
  const path = join(out, "study.json");
  try {
    await makeFolder(join(out, "models"));
    if (existsSync(path)) {
      const before = await readFile(path, "utf8");
      const same = before.trim() === JSON.stringify(identity(device, options));
      if (resume && !same)
        throw new Error(
          `study: ${out} holds another study (${before.trim()}); resume it with the same options, or choose another --out`,
        );
      const finished = existsSync(join(out, "report.html"));
      if (!resume && !finished)
        throw new Error(
          `study: ${out} holds an unfinished study; continue it with --resume, or choose another --out`,
        );
      if (!resume) {
        const kept = `${out.replace(/\/+$/, "")}.before-${new Date().toISOString().replace(/[:.]/g, "-")}`;
        await rename(out, kept);
        await makeFolder(join(out, "models"));
        options.onMessage?.(`the study that was in ${out} is now in ${kept}`);
      }
    }
    await writeFile(path, JSON.stringify(identity(device, options)) + "\n");
  } catch (cause) {
    if (cause instanceof Error && cause.message.startsWith("study:")) throw cause;
    const why = (systemReason(cause) ?? String(cause)).replace(/;.*/, "");
    throw new Error(`study: --out ${out} cannot be written: ${why}; choose another folder`, {
      cause,
    });
  }
}

interface SeedRun {
  readonly context: StudyContext;
  readonly records: Readonly<Partial<Record<TestId, TestRecord>>>;
  readonly pretraining: StudyResults["pretraining"];
}

/** All pre-training and all tests with one seed. */
async function runSeed(
  device: Device,
  settings: StudySettings,
  options: StudyOptions,
  seed: number,
  out: string,
): Promise<SeedRun> {
  const { tests, signal, onMessage } = options;
  const sources = await loadSources(options.choice, settings, {
    data: options.data,
    seed,
    ...(options.onLoading && { onProgress: options.onLoading }),
  });
  for (const warning of sources.warnings) onMessage?.(`warning: ${warning}`);
  const clock = new StudyClock(plannedFlops(settings, sources, tests), options);
  await makeFolder(join(out, "models"));
  const context: StudyContext = {
    device,
    settings,
    sources,
    seed,
    out,
    signal,
    onProgress: (progress) => {
      clock.progress(progress);
    },
    ...(onMessage && { onPhase: onMessage }),
  };
  const pretraining = [];
  for (const which of neededPretraining(tests)) {
    pretraining.push(await pretrain(context, which));
    clock.finished(pretrainingPhase(which));
  }
  const records: Partial<Record<TestId, TestRecord>> = {};
  for (const id of tests) {
    const record = await runTest(context, id);
    records[id] = record;
    clock.finished(testPhase(id));
    const { accuracy, collapsed, n_test: n } = record.result;
    onMessage?.(
      `  test ${id}: accuracy ${accuracy.toFixed(3)} on ${n} images${collapsed ? "  (collapsed to one class)" : ""}`,
    );
  }
  return { context, records, pretraining };
}

/** Time left by FLOPs: what is done, how long it took, what is still to do. */
class StudyClock {
  readonly #plan: ReadonlyMap<string, number>;
  readonly #total: number;
  readonly #onProgress: StudyOptions["onProgress"];
  readonly #started = performance.now();
  #finished = 0;
  /** Phases that an earlier run did cost no time now and say nothing of the speed. */
  #computed = 0;
  #current: { phase: string; flops: number } | undefined;

  constructor(plan: ReadonlyMap<string, number>, { onProgress }: StudyOptions) {
    this.#plan = plan;
    this.#total = [...plan.values()].reduce((sum, flops) => sum + flops, 0);
    this.#onProgress = onProgress;
  }

  progress({ phase, flops, fit }: Parameters<NonNullable<StudyContext["onProgress"]>>[0]): void {
    this.#current = { phase, flops };
    const seconds = (performance.now() - this.#started) / 1000;
    const speed = (this.#computed + flops) / seconds;
    const secondsLeft = (this.#total - this.#finished - flops) / speed;
    const figures = fit
      ? `epoch ${fit.epoch}/${fit.epochs}  loss ${fit.loss.toFixed(3)}  accuracy ${fit.accuracy.toFixed(3)}  ${fit.imagesPerSecond.toFixed(0)} images/s`
      : "";
    this.#onProgress?.({
      done: (this.#finished + flops) / this.#total,
      secondsLeft,
      text: `${phase}  ${figures}`,
    });
  }

  finished(phase: string): void {
    const flops = this.#plan.get(phase) ?? 0;
    if (this.#current?.phase === phase) this.#computed += flops;
    this.#finished += flops;
  }
}

/** The same tests with the seeds after the first: everything is drawn anew, the split included. */
async function otherSeeds(
  device: Device,
  settings: StudySettings,
  options: StudyOptions,
  first: SeedRun["records"],
): Promise<StudyResults["seeds"]> {
  if (options.seeds <= 1) return undefined;
  const accuracies = new Map(options.tests.map((id) => [id, [first[id]?.result.accuracy ?? NaN]]));
  for (let k = 1; k < options.seeds; k++) {
    const seed = options.seed + k;
    options.onMessage?.(`seed ${seed} (${k + 1} of ${options.seeds})`);
    const { records } = await runSeed(
      device,
      settings,
      options,
      seed,
      join(options.out, `seed_${seed}`),
    );
    for (const id of options.tests) accuracies.get(id)?.push(records[id]?.result.accuracy ?? NaN);
  }
  return Object.fromEntries(
    [...accuracies].map(([id, values]) => [id, { accuracy: statistics(values) }]),
  );
}

/** Mean and sample standard deviation (0 of a single value) over the seeds. */
export function statistics(values: readonly number[]): SeedStatistics["accuracy"] {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, std: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0, values };
}

/** Seconds of a study over all its runs, kept beside the results. */
async function addSeconds(out: string, seconds: number): Promise<number> {
  const path = join(out, "models", "seconds.json");
  const before = existsSync(path) ? (JSON.parse(await readFile(path, "utf8")) as number) : 0;
  await rm(path, { force: true });
  await writeFile(path, JSON.stringify(before + seconds));
  return before + seconds;
}

function publishedAdapter(device: Device): StudyResults["adapter"] {
  const { vendor, architecture, device: name, description, software } = device.summary;
  return { vendor, architecture, device: name, description, software };
}

/** What the paper's sizes would take here, going by the speed of test a or of any test that trained. */
function paperEstimate(
  settings: StudySettings,
  sources: StudySources,
  records: SeedRun["records"],
): string[] {
  if (settings.preset === "paper") return [];
  const id = (["a", "g", "d", "f", "c"] as const).find((each) => records[each]);
  const trained = id && records[id];
  if (!trained) return [];
  const model = new Sequential(settings.network);
  freezeFor(model, SEVEN_TESTS[id].fineTuned);
  const speed = trained.result.images_per_s * trainingFlops(model);
  const paper = studySettings("paper", "hardware");
  const all = [...plannedFlops(paper, sources, ["a", "b", "c", "d", "e", "f", "g"]).values()];
  const more =
    trainingFlops(new Sequential(paper.network)) *
    paper.pretrainEpochs.dissimilar *
    (paper.dissimilarImages - sources.dissimilar.count);
  const hours = (all.reduce((sum, flops) => sum + flops, 0) + Math.max(0, more)) / speed / 3600;
  return [
    `With --preset paper (the paper's network, 96x96 images, its epochs) the training would take about ${hours < 1 ? `${Math.round(hours * 60)} minutes` : `${hours.toFixed(0)} hours`} on this adapter.`,
  ];
}

function describeSettings(settings: StudySettings, sources: StudySources): [string, string][] {
  const { pretrainEpochs, epochs, batchSize, learningRate, size } = settings;
  return [
    [
      "network",
      `${settings.network.layers
        .filter((l) => l.type === "Conv2D")
        .map((l) => String(l["filters"]))
        .join(", ")} filters; input ${size} x ${size} x 3`,
    ],
    [
      "optimizer",
      `Adamax, learning rate ${learningRate}, beta1 0.9, beta2 0.999, epsilon 1e-7; batches of ${batchSize}` +
        (settings.precision === "mixed" ? "; mixed precision: activations in float16" : ""),
    ],
    [
      "epochs",
      `${pretrainEpochs.dissimilar} (dissimilar) and ${pretrainEpochs.similar} (similar) to pre-train, ${epochs} to fine-tune`,
    ],
    [
      "augmentation",
      "galaxies: rotation, flips, crop and scale, drawn anew for each image and epoch; the dissimilar set as it is",
    ],
    ["dissimilar set", `${sources.dissimilar.name}, ${sources.dissimilar.count} images`],
    ["similar set", `${sources.similar.name}, ${sources.similar.count} images`],
    [
      "target set",
      `${sources.target.name}: ${sources.split.train.length} train, ${sources.split.test.length} test`,
    ],
  ];
}
