/**
 * Keeps at most two submissions in flight: a GPU has its next work from the moment that it begins the last. On a software
 * adapter the host sleeps while they run, since a pending promise of Dawn's keeps a core busy, which the adapter needs for
 * the work itself; the next work then comes shortly before the last is expected to end, and now and then too late.
 */
import type { Device } from "../gpu/device.ts";

const now = (): number => performance.now();

/** Keeps at most two steps in flight; on software adapters sleeps through the time that a step is expected to take. */
export class Pace {
  readonly #device: Device;
  /** Durations of the last submissions, in milliseconds. */
  #recent: number[] = [];
  #lastDone = 0;
  #running = false;
  /** The kind of the submission made last, and the kinds that have run. */
  #latest = 0;
  readonly #warm = new Set<number>();
  /** Submissions in a row that were done before the host looked. */
  #sleptThrough = 0;

  constructor(device: Device) {
    this.#device = device;
  }

  /**
   * Submits when the submission before the last is done, so that the GPU always has its next work and never more.
   * Resolves when the submission before this one is done.
   * @param kind tells programs apart, by their batch size
   */
  async submit(kind: number, submit: () => void): Promise<void> {
    if (!this.#running) {
      this.#running = true;
      this.#lastDone = now();
      this.#latest = kind;
      submit();
      return;
    }
    await this.#sleep();
    const done = this.#device.submittedWorkDone();
    submit();
    const woken = now();
    await done;
    this.#finished(now() - woken);
    this.#latest = kind;
  }

  /** Resolves when everything submitted is done. */
  async drain(): Promise<void> {
    if (!this.#running) return;
    await this.#sleep();
    const woken = now();
    await this.#device.finish();
    this.#finished(now() - woken);
    this.#running = false;
  }

  /**
   * How long a submission takes: the median of the last ones, 0 before the first is done. Polling through the rest of a
   * longer one costs a software adapter more than the pause after a shorter one, so not the least of them.
   */
  get expectedMs(): number {
    const sorted = [...this.#recent].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)] ?? 0;
  }

  async #sleep(): Promise<void> {
    if (!this.#device.summary.software) return;
    const left = 0.98 * this.expectedMs - (now() - this.#lastDone);
    // Shorter waits are not worth the timer's own millisecond.
    if (left > 2) await this.#device.sleep(left);
  }

  /** @param waitedMs how long the host waited after its sleep */
  #finished(waitedMs: number): void {
    const time = now();
    const took = time - this.#lastDone;
    this.#lastDone = time;
    // Software adapters compile a program when it first runs: seconds, which say nothing of the next run.
    if (!this.#warm.has(this.#latest)) {
      this.#warm.add(this.#latest);
      return;
    }
    // Done before the host looked: it slept too long, by how much is unknown, and must look earlier next time. Four
    // times in a row, and all that is known of the last ones is that they were slept through.
    this.#sleptThrough = waitedMs < 1 ? this.#sleptThrough + 1 : 0;
    if (this.#sleptThrough < 4)
      this.#recent = [...this.#recent.slice(-7), waitedMs < 1 ? 0.9 * took : took];
    else {
      this.#recent = [took / 2];
      this.#sleptThrough = 0;
    }
  }
}
