/**
 * A recording boiled down: where the time went, by layer, by kernel and by dispatch, how far each is from what the
 * adapter can do, and why the GPU was idle. Plain data, which `profile.json` holds.
 */
import type { GpuSpan, HostSpan, ProfiledDispatch, Recording } from "../gpu/profiler.ts";
import type { HostKind } from "../gpu/device_core.ts";
import { workOf } from "./work.ts";

/** What the adapter can do at most, as measured by kernels that do nothing else. */
export interface Ceilings {
  readonly gflops: number;
  readonly gbps: number;
}

/**
 * What keeps something from being faster. `launch`: its work is so little that starting it takes most of the time;
 * else the ceiling that its operations and bytes meet first.
 */
export type Bound = "compute" | "memory" | "launch";

/** Time and work of a layer, a kernel or a single dispatch. */
export interface ProfileRow {
  readonly name: string;
  /** Dispatches in a step. */
  readonly calls: number;
  /** GPU time of a step: the mean, the median, and where nine of ten steps lie above or below. */
  readonly ms: number;
  readonly medianMs: number;
  readonly p10Ms: number;
  readonly p90Ms: number;
  /** Of the GPU's time. */
  readonly share: number;
  /** Of a step; none where some dispatch's operations are not known. */
  readonly flops?: number;
  readonly bytes: number;
  /** The time that the ceilings allow, over the time taken; none without ceilings. */
  readonly ceilingShare?: number;
  readonly bound?: Bound;
}

export interface DispatchRow extends ProfileRow {
  readonly scope: string;
  readonly shader: string;
  readonly workgroups: readonly number[];
  readonly constants: Readonly<Record<string, number | boolean | string>>;
  /** `x [32,36,36,3]` of each tensor. */
  readonly tensors: readonly string[];
}

/** Time in which the GPU had nothing to do, by what the host was at. */
export interface IdleRow {
  readonly reason: string;
  readonly ms: number;
  readonly gaps: number;
}

export interface HostRow {
  readonly kind: Exclude<HostKind, "phase">;
  readonly calls: number;
  readonly ms: number;
  readonly bytes: number;
}

/** A recording summed up: by layer, by kernel, by what the host did. Times are milliseconds. */
export interface Profile {
  readonly version: 1;
  /** What was run on what, in words and numbers; two profiles are comparable where these agree. */
  readonly context: Readonly<Record<string, unknown>>;
  readonly startedAt: string;
  /** The label of the submissions that count as steps, and how many there are. */
  readonly step: string;
  readonly steps: number;
  /** On the host's clock, from the encoding of the first step to the end of the last. */
  readonly wallMs: number;
  /** In which at least one dispatch or copy was running. */
  readonly busyMs: number;
  /** In which none was: `busyMs` and `idleMs` make up `wallMs`. */
  readonly idleMs: number;
  /** All dispatches and copies added up. */
  readonly gpuMs: number;
  readonly layers: readonly ProfileRow[];
  readonly kernels: readonly ProfileRow[];
  readonly dispatches: readonly DispatchRow[];
  readonly idle: readonly IdleRow[];
  readonly host: readonly HostRow[];
  readonly memory: { readonly peakLiveBytes: number; readonly peakAllocatedBytes: number };
  readonly clock: Recording["clock"];
  readonly ceilings?: Ceilings;
}

/** What `analyseProfile` takes beside a recording. */
export interface AnalyseOptions {
  /** Count only what belongs to this phase (`device.span("phase", ...)`), e.g. without building and warming up. */
  readonly phase?: string;
  readonly ceilings?: Ceilings | undefined;
  readonly context?: Readonly<Record<string, unknown>>;
}

/** A part of a recording, and the steps in it. */
export interface Excerpt {
  readonly startMs: number;
  readonly endMs: number;
  readonly gpu: readonly GpuSpan[];
  readonly host: readonly HostSpan[];
  /** Indices of the submissions that are steps, in order. */
  readonly steps: readonly number[];
  readonly stepLabel: string;
}

