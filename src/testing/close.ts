/**
 * GPU against float64 reference, with the bound of docs/numerics.md: |got - want| <= 2^-23 * sqrt(K) * sum |terms|.
 */
import { float16Rounding } from "../float16.ts";
import type { Reference } from "../reference/reference.ts";
import type { Shape } from "../tensor.ts";

/** One unit in the last place of a float32 near 1. */
export const FLOAT32_EPSILON = 2 ** -23;

/** What a bound has beside the rounding of a float32 sum. */
export interface Tolerance {
  /** Multiplies the bound; a kernel with exp, log or division states its own, with the reason. */
  readonly factor?: number;
  /** Added to the bound, e.g. for values that underflow in float32. */
  readonly absolute?: number;
  /** How the kernel stores its result: float16 adds the rounding of what was summed in float32. */
  readonly stored?: "float32" | "float16";
}

/** What the elements of a tensor should be, and by how much each may differ. */
export interface Expected {
  readonly values: Float64Array;
  readonly bounds: Float64Array;
  /** Which elements `values` and `bounds` are about; all of them, in order, when left out. */
  readonly indices?: Uint32Array;
}

/** One element that was looked at. */
export interface ElementDifference {
  /** `[n,h,w,c]`, or as many as the tensor has axes. */
  readonly index: readonly number[];
  readonly got: number;
  readonly want: number;
  readonly bound: number;
}

/** The outcome of `compare`. */
export interface Comparison {
  readonly checked: number;
  readonly failed: number;
  /** The largest error as a part of its bound; 1 is the most that passes. NaN when an element is not a number. */
  readonly share: number;
  /** The element of that error. */
  readonly worst: ElementDifference | undefined;
  /** The first five elements that failed, in memory order. */
  readonly first: readonly ElementDifference[];
  /** Where in `Expected.values` the failed ones are. */
  readonly failures: readonly number[];
}

/** A reference and the bound that its terms give each element. */
export function expectedFrom(want: Reference, tolerance: Tolerance = {}): Expected {
  const scale = FLOAT32_EPSILON * Math.sqrt(want.reduction) * (tolerance.factor ?? 1);
  const absolute = tolerance.absolute ?? 1e-37;
  const bounds = want.absSum.map((sum) => scale * sum + absolute);
  if (tolerance.stored !== "float16") return { values: want.values, bounds };
  const rounding = want.values.map(float16Rounding);
  return { values: want.values, bounds: bounds.map((bound, i) => bound + (rounding[i] ?? 0)) };
}

/** Compares element by element; what is not a number fails. */
export function compare(got: ArrayLike<number>, want: Expected, shape: Shape): Comparison {
  const { values, bounds, indices } = want;
  const failures: number[] = [];
  let worst = -1;
  let share = -1;
  for (let i = 0; i < values.length; i++) {
    const error = Math.abs((got[indices?.[i] ?? i] ?? NaN) - (values[i] ?? NaN));
    const bound = bounds[i] ?? NaN;
    if (!(error <= bound)) failures.push(i);
    const part = error <= 0 ? 0 : error / bound;
    if (!Number.isNaN(share) && !(part <= share)) {
      share = part;
      worst = i;
    }
  }
  const element = (i: number): ElementDifference => ({
    index: indexOf(indices?.[i] ?? i, shape),
    got: got[indices?.[i] ?? i] ?? NaN,
    want: values[i] ?? NaN,
    bound: bounds[i] ?? NaN,
  });
  return {
    checked: values.length,
    failed: failures.length,
    share: Math.abs(share === -1 ? 0 : share),
    worst: worst < 0 ? undefined : element(worst),
    first: failures.slice(0, 5).map(element),
    failures,
  };
}

/** Throws with the worst and the first five elements when any is outside its bound or not finite. */
export function expectClose(
  got: Float32Array,
  want: Reference,
  shape: Shape,
  tolerance: Tolerance = {},
): void {
  if (got.length !== want.values.length)
    throw new Error(
      `the reference has ${want.values.length} elements, the result has ${got.length}`,
    );
  const comparison = compare(got, expectedFrom(want, tolerance), shape);
  if (comparison.failed > 0)
    throw new Error(
      [
        `${comparison.failed} of ${got.length} elements differ from the reference`,
        ...elementLines(comparison),
      ].join("\n"),
    );
}

/** The worst element and the first ones that failed, as a small table. */
export function elementLines({ worst, first }: Comparison): string[] {
  if (!worst) return [];
  const others = first.filter(({ index }) => index.join() !== worst.index.join());
  const rows = [["element", "got", "want", "bound", ""]];
  for (const { index, got, want, bound } of [worst, ...others])
    rows.push([`[${index.join(",")}]`, short(got), short(want), bound.toExponential(1), ""]);
  rows.forEach((row, i) => (row[4] = i === 1 ? "worst" : ""));
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0));
  const widths = rows[0]?.map((_, column) => width(column)) ?? [];
  return rows.map((row) =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd(),
  );
}

const short = (value: number): string =>
  Number.isFinite(value) ? value.toPrecision(7) : `${value}`;

/** The index on each axis of an element, counted in memory order. */
export function indexOf(flatIndex: number, shape: Shape): number[] {
  const index: number[] = [];
  let rest = flatIndex;
  for (const size of [...shape].reverse()) {
    index.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return index;
}
