/**
 * What the host and the GPU do while a profile is taken, on one clock. Every dispatch runs in a pass of its own, whose
 * timestamps are read at the end, so that what is submitted runs as it would without. Within a submission a dispatch
 * lasts from the end of the one before to its own: the GPU has no reason to pause there, and half the timestamps do.
 */
import type { DType, Shape } from "../tensor.ts";
import type { MemoryUse } from "./buffer_pool.ts";
import type { Dispatch } from "./context.ts";
import type { DeviceCore, HostKind, Observer } from "./device_core.ts";
import type { ScratchLife, ScratchMemory } from "./memory_plan.ts";
import type { Shader } from "./shader.ts";
import { Timestamps, type Interval } from "./timestamps.ts";

/** Something the host did. Times are milliseconds since the profile began. */
export interface HostSpan {
  readonly kind: HostKind;
  readonly label: string;
  readonly startMs: number;
  readonly endMs: number;
  /** Bytes uploaded or read. */
  readonly bytes?: number;
}

/** A dispatch or a copy as the GPU ran it, on the host's clock, and when the host encoded it. */
export interface GpuSpan {
  readonly kind: "dispatch" | "copy";
  readonly label: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly encodeStartMs: number;
  readonly encodeEndMs: number;
  /** Index into `submissions`. */
  readonly submission: number;
  /** Index into `dispatches`; none for a copy. */
  readonly dispatch?: number;
  /** Bytes copied. */
  readonly bytes?: number;
}

/** A dispatch of a recorded program; it runs as often as the program is submitted. */
export interface ProfiledDispatch {
  readonly label: string;
  /** What was being recorded, e.g. `conv1 forward`; empty where no one said. */
  readonly scope: string;
  readonly shader: string;
  readonly constants: Readonly<Record<string, number | boolean | string>>;
  readonly params: Readonly<Record<string, number>>;
  /** Each once, however often it is bound. */
  readonly tensors: readonly {
    readonly label: string;
    readonly shape: Shape;
    readonly dtype: DType;
    readonly access: "read" | "read_write";
  }[];
  readonly workgroups: readonly [number, number, number];
  /** As the wrapper declares them, see `Dispatch`. */
  readonly flops?: number;
  readonly bytes?: number;
}

/** The scratch memory of a program that was submitted. */
export interface ProfiledProgram extends ScratchMemory {
  readonly label: string;
  /** Its commands, dispatches and copies, and what lives from which to which. */
  readonly commands: number;
  readonly lives: readonly ScratchLife[];
}

export interface Submission {
  /** The programs' labels, or `read NAME` and the like. */
  readonly label: string;
  /** Indices into `programs`, in the order in which they ran: their commands, one after the other, are its spans. */
  readonly programs: readonly number[];
  readonly startMs: number;
  readonly endMs: number;
}

export interface MemorySample {
  readonly atMs: number;
  readonly liveBytes: number;
  readonly allocatedBytes: number;
}

/** How the GPU's clock was related to the host's. */
export interface ClockAlignment {
  /** `shared`: the two are one, as on software adapters; `bracketed`: fitted between submission and completion. */
  readonly method: "shared" | "bracketed";
  /** By how much a GPU time may be early or late against the host's. */
  readonly uncertaintyMs: number;
  /** How much faster the GPU's clock ran; 0 where the brackets of beginning and end agree. */
  readonly driftPpm: number;
}

/** All that was recorded. Times are milliseconds since `work` was called. */
export interface Recording {
  readonly startedAt: string;
  /** Until `work` was done, and all that it had submitted. */
  readonly wallMs: number;
  readonly host: readonly HostSpan[];
  readonly gpu: readonly GpuSpan[];
  readonly dispatches: readonly ProfiledDispatch[];
  readonly programs: readonly ProfiledProgram[];
  readonly submissions: readonly Submission[];
  readonly memory: readonly MemorySample[];
  readonly clock: ClockAlignment;
}

