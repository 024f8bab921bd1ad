/**
 * Every figure of a study, in the order of the report: what is drawn, what its caption says, which of the paper's it answers.
 */
import { MUTED_COLOUR } from "../draw/svg.ts";
import { argmax } from "../metrics/accuracy.ts";
import { columnSums } from "../metrics/confusion.ts";
import { Random } from "../random.ts";
import { SHOWN_CHANNELS, featureMapPair, gallery, probabilityBars } from "./image_grid.ts";
import type { GalleryCell, Line, ProbabilityCell } from "./image_grid.ts";
import { barPlot } from "./plots/bars.ts";
import { confusionPlot } from "./plots/confusion.ts";
import { rocPair, rocPlot } from "./plots/roc.ts";
import { scatterPair, type Quantity, type ScatterPoint } from "./plots/scatter.ts";
import { trainingCurves } from "./plots/training_curves.ts";
import type { PhysicalRow, Predictions, StudyEvidence, StudyResults, TestId } from "./results.ts";
import { PAPER_TABLE3, classesOf, fixed, testsRun } from "./table3.ts";

/** Where a figure stands in the report. */
export type FigureSection =
  | "accuracy"
  | "training"
  | "pretraining"
  | "roc"
  | "small-against-large"
  | "confusion"
  | "samples"
  | "single-images"
  | "feature-maps"
  | "galleries"
  | "applied"
  | "physical";

export interface Figure {
  /** The file's stem: `figures/<name>.svg` and `.png`. */
  readonly name: string;
  readonly section: FigureSection;
  /** A sentence or two; plain text. */
  readonly caption: string;
  /** The paper's number for it, e.g. "17a". */
  readonly paperFigure?: string;
  /** What a reader who cannot see it should know. */
  readonly alt: string;
  /** A whole SVG document. */
  readonly svg: string;
}

/** The test with the highest accuracy: over the seeds where there are several, else of the one run. */
export function bestTest(results: StudyResults): TestId | null {
  let best: TestId | null = null;
  for (const { id } of testsRun(results))
    if (best === null || meanAccuracy(results, id) > meanAccuracy(results, best)) best = id;
  return best;
}

/** The accuracy that a test is ranked by. */
export function meanAccuracy(results: StudyResults, id: TestId): number {
  return results.seeds?.[id]?.accuracy.mean ?? results.tests[id]?.accuracy ?? 0;
}

/** "gz1 → gz2, conv3 conv4 + dense": how a test came about. */
export function recipe(results: StudyResults, id: TestId): string {
  const test = results.tests[id];
  if (test === undefined) return "";
  const { pretrained_on: before, trained_on: on, fine_tuned: layers } = test;
  if (before === null) return `${on ?? "nothing"} only`;
  if (on === null) return `${before} only`;
  return `${before} → ${on}, ${layers}`;
}

/** Draws all figures that the evidence allows; what is absent is left out. */
export async function drawFigures(
  results: StudyResults,
  evidence: StudyEvidence,
): Promise<Figure[]> {
  const figures = [
    await accuracyFigure(results),
    ...(await trainingFigures(results)),
    ...(await rocFigures(results, evidence)),
    ...(await smallAgainstLargeFigure(evidence)),
    ...(await confusionFigures(results)),
    ...(await sampleFigures(evidence)),
    ...(await testImageFigures(results, evidence)),
    ...(await featureMapFigures(evidence)),
    ...(await appliedFigures(results, evidence)),
    ...(await physicalFigures(results, evidence)),
  ];
  return figures.filter((figure) => figure !== null);
}

async function accuracyFigure(results: StudyResults): Promise<Figure | null> {
  const tests = testsRun(results);
  const first = tests[0];
  if (first === undefined) return null;
  const seeds = results.seeds?.[first.id]?.accuracy.values.length ?? 1;
  const series = [seeds > 1 ? `this run, mean of ${seeds} seeds` : "this run", "the paper"];
  const rows = tests.map(({ id, test }) => ({
    label: `Test ${id}: ${recipe(results, id).replace(", ", "\n")}`,
    bars: [
      {
        series: series[0] ?? "",
        value: meanAccuracy(results, id),
        std: results.seeds?.[id]?.accuracy.std ?? 0,
        ...(test.collapsed && { remark: "collapsed to one class" }),
      },
      { series: series[1] ?? "", value: PAPER_TABLE3[id].accuracy },
    ],
  }));
  const baseline = first.test.majority_baseline;
  const svg = await barPlot({
    rows,
    series,
    xTitle: "accuracy on the test split",
    line: { value: baseline, label: `majority class ${fixed(baseline)}` },
  });
  const spread = seeds > 1 ? ` Error bars: standard deviation over ${seeds} seeds.` : "";
  return {
    name: "accuracy",
    section: "accuracy",
    paperFigure: "Table 3",
    caption: `Accuracy of each test, with the paper's value beside it. The dashed line is what always naming the most frequent class would give.${spread}`,
    alt: `Bars of accuracy. ${tests.map(({ id }) => `Test ${id} ${fixed(meanAccuracy(results, id))}, paper ${fixed(PAPER_TABLE3[id].accuracy)}`).join("; ")}. Majority class ${fixed(baseline)}.`,
    svg,
  };
}

