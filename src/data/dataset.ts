/**
 * Labelled images on the host: the one shape in which every source of data enters the engine.
 */

/** Images of one size, uint8 NHWC, with labels. Immutable by convention. */
export interface ImageSet {
  /** The data set's name, e.g. "gz2"; subsets append what they are, e.g. "gz2/train". */
  readonly name: string;
  /** `count * height * width * channels` bytes, NHWC. */
  readonly images: Uint8Array;
  readonly count: number;
  readonly height: number;
  readonly width: number;
  /** 1 (grey) or 3 (RGB). */
  readonly channels: number;
  /** Index into `classes` for each image; -1 where no label is known. */
  readonly labels: Int32Array;
  readonly classes: readonly string[];
  /** One identifier for each image: an object id, a PGC name, a file name. */
  readonly ids: readonly string[];
  /** The central fraction of each original image that was kept before resizing, 1 for all of it. */
  readonly crop: number;
}

/** What a loader is doing, for a progress bar: `done` of `total` items. */
export interface Progress {
  readonly stage: string;
  readonly done: number;
  readonly total: number;
}
export type OnProgress = (progress: Progress) => void;

/** A data set as loaded, with all that was left out or looked wrong, a sentence each. */
export interface LoadedSet {
  readonly set: ImageSet;
  readonly warnings: readonly string[];
}

/** The images at `indices`, in that order, copied. Shapes: [indices.length, height, width, channels]. */
export function subset(set: ImageSet, indices: ArrayLike<number>, name = set.name): ImageSet {
  const imageBytes = set.height * set.width * set.channels;
  const images = new Uint8Array(indices.length * imageBytes);
  const labels = new Int32Array(indices.length);
  const ids: string[] = [];
  for (let i = 0; i < indices.length; i++) {
    const from = indices[i]!;
    if (from < 0 || from >= set.count)
      throw new RangeError(
        `subset: index ${from} is outside ${set.name}, which has ${set.count} images`,
      );
    images.set(set.images.subarray(from * imageBytes, (from + 1) * imageBytes), i * imageBytes);
    labels[i] = set.labels[from]!;
    ids.push(set.ids[from]!);
  }
  return { ...set, name, images, labels, ids, count: indices.length };
}

/** How many images each class has, in the order of `classes`. */
export function countPerClass(set: ImageSet): number[] {
  const counts = set.classes.map(() => 0);
  for (const label of set.labels) if (label >= 0) counts[label]!++;
  return counts;
}

/** How many of `labels` each class has, by the class's name. */
export function countPerLabel(
  labels: ArrayLike<number>,
  classes: readonly string[],
): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of classes) counts[name] = 0;
  for (let i = 0; i < labels.length; i++) {
    const name = classes[labels[i]!];
    if (name !== undefined) counts[name]!++;
  }
  return counts;
}

/** Throws if a class has no image: a network cannot learn it, and its scores would mean nothing. */
export function requireEveryClass(set: ImageSet): void {
  const counts = countPerClass(set);
  const empty = set.classes.filter((_, label) => counts[label] === 0);
  if (empty.length > 0)
    throw new Error(
      `data set ${set.name}: no image of class ${empty.map((name) => `"${name}"`).join(", ")}: expected at least one of each of ${set.classes.join(", ")}, got ${counts.join(", ")}; add images or leave the class out`,
    );
}
