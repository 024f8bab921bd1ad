/** Which class is taken for which. Host only; labels of -1 are left out. */
import { expectClass, expectSameLength } from "./accuracy.ts";

/** Counts of images: row = true class, column = predicted class; [classCount][classCount]. */
export function confusionMatrix(
  labels: ArrayLike<number>,
  predicted: ArrayLike<number>,
  classCount: number,
): number[][] {
  expectSameLength("confusionMatrix", labels, predicted);
  const counts = Array.from({ length: classCount }, () => new Array<number>(classCount).fill(0));
  for (let i = 0; i < labels.length; i++) {
    if (labels[i]! < 0) continue;
    expectClass("confusionMatrix", labels[i]!, classCount, i);
    expectClass("confusionMatrix", predicted[i]!, classCount, i);
    counts[labels[i]!]![predicted[i]!]!++;
  }
  return counts;
}

/** One class of a confusion matrix; null where the ratio is 0/0. */
export interface ClassScores {
  /** Of the images given this class, the share that has it. */
  readonly precision: number | null;
  /** Of the images that have this class, the share that was given it. */
  readonly recall: number | null;
  /** Harmonic mean of precision and recall. */
  readonly f1: number | null;
  /** How many images have this class. */
  readonly support: number;
}

/** Precision, recall, F1 and support of each class, in the order of the matrix. */
export function precisionRecall(confusion: readonly (readonly number[])[]): ClassScores[] {
  const predictedCounts = columnSums(confusion);
  return confusion.map((row, c) => {
    const correct = row[c]!;
    const support = sum(row);
    const predicted = predictedCounts[c]!;
    return {
      precision: predicted === 0 ? null : correct / predicted,
      recall: support === 0 ? null : correct / support,
      // 2PR / (P + R), written in counts so that no 0/0 of its parts matters.
      f1: support + predicted === 0 ? null : (2 * correct) / (support + predicted),
      support,
    };
  });
}

/** True when 99 % or more of the predictions name one class: the network has stopped looking at the image. */
export function collapsed(confusion: readonly (readonly number[])[]): boolean {
  const predicted = columnSums(confusion);
  const total = sum(predicted);
  return total > 0 && Math.max(...predicted) >= 0.99 * total;
}

/** How often each class was predicted. */
export function columnSums(confusion: readonly (readonly number[])[]): number[] {
  return confusion.map((_, c) => sum(confusion.map((row) => row[c]!)));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
