/** The engine's version, as package.json has it. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** package.json lies two folders above this file in `dist/src`, one above it in `src`. */
function readVersion(): string {
  for (const up of ["../package.json", "../../package.json"]) {
    try {
      const text = readFileSync(fileURLToPath(new URL(up, import.meta.url)), "utf8");
      const { name, version } = JSON.parse(text) as { name?: string; version?: string };
      if (name === "tuningfork" && version) return version;
    } catch {
      continue;
    }
  }
  return "0.0.0";
}

/** Part of the identity of measured choices, of models and of benchmark results. */
export const ENGINE_VERSION = readVersion();
