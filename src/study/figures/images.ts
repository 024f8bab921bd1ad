/** Figures made of images: what augmentation does, the surveys, right and wrong galaxies, feature maps. */
import { MUTED_COLOUR } from "../../draw/svg.ts";
import { Random } from "../../random.ts";
import { SHOWN_CHANNELS, featureMapPair, gallery, probabilityBars } from "../image_grid.ts";
import type { GalleryCell, ProbabilityCell } from "../image_grid.ts";
import type { Predictions, StudyEvidence, StudyResults } from "../results.ts";
import { bestTest, count } from "../summary.ts";
import type { Figure } from "./figure.ts";
import {
  GALLERY_CELL,
  GALLERY_COLUMNS,
  describe,
  judge,
  predictedLines,
  shuffle,
  type Judged,
} from "./judged.ts";

/** Augmented images, and one image of each survey. */
export async function sampleFigures({ augmented, surveys }: StudyEvidence): Promise<Figure[]> {
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

/** Figures 10, 21 and 22: images of the test split with what the best network says of them. */
export async function testImageFigures(
  results: StudyResults,
  evidence: StudyEvidence,
): Promise<Figure[]> {
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

/** An image and what the layers make of it. */
export async function featureMapFigures({ featureMaps }: StudyEvidence): Promise<Figure[]> {
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

function row({ classes, probabilities }: Predictions, index: number): number[] {
  return Array.from(probabilities.subarray(index * classes.length, (index + 1) * classes.length));
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
