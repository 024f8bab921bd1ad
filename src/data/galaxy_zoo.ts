/**
 * The Galaxy Zoo data sets of the real-data study. Galaxy Zoo's "elliptical" or "smooth" is early type, E and S0 together, so
 * the classes are Early type, Edge-on disc and Spiral.
 */
import { existsSync } from "node:fs";
import path from "node:path";
import { GALAXY_ZOO_CLASSES, type OriginalCrop, dataSetInfo } from "./catalogue.ts";
import { countWithExamples } from "./errors.ts";
import { readFitsTable } from "./fits.ts";
import { type GalaxyFile, imageSize } from "./galaxy_images.ts";
import { type Listing, joinLabels, listImageFiles, stem } from "./listing.ts";
import { type LocateOptions, findDataSet, isFolder, locateDataSet } from "./locate.ts";
import { columnIndex, readTable } from "./table.ts";

const EARLY_TYPE = 0;
const EDGE_ON = 1;
const SPIRAL = 2;

/** gz1's CLASS to an index of GALAXY_ZOO_CLASSES. 4 (don't know, star, artefact) and 5 (merger) are in no class. */
const GZ1_LABELS: Readonly<Record<string, number>> = {
  "0": EARLY_TYPE,
  "1": SPIRAL, // clockwise
  "2": SPIRAL, // anticlockwise
  "3": EDGE_ON,
};

const GZ2_FOLDERS: Readonly<Record<string, number>> = {
  elliptical: EARLY_TYPE,
  edge_view_spiral: EDGE_ON,
  spiral: SPIRAL,
  barred_spiral: SPIRAL,
};

/** gz2's 299x299 are 424x424 shrunk; their central 163x163 shows the field of a whole gz1 or gz2-apply image. */
const GZ2_CROP = 163 / 299;

export interface Gz1Options {
  /** Leave out the images that duplicates.csv pairs with one of these sets. Default: both; [] keeps all. */
  readonly withoutDuplicatesOf?: readonly ("gz2" | "gz2-apply")[];
}

/** gz1: images/<objID>.jpeg with the classes of smallCSV_class.csv. */
export async function listGz1(
  folder: string,
  { withoutDuplicatesOf = ["gz2", "gz2-apply"] }: Gz1Options = {},
): Promise<Listing> {
  const table = await readTable(path.join(folder, "smallCSV_class.csv"));
  const idColumn = columnIndex(table, ["OBJID"], "the object's id");
  const classColumn = columnIndex(table, ["CLASS"], "the class");
  const classOf = new Map(table.rows.map((row) => [row[idColumn] ?? "", row[classColumn] ?? ""]));
  const images = new Map(
    (await listImageFiles(path.join(folder, "images"))).map((file) => [stem(file), file]),
  );
  const { pairs, warnings } = joinLabels("gz1", images, classOf);

  const duplicates = await readDuplicates(folder, withoutDuplicatesOf);
  if (duplicates === undefined)
    warnings.push(
      "gz1: duplicates.csv is missing, so images that other sets have too were not left out",
    );
  const files: GalaxyFile[] = [];
  const noClass: string[] = [];
  const left: string[] = [];
  for (const { id, path: file, value } of pairs) {
    const label = GZ1_LABELS[value];
    if (label === undefined) noClass.push(id);
    else if (duplicates?.has(id)) left.push(id);
    else files.push({ path: file, id, label });
  }
  if (noClass.length > 0)
    warnings.push(
      `gz1: left out ${countWithExamples(noClass, "image")} of class 4 (don't know, star, artefact), 5 (merger) or unknown`,
    );
  if (left.length > 0)
    warnings.push(
      `gz1: left out ${countWithExamples(left, "image")} that ${withoutDuplicatesOf.join(" or ")} shows too`,
    );
  const { crop, warning } = await cropOfOriginals("gz1", files, dataSetInfo("gz1").crop);
  return { files, classes: GALAXY_ZOO_CLASSES, crop, warnings: [...warnings, ...warning] };
}

async function readDuplicates(
  folder: string,
  sets: readonly string[],
): Promise<Set<string> | undefined> {
  if (sets.length === 0) return new Set();
  const file = path.join(folder, "duplicates.csv");
  if (!existsSync(file)) return undefined;
  const table = await readTable(file);
  const id = columnIndex(table, ["gz1_objid"], "gz1's object id");
  const set = columnIndex(table, ["other_set"], "the other set");
  return new Set(
    table.rows.filter((row) => sets.includes(row[set] ?? "")).map((row) => row[id] ?? ""),
  );
}

/** gz2: four folders of 299x299 images; barred counts as spiral, and only the central 163x163 is kept. */
export async function listGz2(folder: string): Promise<Listing> {
  const files: GalaxyFile[] = [];
  const warnings: string[] = [];
  for (const [name, label] of Object.entries(GZ2_FOLDERS)) {
    const images = path.join(folder, "images", name);
    if (!isFolder(images)) {
      warnings.push(`gz2: the folder images/${name} is missing`);
      continue;
    }
    for (const file of await listImageFiles(images))
      files.push({ path: file, id: stem(file), label });
  }
  return { files, classes: GALAXY_ZOO_CLASSES, crop: GZ2_CROP, warnings };
}

