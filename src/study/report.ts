/**
 * Writes what a study leaves behind: results.json, Table 3, every figure as SVG and PNG, and the report.
 */
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { svgToPng } from "../draw/svg.ts";
import { makeFolder } from "../folders.ts";
import { messageOf } from "../system_errors.ts";
import { drawFigures } from "./figures/draw_figures.ts";
import { reportPage } from "./report_page.ts";
import type { StudyEvidence, StudyResults } from "./results.ts";
import { table3Csv, table3Markdown } from "./table3.ts";

/**
 * Writes `results.json`, `table3.csv`, `table3.md`, `figures/<name>.svg` and `.png`, and `report.html` into `outDir`,
 * which is made if need be. Each file appears whole or not at all; `report.html` comes last.
 * @returns the paths written
 */
export async function writeReport(
  results: StudyResults,
  evidence: StudyEvidence,
  outDir: string,
): Promise<string[]> {
  const figureDir = join(outDir, "figures");
  try {
    await makeFolder(figureDir);
  } catch (error) {
    throw cannotWrite(figureDir, error);
  }
  const written: string[] = [];
  const write = async (path: string, content: string | Uint8Array): Promise<void> => {
    await writeWhole(path, content);
    written.push(path);
  };

  await write(join(outDir, "results.json"), `${JSON.stringify(results, null, 2)}\n`);
  await write(join(outDir, "table3.csv"), table3Csv(results));
  await write(join(outDir, "table3.md"), table3Markdown(results));
  const figures = await drawFigures(results, evidence);
  for (const { name, svg } of figures) {
    await write(join(figureDir, `${name}.svg`), svg);
    await write(join(figureDir, `${name}.png`), svgToPng(svg));
  }
  await write(join(outDir, "report.html"), reportPage(results, evidence, figures));
  return written;
}

/** Written beside and renamed, so that a reader or a crash never meets half a file. */
async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const beside = `${path}.${process.pid}.part`;
  try {
    await writeFile(beside, content);
    await rename(beside, path);
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

function cannotWrite(path: string, error: unknown): Error {
  const reason = messageOf(error);
  return new Error(
    `report: cannot write ${path}: ${reason}; free some space or choose another folder with --out`,
    { cause: error },
  );
}
