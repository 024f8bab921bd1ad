/**
 * What a study yields: `results.json` as a program reads it, and the evidence that the report is drawn from.
 */
import type { ImageSet } from "../data/dataset.ts";
import type { AdapterDetails } from "../gpu/adapter.ts";
import type { Scores } from "../metrics/scores.ts";
import type { EpochRecord } from "../train/history.ts";

export const TEST_IDS = ["a", "b", "c", "d", "e", "f", "g"] as const;
export type TestId = (typeof TEST_IDS)[number];

export type Preset = "quick" | "paper";
export type DataSetChoice = "real" | "simulated" | "paper";

/** One of the seven tests, as `results.json` holds it. Keys are the published names. */
export interface TestResult extends Scores {
  readonly pretrained_on: string | null;
  readonly trained_on: string | null;
  /** "all", "none", "dense" or "conv3 conv4 + dense". */
  readonly fine_tuned: string;
  readonly n_pretrain: number;
  readonly n_train: number;
  readonly n_test: number;
  /** Tests b and e: also on the whole target set. */
  readonly accuracy_all?: number;
  readonly n_all?: number;
  /** 99 % or more of the predictions in one class. */
  readonly collapsed: boolean;
  readonly images_per_s: number;
  readonly seconds: number;
  readonly history: readonly EpochRecord[];
}

export type AdapterSummary = Pick<
  AdapterDetails,
  "vendor" | "architecture" | "device" | "description" | "software"
>;

export interface SeedStatistics {
  readonly accuracy: {
    readonly mean: number;
    readonly std: number;
    readonly values: readonly number[];
  };
}

/** The whole of `results.json`. */
export interface StudyResults {
  readonly preset: Preset;
  readonly data_set: DataSetChoice;
  readonly seed: number;
  readonly adapter: AdapterSummary;
  readonly node: string;
  readonly started: string;
  readonly seconds: number;
  readonly tests: Readonly<Partial<Record<TestId, TestResult>>>;
  /** With --seeds K: mean, standard deviation (sample, K - 1) and values over the seeds. */
  readonly seeds?: Readonly<Partial<Record<TestId, SeedStatistics>>>;
  /** Pre-training runs, each run once and shared by tests. */
  readonly pretraining: readonly PretrainingRecord[];
}

/** A pre-trained network on disk, and how it came to be. */
export interface PretrainingRecord {
  readonly name: string;
  readonly data_set: string;
  readonly n: number;
  readonly seconds: number;
  readonly images_per_s: number;
  readonly history: readonly EpochRecord[];
}

/** Predictions of one network on one labelled set. */
export interface Predictions {
  readonly classes: readonly string[];
  /** Class index of each image; -1 where unknown. */
  readonly labels: Int32Array;
  /** `labels.length * classes.length` probabilities, row-major. */
  readonly probabilities: Float32Array;
  readonly ids: readonly string[];
}

/** Activations of one layer for one image. */
export interface FeatureMaps {
  readonly layer: string;
  readonly when: "before fine-tuning" | "after fine-tuning";
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** height * width * channels, HWC. */
  readonly values: Float32Array;
}

/** What is known of a galaxy beside its image. */
export interface Properties {
  readonly id: string;
  readonly redshift: number;
  /** log10 of the stellar mass in solar masses. */
  readonly logMass: number;
  /** Velocity dispersion in km/s; null where none was measured. */
  readonly sigma: number | null;
  /** log10 of the star formation rate in solar masses a year; only the `paper` data have it. */
  readonly logSfr?: number;
}

/** One galaxy of Figure 23: what is known of it, what it is, what the network says it is. */
export interface PhysicalRow extends Properties {
  readonly trueClass: string;
  readonly predictedClass: string;
}

/** Everything the report shows beside `results.json`. Parts that a run did not make are absent. */
export interface StudyEvidence {
  /** "Real galaxies: GZ2 stands for EFIGI ...": what stands for what, one sentence a line. */
  readonly notes: readonly string[];
  readonly settings: readonly (readonly [name: string, value: string])[];
  /** The shared test split's predictions, per test. */
  readonly predictions: Partial<Record<TestId, Predictions>>;
  /** The test split's images at a size for looking at, in the order of the predictions. */
  readonly testImages: ImageSet;
  /** Figure 5: trained on 10 and on 10,000 images of the dissimilar set; tested on the same images. */
  readonly smallAgainstLarge?: {
    readonly small: Predictions;
    readonly large: Predictions;
    readonly nSmall: number;
    readonly nLarge: number;
    readonly smallTrainAccuracy: number;
    readonly largeTrainAccuracy: number;
  };
  /** Figure 7: the first row the original, then augmented versions; `columns` images a row. */
  readonly augmented?: { readonly images: ImageSet; readonly columns: number };
  /** Figures 11, 12, 14-16. */
  readonly featureMaps?: { readonly image: ImageSet; readonly maps: readonly FeatureMaps[] };
  /** GZ2 classified whole. */
  readonly applied?: {
    /** Whose network classified it. */
    readonly test: TestId;
    readonly name: string;
    readonly predictions: Predictions;
    readonly images: ImageSet;
    readonly note: string;
  };
  /** Figure 23. */
  readonly physical?: { readonly rows: readonly PhysicalRow[]; readonly note: string };
  /** Figure 19: one image of each survey. */
  readonly surveys?: readonly { readonly caption: string; readonly image: ImageSet }[];
}
