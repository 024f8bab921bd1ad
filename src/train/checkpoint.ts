/**
 * Checkpoints: the whole state of a training run in one safetensors file, from which it continues bit for bit.
 *
 * Random numbers need no state: shuffling, augmentation and dropout are keyed by seed, epoch and step.
 */
import { existsSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Choices } from "../kernels/choices.ts";
import type { LossScale } from "../kernels/loss_scale.ts";
import { loadWeights, saveModel, tensorToWrite, type ModelInfo } from "../nn/weights.ts";
import type { Sequential } from "../nn/model.ts";
import type { NetworkConfig } from "../nn/network.ts";
import type { Precision } from "../nn/precision.ts";
import { CheckpointError, openSafetensors, type SafetensorsFile } from "../safetensors.ts";
import type { EpochRecord } from "./history.ts";
import type { Moments } from "./step.ts";

/** Where a run stands. Everything is exact in JSON. */
export interface RunState {
  /** Epochs done. */
  epoch: number;
  /** Steps done in the epoch after these. */
  stepInEpoch: number;
  /** Steps done in all: Adamax' t - 1 of the next one. */
  step: number;
  learningRate: number;
  /** Sums over the current epoch's rows. */
  lossSum: number;
  correct: number;
  rows: number;
  /** Seconds spent in the current epoch. */
  seconds: number;
  history: EpochRecord[];
  best: { epoch: number; value: number } | undefined;
  /** The watched figures' best values and the epochs since, per callback. */
  stopping: { best: number | null; wait: number };
  plateau: { best: number | null; wait: number };
  /** Under mixed precision. */
  lossScale?: LossScale | undefined;
}

/** The state of a run of which no step is done. */
export function initialState(learningRate: number): RunState {
  return {
    epoch: 0,
    stepInEpoch: 0,
    step: 0,
    learningRate,
    lossSum: 0,
    correct: 0,
    rows: 0,
    seconds: 0,
    history: [],
    best: undefined,
    stopping: { best: null, wait: 0 },
    plateau: { best: null, wait: 0 },
  };
}

/** What a run must have in common with the one that it continues. */
export interface RunIdentity {
  readonly seed: number;
  readonly batchSize: number;
  readonly accumulateSteps: number;
  readonly precision: Precision;
  readonly dataSet: string;
  readonly count: number;
  readonly optimizer: Readonly<Record<string, number>>;
  readonly augment: unknown;
  readonly classWeights: unknown;
  readonly crop: number;
}

/** What runs had whose files say nothing of it. */
const EARLIER: Readonly<Record<string, unknown>> = {
  accumulateSteps: 1,
  precision: "float32",
};

/** Writes a checkpoint beside the last one and renames it into place. @throws CheckpointError */
export async function saveCheckpoint(
  path: string,
  model: Sequential,
  moments: readonly Moments[],
  state: RunState,
  identity: RunIdentity,
  info: ModelInfo,
): Promise<void> {
  await saveModel(path, model, info, {
    tensors: moments.flatMap(({ parameter, m, u }) => [
      tensorToWrite(model.device, `adamax.m.${parameter.name}`, m),
      tensorToWrite(model.device, `adamax.u.${parameter.name}`, u),
    ]),
    metadata: {
      state: JSON.stringify(state),
      run: JSON.stringify(identity),
      algorithms: JSON.stringify(model.choices.entries()),
    },
  });
}

/**
 * Loads weights, moments and state of an interrupted run, or nothing when there is no file.
 * @throws CheckpointError when the file belongs to another run, naming the difference
 */
export async function loadCheckpoint(
  path: string,
  model: Sequential,
  moments: readonly Moments[],
  identity: RunIdentity,
): Promise<RunState | undefined> {
  await removeLeftovers(path);
  if (!existsSync(path)) return undefined;
  const file = await openSafetensors(path);
  try {
    const { state, run } = file.metadata;
    if (state === undefined || run === undefined)
      throw new CheckpointError(
        path,
        "it holds weights but no training state; start from it with --init instead of --resume",
      );
    const before = JSON.parse(run) as Record<string, unknown>;
    for (const [key, value] of Object.entries(identity)) {
      const [was, is] = [JSON.stringify({ ...EARLIER, ...before }[key]), JSON.stringify(value)];
      if (was !== is)
        throw new CheckpointError(
          path,
          `it belongs to another run: ${key} was ${was}, now it is ${is}; resume with the same settings or choose another --out`,
        );
    }
    checkLayers(file, model);
    await loadWeights(model, file);
    for (const { parameter, m, u } of moments) {
      model.device.write(m, await file.read(`adamax.m.${parameter.name}`));
      model.device.write(u, await file.read(`adamax.u.${parameter.name}`));
    }
    return { ...initialState(0), ...(JSON.parse(state) as RunState) };
  } finally {
    await file.close();
  }
}

/** The measured algorithms of an interrupted run, with which it continues bit for bit; undefined without a file. */
export async function checkpointChoices(path: string): Promise<Choices | undefined> {
  if (!existsSync(path)) return undefined;
  const file = await openSafetensors(path);
  try {
    const { algorithms } = file.metadata;
    return algorithms === undefined
      ? undefined
      : new Choices(JSON.parse(algorithms) as [string, string][]);
  } finally {
    await file.close();
  }
}

/** Removes what a killed process left half written beside the checkpoint: as large as it, and of no use. */
async function removeLeftovers(path: string): Promise<void> {
  const folder = dirname(path);
  const names = await readdir(folder).catch(() => []);
  for (const name of names)
    if (name.startsWith(`${basename(path)}.tmp-`)) await rm(join(folder, name), { force: true });
}

/** Layers must agree in all they are set to, also in what leaves the weights' shapes alone: slopes, rates, freezing. */
function checkLayers({ path, metadata }: SafetensorsFile, model: Sequential): void {
  const before = (JSON.parse(metadata["network"] ?? "{}") as Partial<NetworkConfig>).layers ?? [];
  const now = model.config().layers;
  for (let i = 0; i < Math.max(before.length, now.length); i++) {
    const [was = "not there", is = "not there"] = [before[i], now[i]].map(
      (layer) => layer && JSON.stringify(layer),
    );
    if (was !== is)
      throw new CheckpointError(
        path,
        `it belongs to another run: layer ${i + 1} was ${was}, now it is ${is}; ` +
          `resume with the same network and --freeze or choose another --out`,
      );
  }
}