/** A GPU span whose times are still in the query sets. */
type Pending = Omit<GpuSpan, "startMs" | "endMs"> & { readonly interval: Interval };

/** An empty pass between two looks at the host's clock. */
export interface Bracket {
  /** `performance.now()` before the submission, and once its work was known to be done. */
  readonly beforeMs: number;
  readonly afterMs: number;
  readonly interval: Interval;
}

/** Brackets at either end of a profile; the narrowest counts. */
const BRACKETS = 8;

/** What a profile keeps of a `Program`. */
interface ProgramFacts {
  readonly label: string;
  readonly memory: ScratchMemory;
  readonly lives: readonly ScratchLife[];
  readonly commandCount: number;
}

/** Records one profile; `Device.profile` makes it and asks it for the outcome. */
export class Profiler implements Observer {
  readonly #device: DeviceCore;
  readonly #timestamps: Timestamps;
  readonly #host: HostSpan[] = [];
  readonly #pending: Pending[] = [];
  readonly #submissions: Submission[] = [];
  readonly #dispatches: ProfiledDispatch[] = [];
  /** A program's dispatches are the same objects every time that it is submitted. */
  readonly #indexOf = new Map<Dispatch, number>();
  readonly #programs = new Map<ProgramFacts, number>();
  /** Of the submission that is being encoded: its programs, and its last span so far. */
  #submitted: number[] = [];
  #latest: Interval | undefined;
  readonly #memory: MemorySample[] = [];
  readonly #brackets: Bracket[] = [];
  #originMs = performance.now();
  #startedAt = new Date();

  /** @throws DeviceError when the adapter has no timestamp queries */
  constructor(device: DeviceCore, what = "profile") {
    this.#device = device;
    this.#timestamps = new Timestamps(device, what);
  }

