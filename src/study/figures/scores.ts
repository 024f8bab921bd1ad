/** How well the networks do: accuracy, training, ROC and confusion. */
import { barPlot } from "../plots/bars.ts";
import { confusionPlot } from "../plots/confusion.ts";
import { rocPair, rocPlot } from "../plots/roc.ts";
import { trainingCurves } from "../plots/training_curves.ts";
import type { Predictions, StudyEvidence, StudyResults } from "../results.ts";
import { count, fixed, meanAccuracy, recipe, testsRun } from "../summary.ts";
import { PAPER_TABLE3 } from "../table3.ts";
import type { Figure } from "./figure.ts";
import { judge } from "./judged.ts";

/** Accuracy of each test beside the paper's. */
export async function accuracyFigure(results: StudyResults): Promise<Figure | null> {
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

/** Loss and accuracy by epoch. */
export async function trainingFigures(results: StudyResults): Promise<Figure[]> {
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

/** The ROC curves of each test. */
export async function rocFigures(
  results: StudyResults,
  evidence: StudyEvidence,
): Promise<Figure[]> {
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

/** Overfitting, shown by ROC curves. */
export async function smallAgainstLargeFigure({
  smallAgainstLarge,
}: StudyEvidence): Promise<Figure[]> {
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

/** The confusion matrix of each test. */
export async function confusionFigures(results: StudyResults): Promise<Figure[]> {
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

function shareRight(predictions: Predictions): number {
  const judged = judge(predictions);
  const right = judged.filter(({ index, predicted }) => predictions.labels[index] === predicted);
  return right.length / Math.max(1, judged.length);
}
