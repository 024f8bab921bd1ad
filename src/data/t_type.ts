/**
 * EFIGI and NA10: galaxies with de Vaucouleurs T-Types, and the rule that makes three classes of them.
 */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import path from "node:path";
import { T_TYPE_CLASSES } from "./catalogue.ts";
import type { GalaxyFile } from "./galaxy_images.ts";
import { type Listing, compareText, joinLabels, listImageFiles, stem } from "./listing.ts";
import { isFolder } from "./locate.ts";
import { type TextTable, columnIndex, parseTable, readTable } from "./table.ts";
import { readFile } from "node:fs/promises";

type Range = readonly [lowest: number, highest: number];

/** Which T-Types make each class; both ends belong to it. T-Types in no range are left out, and counted. */
export interface TTypeRule {
  readonly elliptical: Range;
  readonly lenticular: Range;
  readonly spiral: Range;
}

/** The paper does not say where 0, 10, 11 and 99 go; ours: S0/a with the lenticulars, Im, dwarf E and unknown left out. */
export const DEFAULT_T_TYPE_RULE: TTypeRule = {
  elliptical: [-Infinity, -4],
  lenticular: [-3, 0],
  spiral: [1, 9],
};

/** Index into T_TYPE_CLASSES, or -1 for a T-Type that is in no class. */
export function tTypeClass(t: number, rule: TTypeRule = DEFAULT_T_TYPE_RULE): number {
  const ranges = [rule.elliptical, rule.lenticular, rule.spiral];
  return ranges.findIndex(([lowest, highest]) => t >= lowest && t <= highest);
}

export interface TTypeOptions {
  readonly tTypes?: TTypeRule;
}

/** EFIGI: png/<PGC name>.png (or fits/<PGC name>_{g,r,i}.fits) with T of EFIGI_attributes.txt. */
export async function listEfigi(folder: string, options: TTypeOptions = {}): Promise<Listing> {
  const table = await readTable(path.join(folder, "EFIGI_attributes.txt"));
  const tTypes = readTTypes(table, ["PGCname", "PGC_name"], ["T"], (name) => name);
  const images = await imagesByName(folder, (name) => name);
  return listByTType("efigi", images, tTypes, options);
}

/**
 * NA10: a table with a name column (JID, as VizieR calls it) and the T-Type column TT, and images named by it:
 * images/<name>.jpg or .png, or fits/<name>-{g,r,i}.fits.
 */
export async function listNa10(folder: string, options: TTypeOptions = {}): Promise<Listing> {
  const tables = (await readdir(folder))
    .filter((name) => /\.(csv|tsv|txt|dat)$/i.test(name) && !/^readme/i.test(name))
    .sort(compareText);
  const [name] = tables;
  if (name === undefined)
    throw new Error(
      `na10: no table in ${folder}: expected table.csv or table.tsv with the columns JID and TT (VizieR's J/ApJS/186/427), got only ${(await readdir(folder)).join(", ") || "an empty folder"}`,
    );
  const text = await readFile(path.join(folder, name), "utf8");
  const table = parseTable(text, path.join(folder, name));
  const tTypes = readTTypes(
    table,
    ["JID", "Name", "ID", "SDSS", "SDSSName", "galaxy", "objID", "dr7objid"],
    ["TT", "TType", "T-Type", "T_Type"],
    plainName,
  );
  const images = await imagesByName(folder, plainName);
  return listByTType("na10", images, tTypes, options);
}

/** "SDSS J000311.00+155754.0" and "J000311.00+155754.0" name the same galaxy. */
function plainName(name: string): string {
  return name
    .replace(/^SDSS\s*/i, "")
    .replace(/^J/i, "")
    .replaceAll(" ", "");
}

/** T-Type by name; NaN where the table has none. */
function readTTypes(
  table: TextTable,
  nameColumns: readonly string[],
  tColumns: readonly string[],
  normalise: (name: string) => string,
): Map<string, number> {
  const name = columnIndex(table, nameColumns, "the galaxy's name");
  const t = columnIndex(table, tColumns, "the T-Type");
  return new Map(
    table.rows.map((row) => {
      const text = row[t] ?? "";
      return [normalise(row[name] ?? ""), text === "" ? NaN : Number(text)];
    }),
  );
}

const PICTURE_FOLDERS = ["png", "images", "jpg", "jpeg"];

/** Pictures by galaxy; galaxies that only have g, r and i FITS files get these, as blue, green and red. */
async function imagesByName(
  folder: string,
  normalise: (name: string) => string,
): Promise<Map<string, GalaxyFile["path"]>> {
  const images = new Map<string, GalaxyFile["path"]>();
  for (const name of PICTURE_FOLDERS) {
    const pictures = path.join(folder, name);
    if (!isFolder(pictures)) continue;
    for (const file of await listImageFiles(pictures)) images.set(normalise(stem(file)), file);
  }
  const fits = path.join(folder, "fits");
  if (!isFolder(fits)) return images;
  for (const file of (await readdir(fits)).sort(compareText)) {
    const match = /^(.+)([-_])g(\.fits?(?:\.gz)?)$/i.exec(file);
    if (!match) continue;
    const [, name = "", separator = "", extension = ""] = match;
    const band = (letter: string): string =>
      path.join(fits, `${name}${separator}${letter}${extension}`);
    const id = normalise(name);
    if (images.has(id) || !existsSync(band("r")) || !existsSync(band("i"))) continue;
    images.set(id, [band("i"), band("r"), band("g")]);
  }
  return images;
}

function listByTType(
  name: string,
  images: ReadonlyMap<string, GalaxyFile["path"]>,
  tTypes: ReadonlyMap<string, number>,
  { tTypes: rule = DEFAULT_T_TYPE_RULE }: TTypeOptions,
): Listing {
  const { pairs, warnings } = joinLabels(name, images, tTypes);
  const files: GalaxyFile[] = [];
  const leftOut = new Map<string, number>();
  for (const { id, path: file, value } of pairs) {
    const label = tTypeClass(value, rule);
    if (label >= 0) files.push({ path: file, id, label });
    else {
      const key = Number.isNaN(value) ? "unknown" : `T ${value}`;
      leftOut.set(key, (leftOut.get(key) ?? 0) + 1);
    }
  }
  if (leftOut.size > 0) {
    const counts = [...leftOut].sort(([a], [b]) => compareText(a, b));
    warnings.push(
      `${name}: left out galaxies whose T-Type is in no class: ${counts.map(([key, count]) => `${count} of ${key}`).join(", ")}`,
    );
  }
  return { files, classes: T_TYPE_CLASSES, crop: 1, warnings };
}
