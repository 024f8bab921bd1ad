/** A profile as text: what `tuningfork profile` prints. */
import { table } from "../text_table.ts";
import { formatBytes } from "../tensor.ts";
import type { Profile, ProfileRow } from "./analyse.ts";

/** Text in columns, of which the first `left` are aligned to the left. */
export interface TextTable {
  readonly heads: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly left: number;
}

/** The summary and the tables by layer and by kernel, of the idle GPU and of the host. */
export function formatProfile(profile: Profile): string {
  const tables = [
    rowTable("layer", profile.layers),
    rowTable("kernel", profile.kernels),
    idleTable(profile),
    hostTable(profile),
  ];
  return [
    ...summaryLines(profile),
    ...tables.flatMap((each) => ["", ...lines(each)]),
    "",
    clockLine(profile),
  ].join("\n");
}

function lines({ heads, rows, left }: TextTable): string[] {
  return table(
    [heads, ...rows],
    heads.map((_, column) => column >= left && heads[column] !== "bound by"),
  );
}

/** Wall time, and what it consists of. */
export function summaryLines(profile: Profile): string[] {
  const { wallMs, busyMs, idleMs, steps, step, ceilings, memory } = profile;
  const share = (ms: number) => `${percent(ms / wallMs)} of wall time`;
  return [
    `wall time     ${fixed(wallMs)} ms: ${steps} x "${step}", ${fixed(wallMs / steps)} ms a step`,
    `GPU           busy ${fixed(busyMs)} ms, ${share(busyMs)}; idle ${fixed(idleMs)} ms, ${share(idleMs)}`,
    sumLine(profile),
    `memory        ${formatBytes(memory.peakLiveBytes)} in tensors, ${formatBytes(memory.peakAllocatedBytes)} in buffers, at most`,
    ceilings
      ? `ceilings      ${ceilings.gflops.toFixed(1)} GFLOP/s, ${ceilings.gbps.toFixed(1)} GB/s, measured just before`
      : "ceilings      not measured",
  ];
}

/** What the rows of a table add up to, beside wall time: the two are measured apart. */
export function sumLine({ wallMs, gpuMs, idleMs, steps }: Profile): string {
  const parts = `${fixed(gpuMs / steps)} ms a step in dispatches and copies + ${fixed(idleMs / steps)} ms idle`;
  return `sum           ${parts} = ${percent((gpuMs + idleMs) / wallMs)} of wall time`;
}

/** The cells of a row of time and work, after its name. */
export function rowCells(row: ProfileRow): string[] {
  const rate = (count: number | undefined) =>
    count === undefined || row.ms === 0 ? "-" : fixed(count / row.ms / 1e6);
  return [
    row.calls.toFixed(row.calls % 1 === 0 ? 0 : 1),
    fixed(row.ms, 3),
    percent(row.share),
    rate(row.flops),
    rate(row.bytes),
    row.ceilingShare === undefined ? "-" : percent(row.ceilingShare),
    row.bound ?? "-",
  ];
}

export const ROW_HEADS = ["calls", "ms", "share", "GFLOP/s", "GB/s", "of ceiling", "bound by"];

export function rowTable(what: string, rows: readonly ProfileRow[]): TextTable {
  const cells = rows.map((row) => [row.name, ...rowCells(row)]);
  return { heads: [`${what}, in a step`, ...ROW_HEADS], rows: cells, left: 1 };
}

export function idleTable({ idle, idleMs, wallMs, steps }: Profile): TextTable {
  const rows = idle.map(({ reason, ms, gaps }) => [
    reason,
    String(gaps),
    fixed(ms / steps, 3),
    percent(idleMs > 0 ? ms / idleMs : 0),
    percent(ms / wallMs),
  ]);
  return { heads: ["GPU idle while", "gaps", "ms a step", "of idle", "of wall"], rows, left: 1 };
}

export function hostTable({ host, steps }: Profile): TextTable {
  const rows = host.map(({ kind, calls, ms, bytes }) => [
    kind,
    String(calls),
    fixed(ms / steps, 3),
    bytes > 0 ? formatBytes(bytes) : "",
  ]);
  return { heads: ["host", "calls", "ms a step", "bytes"], rows, left: 1 };
}

/** Every dispatch of the programs, in the order in which they run. */
export function dispatchTable({ dispatches }: Profile): TextTable {
  const rows = dispatches.map((row) => [
    row.name,
    row.scope,
    row.shader,
    row.workgroups.join(" x "),
    ...rowCells(row),
    row.tensors.join(", "),
  ]);
  const heads = ["dispatch", "layer", "shader", "workgroups", ...ROW_HEADS, "tensors"];
  return { heads, rows, left: 4 };
}

/** How far the two clocks can be trusted against each other. */
export function clockLine({ clock }: Profile): string {
  if (clock.method === "shared") return "Host and GPU read one clock.";
  const drift = clock.driftPpm === 0 ? "" : `, drifting by ${clock.driftPpm.toFixed(1)} ppm`;
  return `GPU times are on the host's clock to within ${(clock.uncertaintyMs * 1000).toFixed(0)} us${drift}.`;
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Digits enough to tell small numbers apart, no more for large ones. */
export function fixed(value: number, most = 2): string {
  return value.toFixed(value >= 1000 ? 0 : value >= 100 ? 1 : most);
}
