/** Runs a network on random images under the profiler: trained by `fit`, or asked by `predict`, as in earnest. */
import { DEFAULT_AUGMENTATION } from "../data/augment.ts";
import type { ImageSet } from "../data/dataset.ts";
import type { Device } from "../gpu/device.ts";
import type { Recording } from "../gpu/profiler.ts";
import { Sequential } from "../nn/model.ts";
import type { NetworkConfig } from "../nn/network.ts";
import type { Precision } from "../nn/precision.ts";
import { Random } from "../random.ts";
import { fit } from "../train/fit.ts";
import { predict } from "../train/predict.ts";

export interface ProfileRun {
  readonly batchSize: number;
  readonly steps: number;
  readonly mode: "train" | "infer";
  readonly seed: number;
  readonly precision?: Precision | undefined;
}

/** The phase in which the steps lie that count; building and warming up come before. */
export const STEPS_PHASE = "steps";

/** How long a step takes with the profiler and without, in turn. */
export interface Overhead {
  /** Medians over the rounds, in milliseconds a step. */
  readonly plainMs: number;
  readonly profiledMs: number;
  /** With over without, of each round: lower quartile, median, upper quartile. */
  readonly ratios: readonly [number, number, number];
  readonly rounds: number;
}

/** A network, ready to be profiled on a device. */
export class ProfiledNetwork {
  readonly #device: Device;
  readonly #model: Sequential;
  readonly #run: ProfileRun;
  /** Made once the network is built: one that is too large is refused before. */
  #set: ImageSet | undefined;

  constructor(device: Device, network: NetworkConfig, run: ProfileRun) {
    this.#device = device;
    this.#model = new Sequential(network);
    this.#run = run;
  }

  /** Builds the network, warms up and records the steps, a phase each. */
  record(): Promise<Recording> {
    const { seed, batchSize, precision } = this.#run;
    return this.#device.profile(async () => {
      await this.#device.span("phase", "build", () =>
        this.#model.build(this.#device, { seed, batchSize, precision }),
      );
      // Software adapters compile a program when it first runs.
      await this.#device.span("phase", "warm-up", () => this.#steps());
      await this.#device.span("phase", STEPS_PHASE, () => this.#steps());
    });
  }

  /** All steps once. Resolves with the milliseconds that a step took, without what comes before the first. */
  async #steps(): Promise<number> {
    const { batchSize, steps, seed, mode } = this.#run;
    const set = (this.#set ??= randomImages(this.#model, batchSize * steps, seed));
    if (mode === "infer") {
      const started = performance.now();
      await predict(this.#model, set, { batchSize });
      return (performance.now() - started) / steps;
    }
    const options = { epochs: 1, batchSize, seed, augment: DEFAULT_AUGMENTATION };
    const { history } = await fit(this.#model, set, options);
    return (1000 * (history[0]?.seconds ?? 0)) / steps;
  }

  /** Runs the steps with and without the profiler, in turn. The network is built and warm by then. */
  async overhead(rounds: number): Promise<Overhead> {
    const plain: number[] = [];
    const profiled: number[] = [];
    const turns = [
      async () => plain.push(await this.#steps()),
      () => this.#device.profile(async () => profiled.push(await this.#steps())),
    ];
    // Each goes first in every other round: the second may find the processor warmer, or slower.
    for (let round = 0; round < rounds; round++) for (const turn of turns.reverse()) await turn();
    const ratios = profiled.map((ms, i) => ms / (plain[i] ?? ms));
    return {
      plainMs: quantile(plain, 0.5),
      profiledMs: quantile(profiled, 0.5),
      ratios: [quantile(ratios, 0.25), quantile(ratios, 0.5), quantile(ratios, 0.75)],
      rounds,
    };
  }
}

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.round(q * (sorted.length - 1))] ?? 0;
}

/** Images of noise at the size of the network's input, labelled in turn. */
function randomImages(model: Sequential, count: number, seed: number): ImageSet {
  const [height, width, channels] = model.input;
  const { classCount } = model;
  const random = new Random(seed, "profile");
  // Noise repeated with a prime period: drawing each of millions of bytes takes seconds.
  const noise = Uint8Array.from({ length: 65521 }, () => random.below(256));
  const images = new Uint8Array(count * height * width * channels);
  for (let start = 0; start < images.length; start += noise.length)
    images.set(noise.subarray(0, Math.min(noise.length, images.length - start)), start);
  return {
    ...{ name: "random images", images, count, height, width, channels },
    labels: Int32Array.from({ length: count }, (_, i) => i % classCount),
    classes: Array.from({ length: classCount }, (_, i) => `class ${i}`),
    ids: Array.from({ length: count }, (_, i) => `image ${i}`),
    crop: 1,
  };
}
