/**
 * How often a classifier is right, and how surprised it is when it is not. Host only, float64.
 * Throughout, a label of -1 means "unknown": that image is left out.
 */

/**
 * The most probable class of each row; a tie goes to the first.
 * @param probabilities rows of `classCount` values, row-major; NaN is refused, since no class is the largest then
 */
export function argmax(probabilities: ArrayLike<number>, classCount: number): Int32Array {
  const rows = rowCount("argmax", probabilities, classCount);
  const best = new Int32Array(rows);
  for (let row = 0; row < rows; row++) {
    let bestValue = -Infinity;
    for (let c = 0; c < classCount; c++) {
      const value = probabilities[row * classCount + c]!;
      if (Number.isNaN(value))
        throw new RangeError(
          `argmax: every value must be a number: row ${row} has NaN for class ${c}`,
        );
      if (value > bestValue) {
        bestValue = value;
        best[row] = c;
      }
    }
  }
  return best;
}

/** The share of labelled images whose predicted class is the true one, 0 to 1. */
export function accuracy(labels: ArrayLike<number>, predicted: ArrayLike<number>): number {
  expectSameLength("accuracy", labels, predicted);
  let correct = 0;
  let count = 0;
  for (let i = 0; i < labels.length; i++) {
    if (labels[i]! < 0) continue;
    count++;
    if (labels[i] === predicted[i]) correct++;
  }
  expectLabelled("accuracy", count, labels.length);
  return correct / count;
}

/** The accuracy of always naming the most frequent class: what a network must beat to have learnt anything. */
export function majorityBaseline(labels: ArrayLike<number>): number {
  const counts = new Map<number, number>();
  let count = 0;
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i]!;
    if (label < 0) continue;
    count++;
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  expectLabelled("majorityBaseline", count, labels.length);
  return Math.max(...counts.values()) / count;
}

/**
 * Categorical cross-entropy, -ln p(true class), averaged over the labelled images. Probabilities are clipped at
 * 1e-7 as Keras clips them, so that one certain mistake costs 16.1 and not infinity.
 * @param probabilities `labels.length * classCount` values, row-major
 */
export function meanCrossEntropy(
  labels: ArrayLike<number>,
  probabilities: ArrayLike<number>,
  classCount: number,
): number {
  expectRows("meanCrossEntropy", labels, probabilities, classCount);
  let sum = 0;
  let count = 0;
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i]!;
    if (label < 0) continue;
    expectClass("meanCrossEntropy", label, classCount, i);
    count++;
    sum -= Math.log(Math.max(probabilities[i * classCount + label]!, 1e-7));
  }
  expectLabelled("meanCrossEntropy", count, labels.length);
  return sum / count;
}

/** Refuses arrays that do not hold one value for each label. */
export function expectSameLength(
  op: string,
  labels: ArrayLike<number>,
  other: ArrayLike<number>,
): void {
  if (labels.length !== other.length)
    throw new RangeError(
      `${op}: one value for each label: ${labels.length} labels vs ${other.length} values`,
    );
}

/** Refuses probabilities that are not one row of `classCount` for each label. */
export function expectRows(
  op: string,
  labels: ArrayLike<number>,
  probabilities: ArrayLike<number>,
  classCount: number,
): void {
  const rows = rowCount(op, probabilities, classCount);
  if (rows !== labels.length)
    throw new RangeError(`${op}: one row for each label: ${labels.length} labels vs ${rows} rows`);
}

/** Refuses a label or a prediction that names no class. */
export function expectClass(op: string, label: number, classCount: number, index: number): void {
  if (!(Number.isInteger(label) && label >= 0 && label < classCount))
    throw new RangeError(
      `${op}: classes run from 0 to ${classCount - 1}: got ${label} for image ${index}`,
    );
}

function rowCount(op: string, probabilities: ArrayLike<number>, classCount: number): number {
  const rows = probabilities.length / classCount;
  if (!Number.isInteger(rows) || classCount < 1)
    throw new RangeError(
      `${op}: probabilities must be whole rows: ${probabilities.length} values vs rows of ${classCount}`,
    );
  return rows;
}

function expectLabelled(op: string, count: number, total: number): void {
  if (count === 0)
    throw new RangeError(`${op}: at least one labelled image is needed: got none among ${total}`);
}
