/**
 * Central differences: gradients from nothing but the forward pass.
 */
import type { Shape } from "../tensor.ts";
import { FLOAT32_EPSILON, type Expected, type Tolerance } from "./close.ts";

/** The scalar loss sum(y * dy), whose gradient with respect to y is dy. */
export function dot(y: Float64Array, dy: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < y.length; i++) sum += (y[i] ?? NaN) * (dy[i] ?? NaN);
  return sum;
}

/**
 * Compares `gradient` with (f(v + h) - f(v - h)) / 2h for each element of `values`, where f is a scalar loss in float64.
 * h = 1e-5 and rtol 1e-6 are what float64 central differences reach on smooth functions (docs/numerics.md).
 * @throws Error naming the first element that differs
 */
export function expectGradient(
  loss: (values: Float64Array) => number,
  values: Float64Array,
  gradient: Float64Array,
  { h = 1e-5, rtol = 1e-6, atol = 1e-8 } = {},
): void {
  if (values.length !== gradient.length)
    throw new Error(`gradient has ${gradient.length} elements for ${values.length} values`);
  const moved = Float64Array.from(values);
  values.forEach((value, i) => {
    moved[i] = value + h;
    const above = loss(moved);
    moved[i] = value - h;
    const below = loss(moved);
    moved[i] = value;
    const numeric = (above - below) / (2 * h);
    const got = gradient[i] ?? NaN;
    const error = Math.abs(numeric - got);
    if (!(error <= atol + rtol * Math.abs(numeric)))
      throw new Error(
        `element ${i}: gradient ${got}, central difference ${numeric}, error ${error}`,
      );
  });
}

/** In which precision differences are taken: what rounds, how far apart the points lie. */
export interface DifferenceSettings {
  /** One unit in the last place of an output near 1. */
  readonly epsilon: number;
  /** The points are v +- h and v +- h/2. */
  readonly h: number;
  /** Rounds a moved value to what the forward pass takes. */
  readonly round: (value: number) => number;
}

/** Of a forward pass on the host, in float64. */
export const FLOAT64: DifferenceSettings = { epsilon: 2 ** -52, h: 2 ** -13, round: (v) => v };

/** Of a forward pass on the GPU: where nothing is known to bend sooner, h = 2^-6 balances rounding and curvature. */
export const FLOAT32: DifferenceSettings = {
  epsilon: FLOAT32_EPSILON,
  h: 2 ** -6,
  round: Math.fround,
};

/** What differences say of the gradient of sum(y * dy) with respect to some elements of one variable. */
export interface Differences {
  readonly indices: Uint32Array;
  readonly values: Float64Array;
  /** How far each value may itself be off: what rounding and curvature left. */
  readonly errors: Float64Array;
  /** Sum of |terms| of each element, one term for each output that depends on it; and how many. */
  readonly absSums: Float64Array;
  readonly terms: Uint32Array;
  /** Elements whose estimates disagree, as at a kink: no derivative is there to compare with. */
  readonly unsure: readonly number[];
  /** The parts of `values` that come from the first and from the last row of dy. */
  readonly firstRow: Float64Array;
  readonly lastRow: Float64Array;
}

/**
 * Differences with Richardson's extrapolation: D(h) and D(h/2) give (4 D(h/2) - D(h)) / 3, whose error is of order h^4, and
 * their distance tells how curved the function is.
 * @param evaluate the outputs for each of some values of the variable
 * @param values the variable; `indices` says which of its elements move
 * @param dy [rows, ...], as long as an output
 */
