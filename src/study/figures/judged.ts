/** Images with the class that a network gives them, and how galleries show them. */
import { argmax } from "../../metrics/accuracy.ts";
import type { Random } from "../../random.ts";
import type { Line } from "../image_grid.ts";
import type { Predictions } from "../results.ts";

export const GALLERY_COLUMNS = 6;
/** Width and height of an image in a gallery, in pixels. */
export const GALLERY_CELL = 124;

/** One image with the class it was given. */
export interface Judged {
  readonly index: number;
  readonly predicted: number;
  readonly probability: number;
}

/** Each image's most probable class. */
export function judge(predictions: Predictions): Judged[] {
  const { classes, probabilities } = predictions;
  return Array.from(argmax(probabilities, classes.length), (predicted, index) => ({
    index,
    predicted,
    probability: probabilities[index * classes.length + predicted] ?? 0,
  }));
}

/** What stands under an image of a gallery. */
export function predictedLines(
  { predicted, probability }: Judged,
  classes: readonly string[],
): Line[] {
  return [
    { text: `→ ${classes[predicted] ?? ""}`, weight: "bold" },
    { text: `p = ${probability.toFixed(3)}` },
  ];
}

/** The same for who cannot see it, with the true class. */
export function describe(
  { index, predicted, probability }: Judged,
  { classes, labels }: Predictions,
): string {
  const truth = classes[labels[index] ?? -1] ?? "unknown";
  return `true ${truth}, predicted ${classes[predicted] ?? ""} with ${probability.toFixed(2)}`;
}

/** The items in random order. */
export function shuffle<T>(items: readonly T[], random: Random): T[] {
  return Array.from(random.permutation(items.length)).flatMap((i) => items.slice(i, i + 1));
}
