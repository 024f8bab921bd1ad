/**
 * A study that was never run: plausible results and evidence from a seed, for the report and its figures.
 */
import type { EpochRecord } from "../../src/train/history.ts";
import type { ImageSet } from "../../src/data/dataset.ts";
import {
  argmax,
  accuracy,
  majorityBaseline,
  meanCrossEntropy,
} from "../../src/metrics/accuracy.ts";
import { collapsed, confusionMatrix } from "../../src/metrics/confusion.ts";
import { aucPerClass, macroAuc } from "../../src/metrics/roc.ts";
import { Random } from "../../src/random.ts";
import { TEST_IDS } from "../../src/study/results.ts";
import type {
  FeatureMaps,
  PhysicalRow,
  Predictions,
  StudyEvidence,
  StudyResults,
  TestId,
  TestResult,
} from "../../src/study/results.ts";

export interface FakeStudyOptions {
  readonly seed?: number;
  readonly tests?: readonly TestId[];
  /** Number of seeds; 1 leaves `seeds` out. */
  readonly seeds?: number;
  readonly imageSize?: number;
  readonly nTest?: number;
  /** Height of conv2's feature maps; the others follow. */
  readonly mapSize?: number;
  readonly channels?: number;
  /** False: only what every run has. */
  readonly optionalParts?: boolean;
  /** Identifier of the first test image. */
  readonly firstId?: string;
}

export const FAKE_CLASSES = ["Early type", "Edge-on disc", "Spiral"] as const;
const PRIORS = [0.54, 0.12, 0.34];
const FASHION_CLASSES = [
  ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"],
  ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"],
].flat();

// How far the logit of the true class stands above the others: sets the accuracy of each test.
const SKILL: Record<TestId, number> = { a: 2.6, b: 0.2, c: 0, d: 1.7, e: 1.7, f: 3, g: 3.5 };
const SHAPE: Record<TestId, Pick<TestResult, "pretrained_on" | "trained_on" | "fine_tuned">> = {
  a: { pretrained_on: null, trained_on: "gz2", fine_tuned: "all" },
  b: { pretrained_on: "fashion-mnist", trained_on: null, fine_tuned: "none" },
  c: { pretrained_on: "fashion-mnist", trained_on: "gz2", fine_tuned: "dense" },
  d: { pretrained_on: "fashion-mnist", trained_on: "gz2", fine_tuned: "conv3 conv4 + dense" },
  e: { pretrained_on: "gz1", trained_on: null, fine_tuned: "none" },
  f: { pretrained_on: "gz1", trained_on: "gz2", fine_tuned: "dense" },
  g: { pretrained_on: "gz1", trained_on: "gz2", fine_tuned: "conv3 conv4 + dense" },
};