export async function differences(
  evaluate: (points: readonly Float64Array[]) => Promise<readonly ArrayLike<number>[]>,
  values: Float64Array,
  indices: Uint32Array,
  dy: Float64Array,
  rows: number,
  { epsilon, h, round }: DifferenceSettings,
): Promise<Differences> {
  const count = indices.length;
  const result = {
    values: new Float64Array(count),
    errors: new Float64Array(count),
    absSums: new Float64Array(count),
    terms: new Uint32Array(count),
    firstRow: new Float64Array(count),
    lastRow: new Float64Array(count),
  };
  const apart = new Float64Array(count);
  const [here] = await evaluate([values]);
  const rowLength = dy.length / rows;
  const TOGETHER = 16;
  for (let start = 0; start < count; start += TOGETHER) {
    const chunk = indices.subarray(start, start + TOGETHER);
    const points = [...chunk].flatMap((index) =>
      [h, -h, h / 2, -h / 2].map((step) => {
        const point = Float64Array.from(values);
        point[index] = round((values[index] ?? NaN) + step);
        return point;
      }),
    );
    const outputs = await evaluate(points);
    chunk.forEach((index, k) => {
      const at = start + k;
      const width = (a: number) =>
        (points[4 * k + a]?.[index] ?? NaN) - (points[4 * k + a + 1]?.[index] ?? NaN);
      const [above, below, halfAbove, halfBelow] = outputs.slice(4 * k, 4 * k + 4);
      if (!here || !above || !below || !halfAbove || !halfBelow)
        throw new Error(`differences: expected ${points.length} outputs, got ${outputs.length}`);
      let whole = 0;
      let noise = 0;
      let bend = 0;
      let halfBend = 0;
      dy.forEach((weight, j) => {
        const [high, low] = [halfAbove[j] ?? NaN, halfBelow[j] ?? NaN];
        const far = (weight * ((above[j] ?? NaN) - (below[j] ?? NaN))) / width(0);
        const near = (weight * (high - low)) / width(2);
        const term = (4 * near - far) / 3;
        whole += far;
        const middle = 2 * (here[j] ?? NaN);
        bend += (weight * ((above[j] ?? NaN) - middle + (below[j] ?? NaN))) / width(0);
        halfBend += (weight * (high - middle + low)) / width(2);
        if (term === 0) return;
        noise += (weight * Math.max(Math.abs(high), Math.abs(low))) ** 2;
        result.terms[at] = (result.terms[at] ?? 0) + 1;
        add(result.values, at, term);
        add(result.absSums, at, Math.abs(term));
        if (j < rowLength) add(result.firstRow, at, term);
        if (j >= dy.length - rowLength) add(result.lastRow, at, term);
      });
      const value = result.values[at] ?? NaN;
      // Eight roundings of an output's size: outputs are sums themselves.
      const rounding = (8 * epsilon * Math.sqrt(noise)) / width(2);
      const distance = (3 / 4) * Math.abs(value - whole); // |D(h) - D(h/2)|
      result.errors[at] = rounding + distance / 2;
      // One-sided differences draw together as the step shrinks, unless there is a kink between them.
      const kink = Math.abs(halfBend) > 0.75 * Math.abs(bend) ? Math.abs(halfBend) : 0;
      apart[at] = Math.max(distance, kink) - 4 * rounding;
    });
  }
  const scale = rootMeanSquare(result.values);
  const unsure = [...apart.keys()].filter((i) => !((apart[i] ?? NaN) <= 0.05 * scale));
  return { indices, unsure, ...result };
}

/**
 * What a float32 kernel must give, by differences. Two roundings add up: what the differences leave open, and the kernel's
 * own. Differences of a float64 forward pass: 2^-23 (sqrt(K) sum |terms| + the largest such sum), times a factor of 8, as
 * for kernels with exp and division, since the inner terms are not known here. Differences of the float32 forward pass: a
 * thousandth of the element and of the root mean square of all.
 */
export function expectedByDifferences(
  found: Differences,
  { epsilon }: DifferenceSettings,
  { factor = 8, absolute = 0 }: Tolerance = {},
): Expected {
  const largest = found.absSums.reduce((a, b) => Math.max(a, b), 0);
  const typical = rootMeanSquare(found.values);
  const bounds = found.values.map((value, i) => {
    const kernel =
      epsilon < FLOAT32_EPSILON
        ? FLOAT32_EPSILON *
          factor *
          (Math.sqrt(found.terms[i] ?? 0) * (found.absSums[i] ?? NaN) + largest)
        : 1e-3 * (factor / 8) * (Math.abs(value) + typical);
    return absolute + kernel + (found.errors[i] ?? NaN);
  });
  for (const i of found.unsure) bounds[i] = Infinity;
  return { values: found.values, bounds, indices: found.indices };
}

/**
 * Which elements of a tensor to move when there are more than `most`: its first and last, where padding and tails go
 * wrong, and others spread evenly by a step that shares no factor with its sizes.
 */
export function sample(shape: Shape, most: number): Uint32Array {
  const count = shape.reduce((product, size) => product * size, 1);
  if (count <= most) return Uint32Array.from({ length: count }, (_, i) => i);
  const chosen = new Set<number>();
  const ends = Math.floor(most / 8);
  for (let i = 0; i < ends; i++) chosen.add(i).add(count - 1 - i);
  const golden = Math.round(count * 0.6180339887);
  for (let i = 0, at = ends; chosen.size < most && i < count; i++) {
    at = (at + golden) % count;
    chosen.add(at);
  }
  for (let i = 0; chosen.size < most; i++) chosen.add(i);
  return Uint32Array.from(chosen).sort();
}

const add = (values: Float64Array, at: number, term: number): void => {
  values[at] = (values[at] ?? 0) + term;
};

const rootMeanSquare = (values: Float64Array): number =>
  Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / Math.max(1, values.length));
