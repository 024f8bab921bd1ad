/** What the best network says of images that nobody labelled. */
import { MUTED_COLOUR } from "../../draw/svg.ts";
import { argmax } from "../../metrics/accuracy.ts";
import { columnSums } from "../../metrics/confusion.ts";
import { Random } from "../../random.ts";
import { gallery, type GalleryCell } from "../image_grid.ts";
import { barPlot } from "../plots/bars.ts";
import type { StudyEvidence, StudyResults } from "../results.ts";
import { count, percent } from "../summary.ts";
import type { Figure } from "./figure.ts";
import { GALLERY_CELL, GALLERY_COLUMNS, judge, predictedLines, shuffle } from "./judged.ts";

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

/** How often each class is given, and galleries by class. */
export async function appliedFigures(
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