/** Below this share of its ceiling a dispatch may be bound by its launch... */
const LAUNCH_SHARE = 0.1;
/** ...if it takes no longer than so many of the shortest dispatch. */
const LAUNCH_TIMES = 4;

/**
 * Sums up a recording.
 * @throws Error when nothing was submitted in the phase
 */
export function analyseProfile(recording: Recording, options: AnalyseOptions = {}): Profile {
  const excerpt = excerptOf(recording, options.phase);
  const { ceilings, context = {} } = options;
  const wallMs = excerpt.endMs - excerpt.startMs;
  const gaps = gapsOf(excerpt);
  const idleMs = gaps.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0);
  const gpuMs = excerpt.gpu.reduce((sum, span) => sum + span.endMs - span.startMs, 0);
  const rows = new Rows(recording, excerpt, gpuMs, ceilings);
  return {
    version: 1,
    context,
    startedAt: recording.startedAt,
    step: excerpt.stepLabel,
    steps: excerpt.steps.length,
    wallMs,
    busyMs: wallMs - idleMs,
    idleMs,
    gpuMs,
    layers: rows.by((span, dispatch) =>
      dispatch ? dispatch.scope || "(no layer)" : "(copies to the host and between tensors)",
    ),
    kernels: rows.by((span, dispatch) => dispatch?.shader ?? "(copy)"),
    dispatches: rows.dispatches(),
    idle: idleRows(gaps, excerpt.host),
    host: hostRows(excerpt.host),
    memory: {
      peakLiveBytes: Math.max(0, ...recording.memory.map(({ liveBytes }) => liveBytes)),
      peakAllocatedBytes: Math.max(0, ...recording.memory.map((m) => m.allocatedBytes)),
    },
    clock: recording.clock,
    ...(ceilings && { ceilings }),
  };
}

/** The steps of a phase, or of all: the submissions of the label that kept the GPU busy longest. */
export function excerptOf(recording: Recording, phase?: string): Excerpt {
  const { gpu, host, submissions, wallMs } = recording;
  const within = host.find((span) => span.kind === "phase" && span.label === phase);
  if (phase !== undefined && !within)
    throw new Error(`profile: no phase "${phase}" was recorded; name one with device.span`);
  const [from, to] = within ? [within.startMs, within.endMs] : [0, wallMs];
  const inside = (atMs: number) => atMs >= from && atMs <= to;
  const busy = new Map<string, number>();
  for (const span of gpu) {
    if (!inside(span.encodeStartMs) || span.kind === "copy") continue;
    const { label } = submissions[span.submission] ?? { label: "" };
    busy.set(label, (busy.get(label) ?? 0) + span.endMs - span.startMs);
  }
  const [longest] = [...busy].sort(([, a], [, b]) => b - a);
  if (!longest) throw new Error("profile: nothing was submitted to the GPU while it was taken");
  const [stepLabel] = longest;
  const steps = submissions.flatMap(({ label, startMs }, index) =>
    label === stepLabel && inside(startMs) ? [index] : [],
  );
  const first = gpu.find(({ submission }) => submission === steps[0]);
  // What was encoded before the first step, such as the upload of the images, belongs to no step.
  const startMs = first?.encodeStartMs ?? from;
  const counted = gpu.filter(
    ({ encodeStartMs }) => encodeStartMs >= startMs && encodeStartMs <= to,
  );
  const endMs = Math.max(to, ...counted.map((span) => span.endMs));
  return {
    startMs,
    endMs,
    gpu: counted,
    host: host.filter((span) => span.endMs > startMs && span.startMs < endMs),
    steps,
    stepLabel,
  };
}

/** Adds spans up by one thing or another. */
class Rows {
  readonly #recording: Recording;
  readonly #excerpt: Excerpt;
  readonly #gpuMs: number;
  readonly #ceilings: Ceilings | undefined;
  readonly #shortestMs: number;