  #now(): number {
    return performance.now() - this.#originMs;
  }

  /** Relates the clocks a first time; what is recorded from then on counts from 0. */
  async begin(): Promise<void> {
    await this.#bracket();
    this.#originMs = performance.now();
    this.#startedAt = new Date();
    this.memory(this.#device.memory());
  }

  async #bracket(): Promise<void> {
    const { queue } = this.#device.handle;
    for (let i = 0; i < BRACKETS; i++) {
      const encoder = this.#device.handle.createCommandEncoder({ label: "clock" });
      const { writes, interval } = this.#timestamps.next();
      encoder.beginComputePass({ label: "clock", timestampWrites: writes }).end();
      const commands = encoder.finish();
      const beforeMs = performance.now();
      queue.submit([commands]);
      await queue.onSubmittedWorkDone();
      this.#brackets.push({ beforeMs, afterMs: performance.now(), interval });
    }
  }

  /** Notes how long `work` takes; an asynchronous one until it is settled. */
  span<T>(kind: HostKind, label: string, work: () => T, bytes?: number): T {
    const startMs = this.#now();
    const end = () => {
      const size = bytes === undefined ? {} : { bytes };
      this.#host.push({ kind, label, startMs, endMs: this.#now(), ...size });
    };
    let result: T;
    try {
      result = work();
    } catch (error) {
      end();
      throw error;
    }
    if (result instanceof Promise) return result.finally(end) as T;
    end();
    return result;
  }

  /** Notes a submission, to which what was encoded since the last one belongs. */
  submit(label: string, submit: () => void): void {
    const startMs = this.#now();
    this.span("submit", label, submit);
    this.#submissions.push({ label, programs: this.#submitted, startMs, endMs: this.#now() });
    this.#submitted = [];
    this.#latest = undefined;
  }

  /** Notes that a program's commands follow. */
  program(program: ProgramFacts): void {
    const index = this.#programs.get(program) ?? this.#programs.size;
    this.#programs.set(program, index);
    this.#submitted.push(index);
  }

  /** Encodes a dispatch in a pass of its own, with timestamps. */
  dispatch(
    encoder: GPUCommandEncoder,
    dispatch: Dispatch,
    shader: Shader,
    encode: (pass: GPUComputePassEncoder) => void,
  ): void {
    const { label } = dispatch;
    const encodeStartMs = this.#now();
    const { writes, interval } = this.#timestamps.next(this.#latest);
    const pass = encoder.beginComputePass({ label, timestampWrites: writes });
    encode(pass);
    pass.end();
    this.#latest = interval;
    this.#pending.push({
      ...{ kind: "dispatch", label, interval, encodeStartMs, encodeEndMs: this.#now() },
      submission: this.#submissions.length,
      dispatch: this.#index(dispatch, shader),
    });
  }

  /** Encodes a copy, and behind it an empty pass that writes when it is done; before the first, one that writes when it begins. */
  copy(encoder: GPUCommandEncoder, label: string, bytes: number, encode: () => void): void {
    const encodeStartMs = this.#now();
    const mark = (writes: GPUComputePassTimestampWrites) => {
      encoder.beginComputePass({ label, timestampWrites: writes }).end();
    };
    if (!this.#latest) {
      const { writes, interval } = this.#timestamps.next();
      mark(writes);
      this.#latest = interval;
    }
    encode();
    const { writes, interval } = this.#timestamps.next(this.#latest);
    mark(writes);
    this.#latest = interval;
    this.#pending.push({
      ...{ kind: "copy", label, bytes, interval, encodeStartMs, encodeEndMs: this.#now() },
      submission: this.#submissions.length,
    });
  }

  memory({ liveBytes, allocatedBytes }: MemoryUse): void {
    this.#memory.push({ atMs: this.#now(), liveBytes, allocatedBytes });
  }

  #index(dispatch: Dispatch, shader: Shader): number {
    const known = this.#indexOf.get(dispatch);
    if (known !== undefined) return known;
    this.#indexOf.set(dispatch, this.#dispatches.length);
    return this.#dispatches.push(describe(dispatch, shader)) - 1;
  }

  /** Everything since `begin()`, once all that was submitted is done. `Device.profile` has set the profiler aside by then. */
  async end(): Promise<Recording> {
    const wallMs = this.#now();
    await this.#bracket();
    const times = await this.#timestamps.read();
    const { toHostMs, clock } = alignClocks(times, this.#brackets, this.#firsts());
    const at = (index: number) => toHostMs(times[index] ?? 0n) - this.#originMs;
    // What was encoded but, for an error, never submitted has no times.
    const ran = this.#pending.filter(({ interval }) => interval.every((i) => times[i]));
    let previousMs = -Infinity;
    const gpu = ran.map(({ interval: [beginning, end], ...span }): GpuSpan => {
      // A submission's first pass may begin before the last of the one before has ended.
      const startMs = Math.max(previousMs, at(beginning));
      previousMs = Math.max(startMs, at(end));
      return { ...span, startMs, endMs: previousMs };
    });
    return {
      startedAt: this.#startedAt.toISOString(),
      wallMs,
      host: this.#host,
      gpu,
      dispatches: this.#dispatches,
      programs: [...this.#programs.keys()].map(({ label, memory, lives, commandCount }) => ({
        ...{ label, ...memory, commands: commandCount, lives },
      })),
      submissions: this.#submissions,
      memory: this.#memory,
      clock,
    };
  }

  /** Of each submission: when it was made, and what it ran first. */
  #firsts(): Bracket[] {
    return this.#submissions.flatMap(({ startMs }, index) => {
      const first = this.#pending.find(({ submission }) => submission === index);
      const beforeMs = startMs + this.#originMs;
      return first ? [{ beforeMs, afterMs: Infinity, interval: first.interval }] : [];
    });
  }

  /** GPU times in ms of the dispatches and copies so far, in order, without relating the clocks. */
  async durations(): Promise<(GpuSpan & { readonly dispatched?: ProfiledDispatch })[]> {
    const times = await this.#timestamps.read();
    return this.#pending.map(({ interval: [beginning, end], ...span }) => {
      const endMs = Number((times[end] ?? 0n) - (times[beginning] ?? 0n)) / 1e6;
      const dispatched = this.#dispatches[span.dispatch ?? -1];
      return { ...span, startMs: 0, endMs, ...(dispatched && { dispatched }) };
    });
  }
}

