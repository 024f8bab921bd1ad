/**
 * A recording in the Trace Event Format, which Perfetto and chrome://tracing open: host and GPU as two processes on one
 * clock, an arrow from where a dispatch was encoded to where it ran, memory as a counter.
 * Format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
 */
import type { GpuSpan, HostSpan, Recording } from "../gpu/profiler.ts";
import type { HostKind } from "../gpu/device_core.ts";
import { liveBytesOf, programsOf } from "./step_memory.ts";

/** One event. Times in microseconds. */
export type TraceEvent =
  | {
      readonly ph: "X";
      readonly name: string;
      readonly cat: string;
      readonly pid: number;
      readonly tid: number;
      readonly ts: number;
      readonly dur: number;
      readonly args?: Readonly<Record<string, unknown>>;
    }
  | {
      readonly ph: "s" | "f";
      readonly name: string;
      readonly cat: string;
      readonly id: number;
      readonly pid: number;
      readonly tid: number;
      readonly ts: number;
      /** Of an arrow's end: it belongs to the slice around it, not to the next one. */
      readonly bp?: "e";
    }
  | {
      readonly ph: "C";
      readonly name: string;
      readonly pid: number;
      readonly tid: number;
      readonly ts: number;
      readonly args: Readonly<Record<string, number>>;
    }
  | {
      readonly ph: "M";
      readonly name: string;
      readonly pid: number;
      readonly tid: number;
      readonly ts: 0;
      readonly args: Readonly<Record<string, string | number>>;
    };

/** A trace in the format of Chrome, which Perfetto and chrome://tracing open. */
export interface Trace {
  readonly traceEvents: readonly TraceEvent[];
  readonly displayTimeUnit: "ms";
  readonly otherData: Readonly<Record<string, unknown>>;
}

const HOST = 1;
const GPU = 2;
/** Kinds that are one call each, so that they nest; the others wait, and may overlap. */
const CALLS: readonly HostKind[] = ["encode", "submit", "upload"];

/**
 * A recording as a trace: the host's spans, the GPU's, and memory.
 * @param context shown by viewers as the trace's metadata
 */
export function traceOf(
  recording: Recording,
  context: Readonly<Record<string, unknown>> = {},
): Trace {
  const ofKinds = (kinds: readonly HostKind[]) =>
    recording.host.filter(({ kind }) => kinds.includes(kind));
  const waits: HostKind[] = ["read", "wait", "record"];
  const tracks = [
    ...hostTracks("phases", ofKinds(["phase"])),
    { name: "calls", events: [...ofKinds(CALLS).map(hostEvent), ...encodings(recording)] },
    ...hostTracks("waits", ofKinds(waits)),
    { name: "compilation", events: compilations(ofKinds(["compile"])) },
  ];
  const lanes = lanesOf(recording.gpu);
  const laneOf = new Map(lanes.flatMap((lane, i) => lane.map((span) => [span, i + 1] as const)));
  const callsTid = tracks.findIndex(({ name }) => name === "calls") + 1;
  return {
    traceEvents: [
      ...named(HOST, "host", 0),
      ...tracks.flatMap(({ name }, i) => named(HOST, name, i + 1)),
      ...named(GPU, "GPU", 0),
      ...lanes.flatMap((_, i) => named(GPU, i === 0 ? "queue" : `queue, at the same time`, i + 1)),
      ...tracks.flatMap(({ events }, i) => events.map((event) => ({ ...event, tid: i + 1 }))),
      ...recording.gpu.flatMap((span, id) =>
        gpuEvents(recording, span, id, { gpuTid: laneOf.get(span) ?? 1, callsTid }),
      ),
      ...recording.memory.map(({ atMs, liveBytes, allocatedBytes }): TraceEvent => ({
        ...{ ph: "C", name: "GPU memory", pid: GPU, tid: 0, ts: micros(Math.max(0, atMs)) },
        args: { "live bytes": liveBytes, "pooled bytes": allocatedBytes - liveBytes },
      })),
      ...recording.submissions.flatMap((_, submission) => scratchCounters(recording, submission)),
    ],
    displayTimeUnit: "ms",
    otherData: {
      ...context,
      startedAt: recording.startedAt,
      clock: recording.clock,
    },
  };
}

/** A name for a process (`tid` 0) or one of its threads. */
function named(pid: number, name: string, tid: number): TraceEvent[] {
  const of = tid === 0 ? "process" : "thread";
  const event = { ph: "M", pid, tid, ts: 0 } as const;
  return [
    { ...event, name: `${of}_name`, args: { name } },
    { ...event, name: `${of}_sort_index`, args: { sort_index: tid === 0 ? pid : tid } },
  ];
}

