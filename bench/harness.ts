/**
 * Benchmarks: each case is checked against float64 sums first, warmed up, then timed. GPU timestamps where the adapter
 * has them, so that setting up, uploading and reading back stay outside of the times.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Context } from "../src/gpu/context.ts";
import type { Device } from "../src/gpu/device.ts";
import type { Program } from "../src/gpu/program.ts";
import { elementCount, sizeBytes, type Shape, type Tensor } from "../src/tensor.ts";

/** One element of an output, recomputed on the host. */
export interface Sample {
  readonly value: number;
  /** Sum of |terms|, for the bound of docs/numerics.md. */
  readonly absSum: number;
  readonly terms: number;
}

export interface BenchCase {
  /** A real layer by name, e.g. `paper.conv2 forward 96x96x32 k5 -> 64`. */
  readonly name: string;
  /** Floating-point operations, 2 per multiply-add. */
  readonly flops: number;
  /** Shapes of the inputs; they are filled with random numbers in -0.5 to 0.5. */
  readonly inputs: readonly Shape[];
  readonly output: Shape;
  readonly build: (ctx: Context, inputs: readonly Tensor[], output: Tensor) => void;
  /** What element `index` of the output must be. */
  readonly sample: (inputs: readonly Float32Array[], index: number) => Sample;
}

export interface BenchRow {
  readonly name: string;
  readonly flops: number;
  /** Each tensor once. */
  readonly bytes: number;
  readonly samples: number;
  readonly medianMs: number;
  readonly minMs: number;
  readonly p90Ms: number;
  /** GPU time of each shader in the run of the median, in ms. */
  readonly shaders: Readonly<Record<string, number>>;
}

const CHECKED_ELEMENTS = 16;
const LEAST_SAMPLES = 20;
/** From here on, slow cases stop early: at this many samples or after this time. */
const LEAST_SLOW_SAMPLES = 5;
const SLOW_MS = 1000;

/**
 * Checks and times one case.
 * @throws Error with the first wrong element, so that a wrong kernel never gets a time
 */
export async function runCase(device: Device, bench: BenchCase): Promise<BenchRow> {
  const values = bench.inputs.map((shape, i) => randomValues(elementCount(shape), i));
  const inputs = bench.inputs.map((shape, i) =>
    device.upload(values[i]!, shape, `${bench.name} input ${i}`),
  );
  const output = device.upload(
    new Float32Array(elementCount(bench.output)).fill(NaN),
    bench.output,
    `${bench.name} output`,
  );
  let program: Program | undefined;
  try {
    program = await device.record(bench.name, (ctx) => {
      bench.build(ctx, inputs, output);
    });
    device.submit(program);
    check(bench, values, await device.readFloats(output));
    const times = await timeProgram(device, program);
    return {
      ...row(bench, times),
      bytes: [...inputs, output].reduce((s, t) => s + sizeBytes(t), 0),
    };
  } finally {
    program?.destroy();
    device.release(...inputs, output);
    device.trim();
  }
}

function check(bench: BenchCase, inputs: readonly Float32Array[], output: Float32Array): void {
  for (let i = 0; i < CHECKED_ELEMENTS; i++) {
    // The corners, where padding matters, and a spread between them.
    const index = Math.floor((i * (output.length - 1)) / (CHECKED_ELEMENTS - 1));
    const { value, absSum, terms } = bench.sample(inputs, index);
    const bound = 2 ** -23 * Math.sqrt(terms) * absSum;
    const got = output[index]!;
    if (!(Math.abs(got - value) <= bound))
      throw new Error(`element ${index}: expected ${value} +- ${bound}, got ${got}`);
  }
}

async function timeProgram(
  device: Device,
  program: Program,
): Promise<{ ms: number; shaders: Record<string, number> }[]> {
  const times: { ms: number; shaders: Record<string, number> }[] = [];
  // Predicted from the shortest run: the host sleeps meanwhile, for its polling takes a core from a software adapter.
  let expectedMs = 0;
  const started = performance.now();
  for (let run = 0; ; run++) {
    const before = performance.now();
    const dispatches = device.handle.features.has("timestamp-query")
      ? await program.time(expectedMs)
      : await timeWhole(device, program, expectedMs);
    const elapsed = performance.now() - before;
    expectedMs = run === 0 ? elapsed : Math.min(expectedMs, elapsed);
    if (run < 2) continue; // warm-up: first use compiles on some adapters
    const shaders: Record<string, number> = {};
    for (const { shader, ms } of dispatches) shaders[shader] = (shaders[shader] ?? 0) + ms;
    times.push({ ms: dispatches.reduce((sum, { ms }) => sum + ms, 0), shaders });
    const least = performance.now() - started > SLOW_MS ? LEAST_SLOW_SAMPLES : LEAST_SAMPLES;
    if (times.length >= least && performance.now() - started >= SLOW_MS) return times;
  }
}

