/** What the report shows beside the figures of the tests: drawn from the study's models and images. */
import { subset, type ImageSet } from "../data/dataset.ts";
import { DEFAULT_AUGMENTATION } from "../data/augment.ts";
import { stratifiedSplit } from "../data/split.ts";
import { affineWarpSet } from "../kernels/affine_warp.ts";
import { accuracy, argmax } from "../metrics/accuracy.ts";
import { Sequential } from "../nn/model.ts";
import { loadModel } from "../nn/weights.ts";
import { activationsOf } from "../train/activations.ts";
import { augmentationFor, fit } from "../train/fit.ts";
import { releaseImages, uploadImages } from "../train/images.ts";
import { evaluationMatrices, predict } from "../train/predict.ts";
import type { FeatureMaps, PhysicalRow, Predictions, StudyEvidence, TestId } from "./results.ts";
import {
  InterruptedError,
  modelPath,
  SEVEN_TESTS,
  type StudyContext,
  type TestRecord,
} from "./seven_tests.ts";

type Extras = Omit<StudyEvidence, "notes" | "settings" | "predictions">;

/** Everything that the tests that were run allow. */
export async function gatherEvidence(
  study: StudyContext,
  tests: Readonly<Partial<Record<TestId, TestRecord>>>,
): Promise<Extras> {
  const { sources } = study;
  const display = await sources.targetDisplay();
  // The network for looking at: the best of the paper's, else whatever galaxies were classified with.
  const applied = (["g", "f", "a", "e", "d", "c", "b"] as const).find((id) => tests[id]);
  return {
    testImages: subset(display, sources.split.test, display.name),
    augmented: await augmentedSamples(study),
    surveys: [
      {
        caption: `${sources.similar.name}: the similar set, as the network sees it`,
        image: firstSpiral(sources.similar),
      },
      {
        caption: `${sources.target.name}: the target set, as the network sees it`,
        image: firstSpiral(sources.target),
      },
    ],
    ...(SEVEN_TESTS[applied ?? "a"].pretraining === "dissimilar" || tests.b || tests.c || tests.d
      ? { smallAgainstLarge: await smallAgainstLarge(study) }
      : {}),
    ...(tests.g && tests.e && { featureMaps: await featureMaps(study) }),
    ...(applied && (await appliedSets(study, applied))),
  };
}

async function appliedSets(
  study: StudyContext,
  id: TestId,
): Promise<Pick<Extras, "applied" | "physical">> {
  const { device, settings, sources, out } = study;
  const { apply, physical } = sources;
  const { model } = await loadModel(device, modelPath(out, id), {
    batchSize: settings.batchSize,
    precision: settings.precision,
  });
  const classify = async (set: ImageSet): Promise<Predictions> => ({
    classes: sources.classes,
    labels: set.labels,
    probabilities: await predict(model, set, { batchSize: settings.batchSize }),
    ids: set.ids,
  });
  try {
    const applied = apply && {
      test: id,
      name: apply.name,
      predictions: await classify(apply),
      images: apply,
      note:
        sources.choice === "simulated"
          ? `Simulated galaxies that no network was trained on, classified with model ${id}.`
          : `Classified whole with model ${id}. Its folders are no morphology labels, so no accuracy is given; 44 of its galaxies are in gz2 too and may have been trained on.`,
    };
    const seen = physical && (await classify(physical.images));
    return {
      ...(applied && { applied }),
      ...(physical &&
        seen && {
          physical: { rows: physicalRows(physical.rows, seen), note: physicalNote(study) },
        }),
    };
  } finally {
    model.destroy();
  }
}

function physicalNote({ sources }: StudyContext): string {
  if (sources.choice === "simulated")
    return "Simulated properties that follow the T-Type; nothing here is measured.";
  return "Schawinski et al. 2010, volume-limited at 0.02 < z < 0.05; galaxies that no network was trained on. Star formation rates are in the paper's own data only.";
}

function physicalRows(
  rows: NonNullable<StudyContext["sources"]["physical"]>["rows"],
  { labels, probabilities, classes }: Predictions,
): PhysicalRow[] {
  const predicted = argmax(probabilities, classes.length);
  return rows.map((row, i) => ({
    ...row,
    trueClass: classes[labels[i] ?? -1] ?? "unknown",
    predictedClass: classes[predicted[i] ?? -1] ?? "unknown",
  }));
}