type Complete = Extract<TraceEvent, { ph: "X" }>;

function hostTracks(
  name: string,
  spans: readonly HostSpan[],
): { name: string; events: Complete[] }[] {
  return lanesOf(spans).map((lane) => ({ name, events: lane.map(hostEvent) }));
}

function hostEvent({ kind, label, startMs, endMs, bytes }: HostSpan): Complete {
  return {
    ...complete(`${kind === "phase" ? "" : `${kind} `}${label}`, kind, startMs, endMs),
    ...(bytes !== undefined && { args: { bytes } }),
  };
}

/** A program's shaders are compiled all at once: one slice for those that overlap, which names them. */
function compilations(spans: readonly HostSpan[]): Complete[] {
  const runs: { startMs: number; endMs: number; shaders: string[] }[] = [];
  for (const { startMs, endMs, label } of [...spans].sort((a, b) => a.startMs - b.startMs)) {
    const run = runs.at(-1);
    const shader = `${label}: ${(endMs - startMs).toFixed(1)} ms`;
    if (run && startMs < run.endMs) {
      run.endMs = Math.max(run.endMs, endMs);
      run.shaders.push(shader);
    } else runs.push({ startMs, endMs, shaders: [shader] });
  }
  return runs.map(({ startMs, endMs, shaders }) => ({
    ...complete(`compile ${shaders.length} shaders`, "compile", startMs, endMs),
    args: { shaders },
  }));
}

/** What each dispatch of a submission finds in scratch tensors, and nothing once it is done. */
function scratchCounters(recording: Recording, submission: number): TraceEvent[] {
  return programsOf(recording, submission, recording.gpu).flatMap(({ program, spans }) => {
    const live = liveBytesOf(program);
    const end = spans.at(-1)?.endMs;
    const counts = spans.map(({ startMs }, i) => [startMs, live[i] ?? 0] as const);
    const all = end === undefined ? [] : [...counts, [end, 0] as const];
    return all.map(([atMs, bytes]): TraceEvent => ({
      ...{ ph: "C", name: "scratch memory in use", pid: GPU, tid: 0, ts: micros(atMs) },
      args: { bytes },
    }));
  });
}

/** The encoding of each dispatch, inside that of its program. */
function encodings({ gpu }: Recording): Complete[] {
  return gpu.map(({ label, encodeStartMs, encodeEndMs }) =>
    complete(label, "encode dispatch", encodeStartMs, encodeEndMs),
  );
}

function gpuEvents(
  { dispatches }: Recording,
  span: GpuSpan,
  id: number,
  { gpuTid, callsTid }: { gpuTid: number; callsTid: number },
): TraceEvent[] {
  const dispatch = dispatches[span.dispatch ?? -1];
  const args = dispatch
    ? {
        scope: dispatch.scope,
        shader: `${dispatch.shader}.wgsl`,
        workgroups: dispatch.workgroups.join(" x "),
        constants: dispatch.constants,
        params: dispatch.params,
        tensors: dispatch.tensors.map(({ label, shape }) => `${label} [${shape.join(",")}]`),
      }
    : { bytes: span.bytes ?? 0 };
  const arrow = { name: "runs", cat: "flow", id } as const;
  return [
    {
      ...complete(span.label, span.kind, span.startMs, span.endMs),
      ...{ pid: GPU, tid: gpuTid, args },
    },
    { ph: "s", ...arrow, pid: HOST, tid: callsTid, ts: micros(span.encodeStartMs) },
    { ph: "f", bp: "e", ...arrow, pid: GPU, tid: gpuTid, ts: micros(span.startMs) },
  ];
}

function complete(name: string, cat: string, startMs: number, endMs: number): Complete {
  const ts = micros(startMs);
  // From rounded ends: a rounded duration may reach into the next slice.
  return { ph: "X", name, cat, pid: HOST, tid: 0, ts, dur: nanosecond(micros(endMs) - ts) };
}

/** Whole nanoseconds, which is what the clocks tell. */
function micros(ms: number): number {
  return nanosecond(ms * 1000);
}

function nanosecond(us: number): number {
  return Math.round(us * 1000) / 1000;
}

/** Spans on as few tracks as keep each track's from overlapping. */
function lanesOf<Span extends { readonly startMs: number; readonly endMs: number }>(
  spans: readonly Span[],
): Span[][] {
  const lanes: Span[][] = [];
  for (const span of [...spans].sort((a, b) => a.startMs - b.startMs)) {
    const free = lanes.find((lane) => (lane.at(-1)?.endMs ?? 0) <= span.startMs);
    if (free) free.push(span);
    else lanes.push([span]);
  }
  return lanes;
}