async function trainingFigures(results: StudyResults): Promise<Figure[]> {
  const figures: Figure[] = [];
  const trained = testsRun(results).filter(({ test }) => test.history.length > 0);
  if (trained.length > 0)
    figures.push({
      name: "training_curves",
      section: "training",
      caption:
        "Loss and accuracy after each epoch of training on the target set. Training values are means over the epoch, with dropout and augmentation on; validation values come from images held out, with both off.",
      alt: `Training curves of tests ${trained.map(({ id }) => id).join(", ")}. Last training accuracy: ${trained.map(({ id, test }) => `${id} ${fixed(test.history.at(-1)?.accuracy)}`).join(", ")}.`,
      svg: await trainingCurves(
        trained.map(({ id, test }) => ({
          title: `Test ${id}`,
          subtitle: test.pretrained_on === null ? "from scratch" : test.fine_tuned,
          history: test.history,
        })),
      ),
    });
  const pretrained = results.pretraining.filter((run) => run.history.length > 0);
  if (pretrained.length > 0)
    figures.push({
      name: "pretraining_curves",
      section: "pretraining",
      caption:
        "Loss and accuracy after each epoch of pre-training. Each run is shared by the tests that start from it.",
      alt: `Training curves of the pre-training runs ${pretrained.map((run) => `${run.name} on ${run.data_set}`).join(" and ")}.`,
      svg: await trainingCurves(
        pretrained.map((run) => ({
          title: run.name,
          subtitle: run.data_set,
          history: run.history,
        })),
      ),
    });
  return figures;
}

async function rocFigures(results: StudyResults, evidence: StudyEvidence): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { id, test } of testsRun(results)) {
    const predictions = evidence.predictions[id];
    if (predictions === undefined) continue;
    const areas = Object.entries(test.auc).map(([name, area]) => `${name} ${fixed(area)}`);
    figures.push({
      name: `roc_${id}`,
      section: "roc",
      paperFigure: PAPER_TABLE3[id].rocFigure,
      caption: `Test ${id}: one class against the rest, on ${count(test.n_test)} test images. Dotted: a random classifier.`,
      alt: `ROC curves of test ${id}; area under the curve: ${areas.join(", ")}.`,
      svg: await rocPlot(predictions, `Test ${id}`, recipe(results, id)),
    });
  }
  return figures;
}

async function smallAgainstLargeFigure({ smallAgainstLarge }: StudyEvidence): Promise<Figure[]> {
  if (smallAgainstLarge === undefined) return [];
  const { small, large, nSmall, nLarge } = smallAgainstLarge;
  const [testSmall, testLarge] = [small, large].map(shareRight);
  const panel = (
    predictions: Predictions,
    n: number,
    train: number,
    test: number | undefined,
  ): Parameters<typeof rocPair>[0][number] => ({
    predictions,
    title: `Trained on ${count(n)} images`,
    subtitle: `accuracy: training ${fixed(train)}, test ${fixed(test)}`,
  });
  return [
    {
      name: "roc_small_against_large",
      section: "small-against-large",
      paperFigure: "5",
      caption: `Overfitting: the same network trained on ${count(nSmall)} and on ${count(nLarge)} images, both tested on the same ${count(large.labels.length)}. The paper has 90 % and 38 % (training and test) for the small set, 95.1 % and 89.71 % for the large one.`,
      alt: `ROC curves of ${large.classes.length} classes. Trained on ${nSmall} images: test accuracy ${fixed(testSmall)}; trained on ${nLarge}: ${fixed(testLarge)}.`,
      svg: await rocPair([
        panel(small, nSmall, smallAgainstLarge.smallTrainAccuracy, testSmall),
        panel(large, nLarge, smallAgainstLarge.largeTrainAccuracy, testLarge),
      ]),
    },
  ];
}

