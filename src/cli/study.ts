/** `tuningfork study`: the seven tests of the paper and their report. */
import { join } from "node:path";
import { openDevice } from "../gpu/device.ts";
import { precisionOf, type Precision } from "../nn/precision.ts";
import { TEST_IDS, type DataSetChoice, type Preset, type TestId } from "../study/results.ts";
import { InterruptedError } from "../study/seven_tests.ts";
import { defaultChoice } from "../study/sources.ts";
import { runStudy } from "../study/study.ts";
import { table3Markdown } from "../study/table3.ts";
import { terminalProgress } from "./data.ts";
import { formatDuration, progressLine } from "./progress.ts";
import { describeDevice, EXIT_INTERRUPTED, onInterrupt } from "./train.ts";

export interface StudyCommandOptions {
  readonly preset: Preset;
  readonly dataSet?: DataSetChoice;
  readonly data?: string;
  readonly tests?: readonly string[];
  readonly seed: number;
  readonly seeds: number;
  readonly precision?: Precision;
  readonly out: string;
  readonly resume: boolean;
}

/** Runs a study with a progress line, and prints its Table 3 and where the report is. Returns the exit code. */
export async function study(options: StudyCommandOptions): Promise<number> {
  const tests = (options.tests ?? TEST_IDS).map(checkedTest);
  const choice = options.dataSet ?? defaultChoice(options.data);
  const precision = precisionOf(options.precision);
  const device = await openDevice();
  const interrupt = onInterrupt();
  const loading = terminalProgress();
  const line = progressLine("study", interrupt.signal);
  try {
    const adapterClass = device.summary.class;
    console.error(
      `study: ${options.preset} preset, ${choice} galaxies${precision === "mixed" ? ", mixed precision" : ""}, on ${describeDevice(device)}`,
    );
    if (adapterClass === "swiftshader" && options.preset === "quick")
      console.error(
        "SwiftShader is about ten times slower than Mesa's adapter: a smaller study with fewer images and epochs.",
      );
    const { results, written } = await runStudy(device, {
      preset: options.preset,
      choice,
      data: options.data,
      tests: [...TEST_IDS].filter((id) => tests.includes(id)),
      seed: options.seed,
      seeds: options.seeds,
      precision,
      out: options.out,
      resume: options.resume,
      signal: interrupt.signal,
      onMessage: (text) => {
        loading.stop();
        line.stop();
        console.error(text);
      },
      onLoading: loading.onProgress,
      onProgress: ({ done, secondsLeft, text }) => {
        line.update(Math.round(1000 * done), 1000, `${formatDuration(secondsLeft)} left  ${text}`);
      },
    });
    loading.stop();
    line.stop();
    console.log(table3Markdown(results));
    console.log(
      `${written.length} files in ${formatDuration(results.seconds)}; open ${join(options.out, "report.html")}`,
    );
    return 0;
  } catch (error) {
    if (!(error instanceof InterruptedError)) throw error;
    console.error(`${error.message}; continue with the same command and --resume`);
    return EXIT_INTERRUPTED;
  } finally {
    loading.stop();
    line.stop();
    interrupt.stop();
    device.destroy();
  }
}

function checkedTest(id: string): TestId {
  const test = TEST_IDS.find((known) => known === id);
  if (!test)
    throw new Error(`study: --tests: expected letters of ${TEST_IDS.join(",")}, got "${id}"`);
  return test;
}
