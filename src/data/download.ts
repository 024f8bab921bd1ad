/**
 * One file over HTTP, resumed after a break.
 */
import { open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { reasonOf } from "./errors.ts";

export interface DownloadOptions {
  /** Bytes there and bytes in all; the total is 0 where the server does not say. */
  readonly onBytes?: ((done: number, total: number) => void) | undefined;
  /** Tries in a row that bring nothing new before it gives up. Default 5. */
  readonly attempts?: number | undefined;
  /** Wait before the second try; it doubles each time. Default one second. */
  readonly backoffMs?: number | undefined;
}

/** What must not be tried again, as the answer would be the same. */
class FinalError extends Error {}

/** Kept beside FILE.part: whether the server still has the same file is known by it. */
interface PartRecord {
  readonly url: string;
  readonly validator: string;
}

/**
 * Gets `url` into `file`. Bytes gather in FILE.part, which stays when the download fails, so that calling again goes on
 * where it stopped (Range and If-Range); a server that cannot do that, or whose file changed, is asked for all of it again.
 */
export async function download(
  url: string,
  file: string,
  { onBytes, attempts = 5, backoffMs = 1000 }: DownloadOptions = {},
): Promise<void> {
  const part = `${file}.part`;
  let failures = 0;
  let farthest = await sizeOf(part);
  for (;;) {
    try {
      await requestRest(url, part, onBytes);
      await rename(part, file);
      await rm(`${part}.json`, { force: true });
      return;
    } catch (cause) {
      if (cause instanceof FinalError) throw new Error(cause.message, { cause });
      const there = await sizeOf(part);
      failures = there > farthest ? 0 : failures + 1;
      farthest = Math.max(farthest, there);
      if (failures >= attempts)
        throw new Error(
          `${url}: the download broke off after ${there} bytes: ${networkReason(cause)}; run the same command again to go on from there`,
          { cause },
        );
      await sleep(backoffMs * 2 ** failures);
    }
  }
}

async function requestRest(
  url: string,
  part: string,
  onBytes?: (done: number, total: number) => void,
): Promise<void> {
  let offset = await sizeOf(part);
  const record = await readRecord(part);
  if (record?.url !== url) offset = 0;
  const headers: Record<string, string> = { "accept-encoding": "identity" };
  if (offset > 0 && record) {
    headers["range"] = `bytes=${offset}-`;
    headers["if-range"] = record.validator;
  }
  const response = await fetch(url, { headers });
  if (response.status === 416) {
    await response.body?.cancel();
    // All of it was there already: an earlier run ended between the last byte and the renaming.
    if (response.headers.get("content-range") === `bytes */${offset}`) return;
    await rm(part, { force: true });
    throw new Error("the server has no such range");
  }
  if (!response.ok || !response.body) {
    await response.body?.cancel();
    const what = `${url}: HTTP ${response.status} ${response.statusText}`;
    const passing = response.status === 429 || response.status === 408 || response.status >= 500;
    if (passing) throw new Error(what);
    throw new FinalError(
      `${what}; the file is not where it was: look at the data set's public home`,
    );
  }
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
  const resumed = response.status === 206 && Number(range?.[1]) === offset && offset > 0;
  if (response.status === 206 && !resumed) {
    await response.body.cancel();
    await rm(part, { force: true });
    throw new Error("the server sent another range than it was asked for");
  }
  if (!resumed) offset = 0;
  const length = Number(response.headers.get("content-length") ?? 0);
  const total = length > 0 ? offset + length : 0;

  // A weak validator does not promise the same bytes; without a strong one a later call begins anew.
  const etag = response.headers.get("etag");
  const validator = etag?.startsWith('"') ? etag : response.headers.get("last-modified");
  if (validator) {
    const next: PartRecord = { url, validator };
    await writeFile(`${part}.json`, JSON.stringify(next));
  } else await rm(`${part}.json`, { force: true });

  // Chunk by chunk instead of through a pipeline, which would throw away what it holds when the connection breaks.
  const handle = await open(part, resumed ? "a" : "w");
  let done = offset;
  try {
    onBytes?.(done, total);
    for await (const chunk of response.body) {
      await handle.writeFile(chunk as Uint8Array);
      done += (chunk as Uint8Array).length;
      onBytes?.(done, total);
    }
  } finally {
    await handle.close();
  }
  if (total > 0 && done !== total) throw new Error(`${total} bytes expected, got ${done}`);
}

async function readRecord(part: string): Promise<PartRecord | undefined> {
  try {
    return JSON.parse(await readFile(`${part}.json`, "utf8")) as PartRecord;
  } catch {
    return undefined;
  }
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch {
    return 0;
  }
}

/** fetch() hides what went wrong ("fetch failed") in its cause. */
function networkReason(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return reasonOf(inner) || String((inner as NodeJS.ErrnoException).code);
}