async function confusionFigures(results: StudyResults): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { id, test } of testsRun(results)) {
    const collapse = test.collapsed ? " This network collapsed to one class." : "";
    const rows = test.confusion.map((row, i) => `${test.classes[i] ?? ""}: ${row.join(", ")}`);
    figures.push({
      name: `confusion_${id}`,
      section: "confusion",
      caption: `Test ${id}: images and share of each true class (row).${collapse}`,
      alt: `Confusion matrix of test ${id}, predicted in the order ${test.classes.join(", ")}. ${rows.join("; ")}.${collapse}`,
      svg: await confusionPlot(
        test.confusion,
        test.classes,
        `Test ${id}${test.collapsed ? " (collapsed)" : ""}`,
        recipe(results, id),
      ),
    });
  }
  return figures;
}

async function sampleFigures({ augmented, surveys }: StudyEvidence): Promise<Figure[]> {
  const figures: Figure[] = [];
  if (augmented !== undefined) {
    const { images, columns } = augmented;
    figures.push({
      name: "augmented",
      section: "samples",
      paperFigure: "7",
      caption:
        "Training images (first row) and what augmentation makes of them: rotated, flipped, cropped and scaled anew each time they are seen.",
      alt: `${columns} galaxies, and below each ${Math.max(0, Math.ceil(images.count / columns) - 1)} augmented versions.`,
      svg: await gallery({
        cells: Array.from({ length: images.count }, (_, index) => ({
          set: images,
          index,
          lines: [],
        })),
        columns,
      }),
    });
  }
  if (surveys !== undefined && surveys.length > 0)
    figures.push({
      name: "surveys",
      section: "samples",
      paperFigure: "19",
      caption: "One image of each survey, side by side: scale, colour and noise differ.",
      alt: surveys.map((survey) => survey.caption).join("; "),
      svg: await gallery({
        cells: surveys.map(({ caption, image }) => ({
          set: image,
          index: 0,
          lines: wrapped(caption, 34).map((text) => ({ text })),
        })),
        columns: surveys.length,
        cellSize: 230,
      }),
    });
  return figures;
}

const GALLERY_COLUMNS = 6;
const GALLERY_CELL = 124;

/** Figures 10, 21 and 22: images of the test split with what the best network says of them. */
async function testImageFigures(results: StudyResults, evidence: StudyEvidence): Promise<Figure[]> {
  const best = bestTest(results);
  const predictions = best === null ? undefined : evidence.predictions[best];
  if (best === null || predictions === undefined || evidence.testImages.count === 0) return [];
  const images = evidence.testImages;
  if (images.count !== predictions.labels.length)
    throw new RangeError(
      `report: one test image for each prediction: ${images.count} images vs ${predictions.labels.length} predictions of test ${best}`,
    );
  const { classes, labels } = predictions;
  const judged = judge(predictions);
  const right = judged.filter(({ index, predicted }) => labels[index] === predicted);
  const wrong = judged
    .filter(({ index, predicted }) => (labels[index] ?? -1) >= 0 && labels[index] !== predicted)
    .sort((a, b) => b.probability - a.probability);
  const shuffled = shuffle(right, new Random(results.seed, "report gallery"));
  const ofClass = (c: number): Judged[] => shuffled.filter(({ predicted }) => predicted === c);
  const perClass = Math.max(1, Math.floor((2 * GALLERY_COLUMNS) / classes.length));
  const rightShown = classes.flatMap((_, c) => ofClass(c).slice(0, perClass));
  const wrongShown = wrong.slice(0, 2 * GALLERY_COLUMNS);
  const figures: Figure[] = [];

  const unsure = [...right].sort((a, b) => a.probability - b.probability)[0];
  const single = [
    ...classes.flatMap((_, c) => ofClass(c).slice(0, 1)).slice(0, 3),
    ...(unsure === undefined ? [] : [unsure]),
    ...wrong.slice(0, 1),
  ].filter((item, i, all) => all.findIndex(({ index }) => index === item.index) === i);
  if (single.length > 0)
    figures.push({
      name: "single_images",
      section: "single-images",
      paperFigure: "10",
      caption: `The softmax output of test ${best} for single images: one of each class that is right, the right one it was least sure of, and the mistake it was surest of. The true class is in bold.`,
      alt: single.map((item) => describe(item, predictions)).join("; "),
      svg: await probabilityBars(
        single.map((item): ProbabilityCell => {
          const label = labels[item.index] ?? -1;
          const isRight = label === item.predicted;
          return {
            set: images,
            index: item.index,
            lines: [
              { text: isRight ? "right" : "wrong", weight: "bold" },
              { text: images.ids[item.index] ?? "", colour: MUTED_COLOUR },
            ],
            probabilities: row(predictions, item.index),
            label,
          };
        }),
        classes,
      ),
    });

  const cells = (items: readonly Judged[]): GalleryCell[] =>
    items.map((item) => ({
      set: images,
      index: item.index,
      lines: [
        { text: `true: ${classes[labels[item.index] ?? -1] ?? "unknown"}` },
        ...predictedLines(item, classes),
        { text: images.ids[item.index] ?? "", colour: MUTED_COLOUR },
      ],
    }));
  if (rightShown.length > 0)
    figures.push({
      name: "gallery_right",
      section: "galleries",
      paperFigure: "21",
      caption: `Right: ${rightShown.length} of the ${count(right.length)} test images that test ${best} classifies as their label says, drawn at random within each class, with the probability it gives.`,
      alt: `Correctly classified galaxies: ${rightShown.map((item) => describe(item, predictions)).join("; ")}`,
      svg: await gallery({
        cells: cells(rightShown),
        columns: GALLERY_COLUMNS,
        cellSize: GALLERY_CELL,
      }),
    });
  if (wrongShown.length > 0)
    figures.push({
      name: "gallery_wrong",
      section: "galleries",
      paperFigure: "22",
      caption: `Wrong: ${wrongShown.length} of the ${count(wrong.length)} mistakes of test ${best}, those it was surest of first.`,
      alt: `Wrongly classified galaxies: ${wrongShown.map((item) => describe(item, predictions)).join("; ")}`,
      svg: await gallery({
        cells: cells(wrongShown),
        columns: GALLERY_COLUMNS,
        cellSize: GALLERY_CELL,
      }),
    });
  return figures;
}

