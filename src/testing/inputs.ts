/** Random inputs for checks: float32 values, which a float64 reference holds exactly, the same on every machine. */
import { Random } from "../random.ts";
import { elementCount, type Shape } from "../tensor.ts";

/** Uniform in [-scale, scale). */
export function randomFloats(
  shape: Shape,
  seed: number,
  purpose = "input",
  scale = 1,
): Float32Array {
  const random = new Random(seed, purpose);
  return Float32Array.from({ length: elementCount(shape) }, () => scale * random.between(-1, 1));
}

/** At least `gap` away from 0, for kernels with a kink there. */
export function awayFromZero(
  shape: Shape,
  seed: number,
  purpose = "input",
  gap = 0.05,
): Float32Array {
  return randomFloats(shape, seed, purpose).map((value) => (value < 0 ? value - gap : value + gap));
}

/**
 * Distinct values of [-1, 1] in random order, `2 / count` apart and, where the count is even, half that away from 0: no
 * ties, no kinks within a finite difference.
 */
export function distinctFloats(shape: Shape, seed: number, purpose = "input"): Float32Array {
  const count = elementCount(shape);
  const order = new Random(seed, purpose).permutation(count);
  return Float32Array.from(order, (rank) => (2 * rank + 1) / count - 1);
}

export const toFloat64 = (values: Float32Array): Float64Array => Float64Array.from(values);
