/**
 * A tensor is a labelled, shaped view of a GPU buffer: row-major, dense, no strides.
 */

/** What a tensor's elements are. */
export type DType = "float32" | "float16" | "int32" | "uint32" | "uint8";

/** What tensors hold, on the host. The bits of float16 come as a Uint16Array; `readFloats` turns them into numbers. */
export type TypedArray = Float32Array | Int32Array | Uint32Array | Uint16Array | Uint8Array;

/** Sizes of the axes, outermost first; [] is a scalar. */
export type Shape = readonly number[];

/** A labelled view of a GPU buffer; `device.upload` and `device.tensor` make them. */
export interface Tensor {
  readonly buffer: GPUBuffer;
  /** Where the first element lies in the buffer, in bytes; a multiple of the binding alignment (256). */
  readonly offsetBytes: number;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly label: string;
}

const BYTES: Record<DType, number> = { float32: 4, float16: 2, int32: 4, uint32: 4, uint8: 1 };

/** Shapes that do not fit together, found on the host before anything is encoded. */
export class ShapeError extends Error {
  override readonly name = "ShapeError";
  /** The operation or layer that refused, e.g. `conv2d` or `dense "head"`. */
  readonly op: string;
  /** The offending shapes by tensor name, e.g. `{ x: [8, 56, 56, 64], w: [3, 3, 32, 128] }`. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;

  constructor(
    op: string,
    message: string,
    shapes: Readonly<Record<string, readonly number[]>> = {},
    options?: ErrorOptions,
  ) {
    super(`${op}: ${message}`, options);
    this.op = op;
    this.shapes = shapes;
  }
}

/** The type of a tensor that holds such an array. */
export function dtypeOf(values: TypedArray): DType {
  if (values instanceof Float32Array) return "float32";
  if (values instanceof Uint16Array) return "float16";
  if (values instanceof Int32Array) return "int32";
  return values instanceof Uint32Array ? "uint32" : "uint8";
}

/** The elements of a tensor of this shape; 1 for []. */
export function elementCount(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Bytes of a tensor, rounded up to the 4 that WebGPU copies and binds in. */
export function sizeBytes(tensor: { shape: Shape; dtype: DType }): number {
  return Math.ceil((elementCount(tensor.shape) * BYTES[tensor.dtype]) / 4) * 4;
}

/** `[8,7,7,2048]`, as errors and summaries print shapes. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(",")}]`;
}

/** `295.0 MB`: bytes in powers of ten, as memory is sold and as the tables of this project print it. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? ""}`;
}

/**
 * The same elements in another shape.
 * @throws ShapeError when the element counts differ.
 */
export function reshape(tensor: Tensor, shape: Shape): Tensor {
  if (elementCount(shape) !== elementCount(tensor.shape))
    throw new ShapeError(
      "reshape",
      `"${tensor.label}" ${formatShape(tensor.shape)} has ${elementCount(tensor.shape)} elements, ` +
        `${formatShape(shape)} has ${elementCount(shape)}`,
      { from: tensor.shape, to: shape },
    );
  return { ...tensor, shape };
}

/**
 * Elements `start` to `start + count` of the leading axis. The caller keeps the offset aligned (see windows.ts).
 * @throws ShapeError when they are not all there.
 */
export function slice(tensor: Tensor, start: number, count: number): Tensor {
  const [rows = 0, ...rest] = tensor.shape;
  if (!(start >= 0 && count >= 0 && start + count <= rows))
    throw new ShapeError(
      "slice",
      `"${tensor.label}" ${formatShape(tensor.shape)} has no rows ${start} to ${start + count}`,
      { tensor: tensor.shape },
    );
  const rowBytes = elementCount(rest) * BYTES[tensor.dtype];
  return {
    ...tensor,
    offsetBytes: tensor.offsetBytes + start * rowBytes,
    shape: [count, ...rest],
    label: `${tensor.label}[${start}:${start + count}]`,
  };
}

/** Whether one tensor is the other, perhaps in another shape: a layer that changes nothing passes its input on. */
export function sameMemory(a: Tensor, b: Tensor): boolean {
  return a.buffer === b.buffer && a.offsetBytes === b.offsetBytes;
}

/**
 * One flat float32 tensor over tensors that lie one after another in a buffer, with the gaps between them.
 * The gaps are those of `device.packed`: they hold zeros.
 */
export function joined(tensors: readonly Tensor[]): Tensor {
  const [first] = tensors;
  const last = tensors.at(-1);
  if (!first || !last || tensors.some(({ buffer }) => buffer !== first.buffer))
    throw new ShapeError("joined", "the tensors do not lie in one buffer");
  const bytes = last.offsetBytes + sizeBytes(last) - first.offsetBytes;
  const label = tensors.length > 1 ? `${first.label} to ${last.label}` : first.label;
  return { ...first, shape: [bytes / 4], label };
}

/**
 * Fails when a tensor has not the shape that an op needs.
 * @throws ShapeError naming the op, the tensor and both shapes.
 */
export function expectShape(op: string, name: string, tensor: Tensor, expected: Shape): void {
  const got = tensor.shape;
  if (got.length !== expected.length || got.some((size, axis) => size !== expected[axis]))
    throw new ShapeError(
      op,
      `${name} "${tensor.label}": expected ${formatShape(expected)}, got ${formatShape(got)}`,
      { expected, got },
    );
}
