/** `tuningfork bench`: every kernel, verified and timed on this adapter. */
import { bench as run, type BenchOptions } from "../../bench/run.ts";
import { precisionOf, type Precision } from "../nn/precision.ts";
import { formatDuration, progressLine } from "./progress.ts";
import { EXIT_INTERRUPTED, onInterrupt } from "./train.ts";

export type BenchCommandOptions = Omit<BenchOptions, "precision"> & {
  readonly precision?: Precision;
};

/** Runs the suites with a progress line, the table on stdout and all else on stderr. Returns the exit code. */
export async function bench(options: BenchCommandOptions): Promise<number> {
  const precision = precisionOf(options.precision);
  const interrupt = onInterrupt();
  const line = progressLine("bench", interrupt.signal);
  // A line has the terminal's last line to itself; the progress comes back with the next case.
  const after = (say: (text: string) => void) => (text: string) => {
    line.stop();
    say(text);
  };
  try {
    const outcome = await run(
      { ...options, precision },
      {
        print: after(console.log),
        note: after(console.error),
        progress: (done, total, secondsLeft, text) => {
          const left = Number.isFinite(secondsLeft) ? `${formatDuration(secondsLeft)} left  ` : "";
          line.update(done, total, `${left}${text}`);
        },
        signal: interrupt.signal,
      },
    );
    if (outcome === "interrupted") return EXIT_INTERRUPTED;
    return outcome === "well" ? 0 : 1;
  } finally {
    line.stop();
    interrupt.stop();
  }
}
