/**
 * Running one kernel in a test: outputs are filled with NaN and lie between guard words, so that an element that is not
 * written or a write outside fails.
 */
import { expect } from "chai";
import type { Context } from "../../src/gpu/context.ts";
import type { Device } from "../../src/gpu/device.ts";
import { Random } from "../../src/random.ts";
import { elementCount, type Shape, type Tensor } from "../../src/tensor.ts";

const GUARD_FLOATS = 64;
const GUARD_VALUE = 12345.678;

/** Random inputs in float32, which the float64 reference can hold exactly. */
export function randomFloats(
  shape: Shape,
  seed: number,
  purpose = "input",
  scale = 1,
): Float32Array {
  const random = new Random(seed, purpose);
  return Float32Array.from({ length: elementCount(shape) }, () => scale * random.between(-1, 1));
}

/** Random inputs at least `gap` away from 0, for kernels with a kink there. */
export function awayFromZero(
  shape: Shape,
  seed: number,
  purpose = "input",
  gap = 0.05,
): Float32Array {
  return randomFloats(shape, seed, purpose).map((value) => (value < 0 ? value - gap : value + gap));
}

/** Distinct values in random order, at least `1 / count` apart: no ties, no kinks within a finite difference. */
export function distinctFloats(shape: Shape, seed: number, purpose = "input"): Float32Array {
  const count = elementCount(shape);
  const order = new Random(seed, purpose).permutation(count);
  return Float32Array.from(order, (rank) => (2 * rank + 1) / count - 1);
}

export const toFloat64 = (values: Float32Array): Float64Array => Float64Array.from(values);

/**
 * Records and runs one kernel whose output has `shape`; returns what it wrote.
 * @param encode gets the context and the guarded output tensor
 */
export async function runKernel(
  device: Device,
  shape: Shape,
  encode: (ctx: Context, y: Tensor) => void,
): Promise<Float32Array> {
  const count = elementCount(shape);
  const padded = Math.ceil(count / GUARD_FLOATS) * GUARD_FLOATS;
  const values = new Float32Array(padded + 2 * GUARD_FLOATS).fill(GUARD_VALUE);
  values.fill(NaN, GUARD_FLOATS, GUARD_FLOATS + count);
  const whole = device.upload(values, [values.length], "guarded output");
  const y: Tensor = { ...whole, offsetBytes: GUARD_FLOATS * 4, shape, label: "y" };
  try {
    await device.run("test", (ctx) => {
      encode(ctx, y);
    });
    const written = await device.readFloats(whole);
    const guard = Math.fround(GUARD_VALUE);
    const outside = [
      ...written.subarray(0, GUARD_FLOATS),
      ...written.subarray(GUARD_FLOATS + count),
    ];
    expect(
      outside.every((value) => value === guard),
      "guard words around the output",
    ).to.equal(true);
    return written.slice(GUARD_FLOATS, GUARD_FLOATS + count);
  } finally {
    device.release(whole);
  }
}

/** Checks of every backward kernel: dy = 0 gives exact zeros, 2 * dy doubles, two runs are bit-identical. */
export async function expectLinearAndRepeatable(
  dy: Float32Array,
  backward: (dy: Float32Array) => Promise<Float32Array>,
): Promise<void> {
  const once = await backward(dy);
  const again = await backward(dy);
  expect(
    Buffer.from(once.buffer).equals(Buffer.from(again.buffer)),
    "two runs are bit-identical",
  ).to.equal(true);
  const zero = await backward(new Float32Array(dy.length));
  expect(
    zero.every((value) => value === 0),
    "dy = 0 gives exact zeros",
  ).to.equal(true);
  const twice = await backward(dy.map((value) => 2 * value));
  expect(
    twice.every((value, i) => value === 2 * (once[i] ?? NaN)),
    "2 * dy doubles the gradient",
  ).to.equal(true);
}
