import { setImmediate } from "node:timers/promises";

/** A pause is at most this long, and at most this share of what was waited already. */
const LONGEST_PAUSE_MS = 2;
const PAUSE_SHARE = 0.02;

const unchanging = new Int32Array(new SharedArrayBuffer(4));

/**
 * Waits for a promise of Dawn's. While one is pending, Dawn polls at each turn of the event loop, which keeps a core busy
 * that a software adapter needs for the work itself. So the thread is stopped between the turns: for two milliseconds at
 * most, which other work on the host may have to wait.
 */
export async function waitWithPauses<T>(promise: Promise<T>): Promise<T> {
  const state = { settled: false };
  const settle = () => {
    state.settled = true;
  };
  promise.then(settle, settle);
  const started = performance.now();
  await setImmediate();
  while (!state.settled) {
    const waited = performance.now() - started;
    Atomics.wait(unchanging, 0, 0, Math.min(LONGEST_PAUSE_MS, PAUSE_SHARE * waited));
    await setImmediate();
  }
  return promise;
}
