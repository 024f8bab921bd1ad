/** Running one kernel: its output is filled with NaN and lies between guard words. */
import type { Context } from "../gpu/context.ts";
import type { Device } from "../gpu/device.ts";
import type { Shape, Tensor } from "../tensor.ts";
import { unwritten } from "./guarded.ts";

/**
 * Records and runs one kernel whose output has `shape`; returns what it wrote.
 * @param encode gets the context and the guarded output tensor
 * @param dtype of the output
 * @throws Error when a guard word has changed
 */
export async function runKernel(
  device: Device,
  shape: Shape,
  encode: (ctx: Context, y: Tensor) => void,
  dtype: "float32" | "float16" = "float32",
): Promise<Float32Array> {
  const output = unwritten(device, shape, dtype, "y");
  try {
    await device.run("test", (ctx) => {
      encode(ctx, output.tensor);
    });
    return await output.readFloats();
  } finally {
    output.release();
  }
}

/** The gradients of four runs: for dy twice, for 0 and for 2 * dy. */
export interface FourRuns {
  readonly once: Float32Array;
  readonly again: Float32Array;
  readonly zero: Float32Array;
  readonly twice: Float32Array;
}

/**
 * What every backward kernel must be, beside right: dy = 0 gives exact zeros, 2 * dy doubles (scaling by two does not
 * round), two runs are bit-identical.
 * @returns a sentence for each rule that is broken
 */
export function linearityProblems({ once, again, zero, twice }: FourRuns): string[] {
  const problems: string[] = [];
  if (!sameBits(once, again))
    problems.push("two runs differ in bits; sum in a fixed order, without atomics or races");
  if (!zero.every((value) => value === 0))
    problems.push("dy = 0 does not give zeros; a gradient is linear in dy");
  if (!twice.every((value, i) => value === 2 * (once[i] ?? NaN)))
    problems.push("2 * dy does not double it; a gradient is linear in dy");
  return problems;
}

/**
 * A backward kernel gives zeros for dy = 0, twice as much for 2 dy, and the same bits twice.
 * @param backward the gradients for a dy; each call computes them anew
 * @throws Error naming the first rule of `linearityProblems` that is broken
 */
export async function expectLinearAndRepeatable(
  dy: Float32Array,
  backward: (dy: Float32Array) => Promise<Float32Array>,
): Promise<void> {
  const once = await backward(dy);
  const again = await backward(dy);
  const zero = await backward(new Float32Array(dy.length));
  const twice = await backward(dy.map((value) => 2 * value));
  const [problem] = linearityProblems({ once, again, zero, twice });
  if (problem !== undefined) throw new Error(problem);
}

/** Whether two arrays hold the same bits, NaN included. */
export function sameBits(a: Float32Array, b: Float32Array): boolean {
  const words = (values: Float32Array) =>
    new Uint32Array(values.buffer, values.byteOffset, values.length);
  const [left, right] = [words(a), words(b)];
  return left.length === right.length && left.every((word, i) => word === right[i]);
}
