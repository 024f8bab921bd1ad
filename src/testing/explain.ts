/**
 * What a wrong gradient looks like: the usual slips leave a pattern, and each pattern found is said in words.
 */
import { formatShape, type Shape } from "../tensor.ts";
import { indexOf } from "./close.ts";

/** A gradient that failed its comparison. Arrays are as long as `indices`. */
export interface WrongGradient {
  /** `dx`, or `d` and the parameter's name. */
  readonly name: string;
  readonly shape: Shape;
  /** The elements that were compared, ascending. */
  readonly indices: Uint32Array;
  readonly got: Float64Array;
  readonly want: Float64Array;
  /** Positions in `indices` that failed. */
  readonly failures: readonly number[];
  /** Names of the axes: n, h, w, c of an activation. */
  readonly axes: readonly string[];
  /** Images in the batch. */
  readonly rows: number;
  /** dy, where it has the gradient's shape. */
  readonly dy?: Float32Array | undefined;
  /** The parts of `want` that come from the first and the last image, where they are known. */
  readonly firstRow?: Float64Array | undefined;
  readonly lastRow?: Float64Array | undefined;
}

/** A sentence that names the likely slip, e.g. `dbeta is -1 times what it should be: a sign is wrong`. */
export function explain(wrong: WrongGradient): string {
  for (const find of [zero, unchanged, factor, rowsLeftOut, rearranged, somewhere]) {
    const found = find(wrong);
    if (found !== undefined) return `${wrong.name} ${found}`;
  }
  return `${wrong.name} ${likeness(wrong)}`;
}

const norm = (values: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] ?? NaN) ** 2;
  return Math.sqrt(sum);
};

/** Whether `got` is `like`, up to what float32 and differences leave open. */
const same = (got: Float64Array, like: ArrayLike<number>, slack = 3e-3): boolean =>
  norm(got.map((value, i) => value - (like[i] ?? NaN))) <= slack * norm(like) && norm(like) > 0;

function zero({ got }: WrongGradient): string | undefined {
  if (!got.every((value) => value === 0)) return undefined;
  return "is zero everywhere: is the kernel dispatched, with enough workgroups, and does it write what it computed?";
}

function factor({ got, want, rows, indices }: WrongGradient): string | undefined {
  const ratio = got.reduce((sum, value, i) => sum + value * (want[i] ?? NaN), 0) / norm(want) ** 2;
  if (!Number.isFinite(ratio) || ratio === 0) return undefined;
  const scaled = want.map((value) => ratio * value);
  if (!same(got, scaled) || Math.abs(ratio - 1) < 3e-3) return undefined;
  const near = (value: number) => Math.abs(ratio / value - 1) < 3e-3;
  const times = (reason: string) =>
    `is ${Number(ratio.toPrecision(3))} times what it should be: ${reason}`;
  if (near(-1)) return times("a sign is wrong");
  if (rows > 1 && near(1 / rows))
    return times(
      `it is divided by the batch of ${rows}; sum over the batch, since dy carries the mean of the loss already`,
    );
  if (rows > 1 && near(rows)) return times(`it is multiplied by the batch of ${rows}`);
  if (near(2)) return times("something is counted twice, or a square lost its 1/2");
  if (near(0.5)) return times("half of it is lost, or a 1/2 is too many");
  if (indices.length < 3) return undefined; // a factor always fits one element
  return times("a constant factor is missing or too many");
}

function unchanged({ got, dy }: WrongGradient): string | undefined {
  if (!dy || !same(got, dy, 1e-6)) return undefined;
  return "is dy itself: the layer's own derivative is not multiplied in";
}

function rowsLeftOut({ got, want, rows, firstRow, lastRow }: WrongGradient): string | undefined {
  if (rows < 2 || !firstRow || !lastRow) return undefined;
  if (same(got, firstRow)) return `counts only the first of the ${rows} images of the batch`;
  if (same(got, lastRow)) return `counts only the last of the ${rows} images of the batch`;
  const without = (part: Float64Array) => want.map((value, i) => value - (part[i] ?? NaN));
  if (same(got, without(lastRow)))
    return `leaves out the last of the ${rows} images of the batch; does a loop end one too early?`;
  if (same(got, without(firstRow)))
    return `leaves out the first of the ${rows} images of the batch; does a loop begin one too late?`;
  return undefined;
}