export function fakeStudy(options: FakeStudyOptions = {}): {
  results: StudyResults;
  evidence: StudyEvidence;
} {
  const {
    seed = 1,
    tests = TEST_IDS,
    seeds = 1,
    imageSize = 64,
    nTest = 274,
    mapSize = 48,
    channels = 16,
    optionalParts = true,
    firstId = "587722984435351614",
  } = options;
  const random = new Random(seed, "fake study");
  const labels = drawLabels(random, nTest, PRIORS);
  const ids = Array.from({ length: nTest }, (_, i) =>
    i === 0 ? firstId : String(100000 + i * 37),
  );

  const predictions: Partial<Record<TestId, Predictions>> = {};
  const results: Partial<Record<TestId, TestResult>> = {};
  for (const id of tests) {
    const made = fakePredictions(random, labels, ids, FAKE_CLASSES, SKILL[id], id === "c" ? 2 : -1);
    predictions[id] = made;
    results[id] = fakeResult(random, id, made);
  }
  const pretraining = [
    { name: "dissimilar", data_set: "fashion-mnist", n: 12000, seconds: 71, images_per_s: 510 },
    { name: "similar", data_set: "gz1", n: 6487, seconds: 96, images_per_s: 203 },
  ].map((run) => ({ ...run, history: fakeHistory(random, 5, 0.85) }));

  return {
    results: {
      preset: "quick",
      data_set: "real",
      seed,
      adapter: {
        vendor: "mesa",
        architecture: "software",
        device: "",
        description: "llvmpipe (LLVM 15.0.6, 256 bits)",
        software: true,
      },
      node: "v20.19.4",
      started: "2025-05-04T10:20:30.000Z",
      seconds: 512.4,
      tests: results,
      ...(seeds > 1 && { seeds: fakeSeeds(random, results, seeds) }),
      pretraining,
    },
    evidence: {
      notes: [
        "Real galaxies: Galaxy Zoo 2 (gz2) stands for EFIGI, Galaxy Zoo 1 (gz1) for NA10, Fashion-MNIST for itself.",
        "No images labelled Lenticular could be had, so the classes are Early type, Edge-on disc and Spiral.",
        "Accuracies are not to be compared with the paper's: other images, other classes.",
      ],
      settings: [
        ["network", "networks/quick.json: 48 x 48 x 3, 412,931 parameters"],
        ["optimizer", "Adamax, learning rate 0.002, beta1 0.9, beta2 0.999, epsilon 1e-7"],
        ["batch", "32"],
        ["epochs", "5 to pre-train, 6 to fine-tune"],
        ["augmentation", "rotation, flips, shift 5 %, zoom 0.9 to 1.1"],
      ],
      predictions,
      testImages: fakeImages(random, "gz2/test", labels, ids, imageSize),
      ...(optionalParts && fakeOptionalParts(random, imageSize, mapSize, channels)),
    },
  };
}

function fakeOptionalParts(
  random: Random,
  imageSize: number,
  mapSize: number,
  channels: number,
): Pick<
  StudyEvidence,
  "smallAgainstLarge" | "augmented" | "featureMaps" | "applied" | "physical" | "surveys"
> {
  const fashionLabels = drawLabels(random, 600, new Array<number>(10).fill(0.1));
  const fashionIds = Array.from(fashionLabels, (_, i) => String(i));
  const nApplied = 400;
  const appliedTruth = drawLabels(random, nApplied, [0.3, 0.15, 0.55]);
  const appliedIds = Array.from({ length: nApplied }, (_, i) => String(900000 + i));
  const applied = fakePredictions(random, appliedTruth, appliedIds, FAKE_CLASSES, 2.2, -1);
  const one = (label: number, size = imageSize): ImageSet =>
    fakeImages(random, "one", Int32Array.of(label), ["587722984435351614"], size);
  const layers = [
    { layer: "pool1", scale: 2, frozen: true },
    { layer: "conv2", scale: 1, frozen: true },
    { layer: "conv3", scale: 2, frozen: false },
    { layer: "conv4", scale: 4, frozen: false },
  ];
  return {
    smallAgainstLarge: {
      small: fakePredictions(random, fashionLabels, fashionIds, FASHION_CLASSES, 0.7, -1),
      large: fakePredictions(random, fashionLabels, fashionIds, FASHION_CLASSES, 4.6, -1),
      nSmall: 10,
      nLarge: 10000,
      smallTrainAccuracy: 1,
      largeTrainAccuracy: 0.931,
    },
    augmented: {
      images: fakeImages(
        random,
        "augmented",
        Int32Array.from({ length: 24 }, (_, i) => (i % 6 === 2 ? 1 : i % 2 === 0 ? 2 : 0)),
        Array.from({ length: 24 }, (_, i) => String(i)),
        imageSize,
      ),
      columns: 6,
    },
    featureMaps: {
      image: one(2),
      maps: layers.flatMap(({ layer, scale, frozen }) => {
        const before = fakeMaps(
          random,
          layer,
          Math.round(mapSize / scale),
          channels * (scale > 1 ? 2 : 1),
        );
        const after = frozen
          ? before.values
          : before.values.map((v) => v * 0.7 + 0.2 * random.normal());
        return [before, { ...before, when: "after fine-tuning" as const, values: after }];
      }),
    },
    applied: {
      test: "g",
      name: "gz2-apply",
      predictions: { ...applied, labels: new Int32Array(nApplied).fill(-1) },
      images: fakeImages(random, "gz2-apply", appliedTruth, appliedIds, imageSize),
      note: "Its folders are no morphology labels, so no accuracy is given.",
    },
    physical: {
      rows: fakePhysical(random, 180),
      note: "Star formation rates are in the paper data only.",
    },
    surveys: [
      { caption: "gz1 (stands for NA10), 231 px cutout", image: one(2) },
      { caption: "gz2 (stands for EFIGI), 299 px cutout", image: one(2, 48) },
    ],
  };
}