const PAPER_LAYER_FIGURES: Readonly<Record<string, string>> = {
  pool1: "12",
  conv2: "14",
  conv3: "15",
  conv4: "16",
};

async function featureMapFigures({ featureMaps }: StudyEvidence): Promise<Figure[]> {
  if (featureMaps === undefined || featureMaps.maps.length === 0) return [];
  const { image, maps } = featureMaps;
  const id = image.ids[0] ?? "";
  const figures: Figure[] = [
    {
      name: "feature_maps_image",
      section: "feature-maps",
      paperFigure: "11",
      caption: "The image that is passed through the network for the feature maps below.",
      alt: `The galaxy ${id} of ${image.name}, ${image.classes[image.labels[0] ?? -1] ?? "class unknown"}.`,
      svg: await gallery({
        cells: [
          {
            set: image,
            index: 0,
            lines: [
              { text: image.classes[image.labels[0] ?? -1] ?? "class unknown" },
              { text: id, colour: MUTED_COLOUR },
            ],
          },
        ],
        columns: 1,
        cellSize: 200,
      }),
    },
  ];
  for (const layer of new Set(maps.map((map) => map.layer))) {
    const panels = maps
      .filter((map) => map.layer === layer)
      .sort((a, b) => b.when.localeCompare(a.when)); // "before" stands left
    const [before, after] = panels;
    if (before === undefined) continue;
    const shown =
      before.channels > SHOWN_CHANNELS
        ? `the first ${SHOWN_CHANNELS} of ${before.channels} channels`
        : `all ${before.channels} channels`;
    const same =
      after !== undefined && before.values.every((value, i) => value === after.values[i])
        ? " Both panels are the same: the layers up to here were frozen."
        : "";
    const paperFigure = PAPER_LAYER_FIGURES[layer];
    figures.push({
      name: `feature_maps_${layer.replace(/[^\w-]/g, "_")}`,
      section: "feature-maps",
      ...(paperFigure !== undefined && { paperFigure }),
      caption: `Output of ${layer}, ${before.height} × ${before.width} pixels, ${shown}. Each channel has a colour scale of its own, from its least to its largest value over both panels.${same}`,
      alt: `Feature maps of ${layer} before and after fine-tuning.${same}`,
      svg: await featureMapPair(panels.slice(0, 2)),
    });
  }
  return figures;
}

