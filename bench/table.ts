/** Rows and comparisons as lines of text that line up. */
import { ENOUGH_SAMPLES, isWide, shareOf, WIDE_SPREAD, type BenchRow } from "./results.ts";
import type { BenchContext, Comparison } from "./results.ts";
import { shapeText, type SuiteTask } from "./work.ts";

type Colour = "red" | "green" | "yellow" | "dim";
const CODES: Readonly<Record<Colour, number>> = { red: 31, green: 32, yellow: 33, dim: 2 };

/** Text in colour where it goes to a terminal that has any. */
export function coloured(text: string, colour: Colour, stream = process.stdout): string {
  const wanted = stream.isTTY && !process.env["NO_COLOR"];
  return wanted ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text;
}

/** A run's table: its widths are known before the first row is. */
export class Table {
  readonly #nameWidth: number;
  readonly #algorithmWidth: number;
  readonly #others: readonly string[];
  #few = false;
  #wide = false;

  /** @param others engines beside ours, each of which gets a column */
  constructor(
    tasks: readonly SuiteTask[],
    algorithms: readonly string[],
    others: readonly string[],
  ) {
    this.#nameWidth = Math.max(4, ...tasks.map((task) => caseText(task).length));
    this.#algorithmWidth = Math.max(9, ...algorithms.map((name) => name.length));
    this.#others = others;
  }

  get head(): string {
    const others = this.#others.flatMap((name) => [`${name} ms`, "ratio"]);
    return this.#line("case", "pass", "algorithm", [
      ...["ms", "p10", "p90", "n", "GFLOP/s", "GB/s", "bound", "of it"],
      ...others,
    ]);
  }

  /** A line of our row and, beside it, of the others' time for the same. */
  row(task: SuiteTask, row: BenchRow, others: readonly (BenchRow | undefined)[]): string {
    const algorithm = row.chosen ?? task.algorithm;
    const start = this.#line(caseText(task), task.pass, algorithm, []);
    if (row.ms === null || row.p10 === null || row.p90 === null)
      return `${start} ${coloured(`FAILED ${row.error ?? ""}`, "red")}`;
    const few = row.samples < ENOUGH_SAMPLES;
    const wide = isWide(row);
    this.#few ||= few;
    this.#wide ||= wide;
    const share = shareOf(row);
    const cells = [
      `${wide ? "~" : ""}${digits(row.ms)}`,
      ...[digits(row.p10), digits(row.p90), `${row.samples}${few ? "*" : ""}`],
      ...[rate(row.gflops), rate(row.gbps), row.bound],
      share === null ? "" : `${share.toFixed(share < 10 ? 1 : 0)} %`,
    ];
    for (const other of others)
      cells.push(
        other ? (other.ms === null ? "FAILED" : digits(other.ms)) : "",
        other?.ratio === undefined ? "" : `${rate(other.ratio)}x`,
      );
    const line = this.#line(caseText(task), task.pass, algorithm, cells);
    return wide ? coloured(line, "yellow") : line;
  }

  /** What the marks mean, where there were any. */
  notes(context: BenchContext): string[] {
    return [
      "of it: per cent of the measured ceiling on the side that bounds the row, GFLOP/s or GB/s",
      ...(this.#wide
        ? [
            `~ p10 and p90 lie more than ${WIDE_SPREAD * 100} % of the median apart: do not trust it`,
          ]
        : []),
      ...(this.#few
        ? [`* fewer than ${ENOUGH_SAMPLES} samples within --seconds; more seconds give more`]
        : []),
      ...(context.timestamps
        ? []
        : ["no GPU timestamps on this adapter: whole programs by the clock, submission included"]),
      ...this.#others.map((name) =>
        name === "cpu"
          ? "cpu: the reference, TypeScript in float64 on one thread, one image times n; ratio: cpu time over ours"
          : `${name}: ratio: its time over ours right before and after`,
      ),
    ];
  }

  #line(name: string, pass: string, algorithm: string, cells: readonly string[]): string {
    const start = [
      name.padEnd(this.#nameWidth),
      pass.padEnd(10),
      algorithm.padEnd(this.#algorithmWidth),
    ];
    const widths = [9, 8, 8, 4, 8, 7, 7, 6];
    const rest = cells.map((cell, i) => cell.padStart(widths[i] ?? Math.max(8, cell.length)));
    return [...start, ...rest].join(" ").trimEnd();
  }
}

/** `paper/conv2 32x96x96x32 5x5 -> 64` */
export function caseText({ suite, name, work }: SuiteTask): string {
  return suite === "shape" ? shapeText(work) : `${suite}/${name} ${shapeText(work)}`;
}

/** Lines of `--compare`: a row each, in the order of the new run. */
export function comparisonLines(comparison: Comparison, threshold: number): string[] {
  const { changes, onlyBefore, onlyAfter } = comparison;
  const textOf = ({ engine, suite, name }: BenchRow) =>
    `${engine === "tuningfork" ? "" : `${engine} `}${suite}/${name}`;
  const width = Math.max(4, ...changes.map(({ after }) => textOf(after).length));
  const algorithms = Math.max(9, ...changes.map(({ after }) => after.algorithm.length));
  const line = (name: string, pass: string, algorithm: string, cells: readonly string[]) =>
    [
      name.padEnd(width),
      pass.padEnd(10),
      algorithm.padEnd(algorithms),
      ...cells.map((cell) => cell.padStart(9)),
    ].join(" ");
  const lines = changes.map(({ before, after, ratio }) => {
    const times = [before.ms, after.ms].map((ms) => (ms === null ? "FAILED" : digits(ms)));
    const shown = ratio === undefined || !Number.isFinite(ratio) ? "" : `${ratio.toFixed(2)}x`;
    const text = line(textOf(after), after.pass, after.algorithm, [...times, shown]);
    if (ratio === undefined) return text;
    if (ratio > threshold) return coloured(`${text}  slower`, "red");
    return ratio < 1 / threshold ? coloured(`${text}  faster`, "green") : text;
  });
  const single = [
    ...(onlyBefore > 0 ? [`${onlyBefore} only in the old run`] : []),
    ...(onlyAfter > 0 ? [`${onlyAfter} only in the new one`] : []),
  ];
  return [
    line("case", "pass", "algorithm", ["old ms", "new ms", "new/old"]),
    ...lines,
    ...(single.length > 0 ? [`not compared: ${single.join(", ")}`] : []),
  ];
}

/** Milliseconds, to a microsecond or to four digits, whichever is less. */
export function digits(ms: number): string {
  if (ms >= 1000) return ms.toFixed(0);
  return ms >= 100 ? ms.toFixed(1) : ms >= 10 ? ms.toFixed(2) : ms.toFixed(3);
}

/** A rate with three digits that mean something. */
export function rate(value: number | null): string {
  if (value === null) return "";
  if (value === 0) return "0";
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
