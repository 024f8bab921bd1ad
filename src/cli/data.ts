/** `tuningfork data list|verify|fetch`: what data is here, whether it is whole, and how to get it. */
import { existsSync } from "node:fs";
import path from "node:path";
import { type Options as BarOptions, Presets, SingleBar } from "cli-progress";
import {
  DATA_SET_NAMES,
  type DataSetInfo,
  type DataSetName,
  dataSetInfo,
  howToGet,
  isDataSetName,
} from "../data/catalogue.ts";
import { countPerLabel, type OnProgress } from "../data/dataset.ts";
import { reasonOf } from "../data/errors.ts";
import { readFashionMnistLabels } from "../data/fashion_mnist.ts";
import { fetchDataSet, fetchableNames } from "../data/fetch.ts";
import { listDataSet } from "../data/load.ts";
import { dataRoots, findDataSet, locateDataSet, userDataFolder } from "../data/locate.ts";
import { filesBelow, type VerifiedItem, verifyDataSet } from "../data/verify.ts";

export interface DataListOptions {
  readonly data?: string | undefined;
  readonly json?: boolean | undefined;
}

/** What `data list --json` prints for each data set. */
export interface DataSetReport {
  readonly name: DataSetName;
  readonly title: string;
  /** Null where the data set is not here. */
  readonly folder: string | null;
  /** By which of the places it was found: "--data", "TUNINGFORK_DATA", ... */
  readonly found_by: string | null;
  /** Images that have a class (or, in gz2-apply, are to be given one). */
  readonly images: number;
  /** Images of each class, as the study counts them. */
  readonly classes: Readonly<Record<string, number>>;
  /** Fashion-MNIST: images of each class in the test part. */
  readonly test_classes?: Readonly<Record<string, number>>;
  /** What is left out, and why. */
  readonly notes: readonly string[];
  /** Files, folders and images that the whole data set has and this one lacks. */
  readonly missing: readonly string[];
  readonly how_to_get: string;
  readonly home: string;
  readonly licence: string;
  readonly cite: string;
}

/** Prints what is here, how many images per class, what is missing, where it can be had and under which licence. */
export async function dataList({ data, json }: DataListOptions = {}): Promise<number> {
  const reports = await describeDataSets({ data });
  if (json) console.log(JSON.stringify({ data_sets: reports }, undefined, 2));
  else console.log(formatReports(reports, dataRoots({ data })));
  return 0;
}

/** The facts behind `data list`. */
export async function describeDataSets({ data }: DataListOptions = {}): Promise<DataSetReport[]> {
  const reports: DataSetReport[] = [];
  for (const name of DATA_SET_NAMES) reports.push(await describe(dataSetInfo(name), data));
  return reports;
}

async function describe(info: DataSetInfo, data: string | undefined): Promise<DataSetReport> {
  const { name, title, home, licence, cite } = info;
  const found = locateDataSet(name, { data });
  const report = {
    name,
    title,
    folder: found?.folder ?? null,
    found_by: found?.root.reason ?? null,
    images: 0,
    classes: {},
    notes: [],
    missing: found ? await missingParts(info, found.folder) : ["all of it"],
    how_to_get: howToGet(info),
    home,
    licence,
    cite,
  };
  if (!found) return report;
  try {
    return { ...report, ...(await countImages(name, found.folder)) };
  } catch (cause) {
    return { ...report, missing: [...report.missing, reasonOf(cause)] };
  }
}

async function countImages(
  name: DataSetName,
  folder: string,
): Promise<Pick<DataSetReport, "images" | "classes" | "test_classes" | "notes">> {
  if (name === "gz-tables") return { images: 0, classes: {}, notes: [] };
  if (name === "fashion-mnist") {
    const train = await readFashionMnistLabels(folder, "train");
    const test = await readFashionMnistLabels(folder, "test");
    return {
      images: train.labels.length + test.labels.length,
      classes: countPerLabel(train.labels, train.classes),
      test_classes: countPerLabel(test.labels, test.classes),
      notes: [],
    };
  }
  const { files, classes, warnings } = await listDataSet(name, folder);
  const labels = files.map((file) => file.label);
  const unlabelled = labels.every((label) => label < 0);
  return {
    images: files.length,
    classes: unlabelled ? {} : countPerLabel(labels, classes),
    notes: unlabelled ? ["no labels: to be classified, not learned from", ...warnings] : warnings,
  };
}

async function missingParts(info: DataSetInfo, folder: string): Promise<string[]> {
  const missing = info.files
    .filter((file) => !existsSync(path.join(folder, file.path)))
    .map((file) => (file.optional ? `${file.path} (optional)` : file.path));
  for (const { path: sub, count, publicCount, sample } of info.folders) {
    const full = path.join(folder, sub);
    const here = existsSync(full) ? (await filesBelow(full)).length : 0;
    const whole = Math.max(count, publicCount ?? 0);
    if (here < whole && !(sample && publicCount === undefined))
      missing.push(`${whole - here} of ${whole} images of ${sub || info.name}/`);
  }
  return missing;
}

