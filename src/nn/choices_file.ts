/**
 * The algorithms that were measured on this adapter, in a file of the user's cache folder. The tuner (tune.ts) writes it.
 */
import { createHash } from "node:crypto";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import envPaths from "env-paths";
import { makeFolder } from "../folders.ts";
import type { Device } from "../gpu/device.ts";
import { Choices, type Operation } from "../kernels/choices.ts";
import { systemReason } from "../system_errors.ts";
import { ENGINE_VERSION } from "../version.ts";

/** Where the choices for an adapter lie: a file for each adapter, driver and version of the engine. */
export function choicesFile(device: Device): string {
  const cache = process.env["TUNINGFORK_CACHE"] || envPaths("tuningfork", { suffix: "" }).cache;
  const name = createHash("sha256").update(identityOf(device)).digest("hex").slice(0, 16);
  return join(cache, "tune", `${name}.json`);
}

function identityOf(device: Device): string {
  // The description names the driver, not the device: cards of one architecture differ in size.
  const { vendor, architecture, device: name, description, driver, backend } = device.summary;
  return JSON.stringify({
    ...{ vendor, architecture, name, description, driver, backend, ENGINE_VERSION },
  });
}

interface ChoicesFile {
  readonly identity: string;
  readonly choices: Readonly<Record<string, string>>;
}

/**
 * What was measured on this adapter before; nothing where there is no file, or one of another adapter, or a broken one,
 * which `onProblem` is told of.
 */
export async function loadChoices(
  device: Device,
  onProblem: (message: string) => void = () => undefined,
): Promise<Choices> {
  const path = choicesFile(device);
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (text === undefined) return new Choices();
  try {
    const { identity, choices } = JSON.parse(text) as Partial<ChoicesFile>;
    if (identity !== identityOf(device)) throw new Error("it belongs to another adapter");
    const entries = Object.entries(choices ?? {});
    if (entries.some(([, algorithm]) => typeof algorithm !== "string"))
      throw new Error("its choices are no names of algorithms");
    return new Choices(entries);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    onProblem(
      `tuner's choices in ${path} are not used: ${why}; \`tuningfork tune\` writes them anew`,
    );
    return new Choices();
  }
}

/**
 * Adds choices to the file of this adapter, written beside and renamed. Returns its path.
 * @throws Error in one sentence, when it cannot be written
 */
export async function saveChoices(
  device: Device,
  tuned: readonly { readonly operation: Operation; readonly chosen: string }[],
): Promise<string> {
  const path = choicesFile(device);
  const before = await loadChoices(device);
  for (const { operation, chosen } of tuned) before.set(operation, chosen);
  const entries = [...before.entries()].sort(([a], [b]) => (a < b ? -1 : 1));
  const file: ChoicesFile = { identity: identityOf(device), choices: Object.fromEntries(entries) };
  const temporary = `${path}.${process.pid}`;
  try {
    await makeFolder(dirname(path));
    await writeFile(temporary, JSON.stringify(file, null, 2));
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw new Error(
      `tuner's choices ${path}: cannot be written: ${systemReason(cause) ?? String(cause)}; ` +
        `point TUNINGFORK_CACHE at a folder that can, or build with tune "off"`,
      { cause },
    );
  }
  return path;
}
