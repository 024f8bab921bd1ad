/**
 * Seeded, stratified splits. They give indices, not images: `subset(set, indices)` copies.
 */
import { Random } from "../random.ts";
import type { ImageSet } from "./dataset.ts";

/** The parts of a set. */
export interface Split {
  /** Ascending indices into the set. */
  readonly train: Uint32Array;
  readonly test: Uint32Array;
  /** Labelled images in neither, when `how` asks for fewer than there are. */
  readonly unused: Uint32Array;
}

/** How large: a fraction of the images for training, the rest for testing; or numbers of images. */
export type SplitSize = number | { readonly train: number; readonly test: number };

type Labelled = Pick<ImageSet, "name" | "labels" | "classes">;

/**
 * Splits the labelled images so that each class is in both parts in its share. Depends on nothing but the labels, the sizes
 * and the seed. Images without label (-1) are in no part.
 */
export function stratifiedSplit(set: Labelled, how: SplitSize, seed: number): Split {
  return split(set, how, seed, "split");
}

/** Takes `fraction` of the images out of a training set for validation: { train, test: the validation images }. */
export function validationSplit(set: Labelled, fraction: number, seed: number): Split {
  if (!(fraction > 0 && fraction < 1))
    throw new RangeError(
      `validation split of ${set.name}: expected a fraction between 0 and 1, got ${fraction}`,
    );
  return split(set, 1 - fraction, seed, "validation");
}

function split(set: Labelled, how: SplitSize, seed: number, purpose: string): Split {
  const members: number[][] = set.classes.map(() => []);
  set.labels.forEach((label, index) => members[label]?.push(index));
  const sizes = members.map((m) => m.length);
  const labelled = sizes.reduce((sum, n) => sum + n, 0);
  const wanted = splitCounts(set.name, how, labelled);
  const trainCounts = apportion(sizes, wanted.train);
  // Testing takes its share of what training left, so that no class is asked for more than it has.
  const testCounts = apportion(
    sizes.map((n, label) => n - trainCounts[label]!),
    wanted.test,
  );
  const train: number[] = [];
  const test: number[] = [];
  const unused: number[] = [];
  members.forEach((indices, label) => {
    const order = new Random(seed, purpose, label).permutation(indices.length);
    const trainEnd = trainCounts[label]!;
    const testEnd = trainEnd + testCounts[label]!;
    order.forEach((from, position) => {
      const part = position < trainEnd ? train : position < testEnd ? test : unused;
      part.push(indices[from]!);
    });
  });
  return { train: ascending(train), test: ascending(test), unused: ascending(unused) };
}

function splitCounts(
  name: string,
  how: SplitSize,
  labelled: number,
): { train: number; test: number } {
  if (typeof how === "number") {
    if (!(how >= 0 && how <= 1))
      throw new RangeError(
        `split of ${name}: expected a training fraction from 0 to 1, got ${how}`,
      );
    const train = Math.round(how * labelled);
    return { train, test: labelled - train };
  }
  if (how.train < 0 || how.test < 0 || how.train + how.test > labelled)
    throw new RangeError(
      `split of ${name}: ${how.train} for training and ${how.test} for testing asked for, but it has ${labelled} labelled images`,
    );
  return how;
}

/** Shares `total` out in proportion to `sizes`, never more than a size; the largest remainders get what rounding left. */
function apportion(sizes: readonly number[], total: number): number[] {
  const all = sizes.reduce((sum, n) => sum + n, 0);
  const exact = sizes.map((n) => (all === 0 ? 0 : (n * total) / all));
  const counts = exact.map(Math.floor);
  const missing = total - counts.reduce((sum, n) => sum + n, 0);
  const byRemainder = sizes
    .map((_, label) => label)
    .sort((a, b) => exact[b]! - counts[b]! - (exact[a]! - counts[a]!) || a - b);
  for (const label of byRemainder.slice(0, missing)) counts[label]!++;
  return counts;
}

function ascending(indices: number[]): Uint32Array {
  return Uint32Array.from(indices).sort();
}
