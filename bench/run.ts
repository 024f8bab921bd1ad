/** A benchmark run from its options to its files. */
import { join } from "node:path";
import { uncheckedToggles } from "../src/gpu/adapter.ts";
import { openDevice, type Device } from "../src/gpu/device.ts";
import { prepareFolder } from "../src/folders.ts";
import { Choices } from "../src/kernels/choices.ts";
import { loadChoices } from "../src/nn/choices_file.ts";
import { tuneMode } from "../src/nn/model.ts";
import { measureCeilings, type Ceilings } from "./ceilings.ts";
import { CpuReference } from "./cpu.ts";
import {
  PASSES,
  PRECISIONS,
  type Effort,
  type Engine,
  type Measured,
  type PassName,
} from "./engine.ts";
import { Tuningfork } from "./harness.ts";
import {
  compareRuns,
  contextOf,
  csvText,
  expectWritable,
  jsonText,
  readResults,
  regressions,
  rowOf,
  writeText,
  type BenchContext,
  type BenchFile,
  type BenchRow,
} from "./results.ts";
import { openPeers, peerSummary } from "./peers.ts";
import { readSuite, rerunOptions, shapeCase } from "./suite_file.ts";
import { suiteCases, SUITES } from "./suites.ts";
import { caseText, comparisonLines, rate, Table } from "./table.ts";
import {
  algorithmsOf,
  OPS,
  PASSES_OF,
  type OpName,
  type SuiteCase,
  type SuiteTask,
} from "./work.ts";

/** The options of `tuningfork bench`, as given. */
export interface BenchOptions {
  readonly suite?: readonly string[];
  readonly shape?: string;
  readonly op?: readonly string[];
  readonly name?: string;
  readonly pass?: readonly string[];
  readonly algorithm: string;
  readonly precision: string;
  readonly seconds: number;
  readonly list: boolean;
  readonly json?: string;
  readonly csv?: string;
  readonly compare?: string;
  readonly against?: string;
  readonly threshold: number;
  readonly reference?: string;
  readonly peers?: readonly string[];
  readonly unchecked?: string;
  readonly out?: string;
}

/** Where a run says what it finds. */
export interface BenchHooks {
  /** A line of the result. */
  readonly print: (line: string) => void;
  /** A line for whoever watches. */
  readonly note: (line: string) => void;
  readonly progress: (done: number, total: number, secondsLeft: number, text: string) => void;
  /** Raised by Ctrl-C: the run ends after the case at hand, and writes what it has. */
  readonly signal: AbortSignal;
}

/** How a run ended. */
export type BenchOutcome = "well" | "failed" | "interrupted";

/** No more samples than this, however fast a case is. */
const MOST_SAMPLES = 200;

/**
 * Runs what the options ask for.
 * @param open opens devices, for tests
 * @throws Error in one sentence for options that make no run
 */
export async function bench(
  options: BenchOptions,
  hooks: BenchHooks,
  open = openDevice,
): Promise<BenchOutcome> {
  if (options.against !== undefined) return compareFiles(options, hooks);
  const tasks = tasksOf(options);
  if (options.list) {
    for (const task of tasks)
      hooks.print(
        `${caseText(task)}  ${task.work.op} ${task.pass} ${task.algorithm} ${task.precision}`,
      );
    return "well";
  }
  const old = options.compare === undefined ? undefined : readResults(options.compare);
  if (options.out !== undefined) await prepareFolder(options.out);
  if (options.json !== undefined) expectWritable("--json", options.json);
  if (options.csv !== undefined) expectWritable("--csv", options.csv);
  const device = await open();
  const mode = tuneMode();
  const choices = mode === "off" ? new Choices() : await loadChoices(device, hooks.note);
  const ours = new Tuningfork(device, { choices, tunes: mode === "full", open });
  const others: Engine[] = options.reference === undefined ? [] : [new CpuReference()];
  try {
    if (options.unchecked !== undefined) {
      const enableToggles = uncheckedToggles(options.unchecked);
      const unchecked = () => open({ enableToggles });
      const named = { name: "unchecked", choices, open: unchecked };
      others.push(new Tuningfork(await unchecked(), named));
    }
    if (options.peers) {
      const { summary: adapter } = device;
      const { signal } = hooks;
      const losses = ours.losses.get.bind(ours.losses);
      others.push(...(await openPeers(options.peers, { adapter, losses, signal })));
    }
    return await measure(device, ours, others, tasks, old, options, hooks);
  } finally {
    for (const engine of [...others, ours]) await engine.close();
  }
}