/** How often each class is given to a set of images, beside how often it is right to. */
export interface ClassShares {
  readonly name: string;
  /** Of the applied set, by most probable class. */
  readonly applied: number;
  readonly appliedCount: number;
  /** Mean probability over the applied set. */
  readonly meanProbability: number;
  /** Of the labelled test split: true, and as the same network sees it. */
  readonly labelled: number | null;
  readonly predictedOnTest: number | null;
}

/**
 * Class shares of the applied set and of the labelled set. The test split is stratified, so its shares are those the
 * network was trained on.
 */
export function appliedShares(
  results: StudyResults,
  { test: id, predictions }: Pick<NonNullable<StudyEvidence["applied"]>, "test" | "predictions">,
): ClassShares[] {
  const { classes, probabilities } = predictions;
  const predicted = argmax(probabilities, classes.length);
  const test = results.tests[id];
  const given = test === undefined ? [] : columnSums(test.confusion);
  return classes.map((name, c) => {
    const appliedCount = predicted.reduce((n, value) => n + (value === c ? 1 : 0), 0);
    let total = 0;
    for (let i = c; i < probabilities.length; i += classes.length) total += probabilities[i] ?? 0;
    const at = test?.classes.indexOf(name) ?? -1;
    const support = test?.confusion[at]?.reduce((sum, value) => sum + value, 0);
    return {
      name,
      applied: appliedCount / Math.max(1, predicted.length),
      appliedCount,
      meanProbability: total / Math.max(1, predicted.length),
      labelled: test === undefined || support === undefined ? null : support / test.n_test,
      predictedOnTest: test === undefined || at < 0 ? null : (given[at] ?? 0) / test.n_test,
    };
  });
}

async function appliedFigures(
  results: StudyResults,
  { applied }: StudyEvidence,
): Promise<Figure[]> {
  if (applied === undefined || applied.predictions.labels.length === 0) return [];
  const { name, predictions, images } = applied;
  const shares = appliedShares(results, applied);
  const series = [
    `${name}, predicted`,
    "labelled test split, true",
    "labelled test split, predicted",
  ];
  const figures: Figure[] = [
    {
      name: "applied_fractions",
      section: "applied",
      caption: `Share of each class among the ${count(predictions.labels.length)} images of ${name}, beside the shares in the labelled set that the network learnt from, true and as it sees them. A difference between the first bar and the others is either in the galaxies or a bias of the network.`,
      alt: shares
        .map(
          (s) =>
            `${s.name}: ${percent(s.applied)} of ${name}, ${percent(s.labelled)} of the labelled set`,
        )
        .join("; "),
      svg: await barPlot({
        rows: shares.map((share) => ({
          label: share.name,
          bars: [share.applied, share.labelled, share.predictedOnTest].flatMap((value, i) =>
            value === null ? [] : [{ series: series[i] ?? "", value }],
          ),
        })),
        series,
        xTitle: "share of the images",
        percent: true,
      }),
    },
  ];
  const byId = new Map(images.ids.map((id, index) => [id, index]));
  const inOrder = images.count === predictions.labels.length;
  const judged = judge(predictions).flatMap((item) => {
    const at = inOrder ? item.index : byId.get(predictions.ids[item.index] ?? "");
    return at === undefined ? [] : [{ ...item, at }];
  });
  const shuffled = shuffle(judged, new Random(results.seed, "report applied gallery"));
  const rows = predictions.classes.flatMap((label, c) => {
    const members = shuffled.filter((item) => item.predicted === c).slice(0, GALLERY_COLUMNS);
    return members.length === 0 ? [] : [{ label: `Predicted: ${label}`, members }];
  });
  const unsure = [...judged]
    .sort((a, b) => a.probability - b.probability)
    .slice(0, GALLERY_COLUMNS);
  if (unsure.length > 0) rows.push({ label: "Least sure of all", members: unsure });
  const cells = rows.flatMap(({ members }) => [
    ...members.map((item): GalleryCell | null => ({
      set: images,
      index: item.at,
      lines: [
        ...predictedLines(item, predictions.classes),
        { text: predictions.ids[item.index] ?? "", colour: MUTED_COLOUR },
      ],
    })),
    ...new Array<null>(GALLERY_COLUMNS - members.length).fill(null),
  ]);
  if (rows.length > 0)
    figures.push({
      name: "applied_gallery",
      section: "applied",
      caption: `Images of ${name} by predicted class, drawn at random, with the probability given; in the last row those that the network was least sure of.`,
      alt: `Galaxies of ${name} in rows: ${rows.map((r) => r.label).join(", ")}.`,
      svg: await gallery({
        cells,
        columns: GALLERY_COLUMNS,
        cellSize: GALLERY_CELL,
        rowLabels: rows.map((r) => r.label),
      }),
    });
  return figures;
}

