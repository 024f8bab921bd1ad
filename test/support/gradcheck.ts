/**
 * Rung one of the gradient checks: a reference gradient against central differences of the reference forward, float64.
 */

/**
 * Compares `gradient` with (f(v + h) - f(v - h)) / 2h for each element of `values`, where f is a scalar loss.
 * h = 1e-5 and rtol 1e-6 are what float64 central differences reach on smooth functions (docs/numerics.md).
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
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    moved[i] = value + h;
    const above = loss(moved);
    moved[i] = value - h;
    const below = loss(moved);
    moved[i] = value;
    const numeric = (above - below) / (2 * h);
    const error = Math.abs(numeric - gradient[i]!);
    if (!(error <= atol + rtol * Math.abs(numeric)))
      throw new Error(
        `element ${i}: gradient ${gradient[i]!}, central difference ${numeric}, error ${error}`,
      );
  }
}

/** The scalar loss sum(y * dy), whose gradient with respect to y is dy. */
export function dot(y: Float64Array, dy: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < y.length; i++) sum += y[i]! * dy[i]!;
  return sum;
}