function compareFiles(
  { compare, against = "", threshold }: BenchOptions,
  { print, note }: BenchHooks,
): BenchOutcome {
  if (compare === undefined)
    throw new Error("bench: --against NEW.json: expected --compare OLD.json beside it");
  const comparison = compareRuns(readResults(compare), readResults(against));
  if (comparison.changes.length === 0)
    throw new Error(`compare: ${compare} and ${against} have no row in common`);
  for (const warning of comparison.warnings) note(`compare: ${warning}`);
  for (const line of comparisonLines(comparison, threshold)) print(line);
  const slower = regressions(comparison, threshold).length;
  if (slower > 0) note(`${slower} of ${comparison.changes.length} slower than ${threshold} times`);
  return slower > 0 ? "failed" : "well";
}

// Options to tasks.

/** The rows to come, in order. @throws Error naming the option that is wrong */
export function tasksOf(options: BenchOptions): SuiteTask[] {
  const ops = options.op?.map((op) => oneOf("op", op, OPS));
  const passes = options.pass?.map((pass) => oneOf("pass", pass, PASSES)) ?? PASSES;
  const precision = oneOf("precision", options.precision, PRECISIONS);
  const cases = casesOf(options, ops);
  checkAlgorithm(options.algorithm, cases);
  const { name = "" } = options;
  const tasks = cases
    .filter(({ work, name: own }) => own.includes(name) && (ops?.includes(work.op) ?? true))
    .flatMap(({ suite, name: own, work }) =>
      PASSES_OF[work.op]
        .filter((pass: PassName) => passes.includes(pass))
        .flatMap((pass) =>
          algorithmsFor(work.op, options.algorithm).map((algorithm) => ({
            ...{ suite, name: own, work, pass, algorithm, precision },
          })),
        ),
    );
  if (tasks.length === 0)
    throw new Error("bench: no case is left by --op, --pass, --algorithm and --name; see --list");
  return tasks;
}

function casesOf({ suite, shape }: BenchOptions, ops: OpName[] | undefined): SuiteCase[] {
  const cases = shape === undefined ? [] : [shapeCase(ops?.[0] ?? "conv2d", shape)];
  const suites = suite ?? (shape === undefined ? ["paper"] : []);
  for (const name of suites) {
    const known = SUITES.find((candidate) => candidate === name);
    if (!known && !name.endsWith(".json"))
      throw new Error(
        `bench: --suite: expected ${SUITES.join(", ")} or a file ending in .json, got "${name}"`,
      );
    cases.push(...(known ? suiteCases(known) : readSuite(name)));
  }
  return cases;
}

function oneOf<const T extends string>(option: string, value: string, known: readonly T[]): T {
  const found = known.find((candidate) => candidate === value);
  if (found === undefined)
    throw new Error(`bench: --${option}: expected ${known.join(", ")}, got "${value}"`);
  return found;
}

function checkAlgorithm(algorithm: string, cases: readonly SuiteCase[]): void {
  const known = new Set(cases.flatMap(({ work }) => algorithmsOf(work.op)));
  if (algorithm !== "auto" && algorithm !== "all" && !known.has(algorithm))
    throw new Error(
      `bench: --algorithm: expected ${["auto", "all", ...known].join(", ")}, got "${algorithm}"`,
    );
}

