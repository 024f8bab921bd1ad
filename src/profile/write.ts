/** The files of a profile. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Recording } from "../gpu/profiler.ts";
import { analyseProfile, type AnalyseOptions, type Profile } from "./analyse.ts";
import { traceOf } from "./trace.ts";

/**
 * Analyses a recording and writes `profile.json`, `trace.json` and `report.html` into a folder that exists.
 * @param title what was run on what
 */
export async function writeProfile(
  folder: string,
  recording: Recording,
  options: AnalyseOptions & { readonly title: string },
): Promise<Profile> {
  const profile = analyseProfile(recording, options);
  const { title, phase } = options;
  // Late: whoever imports the library for training shall not load a plotting library.
  const { profilePage } = await import("./report.ts");
  const page = await profilePage(recording, profile, title, phase);
  await writeFile(
    join(folder, "profile.json"),
    `${JSON.stringify({ title, ...profile }, undefined, 2)}\n`,
  );
  // Unindented: of many steps it has hundreds of thousands of lines.
  await writeFile(
    join(folder, "trace.json"),
    `${JSON.stringify(traceOf(recording, { title, ...profile.context }))}\n`,
  );
  await writeFile(join(folder, "report.html"), page);
  return profile;
}