  constructor(
    recording: Recording,
    excerpt: Excerpt,
    gpuMs: number,
    ceilings: Ceilings | undefined,
  ) {
    this.#recording = recording;
    this.#excerpt = excerpt;
    this.#gpuMs = gpuMs;
    this.#ceilings = ceilings;
    const ran = excerpt.gpu.filter(({ kind }) => kind === "dispatch");
    this.#shortestMs = Math.min(...ran.map((span) => span.endMs - span.startMs));
  }

  /** A row for each name, the longest first. */
  by(nameOf: (span: GpuSpan, dispatch: ProfiledDispatch | undefined) => string): ProfileRow[] {
    return [...this.#groups(nameOf)]
      .map(([name, spans]) => this.#row(name, spans))
      .sort((a, b) => b.ms - a.ms);
  }

  /** A row for each dispatch of the programs, in the order of their first run. */
  dispatches(): DispatchRow[] {
    const groups = this.#groups(({ dispatch }) => (dispatch === undefined ? "" : String(dispatch)));
    return [...groups].flatMap(([key, spans]) => {
      const dispatch = this.#recording.dispatches[key === "" ? -1 : Number(key)];
      if (!dispatch) return [];
      const { label, scope, shader, workgroups, constants, tensors } = dispatch;
      const shapes = tensors.map((tensor) => `${tensor.label} [${tensor.shape.join(",")}]`);
      const row = this.#row(label, spans);
      return [{ ...row, scope, shader, workgroups, constants, tensors: shapes }];
    });
  }

  #groups(
    nameOf: (span: GpuSpan, dispatch: ProfiledDispatch | undefined) => string,
  ): Map<string, GpuSpan[]> {
    const groups = new Map<string, GpuSpan[]>();
    for (const span of this.#excerpt.gpu) {
      const name = nameOf(span, this.#recording.dispatches[span.dispatch ?? -1]);
      const group = groups.get(name);
      if (group) group.push(span);
      else groups.set(name, [span]);
    }
    return groups;
  }

  #row(name: string, spans: readonly GpuSpan[]): ProfileRow {
    const steps = Math.max(1, this.#excerpt.steps.length);
    let [ms, bytes, computeMs, memoryMs, roofMs] = [0, 0, 0, 0, 0];
    let flops: number | undefined = 0;
    const ofStep = new Map(this.#excerpt.steps.map((step) => [step, 0]));
    for (const span of spans) {
      const took = span.endMs - span.startMs;
      ms += took;
      const before = ofStep.get(span.submission);
      if (before !== undefined) ofStep.set(span.submission, before + took);
      const dispatch = this.#recording.dispatches[span.dispatch ?? -1];
      const work = dispatch ? workOf(dispatch) : { flops: 0, bytes: 2 * (span.bytes ?? 0) };
      flops = work.flops === undefined || flops === undefined ? undefined : flops + work.flops;
      bytes += work.bytes;
      if (!this.#ceilings) continue;
      const forFlops = (work.flops ?? 0) / this.#ceilings.gflops / 1e6;
      const forBytes = work.bytes / this.#ceilings.gbps / 1e6;
      computeMs += forFlops;
      memoryMs += forBytes;
      roofMs += Math.max(forFlops, forBytes);
    }
    const sorted = [...ofStep.values()].sort((a, b) => a - b);
    const quantile = (q: number) => sorted[Math.round(q * (sorted.length - 1))] ?? 0;
    const share = ms > 0 ? roofMs / ms : 0;
    const short = ms / spans.length <= LAUNCH_TIMES * this.#shortestMs;
    const roof = computeMs > memoryMs ? "compute" : "memory";
    return {
      name,
      calls: spans.length / steps,
      ms: ms / steps,
      medianMs: quantile(0.5),
      p10Ms: quantile(0.1),
      p90Ms: quantile(0.9),
      share: this.#gpuMs > 0 ? ms / this.#gpuMs : 0,
      ...(flops !== undefined && { flops: flops / steps }),
      bytes: bytes / steps,
      ...(this.#ceilings && {
        ceilingShare: share,
        bound: share < LAUNCH_SHARE && short ? "launch" : roof,
      }),
    };
  }
}

/** A time in which the GPU ran nothing. */
export interface Gap {
  readonly startMs: number;
  readonly endMs: number;
  /** Whether what ran before and after belongs to one submission: the host could not have helped. */
  readonly within: boolean;
}

/** The gaps of an excerpt, from its start to its end. */
export function gapsOf({ gpu, startMs, endMs }: Excerpt): Gap[] {
  const gaps: Gap[] = [];
  let until = startMs;
  let last: GpuSpan | undefined;
  for (const span of [...gpu].sort((a, b) => a.startMs - b.startMs)) {
    if (span.startMs > until) {
      const within = last?.submission === span.submission;
      gaps.push({ startMs: until, endMs: span.startMs, within });
    }
    if (span.endMs >= until) {
      until = span.endMs;
      last = span;
    }
  }
  if (endMs > until) gaps.push({ startMs: until, endMs, within: false });
  return gaps;
}

/** Why the GPU has nothing to do while the host is at something, the most telling first. */
const REASONS: readonly (readonly [HostKind, string])[] = [
  ["upload", "the host uploads"],
  ["encode", "the host encodes"],
  ["submit", "the host submits"],
  ["compile", "a shader is compiled"],
  ["record", "a program is recorded"],
  ["read", "a result is on its way to the host"],
  ["wait", "the host has yet to hear that the GPU is done"],
];
const WITHIN = "between dispatches of one submission";
const OTHERWISE = "the host computes (batches, callbacks)";

/** Splits a gap by what the host was at, moment by moment. */
export function reasonsOf(gap: Gap, host: readonly HostSpan[]): Map<string, number> {
  if (gap.within) return new Map([[WITHIN, gap.endMs - gap.startMs]]);
  const spans = host.filter(
    ({ kind, startMs, endMs }) => kind !== "phase" && endMs > gap.startMs && startMs < gap.endMs,
  );
  const edges = [gap.startMs, gap.endMs, ...spans.flatMap((span) => [span.startMs, span.endMs])]
    .filter((at) => at >= gap.startMs && at <= gap.endMs)
    .sort((a, b) => a - b);
  const reasons = new Map<string, number>();
  edges.slice(1).forEach((end, i) => {
    const start = edges[i] ?? end;
    const middle = (start + end) / 2;
    const now = spans.filter(({ startMs, endMs }) => startMs <= middle && endMs >= middle);
    const found = REASONS.find(([kind]) => now.some((span) => span.kind === kind));
    const reason = found?.[1] ?? OTHERWISE;
    reasons.set(reason, (reasons.get(reason) ?? 0) + end - start);
  });
  return reasons;
}

function idleRows(gaps: readonly Gap[], host: readonly HostSpan[]): IdleRow[] {
  const rows = new Map<string, { reason: string; ms: number; gaps: number }>();
  for (const gap of gaps)
    for (const [reason, ms] of reasonsOf(gap, host)) {
      const row = rows.get(reason) ?? { reason, ms: 0, gaps: 0 };
      rows.set(reason, { reason, ms: row.ms + ms, gaps: row.gaps + 1 });
    }
  return [...rows.values()].sort((a, b) => b.ms - a.ms);
}

function hostRows(host: readonly HostSpan[]): HostRow[] {
  const rows = new Map<HostRow["kind"], HostRow>();
  for (const { kind, startMs, endMs, bytes = 0 } of host) {
    if (kind === "phase") continue;
    const row = rows.get(kind) ?? { kind, calls: 0, ms: 0, bytes: 0 };
    const ms = row.ms + endMs - startMs;
    rows.set(kind, { kind, calls: row.calls + 1, ms, bytes: row.bytes + bytes });
  }
  return [...rows.values()].sort((a, b) => b.ms - a.ms);
}