/** `all` leaves `auto` to operations that have but one algorithm; a name leaves these out. */
function algorithmsFor(op: OpName, algorithm: string): readonly string[] {
  const known = algorithmsOf(op);
  if (algorithm === "auto") return ["auto"];
  if (algorithm === "all") return known.length > 0 ? known : ["auto"];
  return known.includes(algorithm) ? [algorithm] : [];
}

// The run.

/**
 * Times one task by every engine that takes it: ours before, between and after the others, since a slow one takes
 * minutes, in which the machine may become faster or slower. A row of ours is all of that together; another engine's
 * ratio goes by what ours took right before and after it.
 */
export async function timeInTurn(
  ours: Engine,
  others: readonly Engine[],
  task: SuiteTask,
  effort: Effort,
  signal: AbortSignal,
): Promise<[string, Measured][]> {
  const asked = others.filter((engine) => engine.takes?.(task) ?? true);
  const first = await ours.time(task, effort);
  if (signal.aborted && first.error !== undefined) return [];
  const turns = [first];
  const answers: [string, Measured][] = [];
  for (const engine of asked) {
    const before = turns.length - 1;
    const answer = await engine.time(task, effort);
    if (signal.aborted && answer.error !== undefined) break; // a peer is ended by Ctrl-C
    const works = turns[before]?.error === undefined;
    if (works && !signal.aborted) turns.push(await ours.time(task, effort));
    const besideMs = turns.slice(before).flatMap(({ samplesMs }) => samplesMs);
    answers.push([engine.name, { ...answer, besideMs }]);
  }
  const failed = turns.find(({ error }) => error !== undefined);
  const samplesMs = turns.flatMap((turn) => turn.samplesMs);
  return [[ours.name, failed ?? { ...first, samplesMs }], ...answers];
}

async function measure(
  device: Device,
  ours: Tuningfork,
  others: readonly Engine[],
  tasks: readonly SuiteTask[],
  old: BenchFile | undefined,
  options: BenchOptions,
  hooks: BenchHooks,
): Promise<BenchOutcome> {
  const { print, note, signal } = hooks;
  const possible = refuseWhatCannotRun(ours, tasks, options, hooks);
  const mixed = possible.some(({ precision }) => precision === "mixed");
  const ceilings = await measureCeilings(device, Math.min(2, options.seconds), mixed);
  const context = contextOf(device, ceilings);
  describe(context, note);
  const table = new Table(
    possible,
    possible.flatMap(({ work }) => algorithmsOf(work.op)),
    others.map(({ name }) => name),
  );
  print(table.head);
  const effort: Effort = { seconds: options.seconds, samples: MOST_SAMPLES };
  const rows: BenchRow[] = [];
  const started = performance.now();
  // How many rows lost the device, one after another: two say that there is no going on.
  let losses = 0;
  for (const [done, task] of possible.entries()) {
    if (signal.aborted || losses === 2) break;
    const perTask = (performance.now() - started) / 1000 / Math.max(1, done);
    const secondsLeft = done === 0 ? NaN : perTask * (possible.length - done);
    hooks.progress(done, possible.length, secondsLeft, `${caseText(task)} ${task.pass}`);
    const answers = await timeInTurn(ours, others, task, effort, signal);
    losses = answers[0]?.[1].lost ? losses + 1 : 0;
    const measured = answers.map(([name, answer]) => rowOf(name, task, answer, ceilings));
    rows.push(...measured);
    const [own, ...rest] = measured;
    if (!own) break;
    const beside = others.map(({ name }) => rest.find(({ engine }) => engine === name));
    print(table.row(task, own, beside));
    if (own.error !== undefined)
      note(
        `  again: tuningfork bench ${rerunOptions(task.work, task.name, options.suite ?? ["paper"])}`,
      );
  }
  for (const line of table.notes(context)) note(line);
  if (options.peers ?? options.unchecked) for (const line of peerSummary(rows)) print(line);
  const file: BenchFile = { context, benchmarks: rows };
  const slower = await leave(file, old, options, hooks);
  if (signal.aborted) {
    note(`interrupted: ${rows.length} rows of what was asked for`);
    return "interrupted";
  }
  const failed = rows.filter(({ engine, ms }) => engine === ours.name && ms === null).length;
  if (failed > 0) note(`${failed} of ${possible.length} FAILED`);
  if (losses === 2) {
    const measured = rows.filter(({ engine }) => engine === ours.name).length;
    note(
      `ended after ${measured} of ${possible.length} rows: the device was lost in one and again in the next, or did not come back`,
    );
  }
  return failed > 0 || slower ? "failed" : "well";
}

