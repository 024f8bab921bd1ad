/** What the tests of training share: the small network on a device of the suite's own, checkpoints in a folder of each test's own. */
import { join } from "node:path";
import type { ImageSet } from "../../src/data/dataset.ts";
import { Sequential, type BuildOptions } from "../../src/nn/model.ts";
import type { NetworkConfig } from "../../src/nn/network.ts";
import { readSafetensors } from "../../src/safetensors.ts";
import { fit, type FitResult } from "../../src/train/fit.ts";
import type { EpochRecord } from "../../src/train/history.ts";
import type { FitOptions } from "../../src/train/options.ts";
import { useDevice } from "./device.ts";
import { temporaryFolder } from "./files.ts";
import { stripes, TINY } from "./tiny.ts";

/** 50 images in batches of 16: four steps an epoch, the last of two images. */
export const SET = stripes(50, 1);
export const HELD_OUT = stripes(21, 2);
export const BASE = { epochs: 1, batchSize: 16, seed: 4 } as const;

/** A network that trains on what it predicts by. */
export const WITHOUT_DROPOUT: NetworkConfig = {
  ...TINY,
  layers: TINY.layers.filter(({ type }) => type !== "Dropout"),
};

/** Weights by the names of their parameters. */
export type Weights = Record<string, Float32Array>;

/** A run, and the weights that it ended with. */
export type Trained = FitResult & { readonly weights: Weights };

/** What a run starts from, beside the options of `fit`: a network, a set and how the model is built. */
export interface Run extends Partial<BuildOptions> {
  readonly network?: NetworkConfig;
  readonly set?: ImageSet;
}

/** The history without what the clock has a part in. */
export const figures = (history: readonly EpochRecord[]): EpochRecord[] =>
  history.map((record) => ({ ...record, seconds: 0, imagesPerSecond: 0 }));

/** All tensors of a checkpoint: weights and both moments. */
export async function tensorsOf(path: string): Promise<Record<string, unknown>> {
  const { tensors } = await readSafetensors(path);
  return Object.fromEntries([...tensors].map(([name, { values }]) => [name, values]));
}

/** Opens a device for the enclosing `describe`, and gives what trains on it. */
export function useTraining() {
  const device = useDevice();
  const folder = temporaryFolder();

  const build = ({ network = TINY, set: _, ...options }: Run = {}): Promise<Sequential> =>
    new Sequential(network).build(device(), { seed: 2, batchSize: 16, ...options });

  const weightsOf = async (model: Sequential): Promise<Weights> => {
    const weights: Weights = {};
    for (const { name, value } of model.parameters())
      weights[name] = await device().readFloats(value);
    return weights;
  };

  /** Trains a fresh model and gives its memory back. */
  const trained = async (options: Partial<FitOptions>, run: Run = {}): Promise<Trained> => {
    const model = await build(run);
    try {
      const result = await fit(model, run.set ?? SET, { ...BASE, ...options });
      return { ...result, weights: await weightsOf(model) };
    } finally {
      model.destroy();
    }
  };

  const checkpointIn = (resume = false, name = "checkpoint") => ({
    path: join(folder(), `${name}.safetensors`),
    info: { classes: SET.classes, crop: 1, dataSet: "stripes" },
    resume,
  });

  return { device, build, weightsOf, trained, checkpointIn };
}
