/** The sizes of a study by preset and adapter. */
import { fileURLToPath } from "node:url";
import type { AdapterDetails } from "../gpu/adapter.ts";
import { readNetwork, type NetworkConfig } from "../nn/network.ts";
import type { Precision } from "../nn/precision.ts";
import type { Preset } from "./results.ts";

export interface StudySettings {
  readonly preset: Preset;
  readonly network: NetworkConfig;
  /** Side of the network's input in pixels. */
  readonly size: number;
  readonly batchSize: number;
  /** Default: TUNINGFORK_PRECISION, else float32. */
  readonly precision?: Precision | undefined;
  readonly learningRate: number;
  readonly pretrainEpochs: { readonly dissimilar: number; readonly similar: number };
  readonly epochs: number;
  /** Images taken of each set at most; Infinity for all. */
  readonly dissimilarImages: number;
  readonly similarImages: number;
  readonly targetImages: number;
  readonly applyImages: number;
  /** How many simulated galaxies stand for each survey. */
  readonly simulated: { readonly similar: number; readonly target: number; readonly apply: number };
  /** Figure 5: epochs of the network that sees ten images, and how many it is tested on. */
  readonly small: { readonly images: number; readonly epochs: number; readonly tested: number };
  /** Figure 5's other network: this many images. */
  readonly large: number;
}

/** `networks/` lies beside `src/`, in the repository as in `dist/`. */
export function networkFile(name: string): string {
  return fileURLToPath(new URL(`../../networks/${name}.json`, import.meta.url));
}

/**
 * `paper`: the paper's network, sizes and epochs. `quick`: a smaller image and width, all seven tests, made to end
 * within ten minutes on two cores with Mesa's software adapter; smaller again on SwiftShader, which is ten times slower.
 */
export function studySettings(
  preset: Preset,
  adapterClass: AdapterDetails["class"],
): StudySettings {
  const common = {
    batchSize: 32,
    learningRate: 0.002,
    small: { images: 10, epochs: 40, tested: 2800 },
    large: 10000,
  };
  const all = Number.POSITIVE_INFINITY;
  if (preset === "paper")
    return {
      ...common,
      preset,
      network: readNetwork(networkFile("paper")),
      size: 96,
      pretrainEpochs: { dissimilar: 15, similar: 15 },
      epochs: 10,
      dissimilarImages: 60000,
      similarImages: all,
      targetImages: all,
      applyImages: all,
      simulated: { similar: 10956, target: 4458, apply: 2000 },
    };
  const quick = {
    ...common,
    preset,
    network: readNetwork(networkFile("quick")),
    size: 36,
    pretrainEpochs: { dissimilar: 1, similar: 4 },
    epochs: 7,
    dissimilarImages: 10000,
    similarImages: all,
    targetImages: all,
    applyImages: all,
    simulated: { similar: 6000, target: 1500, apply: 600 },
  };
  if (adapterClass !== "swiftshader") return quick;
  return {
    ...quick,
    pretrainEpochs: { dissimilar: 1, similar: 1 },
    epochs: 3,
    dissimilarImages: 600,
    similarImages: 1200,
    targetImages: 700,
    applyImages: 100,
    simulated: { similar: 1200, target: 700, apply: 100 },
    small: { images: 10, epochs: 20, tested: 200 },
    large: 600,
  };
}
