/** A leaky ReLU fused into another kernel gives the bits that one of its own would. */
import { expect } from "chai";
import type { Reference } from "../../src/reference/reference.ts";

/** Throws unless `fused` is leakyRelu(`plain`), bit for bit. */
export function expectLeaky(fused: Float32Array, plain: Float32Array, slope: number): void {
  const factor = Math.fround(slope);
  const want = plain.map((value) => (value > 0 ? value : factor * value));
  const differs = fused.findIndex((value, i) => value !== want[i]);
  expect(differs, `element ${differs}: ${fused[differs]} vs ${want[differs]}`).to.equal(-1);
}

/** What leakyRelu of sums that were not rounded to float16 before should be: no part of its bound is larger than theirs. */
export function leakyReference(sums: Reference, slope: number): Reference {
  return { ...sums, values: sums.values.map((value) => (value > 0 ? value : slope * value)) };
}
