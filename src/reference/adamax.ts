/** One step of Adamax in float64; mirrors shaders/adamax.wgsl. */
import type { Reference } from "./reference.ts";

export interface AdamaxStep {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Learning rate / (1 - beta1^t). */
  readonly rate: number;
}

/** The next w, m and u; the arguments stay as they are. */
export function adamax(
  dw: Float64Array,
  { beta1, beta2, epsilon, rate }: AdamaxStep,
  { w, m, u }: { w: Float64Array; m: Float64Array; u: Float64Array },
): { w: Reference; m: Reference; u: Reference } {
  const count = w.length;
  const reference = (): Reference => ({
    values: new Float64Array(count),
    absSum: new Float64Array(count),
    reduction: 2,
  });
  const next = { w: reference(), m: reference(), u: reference() };
  for (let i = 0; i < count; i++) {
    const terms = [beta1 * m[i]!, (1 - beta1) * dw[i]!] as const;
    const moment = terms[0] + terms[1];
    const momentAbsSum = Math.abs(terms[0]) + Math.abs(terms[1]);
    const norm = Math.max(beta2 * u[i]!, Math.abs(dw[i]!));
    next.m.values[i] = moment;
    next.m.absSum[i] = momentAbsSum;
    next.u.values[i] = norm;
    next.u.absSum[i] = norm;
    next.w.values[i] = w[i]! - (rate * moment) / (norm + epsilon);
    next.w.absSum[i] = Math.abs(w[i]!) + (rate * momentAbsSum) / (norm + epsilon);
  }
  return next;
}