/** Right values in wrong places: axes swapped, reversed, or off by one. Needs every element. */
function rearranged({ got, want, shape, axes }: WrongGradient): string | undefined {
  if (got.length !== shape.reduce((product, size) => product * size, 1)) return undefined;
  const name = (axis: number) => axes[axis] ?? `${axis}`;
  const large = [...shape.keys()].filter((axis) => (shape[axis] ?? 0) > 1);
  const moved = (to: (index: number[]) => number[], layout: Shape = shape) => {
    const result = new Float64Array(want.length);
    want.forEach((value, i) => (result[flatten(to(indexOf(i, shape)), layout)] = value));
    return result;
  };
  for (const a of large)
    for (const b of large.filter((axis) => axis > a)) {
      const swap = <T>(list: readonly T[]): T[] =>
        list.map((value, axis) => list[axis === a ? b : axis === b ? a : axis] ?? value);
      if (same(got, moved(swap, swap(shape))))
        return `is transposed: axes ${name(a)} and ${name(b)} of ${formatShape(shape)} are swapped in memory`;
    }
  const flip = (which: readonly number[]) => (index: number[]) =>
    index.map((at, axis) => (which.includes(axis) ? (shape[axis] ?? 0) - 1 - at : at));
  const spatial = large.filter((axis) => /^k?[hw]$/i.test(name(axis)));
  for (const which of [...large.map((axis) => [axis]), spatial])
    if (which.length > 0 && same(got, moved(flip(which))))
      return `is reversed along ${which.map(name).join(" and ")}: a convolution where a correlation is meant, or the other way`;
  for (const axis of large)
    for (const by of [1, -1]) {
      const inside = [...got.keys()].filter((i) => {
        const from = (indexOf(i, shape)[axis] ?? 0) - by;
        return from >= 0 && from < (shape[axis] ?? 0);
      });
      const source = (i: number) =>
        want[flatten(indexOf(i, shape).with(axis, (indexOf(i, shape)[axis] ?? 0) - by), shape)];
      const gotInside = Float64Array.from(inside, (i) => got[i] ?? NaN);
      if (
        inside.length >= 3 &&
        same(
          gotInside,
          Float64Array.from(inside, (i) => source(i) ?? NaN),
        )
      )
        return `is shifted by one along ${name(axis)}: an index or the padding is off by one`;
    }
  return undefined;
}

function flatten(index: readonly number[], shape: Shape): number {
  return index.reduce((flat, at, axis) => flat * (shape[axis] ?? 1) + at, 0);
}

/** Wrong in one region only. */
function somewhere(wrong: WrongGradient): string | undefined {
  const { indices, failures, shape, axes } = wrong;
  if (failures.length === indices.length) return undefined;
  const failed = new Set(failures);
  const places = [...indices].map((index) => indexOf(index, shape));
  const wrongPlaces = failures.map((position) => places[position] ?? []);
  const right = places.filter((_, position) => !failed.has(position));
  const name = (axis: number) => axes[axis] ?? `${axis}`;

  const spatial = [...shape.keys()].filter(
    (axis) => /^[hw]$/i.test(name(axis)) && (shape[axis] ?? 0) > 2,
  );
  const first = failures[0] ?? 0;
  const tail = indices.length - first;
  // Whole rows at the end of a single image are its lower border as well.
  const lines =
    spatial.length > 0 && tail % (shape.slice(-2).reduce((a, b) => a * b, 1) || 1) === 0;
  if (failures.length === tail && tail <= indices.length / 2 && !lines)
    return (
      `differs only in the last ${tail} of ${indices.length} elements in memory order: ` +
      "is the number of workgroups rounded up (ceilDiv), and does every loop reach the tail?"
    );

  const atBorder = (place: readonly number[]) =>
    spatial.some((axis) => place[axis] === 0 || place[axis] === (shape[axis] ?? 0) - 1);
  const allAt = (axis: number, value: number) =>
    wrongPlaces.every((place) => place[axis] === value);
  for (const axis of spatial) {
    const last = (shape[axis] ?? 0) - 1;
    if (allAt(axis, 0) || allAt(axis, last))
      return `differs only at the ${allAt(axis, 0) ? "first" : "last"} place along ${name(axis)}, at the border: is the padding of that side right?`;
  }
  if (spatial.length > 0 && wrongPlaces.every(atBorder) && !right.every(atBorder))
    return "differs only at the border: is the padding right, and are places outside the image left out?";

  if (axes[0] === "n" && wrongPlaces.every((place) => place[0] !== 0) && right.length > 0)
    if (right.every((place) => place[0] === 0))
      return "is right for the first image only: does the kernel step from image to image by the right stride?";
  for (const axis of shape.keys()) {
    const [value = 0] = wrongPlaces.map((place) => place[axis] ?? 0);
    if ((shape[axis] ?? 0) > 1 && allAt(axis, value))
      return `differs only where ${name(axis)} is ${value} of ${(shape[axis] ?? 0) - 1}`;
  }
  return undefined;
}

/** No slip that is known: how like the right one it is. */
function likeness({ got, want, failures, indices }: WrongGradient): string {
  const cosine =
    got.reduce((sum, value, i) => sum + value * (want[i] ?? NaN), 0) / (norm(got) * norm(want));
  const share = `${failures.length} of ${indices.length} elements differ`;
  if (cosine > 0.5)
    return `${share}, yet it points much the same way (cosine ${cosine.toFixed(3)}): a term of the derivative is missing or wrong`;
  if (cosine < -0.5)
    return `${share}, and it points the other way (cosine ${cosine.toFixed(3)}): a sign is wrong, and more`;
  return `${share} without a pattern that is known (cosine ${cosine.toFixed(3)}): compare the formula with the forward pass`;
}
