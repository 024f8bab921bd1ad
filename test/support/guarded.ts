/**
 * Tensors between guard words, for kernels with several outputs or with outputs that they also read.
 */
import { expect } from "chai";
import type { Device, TypedArray } from "../../src/gpu/device.ts";
import type { DType, Shape, Tensor } from "../../src/tensor.ts";

const GUARD_WORDS = 64;
const GUARD = 0xdeadbeef;

export interface Guarded {
  readonly tensor: Tensor;
  /** What the tensor holds now; fails when a guard word has changed. */
  read(): Promise<Uint32Array<ArrayBuffer>>;
  readFloats(): Promise<Float32Array>;
  release(): void;
}

/** A tensor that holds `values`, 4 bytes each, between guard words. */
export function guarded(
  device: Device,
  values: Exclude<TypedArray, Uint8Array>,
  shape: Shape,
  label: string,
): Guarded {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const words = new Uint32Array(bits.length + 2 * GUARD_WORDS).fill(GUARD);
  words.set(bits, GUARD_WORDS);
  const whole = device.upload(words, [words.length], label);
  const dtype: DType = values instanceof Float32Array ? "float32" : "uint32";
  const read = async () => {
    const written = Uint32Array.from(await device.read(whole));
    const outside = [
      ...written.subarray(0, GUARD_WORDS),
      ...written.subarray(GUARD_WORDS + bits.length),
    ];
    expect(
      outside.every((word) => word === GUARD),
      `guard words around ${label}`,
    ).to.equal(true);
    return written.slice(GUARD_WORDS, GUARD_WORDS + bits.length);
  };
  return {
    tensor: { ...whole, offsetBytes: GUARD_WORDS * 4, shape, dtype, label },
    read,
    readFloats: async () => new Float32Array((await read()).buffer),
    release: () => {
      device.release(whole);
    },
  };
}

/** An output that a kernel must write whole: filled with NaN (float32) or 0xffffffff (uint32). */
export function unwritten(device: Device, shape: Shape, dtype: DType, label: string): Guarded {
  const count = shape.reduce((product, size) => product * size, 1);
  const values =
    dtype === "float32" ? new Float32Array(count).fill(NaN) : new Uint32Array(count).fill(~0);
  return guarded(device, values, shape, label);
}
