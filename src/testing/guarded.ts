/**
 * Tensors between guard words, filled with NaN: a kernel that writes too little leaves the NaN, one that writes too much
 * changes a guard word.
 */
import type { Context, Dispatch } from "../gpu/context.ts";
import { fromFloat16 } from "../float16.ts";
import type { Device } from "../gpu/device.ts";
import {
  dtypeOf,
  elementCount,
  type DType,
  type Shape,
  type Tensor,
  type TypedArray,
} from "../tensor.ts";

/** Before and after; a multiple of every adapter's binding alignment, 256 bytes. */
const GUARD_WORDS = 64;
const GUARD = 0xdeadbeef;
/** A NaN that no arithmetic makes, so that what was never written can be told from what was computed. */
const UNWRITTEN_FLOAT = 0x7fc0beef;
/** The same for two float16. */
const UNWRITTEN_HALVES = 0x7e0b7e0b;
const UNWRITTEN_WORD = 0xffffffff;

/** A tensor between guard words. */
export interface Guarded {
  readonly tensor: Tensor;
  /** What the tensor holds now, and whether a guard word has changed. */
  inspect(): Promise<{ words: Uint32Array<ArrayBuffer>; overrun: boolean }>;
  /** What the tensor holds now. @throws Error when a guard word has changed */
  read(): Promise<Uint32Array<ArrayBuffer>>;
  /** `read` as float32; float16 is converted. */
  readFloats(): Promise<Float32Array>;
  release(): void;
}

/** A tensor that holds `values`, whole words of them, between guard words. */
export function guarded(
  device: Device,
  values: Exclude<TypedArray, Uint8Array>,
  shape: Shape,
  label: string,
): Guarded {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.byteLength / 4);
  const words = new Uint32Array(bits.length + 2 * GUARD_WORDS).fill(GUARD);
  words.set(bits, GUARD_WORDS);
  const whole = device.upload(words, [words.length], label);
  const dtype = dtypeOf(values);
  const inspect = async () => {
    const written = await device.read(whole);
    const inside = written.slice(GUARD_WORDS, GUARD_WORDS + bits.length);
    const outside = [
      ...written.subarray(0, GUARD_WORDS),
      ...written.subarray(GUARD_WORDS + bits.length),
    ];
    return {
      words: new Uint32Array(inside.buffer, inside.byteOffset, inside.length),
      overrun: outside.some((word) => word !== GUARD),
    };
  };
  const read = async () => {
    const { words: inside, overrun } = await inspect();
    if (overrun) throw new Error(`guard words around ${label}: changed; a kernel wrote outside it`);
    return inside;
  };
  return {
    tensor: { ...whole, offsetBytes: GUARD_WORDS * 4, shape, dtype, label },
    inspect,
    read,
    readFloats: async () => {
      const { buffer } = await read();
      return dtype === "float16"
        ? fromFloat16(new Uint16Array(buffer, 0, elementCount(shape)))
        : new Float32Array(buffer);
    },
    release: () => {
      device.release(whole);
    },
  };
}

/** An output that a kernel must write whole: filled with NaN (floats) or 0xffffffff (other types). */
export function unwritten(device: Device, shape: Shape, dtype: DType, label: string): Guarded {
  const count = elementCount(shape);
  const words = (length: number, fill: number) => new Uint32Array(length).fill(fill);
  switch (dtype) {
    case "float32":
      return guarded(device, new Float32Array(words(count, UNWRITTEN_FLOAT).buffer), shape, label);
    case "float16":
      return guarded(
        device,
        new Uint16Array(words(Math.ceil(count / 2), UNWRITTEN_HALVES).buffer),
        shape,
        label,
      );
    case "int32":
      return guarded(device, new Int32Array(words(count, UNWRITTEN_WORD).buffer), shape, label);
    case "uint32":
    case "uint8":
      return guarded(device, words(count, UNWRITTEN_WORD), shape, label);
  }
}

/** Whether an element of a float32 tensor that `unwritten` made is as it was. */
export const isUnwritten = (word: number): boolean => word === UNWRITTEN_FLOAT;

/**
 * Scratch tensors between guard words for whatever records with it; each has a buffer of its own until `release`, so that
 * what a layer leaves behind can be looked at. Also refuses what would go wrong where memory is used again: a tensor that
 * is used after it was freed, or freed without being scratch.
 */
export class GuardedScratch {
  readonly #device: Device;
  readonly #tensors: Guarded[] = [];
  readonly #fill: "unwritten" | "zeros";
  /** What the last recording dispatched. */
  dispatches: Dispatch[] = [];

  /** @param fill zeros instead of NaN: tells a kernel that adds to its output from one that computes NaN */
  constructor(device: Device, fill: "unwritten" | "zeros" = "unwritten") {
    this.#device = device;
    this.#fill = fill;
  }

  get tensors(): readonly Guarded[] {
    return this.#tensors;
  }

  /** The context to record with. A recording runs twice (`Device.record`) and gets the same tensors both times. */
  context(inner: Context): Context {
    const freed = new Set<GPUBuffer>();
    let next = 0;
    this.dispatches = [];
    const alive = (what: string, tensors: readonly Tensor[]): void => {
      for (const { buffer, label } of tensors)
        if (freed.has(buffer))
          throw new Error(`${what}: uses "${label}" after ctx.free; free it later`);
    };
    return {
      device: inner.device,
      dispatch: (dispatch) => {
        alive(dispatch.label, dispatch.tensors);
        this.dispatches.push(dispatch);
        inner.dispatch(dispatch);
      },
      copy: (from, to) => {
        alive(`copy to "${to.label}"`, [from, to]);
        inner.copy(from, to);
      },
      scratch: (shape, dtype, label) => this.#tensor(next++, shape, dtype, label),
      free: (tensor) => {
        if (
          freed.has(tensor.buffer) ||
          !this.#tensors.some((own) => own.tensor.buffer === tensor.buffer)
        )
          throw new Error(
            `free: "${tensor.label}" is no live scratch tensor; free only what ctx.scratch gave, once`,
          );
        freed.add(tensor.buffer);
      },
    };
  }

  #tensor(index: number, shape: Shape, dtype: DType, label: string): Tensor {
    const known = this.#tensors[index];
    if (known) return { ...known.tensor, shape, dtype, label };
    const made =
      this.#fill === "unwritten" || dtype !== "float32"
        ? unwritten(this.#device, shape, dtype, label)
        : guarded(this.#device, new Float32Array(elementCount(shape)), shape, label);
    this.#tensors.push(made);
    return made.tensor;
  }

  release(): void {
    for (const tensor of this.#tensors) tensor.release();
    this.#tensors.length = 0;
  }
}