const MASS: Quantity = { title: "log₁₀ (stellar mass / M☉)" };

async function physicalFigures(
  results: StudyResults,
  { physical }: StudyEvidence,
): Promise<Figure[]> {
  if (physical === undefined) return [];
  const named = physical.rows.flatMap((r) => [r.trueClass, r.predictedClass]);
  const classes = [...new Set([...classesOf(results), ...named])];
  const figures: Figure[] = [];
  const add = async (
    name: string,
    what: string,
    paperFigure: string,
    xOf: (r: PhysicalRow) => number | null | undefined,
    yOf: (r: PhysicalRow) => number | null | undefined,
    x: Quantity,
    y: Quantity,
  ): Promise<void> => {
    const points = physical.rows.flatMap((r): ScatterPoint[] => {
      const [px, py] = [xOf(r), yOf(r)];
      if (px === null || px === undefined || !Number.isFinite(px)) return [];
      if (py === null || py === undefined || !Number.isFinite(py) || (y.log === true && py <= 0))
        return [];
      return [{ x: px, y: py, trueClass: r.trueClass, predictedClass: r.predictedClass }];
    });
    if (points.length === 0) return;
    const agree = points.filter((p) => p.trueClass === p.predictedClass).length;
    figures.push({
      name,
      section: "physical",
      paperFigure,
      caption: `${what} of ${count(points.length)} galaxies, by true class (left) and by predicted class (right).`,
      alt: `Two scatter plots of ${what.toLowerCase()}; true and predicted class agree for ${agree} of ${points.length} galaxies.`,
      svg: await scatterPair(points, classes, x, y),
    });
  };
  const redshift: Quantity = { title: "redshift z" };
  const sigma: Quantity = { title: "velocity dispersion σ (km/s)", log: true };
  const sfr: Quantity = { title: "log₁₀ (star formation rate / (M☉/yr))" };
  const massOf = (r: PhysicalRow): number => r.logMass;
  await add(
    "mass_redshift",
    "Stellar mass against redshift",
    "23a, b",
    (r) => r.redshift,
    massOf,
    redshift,
    MASS,
  );
  await add(
    "sfr_mass",
    "Star formation rate against stellar mass",
    "23c, d",
    massOf,
    (r) => r.logSfr,
    MASS,
    sfr,
  );
  await add(
    "sigma_mass",
    "Velocity dispersion against stellar mass",
    "23e, f",
    massOf,
    (r) => r.sigma,
    MASS,
    sigma,
  );
  return figures;
}

/** One image with the class it was given. */
interface Judged {
  readonly index: number;
  readonly predicted: number;
  readonly probability: number;
}

function judge(predictions: Predictions): Judged[] {
  const { classes, probabilities } = predictions;
  return Array.from(argmax(probabilities, classes.length), (predicted, index) => ({
    index,
    predicted,
    probability: probabilities[index * classes.length + predicted] ?? 0,
  }));
}

function row({ classes, probabilities }: Predictions, index: number): number[] {
  return Array.from(probabilities.subarray(index * classes.length, (index + 1) * classes.length));
}

function shareRight(predictions: Predictions): number {
  const judged = judge(predictions);
  const right = judged.filter(({ index, predicted }) => predictions.labels[index] === predicted);
  return right.length / Math.max(1, judged.length);
}

function predictedLines({ predicted, probability }: Judged, classes: readonly string[]): Line[] {
  return [
    { text: `→ ${classes[predicted] ?? ""}`, weight: "bold" },
    { text: `p = ${probability.toFixed(3)}` },
  ];
}

function describe(
  { index, predicted, probability }: Judged,
  { classes, labels }: Predictions,
): string {
  const truth = classes[labels[index] ?? -1] ?? "unknown";
  return `true ${truth}, predicted ${classes[predicted] ?? ""} with ${probability.toFixed(2)}`;
}

function shuffle<T>(items: readonly T[], random: Random): T[] {
  return Array.from(random.permutation(items.length)).flatMap((i) => items.slice(i, i + 1));
}

/** Words in lines of about `width` characters. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** 10,000 */
export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** 12.3 %, or a dash. */
export function percent(value: number | null): string {
  return value === null ? "–" : `${(100 * value).toFixed(1)} %`;
}
