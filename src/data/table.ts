/**
 * Tables of text: comma, tab, semicolon, bar or white space between the columns, `#` comments, VizieR's lines of units and dashes.
 */
import { readFile } from "node:fs/promises";
import { parse } from "csv-parse/sync";
import { reasonOf } from "./errors.ts";

export interface TextTable {
  readonly file: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Reads and parses a table of text; see `parseTable`. */
export async function readTable(file: string): Promise<TextTable> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    throw new Error(`${file}: cannot be read: ${reasonOf(cause)}`, { cause });
  }
  if (text.includes("\0"))
    throw new Error(`${file}: expected a table of text (CSV, TSV), got a binary file`);
  return parseTable(text, file);
}

/** Parses a table whose first line that is no comment names the columns; `file` is what errors call it. */
export function parseTable(text: string, file: string): TextTable {
  const firstLine = text.split(/\r?\n/).find((line) => line.trim() !== "" && !line.startsWith("#"));
  if (firstLine === undefined)
    throw new Error(`${file}: expected a table with a header line, got nothing but comments`);
  const delimiter = ["\t", ",", ";", "|"].find((character) => firstLine.includes(character));
  let records: string[][];
  if (delimiter === undefined) {
    records = text
      .split(/\r?\n/)
      .filter((line) => line.trim() !== "" && !line.startsWith("#"))
      .map((line) => line.trim().split(/\s+/));
  } else {
    try {
      records = parse(text, {
        bom: true,
        comment: "#",
        comment_no_infix: true,
        delimiter,
        relax_column_count: true,
        relax_quotes: true,
        skip_empty_lines: true,
        trim: true,
      });
    } catch (cause) {
      throw new Error(`${file}: not a readable table: ${reasonOf(cause)}`, { cause });
    }
  }
  const [columns = [], ...rows] = records;
  // VizieR puts a line of units and one of dashes under the header.
  const dashes = rows.findIndex((row) => row.every((field) => /^-+$/.test(field)));
  const start = dashes >= 0 && dashes <= 2 ? dashes + 1 : 0;
  return { file, columns, rows: rows.slice(start) };
}

/** The index of the first of `names` that is a column (letter case does not matter). Throws if none is. */
export function columnIndex(table: TextTable, names: readonly string[], what: string): number {
  const lower = table.columns.map((column) => column.toLowerCase());
  for (const name of names) {
    const index = lower.indexOf(name.toLowerCase());
    if (index >= 0) return index;
  }
  throw new Error(
    `${table.file}: no column for ${what}: expected one of ${names.join(", ")}, got ${table.columns.join(", ")}`,
  );
}