function drawLabels(random: Random, count: number, priors: readonly number[]): Int32Array {
  return Int32Array.from({ length: count }, () => {
    let u = random.uniform();
    for (let c = 0; c < priors.length; c++) {
      u -= priors[c]!;
      if (u < 0) return c;
    }
    return priors.length - 1;
  });
}

/** Softmax of normal logits, the true class `skill` higher; `favourite` >= 0: all in that class, as after a collapse. */
export function fakePredictions(
  random: Random,
  labels: Int32Array,
  ids: readonly string[],
  classes: readonly string[],
  skill: number,
  favourite: number,
): Predictions {
  const probabilities = new Float32Array(labels.length * classes.length);
  labels.forEach((label, i) => {
    const logits = classes.map(
      (_, c) => 1.3 * random.normal() + (c === label ? skill : 0) + (c === favourite ? 9 : 0),
    );
    const total = logits.reduce((sum, z) => sum + Math.exp(z), 0);
    logits.forEach((z, c) => (probabilities[i * classes.length + c] = Math.exp(z) / total));
  });
  return { classes, labels, probabilities, ids };
}

function fakeResult(random: Random, id: TestId, made: Predictions): TestResult {
  const { labels, probabilities, classes } = made;
  const predicted = argmax(probabilities, classes.length);
  const confusion = confusionMatrix(labels, predicted, classes.length);
  const areas = aucPerClass(labels, probabilities, classes.length);
  const share = accuracy(labels, predicted);
  const untrained = SHAPE[id].trained_on === null;
  return {
    ...SHAPE[id],
    accuracy: share,
    loss: meanCrossEntropy(labels, probabilities, classes.length),
    n_pretrain: id === "a" ? 0 : id < "e" ? 12000 : 6487,
    n_train: untrained ? 0 : 1093,
    n_test: labels.length,
    ...(untrained && { accuracy_all: share + 0.01, n_all: 1367 }),
    classes,
    auc: Object.fromEntries(classes.map((name, c) => [name, areas[c] ?? null])),
    macro_auc: macroAuc(labels, probabilities, classes.length),
    confusion,
    collapsed: collapsed(confusion),
    majority_baseline: majorityBaseline(labels),
    images_per_s: 180 + random.below(60),
    seconds: untrained ? 2.1 : 30 + 20 * random.uniform(),
    history: untrained ? [] : fakeHistory(random, 6, share),
  };
}

function fakeHistory(random: Random, epochs: number, reached: number): EpochRecord[] {
  return Array.from({ length: epochs }, (_, epoch) => {
    const progress = 1 - Math.exp(-(epoch + 1) / 2.2);
    const trained = 0.45 + (reached + 0.02 - 0.45) * progress + 0.01 * random.normal();
    return {
      epoch: epoch + 1,
      loss: 1.15 - 0.95 * progress * reached + 0.02 * random.normal(),
      accuracy: Math.min(1, trained),
      valLoss: 1.12 - 0.85 * progress * reached + 0.03 * random.normal(),
      valAccuracy: Math.min(1, trained - 0.02 + 0.015 * random.normal()),
      learningRate: 0.002,
      seconds: 6,
      imagesPerSecond: 200,
    };
  });
}

