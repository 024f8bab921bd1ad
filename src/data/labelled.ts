/**
 * Anybody's own images: a folder with a sub-folder for each class, or a folder with a table of paths and labels.
 */
import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { countWithExamples } from "./errors.ts";
import type { GalaxyFile } from "./galaxy_images.ts";
import { type Listing, compareText, listImageFiles } from "./listing.ts";
import { columnIndex, readTable } from "./table.ts";

/** FOLDER/<class>/<image>: the sub-folders, in order of their names, are the classes. */
export async function listLabelledFolder(folder: string): Promise<Listing> {
  const entries = await readdir(folder, { withFileTypes: true });
  const classes = entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
    .map((entry) => entry.name)
    .sort(compareText);
  if (classes.length < 2)
    throw new Error(
      `${folder}: expected a sub-folder for each of two or more classes, or a table labels.csv with the columns path and label; got ${classes.length === 0 ? "no sub-folders" : `only ${classes[0]}`}`,
    );
  const files: GalaxyFile[] = [];
  for (const [label, name] of classes.entries())
    for (const file of await listImageFiles(path.join(folder, name), true))
      files.push({ path: file, id: path.relative(folder, file), label });
  const loose = (await listImageFiles(folder)).map((file) => path.basename(file));
  const warnings =
    loose.length === 0
      ? []
      : [
          `${folder}: ${countWithExamples(loose, "image without a label", "images without a label")} in no class's folder, left out`,
        ];
  return { files, classes, crop: 1, warnings };
}

/**
 * A table with the columns path and label (paths relative to the table). Its labels, sorted, are the classes, unless
 * `classes` names them and their order. Images beside the table that it does not name are counted as without label.
 */
export async function listLabelledTable(
  tableFile: string,
  classes?: readonly string[],
): Promise<Listing> {
  const table = await readTable(tableFile);
  const pathColumn = columnIndex(table, ["path", "file", "filename", "image"], "the image's path");
  const labelColumn = columnIndex(table, ["label", "class"], "the label");
  const folder = path.dirname(tableFile);
  const named =
    classes ??
    [...new Set(table.rows.map((row) => row[labelColumn] ?? ""))]
      .sort(compareText)
      .filter((label) => label !== "");
  const files: GalaxyFile[] = [];
  const missing: string[] = [];
  const noClass: string[] = [];
  for (const row of table.rows) {
    const id = row[pathColumn] ?? "";
    const file = path.resolve(folder, id);
    const label = named.indexOf(row[labelColumn] ?? "");
    if (label < 0) noClass.push(id);
    else if (!(await isFile(file))) missing.push(id);
    else files.push({ path: file, id, label });
  }
  const inTable = new Set(table.rows.map((row) => path.resolve(folder, row[pathColumn] ?? "")));
  const unnamed = (await listImageFiles(folder, true)).filter(
    (file) => !inTable.has(path.resolve(file)),
  );
  const warnings: string[] = [];
  const warn = (names: readonly string[], one: string, more: string): void => {
    if (names.length > 0)
      warnings.push(`${tableFile}: ${countWithExamples(names, one, more)}, left out`);
  };
  warn(missing, "label without an image", "labels without an image");
  warn(
    [...noClass, ...unnamed.map((file) => path.relative(folder, file))],
    "image without a label",
    "images without a label",
  );
  return { files, classes: named, crop: 1, warnings };
}

async function isFile(file: string): Promise<boolean> {
  try {
    return (await stat(file)).isFile();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return false;
    throw cause;
  }
}
