/** What a run leaves behind: rows, their context, files of both, and two runs compared. */
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import { stringify } from "csv-stringify/sync";
import type { Device } from "../src/gpu/device.ts";
import { messageOf, systemReason } from "../src/system_errors.ts";
import { boundOf, type Ceilings } from "./ceilings.ts";
import type { Measured } from "./engine.ts";
import { costOf, shapeOf, type SuiteTask } from "./work.ts";

/** One engine's time of one pass of one case. */
export interface BenchRow {
  readonly engine: string;
  readonly suite: string;
  readonly name: string;
  readonly op: string;
  readonly pass: string;
  readonly algorithm: string;
  readonly precision: string;
  readonly shape: Readonly<Record<string, unknown>>;
  readonly flops: number;
  readonly bytes: number;
  /** Median of the samples; null where there is no time. */
  readonly ms: number | null;
  readonly p10: number | null;
  readonly p90: number | null;
  readonly gflops: number | null;
  readonly gbps: number | null;
  readonly bound: "compute" | "memory";
  /** GFLOP/s or GB/s, as `bound` says. */
  readonly ceiling: number;
  readonly verified: boolean;
  readonly samples: number;
  /** Of an engine beside ours: its median over the median of our samples right before and after it. */
  readonly ratio?: number;
  /** The algorithm that `auto` took. */
  readonly chosen?: string;
  /** Why there is no time. */
  readonly error?: string;
}

/** Where, when and with what the rows were measured. */
export interface BenchContext {
  readonly adapter: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly driver: string;
  readonly backend: string;
  readonly software: boolean;
  /** True where kernels were timed by the GPU; else whole programs by the clock, submission included. */
  readonly timestamps: boolean;
  readonly subgroupSize: number;
  readonly date: string;
  readonly tuningfork: string;
  readonly webgpu: string;
  readonly node: string;
  readonly os: string;
  readonly cpu: string;
  readonly cpus: number;
  readonly ceilings: Ceilings;
}

/** The file of `--json`. */
export interface BenchFile {
  readonly context: BenchContext;
  readonly benchmarks: readonly BenchRow[];
}

/** Where p10 and p90 lie further apart than this part of the median, the median is not to be trusted. */
export const WIDE_SPREAD = 0.2;
/** Fewer samples than this are shown as such. */
export const ENOUGH_SAMPLES = 20;

/** True where p10 and p90 lie too far apart. */
export function isWide({ ms, p10, p90 }: BenchRow): boolean {
  return ms !== null && p10 !== null && p90 !== null && (p90 - p10) / ms > WIDE_SPREAD;
}

/** Per cent of the ceiling over a row; null where it has no time. */
export function shareOf({ bound, ceiling, gflops, gbps }: BenchRow): number | null {
  const rate = bound === "compute" ? gflops : gbps;
  return rate === null ? null : (100 * rate) / ceiling;
}

/** The row of what an engine measured. */
export function rowOf(
  engine: string,
  task: SuiteTask,
  measured: Measured,
  ceilings: Ceilings,
): BenchRow {
  const { suite, name, work, pass, algorithm, precision } = task;
  const { flops, bytes } = costOf(work, pass, precision);
  const { samplesMs, besideMs = [], chosen, error } = measured;
  const at = quantiles(samplesMs);
  const ms = error === undefined ? at(0.5) : null;
  const beside = quantiles(besideMs)(0.5);
  const rate = (count: number) => (ms === null ? null : count / ms / 1e6);
  return {
    ...{ engine, suite, name, op: work.op, pass, algorithm, precision, shape: shapeOf(work) },
    ...{ flops, bytes, ms },
    p10: ms === null ? null : at(0.1),
    p90: ms === null ? null : at(0.9),
    gflops: rate(flops),
    gbps: rate(bytes),
    ...boundOf({ flops, bytes }, ceilings, precision),
    verified: ms !== null,
    samples: ms === null ? 0 : samplesMs.length,
    ...(ms !== null && beside !== null && { ratio: ms / beside }),
    ...(chosen !== undefined && { chosen }),
    ...(error !== undefined && { error }),
  };
}

/** The nearest sample to each quantile; null where there are none. */
export function quantiles(samples: readonly number[]): (quantile: number) => number | null {
  const sorted = samples.toSorted((a, b) => a - b);
  return (quantile) => sorted[Math.round(quantile * (sorted.length - 1))] ?? null;
}

export function contextOf(device: Device, ceilings: Ceilings): BenchContext {
  const { vendor, architecture, device: name, description, driver, backend } = device.summary;
  return {
    ...{ adapter: name || description, vendor, architecture, driver, backend },
    software: device.summary.software,
    timestamps: device.handle.features.has("timestamp-query"),
    subgroupSize: device.subgroupSize,
    date: new Date().toISOString(),
    tuningfork: ownVersion(),
    webgpu: versionOf("webgpu/package.json"),
    node: process.version,
    os: `${os.type()} ${os.release()} ${os.arch()}`,
    cpu: os.cpus()[0]?.model.trim() ?? "unknown",
    cpus: os.availableParallelism(),
    ceilings,
  };
}

