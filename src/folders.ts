/** Folders for what a command writes. */
import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { systemReason } from "./system_errors.ts";

/**
 * Makes a folder and those above it, one at a time: Node's own recursive mkdir never returns where a system refuses a
 * folder with ENOENT, as /proc does.
 */
export async function makeFolder(folder: string): Promise<void> {
  const path = resolve(folder);
  if (existsSync(path)) return;
  if (dirname(path) !== path) await makeFolder(dirname(path));
  await mkdir(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  });
}

/** Makes a folder and proves that it can be written, before hours of work go into it. Throws one clear sentence. */
export async function prepareFolder(folder: string): Promise<void> {
  const probe = join(folder, `.writable-${process.pid}`);
  try {
    await makeFolder(folder);
    await writeFile(probe, "");
    await rm(probe);
  } catch (cause) {
    const why = systemReason(cause) ?? String(cause);
    throw new Error(
      `--out ${folder}: cannot be written: ${why.replace(/;.*/, "")}; choose another folder`,
      { cause },
    );
  }
}