/** Figure 7: one column a galaxy, the first row as it is, below it as training draws it. */
async function augmentedSamples(
  study: StudyContext,
): Promise<NonNullable<StudyEvidence["augmented"]>> {
  const { device, settings, sources, seed } = study;
  const columns = 8;
  const rows = 5;
  const { height, width } = { height: settings.size, width: settings.size };
  const { train } = sources.split;
  // Spread over the set, which is sorted by class.
  const spread = Array.from(
    { length: columns },
    (_, i) => train[Math.floor((i * train.length) / columns)] ?? 0,
  );
  const sample = subset(sources.target, spread);
  const images = uploadImages(device, sample);
  const n = columns * rows;
  const matrices = new Float32Array(n * 6);
  const input = [height, width, 3] as const;
  matrices.set(evaluationMatrices(sample, input, columns));
  for (let i = columns; i < n; i++)
    matrices.set(augmentationFor(sample, input, DEFAULT_AUGMENTATION, seed, i), i * 6);
  const order = device.upload(
    Uint32Array.from({ length: n }, (_, i) => i % columns),
    [n],
    "indices",
  );
  const warps = device.upload(matrices, [n, 2, 3], "matrices");
  const y = device.tensor([n, height, width, 3], "float32", "augmented");
  await device.run("augmented samples", (ctx) => {
    affineWarpSet(ctx, { chunks: images.chunks, indices: order, matrices: warps }, y);
  });
  const pixels = Uint8Array.from(await device.readFloats(y), (value) => Math.round(255 * value));
  releaseImages(device, images);
  device.release(order, warps, y);
  const set: ImageSet = {
    ...sample,
    name: "augmented",
    images: pixels,
    count: n,
    height,
    width,
    channels: 3,
    labels: Int32Array.from({ length: n }, (_, i) => sample.labels[i % columns] ?? -1),
    ids: Array.from({ length: n }, (_, i) => sample.ids[i % columns] ?? ""),
  };
  return { images: set, columns };
}

/** Figure 5: a network that saw ten images of the dissimilar set beside one that saw ten thousand. */
async function smallAgainstLarge(
  study: StudyContext,
): Promise<NonNullable<StudyEvidence["smallAgainstLarge"]>> {
  const { device, settings, sources, seed, out } = study;
  const { dissimilar, dissimilarTest } = sources;
  const { small, large } = settings;
  const tested = Math.min(small.tested, dissimilarTest.count);
  const test = subset(
    dissimilarTest,
    stratifiedSplit(dissimilarTest, { train: tested, test: 0 }, seed).train,
  );
  const trained = async (count: number, epochs: number) => {
    const set = subset(
      dissimilar,
      stratifiedSplit(dissimilar, { train: count, test: 0 }, seed).train,
    );
    const model = new Sequential(settings.network).replaceHead(set.classes.length);
    const { batchSize, precision } = settings;
    await model.build(device, { seed, batchSize, precision });
    const { signal } = study;
    const { ended } = await fit(model, set, {
      epochs,
      seed,
      batchSize: settings.batchSize,
      optimizer: { learningRate: settings.learningRate },
      ...(signal && { signal }),
    });
    if (ended === "interrupted")
      throw new InterruptedError("study: interrupted in training on few images and on many");
    return { model, set };
  };
  const few = await trained(Math.min(small.images, dissimilar.count), small.epochs);
  // The pre-trained network is the large one where it saw just as many images.
  const many =
    dissimilar.count <= large
      ? {
          ...(await loadModel(device, modelPath(out, "pretrained_dissimilar"), {
            batchSize: settings.batchSize,
            precision: settings.precision,
          })),
          set: dissimilar,
        }
      : await trained(large, settings.pretrainEpochs.dissimilar);
  const judge = async (model: Sequential, set: ImageSet): Promise<Predictions> => ({
    classes: set.classes,
    labels: set.labels,
    probabilities: await predict(model, set, { batchSize: settings.batchSize }),
    ids: set.ids,
  });
  const share = ({ labels, probabilities, classes }: Predictions) =>
    accuracy(labels, argmax(probabilities, classes.length));
  const result = {
    small: await judge(few.model, test),
    large: await judge(many.model, test),
    nSmall: few.set.count,
    nLarge: many.set.count,
    smallTrainAccuracy: share(await judge(few.model, few.set)),
    largeTrainAccuracy: share(await judge(many.model, firstOf(many.set, tested))),
  };
  few.model.destroy();
  many.model.destroy();
  return result;
}

/** The first images of a set: enough to estimate a share. */
const firstOf = (set: ImageSet, count: number): ImageSet =>
  subset(
    set,
    Array.from({ length: Math.min(count, set.count) }, (_, i) => i),
  );

/** One image of the last class, which is Spiral in every choice of galaxies. */
function firstSpiral(set: ImageSet): ImageSet {
  return subset(set, [Math.max(0, set.labels.indexOf(set.classes.length - 1))]);
}

/** Figures 11, 12, 14-16: one spiral of the test split through the network before and after fine-tuning. */
async function featureMaps(
  study: StudyContext,
): Promise<NonNullable<StudyEvidence["featureMaps"]>> {
  const { device, sources, out } = study;
  const { target, split } = sources;
  const spiral = target.classes.length - 1;
  const index = split.test.find((i) => target.labels[i] === spiral) ?? split.test[0] ?? 0;
  const wanted = ["pool1", "conv2", "conv3", "conv4"];
  const maps: FeatureMaps[] = [];
  for (const [name, when] of [
    ["pretrained_similar", "before fine-tuning"],
    ["g", "after fine-tuning"],
  ] as const) {
    const { model } = await loadModel(device, modelPath(out, name), {
      batchSize: 1,
      precision: study.settings.precision,
    });
    const layers = wanted.filter((layer) => model.layers.some((l) => l.name === layer));
    maps.push(
      ...(await activationsOf(model, target, index, layers)).map((map) => ({ ...map, when })),
    );
    model.destroy();
  }
  return { image: subset(target, [index]), maps };
}
