/** Two profiles side by side: what became slower or faster from the first to the second. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { table } from "../text_table.ts";
import { systemReason } from "../system_errors.ts";
import type { Profile, ProfileRow } from "./analyse.ts";
import { fixed } from "./format.ts";

export interface DiffRow {
  readonly name: string;
  /** Milliseconds a step, of rows the median; none where only the other profile has it. */
  readonly before: number | undefined;
  readonly after: number | undefined;
  readonly changeMs: number;
  /** `same` when the change is less than the spread of the steps, or less than 2 %. */
  readonly verdict: "slower" | "faster" | "same" | "new" | "gone";
}

/** What changed between two profiles, in ms a step. */
export interface ProfileDiff {
  /** Where the two were not taken under the same conditions, a sentence each. */
  readonly warnings: readonly string[];
  readonly totals: readonly DiffRow[];
  readonly layers: readonly DiffRow[];
  readonly kernels: readonly DiffRow[];
}

/** Conditions that should agree, by their key in the context. */
const CONDITIONS = { adapter: "adapter", network: "network", mode: "mode", batch: "batch size" };
const LEAST_CHANGE = 0.02;

/** Two profiles of the same work, row by row; `warnings` says where it was not the same. */
export function compareProfiles(before: Profile, after: Profile): ProfileDiff {
  const total = (name: string, of: (profile: Profile) => number): DiffRow => {
    const [a, b] = [of(before) / before.steps, of(after) / after.steps];
    return { name, before: a, after: b, changeMs: b - a, verdict: verdict(a, b, 0) };
  };
  return {
    warnings: Object.entries(CONDITIONS).flatMap(([key, name]) => {
      const [a, b] = [text(before.context[key]), text(after.context[key])];
      return a === b ? [] : [`the ${name} differs: ${a} before, ${b} after`];
    }),
    totals: [
      total("wall", ({ wallMs }) => wallMs),
      total("GPU busy", ({ busyMs }) => busyMs),
      total("GPU idle", ({ idleMs }) => idleMs),
    ],
    layers: diffRows(before.layers, after.layers),
    kernels: diffRows(before.kernels, after.kernels),
  };
}

function text(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function diffRows(before: readonly ProfileRow[], after: readonly ProfileRow[]): DiffRow[] {
  const names = new Set([...before, ...after].map(({ name }) => name));
  const rows = [...names].map((name): DiffRow => {
    const a = before.find((row) => row.name === name);
    const b = after.find((row) => row.name === name);
    const [x, y] = [a?.medianMs, b?.medianMs];
    const changeMs = (y ?? 0) - (x ?? 0);
    if (!a || !b || x === undefined || y === undefined)
      return { name, before: x, after: y, changeMs, verdict: a ? "gone" : "new" };
    const spread = Math.max(a.p90Ms - a.p10Ms, b.p90Ms - b.p10Ms);
    return { name, before: x, after: y, changeMs, verdict: verdict(x, y, spread) };
  });
  return rows.sort((a, b) => Math.abs(b.changeMs) - Math.abs(a.changeMs));
}

function verdict(before: number, after: number, spread: number): DiffRow["verdict"] {
  const change = after - before;
  if (Math.abs(change) <= Math.max(spread, LEAST_CHANGE * before)) return "same";
  return change > 0 ? "slower" : "faster";
}

/** What `tuningfork profile --diff` prints: the rows that changed, the largest change first. */
export function formatDiff(diff: ProfileDiff): string {
  return [
    ...diff.warnings.map((warning) => `warning: ${warning}`),
    ...(diff.warnings.length > 0 ? [""] : []),
    ...diffTable("mean of all steps", diff.totals),
    "",
    ...diffTable("layer, median step", changed(diff.layers)),
    "",
    ...diffTable("kernel, median step", changed(diff.kernels)),
    "",
    "same: the steps of one profile differ among themselves by as much, or the change is below 2 %.",
  ].join("\n");
}

/** Without rows that neither changed nor take long. */
function changed(rows: readonly DiffRow[]): DiffRow[] {
  return rows.filter(({ verdict: is }, i) => is !== "same" || i < 5);
}

function diffTable(head: string, rows: readonly DiffRow[]): string[] {
  const ms = (value: number | undefined) => (value === undefined ? "-" : fixed(value, 3));
  const cells = rows.map(({ name, before, after, changeMs, verdict: is }) => [
    name,
    ms(before),
    ms(after),
    `${changeMs < 0 ? "" : "+"}${fixed(changeMs, 3)}`,
    before && after ? `${(after / before).toFixed(2)}x` : "-",
    is,
  ]);
  const heads = [head, "before, ms", "after, ms", "change, ms", "ratio", ""];
  return table([heads, ...cells], [false, true, true, true, true, false]);
}

/** Reads `profile.json` of a folder that `tuningfork profile` wrote. @throws Error with one clear sentence */
export function readProfile(folder: string): Profile {
  const path = join(folder, "profile.json");
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    const why = cause instanceof SyntaxError ? "it is no JSON" : systemReason(cause);
    throw new Error(
      `profile ${path}: cannot be read: ${why ?? String(cause)}; give a folder that profile --out wrote`,
      { cause },
    );
  }
  if (!isProfile(value))
    throw new Error(
      `profile ${path}: expected a profile of version 1, got ${describe(value)}; take it again with this version`,
    );
  return value;
}

function isProfile(value: unknown): value is Profile {
  return (
    typeof value === "object" &&
    value !== null &&
    (value as Partial<Profile>).version === 1 &&
    Array.isArray((value as Partial<Profile>).layers) &&
    Array.isArray((value as Partial<Profile>).kernels)
  );
}

function describe(value: unknown): string {
  const version = typeof value === "object" && value !== null && "version" in value;
  return version ? `version ${String(value.version)}` : "something else";
}
