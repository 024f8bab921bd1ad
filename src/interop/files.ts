/** Files for and from other frameworks: what goes wrong with them in one sentence, and writing that is whole or not at all. */
import { access, constants, open, rename, rm, type FileHandle } from "node:fs/promises";
import { resolve } from "node:path";
import { systemReason } from "../system_errors.ts";

/** A model that cannot be taken in or given out, or a file of it. */
export class InteropError extends Error {
  override readonly name = "InteropError";
}

/** Throws where a file would be written over the one that it is made of. @throws InteropError */
export function expectOtherFile(what: string, from: string, to: string): void {
  if (resolve(from) === resolve(to))
    throw new InteropError(
      `${what} ${to}: it would be written over the file that it is made of; choose another name`,
    );
}

/** Throws unless the file can be read. @throws InteropError */
export async function expectReadable(path: string): Promise<void> {
  await access(path, constants.R_OK).catch((cause: unknown) => {
    throw new InteropError(`import ${path}: cannot be read: ${systemReason(cause) ?? ""}`, {
      cause,
    });
  });
}

/**
 * Writes a file beside its place and renames it when `write` is done, so that it is there whole or not at all.
 * @param write gets the path to write to
 * @throws InteropError in words where the system refuses
 */
export async function writeWhole(
  path: string,
  write: (temporary: string) => Promise<void>,
): Promise<void> {
  const temporary = `${path}.tmp-${process.pid}`;
  try {
    await (await open(temporary, "w")).close(); // says what is wrong with the path, which not every library does
    await write(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    const reason = systemReason(error);
    if (reason === undefined) throw error;
    throw new InteropError(`export ${path}: cannot be written: ${reason}`, { cause: error });
  }
}

/** `writeWhole` of what a generator yields. @throws InteropError */
export async function writePieces(
  path: string,
  pieces: () => AsyncIterable<Uint8Array>,
): Promise<void> {
  await writeWhole(path, async (temporary) => {
    const file = await open(temporary, "w");
    try {
      for await (const piece of pieces()) await writeAll(file, piece);
    } finally {
      await file.close();
    }
  });
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  const most = 64 * 1024 * 1024; // a single system call moves less than 2 GiB
  for (let start = 0; start < bytes.length;) {
    const length = Math.min(most, bytes.length - start);
    start += (await file.write(bytes, start, length)).bytesWritten;
  }
}

/** `a, b and 3 more`: names in an error, not too many. */
export function listNames(names: readonly string[], most = 6): string {
  const shown = names.slice(0, most).join(", ");
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}