const require = createRequire(import.meta.url);

function versionOf(manifest: string): string {
  return (JSON.parse(readFileSync(require.resolve(manifest), "utf8")) as { version: string })
    .version;
}

/** The manifest lies one folder up in the repository, two in a build. */
function ownVersion(): string {
  for (const path of ["../package.json", "../../package.json"])
    try {
      return versionOf(path);
    } catch {
      // the other one
    }
  return "unknown";
}

/** Proves that a file can be written, before minutes of work go into it; what it holds stays. */
export function expectWritable(option: string, path: string): void {
  refusing(option, path, () => {
    appendFileSync(path, "");
  });
}

/** Writes a file, or says in one sentence why it cannot. */
export function writeText(option: string, path: string, text: string): void {
  refusing(option, path, () => {
    writeFileSync(path, text);
  });
}

function refusing(option: string, path: string, write: () => void): void {
  try {
    write();
  } catch (cause) {
    const why = systemReason(cause) ?? String(cause);
    throw new Error(`${option} ${path}: cannot be written: ${why}`, { cause });
  }
}

export function jsonText(file: BenchFile): string {
  return `${JSON.stringify(file, undefined, 2)}\n`;
}

/** A line a row; the shape as JSON in one column. */
export function csvText(rows: readonly BenchRow[]): string {
  const columns = [
    ...["engine", "suite", "name", "op", "pass", "algorithm", "chosen", "precision", "shape"],
    ...["flops", "bytes", "ms", "p10", "p90", "samples", "gflops", "gbps", "bound", "ceiling"],
    ...["verified", "error"],
  ];
  return stringify(
    rows.map((row) => ({
      ...row,
      shape: JSON.stringify(row.shape),
      verified: String(row.verified),
    })),
    { header: true, columns },
  );
}

/** Reads a file of `--json`. @throws Error naming the file and what is wrong with it */
export function readResults(path: string): BenchFile {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    const why = systemReason(cause) ?? messageOf(cause);
    throw new Error(`compare ${path}: cannot be read: ${why}`, { cause });
  }
  const { context, benchmarks } = (json ?? {}) as Partial<Record<keyof BenchFile, unknown>>;
  const rows: unknown[] = Array.isArray(benchmarks) ? benchmarks : [];
  const isContext = typeof context === "object" && context !== null && "adapter" in context;
  if (!isContext || !Array.isArray(benchmarks))
    throw new Error(
      `compare ${path}: no results of bench: expected {"context":{"adapter",...},"benchmarks":[...]}; write it with bench --json`,
    );
  const broken = rows.findIndex((row) => {
    const { name, pass, ms, shape } = (row ?? {}) as Partial<Record<keyof BenchRow, unknown>>;
    const timed = ms === null || (typeof ms === "number" && ms > 0);
    return typeof name !== "string" || typeof pass !== "string" || !timed || !shape;
  });
  if (broken >= 0)
    throw new Error(
      `compare ${path}: benchmarks[${broken}]: expected a name, a pass, a shape and ms above 0 or null`,
    );
  return json as BenchFile;
}

/** The same measurement in two runs. */
export interface Change {
  readonly before: BenchRow;
  readonly after: BenchRow;
  /** New time over old; Infinity for a row that has no time any more, undefined where it had none before. */
  readonly ratio: number | undefined;
}

export interface Comparison {
  readonly changes: readonly Change[];
  /** How many rows only the old or only the new run has. */
  readonly onlyBefore: number;
  readonly onlyAfter: number;
  /** What makes the ratios doubtful, a sentence each. */
  readonly warnings: readonly string[];
}

/** Matches the rows of two runs by all that names them. */
export function compareRuns(before: BenchFile, after: BenchFile): Comparison {
  const keyOf = ({ engine, suite, name, op, pass, algorithm, precision, shape }: BenchRow) =>
    JSON.stringify([engine, suite, name, op, pass, algorithm, precision, shape]);
  const old = new Map(before.benchmarks.map((row) => [keyOf(row), row]));
  const changes = after.benchmarks.flatMap((row): Change[] => {
    const match = old.get(keyOf(row));
    if (!match) return [];
    old.delete(keyOf(row));
    const ratio = match.ms === null ? undefined : row.ms === null ? Infinity : row.ms / match.ms;
    return [{ before: match, after: row, ratio }];
  });
  const warnings: string[] = [];
  const [a, b] = [before.context, after.context];
  if (a.adapter !== b.adapter)
    warnings.push(`measured on other adapters: ${a.adapter} before, ${b.adapter} now`);
  else if (a.driver !== b.driver)
    warnings.push(`measured with other drivers: ${a.driver} before, ${b.driver} now`);
  if (a.timestamps !== b.timestamps)
    warnings.push("one run was timed by the GPU, the other by the clock");
  return {
    changes,
    onlyBefore: old.size,
    onlyAfter: after.benchmarks.length - changes.length,
    warnings,
  };
}

/** The rows that became slower than `threshold` times, or lost their time. */
export function regressions({ changes }: Comparison, threshold: number): Change[] {
  return changes.filter(({ ratio }) => ratio !== undefined && ratio > threshold);
}
