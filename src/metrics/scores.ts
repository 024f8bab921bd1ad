/** All that is said of a classifier on a labelled set. */
import { accuracy, argmax, majorityBaseline, meanCrossEntropy } from "./accuracy.ts";
import { confusionMatrix } from "./confusion.ts";
import { aucPerClass, macroAuc } from "./roc.ts";

/** Keys are the published names, as in `evaluate --json` and `results.json`. */
export interface Scores {
  readonly accuracy: number;
  readonly loss: number;
  /** Accuracy of always naming the most frequent class of the set. */
  readonly majority_baseline: number;
  readonly classes: readonly string[];
  /** Rows true, columns predicted. */
  readonly confusion: readonly (readonly number[])[];
  /** One-against-rest area under the ROC curve by class, NaN-free: null where a class has no member. */
  readonly auc: Readonly<Record<string, number | null>>;
  readonly macro_auc: number | null;
}

/**
 * Compares probabilities with labels.
 * @param labels [n], class indices; -1 where unknown
 * @param probabilities [n,classes], row-major
 */
export function scoresOf(
  { labels, classes }: { readonly labels: Int32Array; readonly classes: readonly string[] },
  probabilities: Float32Array,
): Scores {
  const predicted = argmax(probabilities, classes.length);
  const areas = aucPerClass(labels, probabilities, classes.length);
  return {
    accuracy: accuracy(labels, predicted),
    loss: meanCrossEntropy(labels, probabilities, classes.length),
    majority_baseline: majorityBaseline(labels),
    classes,
    confusion: confusionMatrix(labels, predicted, classes.length),
    auc: Object.fromEntries(classes.map((name, i) => [name, areas[i] ?? null])),
    macro_auc: macroAuc(labels, probabilities, classes.length),
  };
}