function fakeSeeds(
  random: Random,
  results: Partial<Record<TestId, TestResult>>,
  seeds: number,
): NonNullable<StudyResults["seeds"]> {
  return Object.fromEntries(
    Object.entries(results).map(([id, test]) => {
      const values = Array.from({ length: seeds }, (_, k) =>
        k === 0 ? test.accuracy : test.accuracy + 0.015 * random.normal(),
      );
      const mean = values.reduce((sum, v) => sum + v, 0) / seeds;
      const std = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (seeds - 1));
      return [id, { accuracy: { mean, std, values } }];
    }),
  );
}

/** Blobs that look a little like what their class says: round, edge-on, with two arms. */
export function fakeImages(
  random: Random,
  name: string,
  labels: Int32Array,
  ids: readonly string[],
  size: number,
): ImageSet {
  const images = new Uint8Array(labels.length * size * size * 3);
  labels.forEach((label, n) => {
    const angle = random.uniform() * Math.PI;
    const radius = size * random.between(0.1, 0.17);
    const axisRatio = label === 1 ? 0.18 : random.between(0.6, 1);
    const colour = label === 0 ? [1, 0.82, 0.6] : label === 1 ? [1, 0.86, 0.75] : [0.8, 0.88, 1];
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++) {
        const dx = x + 0.5 - size / 2;
        const dy = y + 0.5 - size / 2;
        const u = dx * Math.cos(angle) + dy * Math.sin(angle);
        const v = (dy * Math.cos(angle) - dx * Math.sin(angle)) / axisRatio;
        const r = Math.hypot(u, v) / radius;
        const arms =
          label === 2 ? 0.6 + 0.9 * Math.cos(2 * (Math.atan2(v, u) - 2.2 * Math.log(r + 0.3))) : 1;
        const light =
          Math.exp(-1.2 * r) * Math.max(0.08, r < 0.5 ? 1 : arms) * 300 + 9 + 5 * random.normal();
        for (let c = 0; c < 3; c++)
          images[((n * size + y) * size + x) * 3 + c] = Math.max(
            0,
            Math.min(255, light * colour[c]!),
          );
      }
  });
  return {
    name,
    images,
    count: labels.length,
    height: size,
    width: size,
    channels: 3,
    labels,
    classes: FAKE_CLASSES,
    ids,
    crop: 1,
  };
}

function fakeMaps(random: Random, layer: string, size: number, channels: number): FeatureMaps {
  const values = new Float32Array(size * size * channels);
  for (let c = 0; c < channels; c++) {
    const fx = random.between(-9, 9);
    const fy = random.between(-9, 9);
    const width = random.between(0.1, 0.4);
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++) {
        const u = (x + 0.5) / size - 0.5;
        const v = (y + 0.5) / size - 0.5;
        const envelope = Math.exp(-(u * u + v * v) / (2 * width * width));
        values[(y * size + x) * channels + c] =
          envelope * (0.6 + Math.cos(fx * u + fy * v)) + 0.05 * random.normal();
      }
  }
  return { layer, when: "before fine-tuning", height: size, width: size, channels, values };
}

function fakePhysical(random: Random, count: number): PhysicalRow[] {
  return Array.from({ length: count }, (_, i) => {
    const label = random.uniform() < 0.45 ? 0 : random.uniform() < 0.4 ? 1 : 2;
    const logMass = 10.4 + (label === 0 ? 0.3 : -0.1) + 0.4 * random.normal();
    const right = random.uniform() < 0.9;
    return {
      id: String(5877000 + i),
      redshift: random.between(0.02, 0.05),
      logMass,
      sigma: i % 17 === 0 ? null : 10 ** (2.1 + 0.3 * (logMass - 10.5) + 0.1 * random.normal()),
      trueClass: FAKE_CLASSES[label],
      predictedClass: FAKE_CLASSES[right ? label : (label + 1) % 3]!,
    };
  });
}
