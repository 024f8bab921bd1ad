/**
 * Tensors larger than one storage binding: work on them goes window by window over one buffer.
 */
import type { Device } from "../gpu/device.ts";
import { DeviceError, ShapeError } from "../gpu/errors.ts";
import { elementCount, formatShape, reshape, sizeBytes, slice, type Tensor } from "../tensor.ts";

export interface Window {
  readonly start: number;
  readonly count: number;
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/**
 * Splits the leading axis, which all `tensors` share, so that each tensor's slice fits in one binding and starts at an
 * aligned offset. One window when everything fits, which is the usual case.
 * @throws ShapeError when the leading axes differ
 * @throws DeviceError when a single aligned group of rows does not fit
 */
export function leadingWindows(device: Device, tensors: readonly Tensor[]): Window[] {
  const rows = tensors[0]?.shape[0] ?? 0;
  if (tensors.some((tensor) => tensor.shape[0] !== rows))
    throw new ShapeError("windows", `leading axes differ: ${listOf(tensors)}`);
  if (tensors.every((tensor) => sizeBytes(tensor) <= device.maxBindingBytes))
    return [{ start: 0, count: rows }];
  const alignment = device.limits.minStorageBufferOffsetAlignment;
  let unit = 1;
  let most = rows;
  for (const tensor of tensors) {
    // Of four rows, since sizeBytes rounds up to whole words and rows of uint8 need not fill them.
    const rowBytes = sizeBytes({ ...tensor, shape: [4, ...tensor.shape.slice(1)] }) / 4;
    const aligned = alignment / gcd(alignment, rowBytes);
    unit = (unit * aligned) / gcd(unit, aligned);
    most = Math.min(most, Math.floor(device.maxBindingBytes / rowBytes));
  }
  const count = Math.floor(most / unit) * unit;
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

function listOf(tensors: readonly Tensor[]): string {
  return tensors.map(({ label, shape }) => `"${label}" ${formatShape(shape)}`).join(", ");
}

/** Calls `body` with the slices of `tensors` for each window of their common leading axis. */
export function forEachWindow(
  device: Device,
  tensors: readonly Tensor[],
  body: (slices: readonly Tensor[], window: Window) => void,
): void {
  for (const window of leadingWindows(device, tensors)) {
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
