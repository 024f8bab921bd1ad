/**
 * Gets data sets from their public homes, and puts them in place whole or not at all.
 */
import { createWriteStream, existsSync } from "node:fs";
import { copyFile, mkdir, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import * as tar from "tar";
import {
  DATA_SET_NAMES,
  type DataSetInfo,
  type DataSetName,
  type FetchSource,
  dataSetInfo,
  howToGet,
} from "./catalogue.ts";
import type { OnProgress } from "./dataset.ts";
import { type DownloadOptions, download } from "./download.ts";
import { reasonOf } from "./errors.ts";
import { isFolder } from "./locate.ts";
import {
  FETCH_RECORD,
  type FetchRecord,
  filesBelow,
  folderManifest,
  sha256File,
} from "./verify.ts";

export interface FetchOptions extends Pick<DownloadOptions, "attempts" | "backoffMs"> {
  /** The folder of data sets into which this one is put, e.g. the user's data directory. Made if missing. */
  readonly into: string;
  /** Instead of each public host: this address, followed by the path of the file's public address. */
  readonly mirror?: string | undefined;
  /** What to get; the catalogue's entry by default. */
  readonly info?: DataSetInfo;
  readonly onProgress?: OnProgress | undefined;
}

export interface FetchResult {
  readonly folder: string;
  /** False if it was there before, and nothing was done. */
  readonly fetched: boolean;
  readonly warnings: readonly string[];
}

/** The names that `data fetch` knows how to get. */
export function fetchableNames(): DataSetName[] {
  return DATA_SET_NAMES.filter((name) => dataSetInfo(name).fetch !== undefined);
}

/**
 * Downloads a data set, checks the sums that are known, unpacks it beside its place and renames it into place. After a
 * failure nothing is in place; what was downloaded stays in INTO/.fetch-NAME, and calling again goes on from there.
 */
export async function fetchDataSet(name: DataSetName, options: FetchOptions): Promise<FetchResult> {
  const { into, info = dataSetInfo(name), onProgress } = options;
  if (!info.fetch)
    throw new Error(
      `data fetch ${name}: this data set cannot be fetched; ${howToGet(info)}. Those that can: ${fetchableNames().join(", ")}`,
    );
  const place = path.join(into, name);
  if (existsSync(place)) {
    if (isFolder(place) && existsSync(path.join(place, info.marker)))
      return { folder: place, fetched: false, warnings: await whatItLacks(info, place) };
    throw new Error(
      `data fetch ${name}: ${place} exists, but is not this data set (no ${info.marker} in it); move it away first`,
    );
  }
  const staging = path.join(into, `.fetch-${name}`);
  const whole = path.join(staging, "whole");
  try {
    await mkdir(staging, { recursive: true });
  } catch (cause) {
    throw new Error(`data fetch ${name}: cannot write to ${into}: ${reasonOf(cause)}`, { cause });
  }

  const files: string[] = [];
  const sources: { url: string; sha256: string }[] = [];
  for (const [index, source] of info.fetch.entries()) {
    const file = path.join(staging, `${index}-${path.basename(new URL(source.url).pathname)}`);
    const sha256 = await downloadSource(source, file, name, options);
    files.push(file);
    sources.push({ url: source.url, sha256 });
  }

  await rm(whole, { recursive: true, force: true });
  await mkdir(whole, { recursive: true });
  for (const [index, source] of info.fetch.entries()) {
    const file = files[index]!;
    if (source.saveAs) await copyFile(file, path.join(whole, source.saveAs));
    else await unpack(file, source, whole, name, onProgress);
  }
  for (const { path: file, text } of info.derived ?? [])
    await writeFile(path.join(whole, file), text);

  const warnings = await checkWhole(info, whole);
  const manifests: Record<string, string> = {};
  for (const { path: folder } of info.folders) {
    if (!isFolder(path.join(whole, folder))) continue;
    manifests[folder] = await folderManifest(
      path.join(whole, folder),
      `${name}/${folder}`,
      (done, total) => onProgress?.({ stage: `check ${name}/${folder}`, done, total }),
    );
  }
  const record: FetchRecord = {
    dataSet: name,
    fetched: new Date().toISOString(),
    sources,
    manifests,
  };
  await writeFile(path.join(whole, FETCH_RECORD), JSON.stringify(record, undefined, 2) + "\n");
  await rename(whole, place);
  await rm(staging, { recursive: true, force: true });
  return { folder: place, fetched: true, warnings };
}

/** Said of a data set that is there already: a sample, or a copy with fewer images than are public. */
async function whatItLacks(info: DataSetInfo, place: string): Promise<string[]> {
  const warnings: string[] = [];
  for (const { path: folder, publicCount = 0 } of info.folders) {
    const full = path.join(place, folder);
    const count = isFolder(full) ? (await filesBelow(full)).length : 0;
    if (count < publicCount)
      warnings.push(
        `${full} has ${count} of the ${publicCount} public images; to get all of them, move ${place} away or give another folder with --data`,
      );
  }
  return warnings;
}

/** Returns the file's SHA-256. A wrong sum removes the file, so that calling again gets it anew. */
async function downloadSource(
  source: FetchSource,
  file: string,
  name: DataSetName,
  { mirror, onProgress, attempts, backoffMs }: FetchOptions,
): Promise<string> {
  const publicUrl = new URL(source.url);
  const url = mirror ? mirror.replace(/\/$/, "") + publicUrl.pathname : source.url;
  if (!existsSync(file)) {
    const stage = `fetch ${source.saveAs ?? `${name} from ${publicUrl.host}`}`;
    try {
      await download(url, file, {
        onBytes: (done, total) => onProgress?.({ stage, done, total }),
        attempts,
        backoffMs,
      });
    } catch (cause) {
      throw new Error(`data fetch ${name}: ${reasonOf(cause)}`, { cause });
    }
  }
  const got = await sha256File(file);
  if (source.sha256 !== undefined && got !== source.sha256) {
    await rm(file);
    throw new Error(
      `data fetch ${name}: ${url} has the wrong sum: SHA-256 expected ${source.sha256}, got ${got}; nothing was put in place, try again later`,
    );
  }
  return got;
}

/** Unpacks the wanted files of a tar.gz. Where they go is made of the pattern's groups, which hold no slash. */
async function unpack(
  archive: string,
  source: FetchSource,
  into: string,
  name: DataSetName,
  onProgress?: OnProgress,
): Promise<void> {
  const writes: Promise<void>[] = [];
  const folders = new Set<string>();
  let done = 0;
  try {
    await tar.list({
      file: archive,
      strict: true, // a cut-off archive is an error, not a shorter archive
      noResume: true, // else an entry's bytes flow past before its file is open
      onReadEntry: (entry) => {
        const rule = source.unpack?.find(({ match }) => match.test(entry.path));
        if (!rule || entry.type !== "File") {
          entry.resume();
          return;
        }
        const matched = rule.match.exec(entry.path)?.[0] ?? ""; // without the folders before it
        const target = path.join(into, matched.replace(rule.match, rule.to));
        const write = async (): Promise<void> => {
          const folder = path.dirname(target);
          if (!folders.has(folder)) {
            await mkdir(folder, { recursive: true });
            folders.add(folder);
          }
          await pipeline(entry, createWriteStream(target));
          onProgress?.({ stage: `unpack ${name}`, done: ++done, total: 0 });
        };
        writes.push(write());
      },
    });
    await Promise.all(writes);
  } catch (cause) {
    await Promise.allSettled(writes);
    await rm(archive, { force: true });
    throw new Error(
      `data fetch ${name}: ${source.url} is no whole tar.gz: ${reasonOf(cause)}; nothing was put in place, try again`,
      { cause },
    );
  }
}

/** Known sums must hold; another number of images than expected is only said, as the set may have grown. */
async function checkWhole(info: DataSetInfo, whole: string): Promise<string[]> {
  const fail = (what: string): never => {
    throw new Error(
      `data fetch ${info.name}: ${what}; nothing was put in place (public home: ${info.home})`,
    );
  };
  for (const { path: file, sha256, optional } of info.files) {
    const full = path.join(whole, file);
    if (!existsSync(full)) {
      if (!optional) fail(`${file} was not in what was fetched`);
      continue;
    }
    const got = await sha256File(full);
    if (!sha256.includes(got))
      fail(`${file} has the wrong sum: SHA-256 expected ${sha256.join(" or ")}, got ${got}`);
  }
  const warnings: string[] = [];
  for (const { path: folder, publicCount } of info.folders) {
    if (publicCount === undefined) continue;
    const full = path.join(whole, folder);
    const count = isFolder(full) ? (await filesBelow(full)).length : 0;
    if (count === 0) fail(`no image for ${folder}/ was in what was fetched`);
    if (count !== publicCount)
      warnings.push(
        `${info.name}/${folder}: ${publicCount} images were expected, ${count} were there`,
      );
  }
  return warnings;
}
