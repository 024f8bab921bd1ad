/**
 * GPU timestamps: as many as are asked for, written at the beginning and the end of passes, read all at once.
 */
import type { Tensor } from "../tensor.ts";
import type { DeviceCore } from "./device_core.ts";
import { DeviceError } from "./errors.ts";

/** The most queries that WebGPU allows in one set. */
const QUERIES = 4096;

/** Which of the times that `Timestamps.read` returns are the beginning and the end of a span. */
export type Interval = readonly [beginning: number, end: number];

/**
 * How long each pass of a submission took, in milliseconds, in order. GPUs write a pass's first time when they come to the
 * command, which may be while the pass before still runs (Vulkan's top of the pipe): it began when that was done. Where the
 * clock wraps, 0.
 * @param times as `Timestamps.read` gives them
 */
export function durationsMs(times: BigUint64Array, intervals: readonly Interval[]): number[] {
  let done = 0n;
  return intervals.map(([beginning, end]) => {
    const written = times[beginning] ?? 0n;
    const ended = times[end] ?? 0n;
    const began = written < done && done <= ended ? done : written;
    done = ended;
    return Math.max(0, Number(ended - began) / 1e6);
  });
}

/** Timestamps of any number of passes, in as many query sets as they take. */
export class Timestamps {
  readonly #device: DeviceCore;
  readonly #sets: GPUQuerySet[] = [];
  /** Queries handed out, or left unused at the end of a set. */
  #used = 0;

  /**
   * @param what names the caller in the error
   * @throws DeviceError when the adapter has no timestamp queries
   */
  constructor(device: DeviceCore, what: string) {
    if (!device.handle.features.has("timestamp-query"))
      throw new DeviceError(
        `${what}: this adapter has no timestamp-query; time whole programs instead`,
        "validation",
      );
    this.#device = device;
  }

  /**
   * What the next pass writes.
   * @param after the interval that ends where this one is to begin: the pass writes its end only. A timestamp costs a
   * software adapter a tenth of a millisecond.
   */
  next(after?: Interval): { writes: GPUComputePassTimestampWrites; interval: Interval } {
    const count = after ? 1 : 2;
    const left = this.#sets.length * QUERIES - this.#used;
    if (left < count) {
      this.#used += left;
      this.#sets.push(this.#device.handle.createQuerySet({ type: "timestamp", count: QUERIES }));
    }
    const querySet = this.#sets.at(-1);
    if (!querySet) throw new Error("timestamps: no query set");
    const first = this.#used;
    this.#used += count;
    const index = first % QUERIES;
    if (after)
      return { writes: { querySet, endOfPassWriteIndex: index }, interval: [after[1], first] };
    return {
      writes: { querySet, beginningOfPassWriteIndex: index, endOfPassWriteIndex: index + 1 },
      interval: [first, first + 1],
    };
  }

  /**
   * Waits for all passes, and frees the query sets.
   * @returns nanoseconds on the GPU's clock, 0 where no pass wrote any
   */
  async read(): Promise<BigUint64Array> {
    if (this.#used === 0) return new BigUint64Array(0);
    const { handle } = this.#device;
    const buffer = handle.createBuffer({
      label: "timestamps",
      size: this.#sets.length * QUERIES * 8,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
    const encoder = handle.createCommandEncoder({ label: "timestamps" });
    this.#sets.forEach((set, i) => {
      const count = Math.min(QUERIES, this.#used - i * QUERIES);
      encoder.resolveQuerySet(set, 0, count, buffer, i * QUERIES * 8);
    });
    handle.queue.submit([encoder.finish()]);
    const timestamps: Tensor = {
      buffer,
      offsetBytes: 0,
      shape: [this.#used * 2],
      dtype: "uint32",
      label: "timestamps",
    };
    try {
      const words = await this.#device.read(timestamps);
      return new BigUint64Array(words.buffer as ArrayBuffer, 0, this.#used);
    } finally {
      buffer.destroy();
      for (const set of this.#sets) set.destroy();
    }
  }
}