/** gz2-apply: no labels (-1), since those of its folders are unreliable. */
export async function listGz2Apply(folder: string): Promise<Listing> {
  const files = (await listImageFiles(folder, true)).map((file) => ({
    path: file,
    id: stem(file),
    label: -1,
  }));
  const { crop, warning } = await cropOfOriginals(
    "gz2-apply",
    files,
    dataSetInfo("gz2-apply").crop,
  );
  return { files, classes: GALAXY_ZOO_CLASSES, crop, warnings: warning };
}

/**
 * The public originals show a wider field than the cropped copies that the study was laid out for. Told apart by the width
 * of the first readable image, they are cropped alike, so that galaxies have one scale whichever copy is there.
 */
async function cropOfOriginals(
  name: string,
  files: readonly GalaxyFile[],
  rule: OriginalCrop | undefined,
): Promise<{ crop: number; warning: string[] }> {
  for (const file of files) {
    const size = await imageSize(file.path).catch(() => undefined);
    if (!size) continue;
    if (!rule || size.width !== rule.originalWidth) break;
    const { originalWidth: original, keptWidth: kept } = rule;
    return {
      crop: kept / original,
      warning: [
        `${name}: these are the public ${original}x${original} originals; only the central ${kept}x${kept} of each is used, so that the scale matches the other sets`,
      ],
    };
  }
  return { crop: 1, warning: [] };
}

/** A gz1 galaxy with what Schawinski et al. 2010 measured. */
export interface GalaxyProperties {
  /** SDSS DR7 objID, the id of its image in gz1. */
  readonly id: string;
  /** Index into GALAXY_ZOO_CLASSES; -1 for gz1's classes 4 and 5. */
  readonly label: number;
  readonly redshift: number;
  /** log10 of the stellar mass in solar masses. */
  readonly logMass: number;
  /** Velocity dispersion in km/s; null where it was not measured (0 in the catalogue). */
  readonly sigma: number | null;
}

/**
 * The gz1 galaxies that are in the catalogue of Schawinski et al. 2010: from gz1/schawinski2010_match.csv, or, where that is
 * missing, by joining gz1's labels with gz-tables. Throws if neither is there.
 */
export async function loadGalaxyProperties(
  options: LocateOptions = {},
): Promise<GalaxyProperties[]> {
  const folder = findDataSet("gz1", options);
  const match = path.join(folder, "schawinski2010_match.csv");
  if (existsSync(match)) return readMatch(match);
  const tables = locateDataSet("gz-tables", options);
  if (!tables)
    throw new Error(
      `gz1: no ${match} and no data set gz-tables, so redshifts and masses are not known; get the catalogue from ${dataSetInfo("gz-tables").home}`,
    );
  const labels = await readTable(path.join(folder, "smallCSV_class.csv"));
  const id = columnIndex(labels, ["OBJID"], "the object's id");
  const label = columnIndex(labels, ["CLASS"], "the class");
  const classOf = new Map(labels.rows.map((row) => [row[id] ?? "", row[label] ?? ""]));
  const rows = await readSchawinski2010(path.join(tables.folder, dataSetInfo("gz-tables").marker));
  return rows
    .filter((row) => classOf.has(row.id))
    .map(({ morphology: _, ...row }) => ({
      ...row,
      label: GZ1_LABELS[classOf.get(row.id) ?? ""] ?? -1,
    }));
}

async function readMatch(file: string): Promise<GalaxyProperties[]> {
  const table = await readTable(file);
  const [id, label, redshift, mass, sigma] = (
    ["OBJID", "CLASS", "REDSHIFT", "LOG_MSTELLAR", "SIGMA"] as const
  ).map((name) => columnIndex(table, [name], name)) as [number, number, number, number, number];
  return table.rows.map((row) => ({
    id: row[id] ?? "",
    label: GZ1_LABELS[row[label] ?? ""] ?? -1,
    redshift: Number(row[redshift]),
    logMass: Number(row[mass]),
    sigma: measured(Number(row[sigma])),
  }));
}

/** A row of the whole catalogue. */
export interface SchawinskiRow extends Omit<GalaxyProperties, "label"> {
  /** 0 undecided, 1 early type, 3 merger, 4 late type; 5 and 6 are undocumented. */
  readonly morphology: number;
}

/** The 47,675 galaxies of schawinski_GZ_2010_catalogue.fits.gz: one table row of vector columns. */
export async function readSchawinski2010(file: string): Promise<SchawinskiRow[]> {
  const table = await readFitsTable(file);
  const redshift = table.numbers("REDSHIFT");
  const logMass = table.numbers("LOG_MSTELLAR");
  const sigma = table.numbers("SIGMA");
  const morphology = table.numbers("GZ1_MORPHOLOGY");
  return table.strings("OBJID").map((id, i) => ({
    id,
    morphology: morphology[i]!,
    redshift: redshift[i]!,
    logMass: logMass[i]!,
    sigma: measured(sigma[i]!),
  }));
}

function measured(sigma: number): number | null {
  return sigma > 0 ? sigma : null;
}
