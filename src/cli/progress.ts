/** Progress on a terminal: one line that renews itself; nothing when stderr is no terminal. */
import { SingleBar } from "cli-progress";
import type { FitProgress } from "../train/options.ts";

export interface ProgressLine {
  update(done: number, total: number, text: string): void;
  stop(): void;
}

/** A bar with a text behind it. Once `signal` is raised it is gone, and what is said of the end has the line to itself. */
export function progressLine(label: string, signal?: AbortSignal): ProgressLine {
  let bar: SingleBar | undefined;
  const stop = () => {
    bar?.stop();
    bar = undefined;
  };
  signal?.addEventListener("abort", stop);
  return {
    update: (done, total, text) => {
      if (!process.stderr.isTTY || signal?.aborted) return;
      if (!bar) {
        bar = new SingleBar({
          format: `${label} {bar} {percentage}%  {text}`,
          barCompleteChar: "━",
          barIncompleteChar: "╌",
          barsize: 24,
          hideCursor: true,
          clearOnComplete: true,
          gracefulExit: false,
          stream: process.stderr,
        });
        bar.start(total, done, { text });
      }
      bar.setTotal(total);
      bar.update(done, { text });
    },
    stop,
  };
}

/** `1 h 02 min`, `3 min 10 s`, `12 s`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

/** A training run's line: epoch, loss, accuracy, images/s, time left. */
export function trainingProgress(
  label: string,
  signal?: AbortSignal,
): {
  onProgress: (p: FitProgress) => void;
  stop: () => void;
} {
  const line = progressLine(label, signal);
  return {
    onProgress: (p) => {
      line.update(
        (p.epoch - 1) * p.steps + p.step,
        p.epochs * p.steps,
        `epoch ${p.epoch}/${p.epochs}  loss ${p.loss.toFixed(4)}  accuracy ${p.accuracy.toFixed(3)}  ` +
          `${p.imagesPerSecond.toFixed(1)} images/s  ${formatDuration(p.secondsLeft)} left`,
      );
    },
    stop: () => {
      line.stop();
    },
  };
}
