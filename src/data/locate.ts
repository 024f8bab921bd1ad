/**
 * Where data sets lie, and where the cache of decoded images does.
 */
import { existsSync, statSync } from "node:fs";
import path from "node:path";
import envPaths from "env-paths";
import { type DataSetName, dataSetInfo, howToGet } from "./catalogue.ts";

export interface LocateOptions {
  /** The folder given with --data. It must exist; data sets that it lacks are looked for in the other places. */
  readonly data?: string | undefined;
}

/** A place in which data sets are looked for, and why. */
export interface DataRoot {
  readonly folder: string;
  readonly reason: string;
}

/** Debian's package dataset-fashion-mnist puts its four files into fashion-mnist/ here. */
const DEBIAN_DATA_SETS = "/usr/share/datasets";

/** The user's own data directory: where `data fetch` puts what it gets. */
export function userDataFolder(): string {
  return envPaths("tuningfork", { suffix: "" }).data;
}

/** Where decoded images are kept: TUNINGFORK_CACHE, or the user's cache directory. Safe to delete at any time. */
export function cacheFolder(): string {
  return process.env["TUNINGFORK_CACHE"] || envPaths("tuningfork", { suffix: "" }).cache;
}

/** The places in the order in which they are searched. Throws if a folder that somebody named does not exist. */
export function dataRoots({ data }: LocateOptions = {}): DataRoot[] {
  const roots: DataRoot[] = [];
  const named = (folder: string, reason: string): void => {
    if (!isFolder(folder)) {
      const what = existsSync(folder) ? "a file" : "a folder that does not exist";
      throw new Error(
        `data: ${reason} names ${what}: ${path.resolve(folder)}; give a folder that holds data sets, or leave it out`,
      );
    }
    roots.push({ folder: path.resolve(folder), reason });
  };
  if (data !== undefined) named(data, "--data");
  const fromEnvironment = process.env["TUNINGFORK_DATA"];
  if (fromEnvironment) named(fromEnvironment, "TUNINGFORK_DATA");
  roots.push({ folder: path.resolve("data"), reason: "data/" });
  roots.push({ folder: userDataFolder(), reason: "the user's data directory" });
  roots.push({ folder: path.resolve("../shared/data"), reason: "../shared/data" });
  roots.push({ folder: DEBIAN_DATA_SETS, reason: "Debian's data sets" });
  return roots;
}

/** The data set was in none of the places; the study falls back to simulated galaxies on this, and on nothing else. */
export class DataSetNotFoundError extends Error {
  readonly dataSet: DataSetName;

  constructor(dataSet: DataSetName, roots: readonly DataRoot[]) {
    const info = dataSetInfo(dataSet);
    const places = roots.map(({ folder, reason }) => {
      const found = isFolder(path.join(folder, dataSet));
      return `\n  ${path.join(folder, dataSet)} (${reason})${found ? `: without ${info.marker}` : ""}`;
    });
    super(`data set ${dataSet}: not found; ${howToGet(info)}. Looked for:${places.join("")}`);
    this.name = "DataSetNotFoundError";
    this.dataSet = dataSet;
  }
}

/** The folder of a data set, or nothing. */
export function locateDataSet(
  name: DataSetName,
  options: LocateOptions = {},
): { readonly folder: string; readonly root: DataRoot } | undefined {
  const { marker } = dataSetInfo(name);
  for (const root of dataRoots(options)) {
    const folder = path.join(root.folder, name);
    if (isFolder(folder) && existsSync(path.join(folder, marker))) return { folder, root };
  }
  return undefined;
}

/** The folder of a data set. Throws an error that says where it was looked for and how to get it. */
export function findDataSet(name: DataSetName, options: LocateOptions = {}): string {
  const found = locateDataSet(name, options);
  if (!found) throw new DataSetNotFoundError(name, dataRoots(options));
  return found.folder;
}

/** True for a folder, or a link to one. */
export function isFolder(folder: string): boolean {
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