/** Names the tasks that this device cannot run, and returns the others. @throws Error when none is left */
function refuseWhatCannotRun(
  ours: Tuningfork,
  tasks: readonly SuiteTask[],
  options: BenchOptions,
  { note }: BenchHooks,
): SuiteTask[] {
  const problems = tasks.map((task) => ours.problem(task));
  const said = new Set<string>();
  problems.forEach((problem, i) => {
    if (problem === undefined) return;
    const task = tasks[i]!;
    // With --algorithm all, one line for each algorithm and reason would drown the rest.
    const what = options.algorithm === "all" ? `algorithm ${task.algorithm}` : caseText(task);
    const line = `left out: ${what} ${task.pass}: ${problem}`;
    if (!said.has(line)) note(line);
    said.add(line);
  });
  const possible = tasks.filter((_, i) => problems[i] === undefined);
  if (possible.length === 0)
    throw new Error(
      `bench: nothing to run: ${problems.find((problem) => problem !== undefined) ?? ""}`,
    );
  return possible;
}

function describe(context: BenchContext, note: BenchHooks["note"]): void {
  const { adapter, backend, software, driver, ceilings, node, webgpu, tuningfork } = context;
  note(
    `${adapter} (${backend}${software ? ", software: ratios mean something, absolute times little" : ""})`,
  );
  note(`driver ${driver}; tuningfork ${tuningfork}, webgpu ${webgpu}, Node ${node}`);
  note(`ceilings: ${arithmeticText(ceilings)}, ${rate(ceilings.gbps)} GB/s copy`);
}

/** `18.8 GFLOP/s multiply-adds`, and what mixed rows are held against where there are any. */
function arithmeticText({ gflops, mixedGflops }: Ceilings): string {
  const float32 = `${rate(gflops)} GFLOP/s multiply-adds`;
  if (mixedGflops === undefined) return float32;
  return mixedGflops > gflops
    ? `${float32}, ${rate(mixedGflops)} GFLOP/s those of mixed rows by subgroup matrices`
    : `${float32}, those of mixed rows included`;
}

/** Writes the files and the comparison that were asked for. Resolves true when rows became too slow. */
async function leave(
  file: BenchFile,
  old: BenchFile | undefined,
  options: BenchOptions,
  { print, note }: BenchHooks,
): Promise<boolean> {
  if (options.json !== undefined) writeText("--json", options.json, jsonText(file));
  if (options.csv !== undefined) writeText("--csv", options.csv, csvText(file.benchmarks));
  const comparison = old && compareRuns(old, file);
  if (comparison) {
    print("");
    for (const warning of comparison.warnings) note(`compare: ${warning}`);
    for (const line of comparisonLines(comparison, options.threshold)) print(line);
  }
  if (options.out !== undefined) {
    // Imported late: the plots take a second to load.
    const { writeReport } = await import("./report.ts");
    await writeReport(options.out, file, comparison);
    note(`open ${join(options.out, "report.html")}`);
  }
  const slower = comparison ? regressions(comparison, options.threshold).length : 0;
  if (slower > 0) note(`${slower} rows slower than ${options.threshold} times`);
  return slower > 0;
}
