/**
 * One door to every data set, by name or by folder.
 */
import { existsSync } from "node:fs";
import path from "node:path";
import { DATA_SET_NAMES, type DataSetName, isDataSetName } from "./catalogue.ts";
import { type LoadedSet, type OnProgress, requireEveryClass } from "./dataset.ts";
import { type FashionMnistPart, loadFashionMnist } from "./fashion_mnist.ts";
import { loadGalaxyImages } from "./galaxy_images.ts";
import { type Gz1Options, listGz1, listGz2, listGz2Apply } from "./galaxy_zoo.ts";
import { listLabelledFolder, listLabelledTable } from "./labelled.ts";
import type { Listing } from "./listing.ts";
import {
  DataSetNotFoundError,
  type LocateOptions,
  dataRoots,
  isFolder,
  locateDataSet,
} from "./locate.ts";
import { type TTypeOptions, listEfigi, listNa10 } from "./t_type.ts";

/** What `loadDataSet` takes. */
export interface LoadOptions extends LocateOptions, Gz1Options, TTypeOptions {
  /** Height and width in pixels. Fashion-MNIST stays 28x28. */
  readonly size: number;
  /** 3 (the default) or 1. Fashion-MNIST is always grey. */
  readonly channels?: 1 | 3;
  /** The central fraction of each image to keep; the default is the data set's own. */
  readonly crop?: number | undefined;
  /** Fashion-MNIST: its training (default) or its test part. */
  readonly part?: FashionMnistPart;
  /** A class without an image is an error unless this is set. */
  readonly allowEmptyClasses?: boolean;
  readonly onProgress?: OnProgress | undefined;
  /** The folder of cached images, or false for none; the default is the user's cache folder. */
  readonly cache?: string | false;
}

/**
 * Loads a data set by its name, or from a folder with a sub-folder for each class, or from a table (or a folder with
 * labels.csv) that gives path and label. `folder` is where it was found.
 */
export async function loadDataSet(
  name: string,
  options: LoadOptions,
): Promise<LoadedSet & { readonly folder: string }> {
  const { folder, warnings } = findFolder(name, options);
  if (name === "fashion-mnist") {
    const set = await loadFashionMnist(folder, options.part);
    return { set, warnings, folder };
  }
  const listing = await listDataSet(name, folder, options);
  const { size, channels, onProgress, cache } = options;
  const loaded = await loadGalaxyImages(listing.files, {
    name: isDataSetName(name) ? name : path.basename(path.resolve(name)),
    classes: listing.classes,
    size,
    crop: options.crop ?? listing.crop,
    ...(channels && { channels }),
    onProgress,
    cache,
  });
  const isLabelled = listing.files.some((file) => file.label >= 0);
  if (isLabelled && !options.allowEmptyClasses) requireEveryClass(loaded.set);
  return {
    set: loaded.set,
    warnings: [...warnings, ...listing.warnings, ...loaded.warnings],
    folder,
  };
}

/** The files and labels of a data set (not of Fashion-MNIST) in `folder`, before any image is decoded. */
export async function listDataSet(
  name: string,
  folder: string,
  { withoutDuplicatesOf, tTypes }: Gz1Options & TTypeOptions = {},
): Promise<Listing> {
  switch (name) {
    case "gz1":
      return listGz1(folder, withoutDuplicatesOf ? { withoutDuplicatesOf } : {});
    case "gz2":
      return listGz2(folder);
    case "gz2-apply":
      return listGz2Apply(folder);
    case "efigi":
      return listEfigi(folder, tTypes ? { tTypes } : {});
    case "na10":
      return listNa10(folder, tTypes ? { tTypes } : {});
    case "gz-tables":
      throw new Error("data set gz-tables: has no images; it gives redshifts and masses for gz1");
  }
  if (!isFolder(folder)) return listLabelledTable(folder);
  const table = path.join(folder, "labels.csv");
  return existsSync(table) ? listLabelledTable(table) : listLabelledFolder(folder);
}

function findFolder(name: string, options: LocateOptions): { folder: string; warnings: string[] } {
  if (!isDataSetName(name)) {
    if (existsSync(name)) return { folder: path.resolve(name), warnings: [] };
    throw new Error(
      `data set ${name}: neither one of ${DATA_SET_NAMES.join(", ")} nor a folder that exists (${path.resolve(name)})`,
    );
  }
  const found = locateDataSet(name, options);
  if (!found) throw new DataSetNotFoundError(name, dataRoots(options));
  return { folder: found.folder, warnings: elsewhere(name, found.folder, options) };
}

/** Somebody who named a folder should hear that the data came from another one. */
function elsewhere(name: DataSetName, folder: string, { data }: LocateOptions): string[] {
  if (data === undefined || path.dirname(folder) === path.resolve(data)) return [];
  return [`${name}: not in ${path.resolve(data)} (given with --data); taken from ${folder}`];
}
