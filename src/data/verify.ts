/**
 * Are the bytes of a data set the ones that are known?
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { type DataSetInfo, type DataSetName, type KnownFolder, dataSetInfo } from "./catalogue.ts";
import type { OnProgress } from "./dataset.ts";
import { imageSize } from "./galaxy_images.ts";
import { compareText } from "./listing.ts";

export interface VerifiedItem {
  /** Data set and path inside it, e.g. "gz1/images". */
  readonly path: string;
  /** "unknown": there is no sum to compare with, and `detail` says why. */
  readonly status: "ok" | "mismatch" | "missing" | "unknown";
  readonly detail: string;
}

/** What `data fetch` leaves in the folder of a data set, so that later damage can be seen where no sum is published. */
export interface FetchRecord {
  readonly dataSet: DataSetName;
  readonly fetched: string;
  readonly sources: readonly { readonly url: string; readonly sha256: string }[];
  /** Manifest sum of each folder as it was unpacked. */
  readonly manifests: Readonly<Record<string, string>>;
}

export const FETCH_RECORD = "FETCHED.json";

/** SHA-256 of a file, hexadecimal. */
export async function sha256File(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}

/** All files in and below a folder, relative to it, with forward slashes. */
export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) =>
      path.relative(folder, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, "/"),
    );
}

/**
 * The sum of a folder: SHA-256 of what `find LABEL -type f | LC_ALL=C sort | xargs sha256sum` prints, where LABEL is the
 * folder's path as that command saw it, e.g. "gz1/images".
 */
export async function folderManifest(
  folder: string,
  label: string,
  onFile?: (done: number, total: number) => void,
): Promise<string> {
  const names = (await filesBelow(folder)).map((name) => `${label}/${name}`).sort(compareText);
  const hash = createHash("sha256");
  for (const [index, name] of names.entries()) {
    const file = path.join(folder, name.slice(label.length + 1));
    hash.update(`${await sha256File(file)}  ${name}\n`);
    onFile?.(index + 1, names.length);
  }
  return hash.digest("hex");
}

/** Compares every file and folder of a data set with its known sum. */
export async function verifyDataSet(
  name: DataSetName,
  folder: string,
  onProgress?: OnProgress,
): Promise<VerifiedItem[]> {
  const info = dataSetInfo(name);
  const items: VerifiedItem[] = [];
  for (const { path: file, sha256, optional } of info.files) {
    const label = `${name}/${file}`;
    const full = path.join(folder, file);
    if (!existsSync(full)) {
      if (optional) items.push({ path: label, status: "unknown", detail: "not here; optional" });
      else items.push({ path: label, status: "missing", detail: "not here" });
      continue;
    }
    onProgress?.({ stage: `verify ${label}`, done: 0, total: 1 });
    const got = await sha256File(full);
    onProgress?.({ stage: `verify ${label}`, done: 1, total: 1 });
    items.push(
      sha256.includes(got)
        ? { path: label, status: "ok", detail: "" }
        : {
            path: label,
            status: "mismatch",
            detail: `SHA-256 expected ${sha256.join(" or ")}, got ${got}`,
          },
    );
  }
  for (const known of info.folders) items.push(await verifyFolder(info, known, folder, onProgress));
  return items;
}

async function verifyFolder(
  info: DataSetInfo,
  known: KnownFolder,
  dataSetFolder: string,
  onProgress?: OnProgress,
): Promise<VerifiedItem> {
  const label = [info.name, known.path].filter(Boolean).join("/");
  const folder = path.join(dataSetFolder, known.path);
  if (!existsSync(folder))
    return known.sample
      ? { path: label, status: "unknown", detail: "not here; a sample only" }
      : { path: label, status: "missing", detail: "not here" };
  const got = await folderManifest(folder, label, (done, total) =>
    onProgress?.({ stage: `verify ${label}`, done, total }),
  );
  if (got === known.manifest) return { path: label, status: "ok", detail: "" };
  const asFetched = (await readFetchRecord(dataSetFolder))?.manifests[known.path];
  if (asFetched === got)
    return { path: label, status: "ok", detail: "as it was fetched from its public home" };
  const mismatch = (expected: string): VerifiedItem => ({
    path: label,
    status: "mismatch",
    detail: `manifest expected ${expected}, got ${got}`,
  });
  if (asFetched !== undefined) return mismatch(asFetched);
  if (await isPublicCopy(info, known, folder))
    return {
      path: label,
      status: "unknown",
      detail: `no sum to compare with: ${known.publicDiffers ?? "a public copy"}`,
    };
  return mismatch(known.manifest);
}

/** Told by the size of the first image where the known copy is cropped, else by the number of files. */
async function isPublicCopy(
  info: DataSetInfo,
  known: KnownFolder,
  folder: string,
): Promise<boolean> {
  const names = (await filesBelow(folder)).sort(compareText);
  if (names.length !== known.publicCount) return false;
  if (!info.crop) return true;
  const size = await imageSize(path.join(folder, names[0]!)).catch(() => undefined);
  return size?.width === info.crop.originalWidth;
}

async function readFetchRecord(folder: string): Promise<FetchRecord | undefined> {
  try {
    return JSON.parse(await readFile(path.join(folder, FETCH_RECORD), "utf8")) as FetchRecord;
  } catch {
    return undefined;
  }
}