async function timeWhole(
  device: Device,
  program: Program,
  expectedMs: number,
): Promise<{ shader: string; ms: number }[]> {
  const started = performance.now();
  device.submit(program);
  await device.finish(expectedMs);
  return [{ shader: "all, with submission", ms: performance.now() - started }];
}

function row(
  bench: BenchCase,
  times: readonly { ms: number; shaders: Record<string, number> }[],
): Omit<BenchRow, "bytes"> {
  const sorted = [...times].sort((a, b) => a.ms - b.ms);
  const at = (quantile: number) => sorted[Math.round(quantile * (sorted.length - 1))]!;
  return {
    name: bench.name,
    flops: bench.flops,
    samples: times.length,
    medianMs: at(0.5).ms,
    minMs: at(0).ms,
    p90Ms: at(0.9).ms,
    shaders: at(0.5).shaders,
  };
}

/** Numbers in -0.5 to 0.5 from a fixed generator, repeated with a prime period: 19 million drawn singly take seconds. */
export function randomValues(count: number, seed: number): Float32Array {
  const PERIOD = 65521;
  let state = seed + 1;
  const period = Float32Array.from({ length: Math.min(count, PERIOD) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes' generator
    return state / 2 ** 32 - 0.5;
  });
  const values = new Float32Array(count);
  for (let start = 0; start < count; start += PERIOD)
    values.set(period.subarray(0, Math.min(PERIOD, count - start)), start);
  return values;
}

/** Sums products a[i] * b[j] in float64 as a sample. */
export function sumOfProducts(
  a: Float32Array,
  b: Float32Array,
  pairs: Iterable<readonly [number, number]>,
): Sample {
  let value = 0;
  let absSum = 0;
  let terms = 0;
  for (const [i, j] of pairs) {
    const term = a[i]! * b[j]!;
    value += term;
    absSum += Math.abs(term);
    terms++;
  }
  return { value, absSum, terms };
}

/** Runs cases one after another and prints a line for each as it comes. Returns the rows, and how many cases failed. */
export async function runAll(
  device: Device,
  cases: readonly BenchCase[],
  rerun: (name: string) => string,
): Promise<{ rows: BenchRow[]; failed: number }> {
  const width = Math.max(...cases.map(({ name }) => name.length));
  const cells = (name: string, values: readonly string[]) =>
    [name.padEnd(width), ...values.map((value) => value.padStart(9))].join(" ");
  console.log(
    `${cells("case", ["median ms", "min ms", "p90 ms", "GFLOP/s", "GB/s"])}  run again with`,
  );
  const rows: BenchRow[] = [];
  let failed = 0;
  for (const bench of cases)
    try {
      const result = await runCase(device, bench);
      rows.push(result);
      const { medianMs, minMs, p90Ms, flops, bytes } = result;
      const rates = [flops, bytes].map((count) => (count / medianMs / 1e6).toFixed(2));
      const times = [medianMs, minMs, p90Ms].map((ms) => ms.toFixed(3));
      console.log(`${cells(bench.name, [...times, ...rates])}  ${rerun(bench.name)}`);
    } catch (error) {
      failed++;
      console.log(
        `${bench.name.padEnd(width)} FAILED ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  return { rows, failed };
}

/** What the numbers were measured on. */
export function benchContext(device: Device): Record<string, unknown> {
  const { maxStorageBufferBindingSize, maxComputeWorkgroupStorageSize } = device.limits;
  const manifest = new URL("../node_modules/webgpu/package.json", import.meta.url);
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
  return {
    adapter: device.summary,
    subgroupSize: device.subgroupSize,
    limits: { maxStorageBufferBindingSize, maxComputeWorkgroupStorageSize },
    node: process.version,
    webgpu: version,
    commit: commit(),
    timestamps: device.handle.features.has("timestamp-query"),
  };
}

function commit(): string | undefined {
  try {
    const cwd = fileURLToPath(new URL("..", import.meta.url));
    return execFileSync("git", ["describe", "--always", "--dirty"], {
      cwd,
      encoding: "utf8",
    }).trim();
  } catch {
    return undefined; // not a checkout
  }
}

export function writeJson(path: string, context: unknown, benchmarks: readonly BenchRow[]): void {
  writeFileSync(path, `${JSON.stringify({ context, benchmarks }, undefined, 2)}\n`);
}
