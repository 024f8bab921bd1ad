/**
 * What a data set consists of before any image is decoded: files with labels, and what was left out.
 */
import { readdir } from "node:fs/promises";
import path from "node:path";
import { countWithExamples, reasonOf } from "./errors.ts";
import type { GalaxyFile } from "./galaxy_images.ts";

export interface Listing {
  readonly files: readonly GalaxyFile[];
  readonly classes: readonly string[];
  /** The central fraction of each image that is to be kept. */
  readonly crop: number;
  readonly warnings: readonly string[];
}

const IMAGE_NAME = /\.(jpe?g|png|webp|tiff?|gif|avif)$/i;

/** Paths of the image files in a folder and, if `recursive`, below it, in an order that does not depend on the machine. */
export async function listImageFiles(folder: string, recursive = false): Promise<string[]> {
  let entries;
  try {
    entries = await readdir(folder, { withFileTypes: true, recursive });
  } catch (cause) {
    throw new Error(`${folder}: cannot be read: ${reasonOf(cause)}`, { cause });
  }
  return entries
    .filter((entry) => !entry.isDirectory() && IMAGE_NAME.test(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort(compareText);
}

/** Order by UTF-16 code unit: for these names the order of LC_ALL=C. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The file's name without folder and extension. */
export function stem(file: string): string {
  return path.basename(file, path.extname(file));
}

/**
 * Joins labels to images by identifier. A label without image and an image without label are counted and said, no more:
 * such are found in most collections.
 */
export function joinLabels<T>(
  name: string,
  images: ReadonlyMap<string, GalaxyFile["path"]>,
  labels: ReadonlyMap<string, T>,
): { readonly pairs: { id: string; path: GalaxyFile["path"]; value: T }[]; warnings: string[] } {
  const pairs: { id: string; path: GalaxyFile["path"]; value: T }[] = [];
  const unlabelled: string[] = [];
  for (const [id, file] of images) {
    const value = labels.get(id);
    if (value === undefined) unlabelled.push(id);
    else pairs.push({ id, path: file, value });
  }
  const missing = [...labels.keys()].filter((id) => !images.has(id));
  const warnings: string[] = [];
  if (missing.length > 0)
    warnings.push(
      `${name}: ${countWithExamples(missing, "label without an image", "labels without an image")}, left out`,
    );
  if (unlabelled.length > 0)
    warnings.push(
      `${name}: ${countWithExamples(unlabelled, "image without a label", "images without a label")}, left out`,
    );
  return { pairs, warnings };
}
