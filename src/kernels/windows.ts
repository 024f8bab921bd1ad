/**
 * Tensors larger than one storage binding: work on them goes window by window over one buffer.
 */
import type { Capabilities } from "../gpu/context.ts";
import { DeviceError } from "../gpu/errors.ts";
import {
  elementCount,
  formatShape,
  reshape,
  ShapeError,
  sizeBytes,
  slice,
  type DType,
  type Shape,
  type Tensor,
} from "../tensor.ts";

export interface Window {
  readonly start: number;
  readonly count: number;
}

/** What is made for a window beside its slices, with the same leading axis: it must fit in one binding, too. */
export interface WindowCopy {
  readonly shape: Shape;
  readonly dtype: DType;
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/**
 * Splits the leading axis, which all `tensors` share, so that each tensor's slice fits in one binding and starts at an
 * aligned offset. One window when everything fits, which is the usual case.
 * @param copies what is made for each window beside the slices
 * @throws ShapeError when the leading axes differ
 * @throws DeviceError when a single aligned group of rows does not fit
 */
export function leadingWindows(
  device: Capabilities,
  tensors: readonly Tensor[],
  copies: readonly WindowCopy[] = [],
): Window[] {
  const rows = tensors[0]?.shape[0] ?? 0;
  if (tensors.some((tensor) => tensor.shape[0] !== rows))
    throw new ShapeError("windows", `leading axes differ: ${listOf(tensors)}`);
  const bound = [...tensors, ...copies];
  if (bound.every((tensor) => sizeBytes(tensor) <= device.maxBindingBytes))
    return [{ start: 0, count: rows }];
  const unit = alignedRows(device, tensors);
  const most = bound.map((tensor) => Math.floor(device.maxBindingBytes / rowBytes(tensor)));
  const count = Math.floor(Math.min(rows, ...most) / unit) * unit;
  if (count === 0)
    throw new DeviceError(
      `windows: ${unit} rows of ${listOf(tensors)} exceed one binding of ${device.maxBindingBytes} bytes`,
      "validation",
    );
  const windows: Window[] = [];
  for (let start = 0; start < rows; start += count)
    windows.push({ start, count: Math.min(count, rows - start) });
  return windows;
}

/** How many rows windows over these tensors advance by at least, for each to start at an aligned offset. */
export function alignedRows(device: Capabilities, tensors: readonly WindowCopy[]): number {
  const alignment = device.limits.minStorageBufferOffsetAlignment;
  return tensors.reduce((unit, tensor) => {
    const aligned = alignment / gcd(alignment, rowBytes(tensor));
    return (unit * aligned) / gcd(unit, aligned);
  }, 1);
}

/** Of four rows, since sizeBytes rounds up to whole words and rows of uint8 need not fill them. */
function rowBytes({ shape, dtype }: WindowCopy): number {
  return sizeBytes({ dtype, shape: [4, ...shape.slice(1)] }) / 4;
}

function listOf(tensors: readonly Tensor[]): string {
  return tensors.map(({ label, shape }) => `"${label}" ${formatShape(shape)}`).join(", ");
}

/** Calls `body` with the slices of `tensors` for each window of their common leading axis; `copies` as above. */
export function forEachWindow(
  device: Capabilities,
  tensors: readonly Tensor[],
  body: (slices: readonly Tensor[], window: Window) => void,
  copies: readonly WindowCopy[] = [],
): void {
  for (const window of leadingWindows(device, tensors, copies)) {
    const whole = window.count === tensors[0]?.shape[0];
    body(
      whole ? tensors : tensors.map((tensor) => slice(tensor, window.start, window.count)),
      window,
    );
  }
}

/** The tensors as flat vectors, for element-wise work. */
export function flat(...tensors: readonly Tensor[]): Tensor[] {
  return tensors.map((tensor) => reshape(tensor, [elementCount(tensor.shape)]));
}
