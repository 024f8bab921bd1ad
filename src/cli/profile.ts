/** `tuningfork profile`: where the time of a network goes, and what changed between two profiles. */
import { join } from "node:path";
import { measureCeilings } from "../../bench/ceilings.ts";
import { prepareFolder } from "../folders.ts";
import { openDevice } from "../gpu/device.ts";
import { NetworkError, readNetwork } from "../nn/network.ts";
import { precisionOf, type Precision } from "../nn/precision.ts";
import { compareProfiles, formatDiff, readProfile } from "../profile/diff.ts";
import { formatProfile } from "../profile/format.ts";
import { ProfiledNetwork, STEPS_PHASE } from "../profile/run.ts";
import { writeProfile } from "../profile/write.ts";
import { webgpuVersion } from "./doctor.ts";
import { describeDevice } from "./train.ts";

export interface ProfileOptions {
  readonly network?: string;
  readonly batch: number;
  readonly steps: number;
  readonly train: boolean;
  readonly infer: boolean;
  readonly seed: number;
  readonly precision?: Precision;
  readonly ceilings: boolean;
  readonly overhead?: number;
  readonly out?: string;
  readonly diff?: readonly string[];
}

/** Seconds for which the ceilings are measured. */
const CEILING_SECONDS = 1;

/** Profiles a network, or compares two profiles. Returns the exit code. */
export async function profile(options: ProfileOptions): Promise<number> {
  if (options.diff) return diff(options.diff);
  const { network: file, out, batch, steps, seed } = options;
  if (file === undefined || out === undefined)
    throw new NetworkError(
      "profile: expected --network FILE.json and --out FOLDER, or --diff A B; give both, or two folders to compare",
    );
  if (options.train && options.infer)
    throw new Error("profile: expected --train or --infer, got both; leave one out");
  const mode = options.infer ? "infer" : "train";
  const network = readNetwork(file);
  const precision = precisionOf(options.precision);
  await prepareFolder(out);
  const device = await openDevice();
  try {
    const ceilings = options.ceilings ? await measureCeilings(device, CEILING_SECONDS) : undefined;
    const run = new ProfiledNetwork(device, network, {
      ...{ batchSize: batch, steps, mode, seed, precision },
    });
    const recording = await run.record();
    const title = `${file}: ${mode === "train" ? "training" : "inference"} with a batch of ${batch}${precision === "mixed" ? ", mixed precision" : ""}`;
    const result = await writeProfile(out, recording, {
      title,
      phase: STEPS_PHASE,
      ceilings,
      context: {
        adapter: describeDevice(device),
        driver: device.summary.driver,
        network: file,
        mode,
        batch,
        precision,
        node: process.version,
        webgpu: webgpuVersion(),
      },
    });
    console.log(`${title}, on ${describeDevice(device)}\n\n${formatProfile(result)}`);
    if (options.overhead !== undefined) {
      const { plainMs, profiledMs, ratios, rounds } = await run.overhead(options.overhead);
      const [low, middle, high] = ratios.map((ratio) => (100 * (ratio - 1)).toFixed(1));
      console.log(
        `A step took ${plainMs.toFixed(2)} ms without the profiler, ${profiledMs.toFixed(2)} ms with it: ${middle} % more, ` +
          `half of the rounds between ${low} and ${high} % (${rounds} rounds of ${steps} steps each, in turn).`,
      );
    }
    console.log(`\n${join(out, "report.html")}, trace.json (ui.perfetto.dev), profile.json`);
    return 0;
  } finally {
    device.destroy();
  }
}

function diff(folders: readonly string[]): number {
  const [before, after, ...more] = folders;
  if (before === undefined || after === undefined || more.length > 0)
    throw new Error(
      `profile --diff: expected two folders, got ${folders.length}; give the earlier profile's, then the later one's`,
    );
  console.log(formatDiff(compareProfiles(readProfile(before), readProfile(after))));
  return 0;
}
