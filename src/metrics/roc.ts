/** Receiver operating characteristic, one class against the rest. Host only, float64; labels of -1 are left out. */
import { expectClass, expectRows, expectSameLength } from "./accuracy.ts";

/** The curve from (0, 0) to (1, 1); entry i is what calling everything with `score >= thresholds[i]` positive gives. */
export interface RocCurve {
  readonly falsePositiveRate: readonly number[];
  readonly truePositiveRate: readonly number[];
  /** Descending; the first is Infinity: nothing is called positive. */
  readonly thresholds: readonly number[];
}

/**
 * One point for each distinct score: images that share a score cannot be told apart by any threshold, so a tie
 * between classes is a slanted step. Null when there is no positive or no negative image.
 */
export function rocCurve(
  labels: ArrayLike<number>,
  scores: ArrayLike<number>,
  positiveClass: number,
): RocCurve | null {
  expectSameLength("rocCurve", labels, scores);
  const order: number[] = [];
  let positives = 0;
  for (let i = 0; i < labels.length; i++) {
    if (labels[i]! < 0) continue;
    if (Number.isNaN(scores[i]!))
      throw new RangeError(`rocCurve: every score must be a number: image ${i} has NaN`);
    order.push(i);
    if (labels[i] === positiveClass) positives++;
  }
  const negatives = order.length - positives;
  if (positives === 0 || negatives === 0) return null;
  order.sort((i, j) => scores[j]! - scores[i]!);

  const falsePositiveRate = [0];
  const truePositiveRate = [0];
  const thresholds = [Infinity];
  let truePositives = 0;
  for (let k = 0; k < order.length; k++) {
    const score = scores[order[k]!]!;
    if (labels[order[k]!] === positiveClass) truePositives++;
    if (k + 1 < order.length && scores[order[k + 1]!] === score) continue;
    falsePositiveRate.push((k + 1 - truePositives) / negatives);
    truePositiveRate.push(truePositives / positives);
    thresholds.push(score);
  }
  return { falsePositiveRate, truePositiveRate, thresholds };
}

/**
 * Area under the ROC curve by trapezoids, which equals the Mann-Whitney statistic: the probability that a positive
 * image scores above a negative one, a tie counting half. Null when there is no positive or no negative image.
 */
export function auc(
  labels: ArrayLike<number>,
  scores: ArrayLike<number>,
  positiveClass: number,
): number | null {
  const curve = rocCurve(labels, scores, positiveClass);
  if (curve === null) return null;
  const { falsePositiveRate: x, truePositiveRate: y } = curve;
  let area = 0;
  for (let i = 1; i < x.length; i++) area += ((x[i]! - x[i - 1]!) * (y[i]! + y[i - 1]!)) / 2;
  return area;
}

/**
 * AUC of each class against the rest, in class order.
 * @param probabilities `labels.length * classCount` values, row-major
 */
export function aucPerClass(
  labels: ArrayLike<number>,
  probabilities: ArrayLike<number>,
  classCount: number,
): (number | null)[] {
  expectRows("aucPerClass", labels, probabilities, classCount);
  return Array.from({ length: classCount }, (_, c) =>
    auc(labels, classScores(probabilities, classCount, c), c),
  );
}

/** Unweighted mean of the classes' AUCs, over the classes that have one; null when none has. */
export function macroAuc(
  labels: ArrayLike<number>,
  probabilities: ArrayLike<number>,
  classCount: number,
): number | null {
  const areas = aucPerClass(labels, probabilities, classCount).filter((area) => area !== null);
  if (areas.length === 0) return null;
  return areas.reduce((total, area) => total + area, 0) / areas.length;
}

/** Column `classIndex` of row-major probabilities: one score for each image. */
export function classScores(
  probabilities: ArrayLike<number>,
  classCount: number,
  classIndex: number,
): Float64Array {
  expectClass("classScores", classIndex, classCount, 0);
  const scores = new Float64Array(Math.floor(probabilities.length / classCount));
  for (let i = 0; i < scores.length; i++) scores[i] = probabilities[i * classCount + classIndex]!;
  return scores;
}