function describe(dispatch: Dispatch, shader: Shader): ProfiledDispatch {
  const [x, y = 1, z = 1] = dispatch.workgroups;
  const bound = dispatch.tensors.map((tensor, i) => ({
    ...tensor,
    access: shader.bindings[i] ?? ("read" as const),
  }));
  // Wrappers bind a tensor twice for another element type, or where they need none.
  const unique = bound.filter(
    ({ buffer, offsetBytes }, i, all) =>
      all.findIndex((t) => t.buffer === buffer && t.offsetBytes === offsetBytes) === i,
  );
  return {
    label: dispatch.label,
    scope: dispatch.scope ?? "",
    shader: shader.name,
    constants: dispatch.constants ?? {},
    params: dispatch.params ?? {},
    tensors: unique.map(({ label, shape, dtype, access }) => ({ label, shape, dtype, access })),
    workgroups: [x, y, z],
    ...(dispatch.flops !== undefined && { flops: dispatch.flops }),
    ...(dispatch.bytes !== undefined && { bytes: dispatch.bytes }),
  };
}

/**
 * The way from the GPU's clock to the host's. Each bracket says: submitted before the pass began, known to be done
 * after it ended; the offset lies between. Where host and GPU read one clock (software adapters on Linux: the monotonic
 * clock), the difference is known and only confirmed by the brackets. Clocks that drift apart are related at both ends.
 * @param times nanoseconds, as the intervals number them
 * @param causes submissions before what they caused: no effect may come first
 */
export function alignClocks(
  times: BigUint64Array,
  brackets: readonly Bracket[],
  causes: readonly Bracket[] = [],
): { toHostMs: (time: bigint) => number; clock: ClockAlignment } {
  const base = times[0] ?? 0n;
  const ms = (time: bigint) => Number(time - base) / 1e6;
  const half = Math.ceil(brackets.length / 2);
  const at = (part: Bracket | undefined, side: 0 | 1) => ms(times[part?.interval[side] ?? 0] ?? 0n);
  const bounds = (part: readonly Bracket[]) => ({
    low: Math.max(...part.map((bracket) => bracket.beforeMs - at(bracket, 0))),
    high: Math.min(...part.map((bracket) => bracket.afterMs - at(bracket, 1))),
    atMs: at(part[0], 0),
  });
  const [first, last] = [bounds(brackets.slice(0, half)), bounds(brackets.slice(half))];
  const low = Math.max(first.low, last.low, bounds(causes).low);
  const high = Math.min(first.high, last.high);
  const constant = (offset: number, clock: ClockAlignment) => ({
    toHostMs: (time: bigint) => ms(time) + offset,
    clock,
  });
  const shared = Number(base) / 1e6 + monotonicOffsetMs();
  if (shared >= low && shared <= high)
    return constant(shared, { method: "shared", uncertaintyMs: 0, driftPpm: 0 });
  if (low <= high) {
    const uncertaintyMs = (high - low) / 2;
    return constant((low + high) / 2, { method: "bracketed", uncertaintyMs, driftPpm: 0 });
  }
  const middle = (b: { low: number; high: number }) => (b.low + b.high) / 2;
  const slope = (middle(last) - middle(first)) / Math.max(1e-6, last.atMs - first.atMs);
  return {
    toHostMs: (time) => ms(time) + middle(first) + slope * (ms(time) - first.atMs),
    clock: {
      method: "bracketed",
      uncertaintyMs: Math.max(first.high - first.low, last.high - last.low) / 2,
      driftPpm: -slope * 1e6,
    },
  };
}

/** `performance.now()` less the monotonic clock, in ms: the largest of several tries, the one least interrupted. */
function monotonicOffsetMs(): number {
  const tries = Array.from(
    { length: 10 },
    () => performance.now() - Number(process.hrtime.bigint()) / 1e6,
  );
  return Math.max(...tries);
}
