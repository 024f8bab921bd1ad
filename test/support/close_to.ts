/**
 * GPU against float64 reference, with the bound of docs/numerics.md: |got - want| <= 2^-23 * sqrt(K) * sum |terms|.
 */
import type { Reference } from "../../src/reference/reference.ts";
import type { Shape } from "../../src/tensor.ts";

const EPSILON = 2 ** -23;

export interface Tolerance {
  /** Multiplies the bound; a kernel with exp, log or division states its own, with the reason. */
  readonly factor?: number;
  /** Added to the bound, e.g. for values that underflow in float32. */
  readonly absolute?: number;
}

/** Throws with the worst and the first five elements when any is outside its bound or not finite. */
export function expectClose(
  got: Float32Array,
  want: Reference,
  shape: Shape,
  tolerance: Tolerance = {},
): void {
  if (got.length !== want.values.length)
    throw new Error(`expected ${want.values.length} elements, got ${got.length}`);
  const scale = EPSILON * Math.sqrt(want.reduction) * (tolerance.factor ?? 1);
  const failures: { i: number; error: number; bound: number }[] = [];
  for (let i = 0; i < got.length; i++) {
    const bound = scale * want.absSum[i]! + (tolerance.absolute ?? 1e-37);
    const error = Math.abs(got[i]! - want.values[i]!);
    if (!(error <= bound)) failures.push({ i, error, bound });
  }
  if (failures.length === 0) return;
  const worst = failures.reduce((a, b) =>
    b.error / b.bound > a.error / a.bound || Number.isNaN(b.error) ? b : a,
  );
  const line = ({ i, bound }: { i: number; bound: number }) =>
    `  [${indexOf(i, shape).join(",")}] got ${got[i]!} want ${want.values[i]!} bound ${bound.toExponential(1)}`;
  throw new Error(
    [
      `${failures.length} of ${got.length} elements differ from the reference; worst:`,
      line(worst),
      "first:",
      ...failures.slice(0, 5).map(line),
    ].join("\n"),
  );
}

function indexOf(flatIndex: number, shape: Shape): number[] {
  const index: number[] = [];
  let rest = flatIndex;
  for (const size of [...shape].reverse()) {
    index.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return index;
}