function formatReports(
  reports: readonly DataSetReport[],
  roots: ReturnType<typeof dataRoots>,
): string {
  const lines: string[] = [];
  for (const report of reports) {
    lines.push(`${report.name}: ${report.title}`);
    const field = (name: string, text: string): void => {
      lines.push(`  ${name.padEnd(9)}${text}`);
    };
    if (report.folder !== null) field("here", `${report.folder} (${report.found_by})`);
    const counts = Object.entries(report.classes);
    if (counts.length > 0) field("images", countsText(report.classes));
    else if (report.images > 0) field("images", String(report.images));
    if (report.test_classes) field("test", countsText(report.test_classes));
    for (const note of report.notes) field("note", note);
    if (report.missing.length > 0) {
      field("missing", report.missing.join(", "));
      field("how", report.how_to_get);
    }
    field("home", report.home);
    field("licence", report.licence);
    field("cite", report.cite);
    lines.push("");
  }
  lines.push("Looked in, in this order:");
  for (const { folder, reason } of roots)
    lines.push(`  ${folder} (${reason})${existsSync(folder) ? "" : ": does not exist"}`);
  return lines.join("\n");
}

function countsText(classes: Readonly<Record<string, number>>): string {
  const counts = Object.entries(classes);
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
  return `${total}: ${counts.map(([name, count]) => `${name} ${count}`).join(", ")}`;
}

export interface DataVerifyOptions {
  readonly data?: string | undefined;
  /** The data sets to verify; all that are here by default. */
  readonly names?: readonly string[] | undefined;
  readonly json?: boolean | undefined;
}

/** Compares all files with their known sums. Exit code 1 if one differs or is missing, or a named data set is not here. */
export async function dataVerify({ data, names, json }: DataVerifyOptions = {}): Promise<number> {
  const wanted = names && names.length > 0 ? names.map(checkedName) : undefined;
  const bar = terminalProgress();
  const results: VerifiedItem[] = [];
  const absent: string[] = [];
  try {
    for (const name of wanted ?? DATA_SET_NAMES) {
      // A data set that was asked for by name must be here; findDataSet says how to get it.
      const folder = wanted ? findDataSet(name, { data }) : locateDataSet(name, { data })?.folder;
      if (folder === undefined) absent.push(name);
      else results.push(...(await verifyDataSet(name, folder, bar.onProgress)));
    }
  } finally {
    bar.stop();
  }
  const bad = results.filter(({ status }) => status === "mismatch" || status === "missing");
  if (json) {
    console.log(JSON.stringify({ ok: bad.length === 0, items: results, absent }, undefined, 2));
  } else {
    for (const { path: item, status, detail } of results)
      console.log(`${status.padEnd(9)} ${item}${detail && `: ${detail}`}`);
    for (const name of absent) console.log(`not here  ${name}`);
    if (bad.length > 0)
      console.error(
        `data verify: ${bad.length} of ${results.length} differ from what is known: ${bad.map((item) => item.path).join(", ")}; fetch or copy them again`,
      );
  }
  return bad.length === 0 ? 0 : 1;
}

export interface DataFetchOptions {
  /** Put it into this folder instead of the user's data directory; made if missing. */
  readonly data?: string | undefined;
  /** See FetchOptions.mirror. */
  readonly mirror?: string | undefined;
}

/** Fetches one data set from its public home. */
export async function dataFetch(
  name: string,
  { data, mirror }: DataFetchOptions = {},
): Promise<number> {
  const info = dataSetInfo(checkedName(name));
  const into = path.resolve(data ?? userDataFolder());
  const bar = terminalProgress();
  if (info.fetch) console.error(`${name} from ${info.home}\n  licence: ${info.licence}`);
  const { folder, fetched, warnings } = await fetchDataSet(info.name, {
    into,
    mirror,
    onProgress: bar.onProgress,
  }).finally(() => {
    bar.stop();
  });
  for (const warning of warnings) console.error(`warning: ${warning}`);
  console.log(fetched ? `${name}: now in ${folder}` : `${name}: already in ${folder}`);
  console.log(`cite: ${info.cite}`);
  return 0;
}

function checkedName(name: string): DataSetName {
  if (isDataSetName(name)) return name;
  throw new Error(
    `data set ${name}: not known; expected one of ${DATA_SET_NAMES.join(", ")} (those that can be fetched: ${fetchableNames().join(", ")})`,
  );
}

/** A progress bar on stderr, one after another for each stage; silent where stderr is no terminal. */
export function terminalProgress(): { readonly onProgress: OnProgress; readonly stop: () => void } {
  if (!process.stderr.isTTY) return { onProgress: () => undefined, stop: () => undefined };
  const options: BarOptions = {
    format: "{stage} {bar} {value}/{total} {eta_formatted}",
    // With it, cli-progress would catch a Ctrl-C and only stop the bar.
    gracefulExit: false,
    stream: process.stderr,
  };
  let bar: SingleBar | undefined;
  let current = "";
  const stop = (): void => {
    bar?.stop();
    bar = undefined;
    current = "";
  };
  const onProgress: OnProgress = ({ stage, done, total }) => {
    if (stage !== current) {
      stop();
      current = stage;
      bar = new SingleBar(options, Presets.shades_classic);
      bar.start(total, done, { stage });
    }
    bar?.setTotal(Math.max(total, done)); // a server need not say how long a file is
    bar?.update(done);
  };
  return { onProgress, stop };
}
