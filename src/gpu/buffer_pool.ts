/**
 * The memory of a device: the buffers that tensors lie in, reused, counted, and refused where there is no room.
 */
import {
  formatBytes,
  formatShape,
  ShapeError,
  sizeBytes,
  type DType,
  type Shape,
  type Tensor,
} from "../tensor.ts";
import { DeviceError } from "./errors.ts";

/** What the device's tensors take, in bytes. */
export interface MemoryUse {
  /** Bytes in tensors that are alive. */
  readonly liveBytes: number;
  /** Bytes in buffers, pooled ones included. */
  readonly allocatedBytes: number;
  readonly peakBytes: number;
  readonly liveTensors: number;
  /** Buffers created since the device was opened; a steady training step adds none. */
  readonly buffersCreated: number;
}

export interface BufferPoolOptions {
  /** Bytes that all buffers together may have. */
  readonly maxBytes: number;
  /** What errors call the adapter. */
  readonly adapterName: string;
  /** Called when tensors or buffers came or went. */
  readonly changed: () => void;
  /** Called when the adapter had no room for a buffer, some time after it was handed out. */
  readonly failed: (error: DeviceError) => void;
}

/** Buffers by size: a tensor takes a free one of its size, or a new one, and gives it back. */
export class BufferPool {
  readonly #handle: GPUDevice;
  readonly #options: BufferPoolOptions;
  readonly #free = new Map<number, GPUBuffer[]>();
  /** Buffers that tensors use, by where in them the tensors start. */
  readonly #live = new Map<GPUBuffer, { readonly bytes: number; readonly offsets: Set<number> }>();
  /** Allocations whose outcome Dawn has not told yet. */
  readonly #allocations = new Set<Promise<void>>();
  #allocatedBytes = 0;
  #liveBytes = 0;
  #peakBytes = 0;
  #buffersCreated = 0;

  constructor(handle: GPUDevice, options: BufferPoolOptions) {
    this.#handle = handle;
    this.#options = options;
  }

  /** A tensor with undefined contents. @throws DeviceError when no buffer may be that large */
  tensor(shape: Shape, dtype: DType, label: string): Tensor {
    if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0))
      throw new ShapeError(
        `tensor "${label}"`,
        `sizes must be whole numbers from 0, got ${formatShape(shape)}`,
        { shape },
      );
    const bytes = Math.max(16, sizeBytes({ shape, dtype }));
    const buffer = this.#take(bytes, `${label} ${formatShape(shape)}`);
    this.#live.set(buffer, { bytes, offsets: new Set([0]) });
    this.#liveBytes += bytes;
    this.#options.changed();
    return { buffer, offsetBytes: 0, shape, dtype, label };
  }

  /**
   * Float32 tensors that lie one after another, in as few buffers as may be.
   * @param clear sets a tensor to zero; called once for each buffer, with all that lies in it
   */
  packed(
    specs: readonly { readonly shape: Shape; readonly label: string }[],
    clear: (whole: Tensor) => void,
  ): Tensor[] {
    const { maxBufferSize, minStorageBufferOffsetAlignment: alignment } = this.#handle.limits;
    const tensors: Tensor[] = [];
    for (let start = 0; start < specs.length;) {
      const offsets: number[] = [];
      let end = 0;
      let bytes = 0;
      for (const { shape } of specs.slice(start)) {
        const size = sizeBytes({ shape, dtype: "float32" });
        if (offsets.length > 0 && end + size > maxBufferSize) break;
        offsets.push(end);
        bytes = end + size;
        end = Math.ceil(bytes / alignment) * alignment;
      }
      const group = specs.slice(start, start + offsets.length);
      const [first = { label: "" }] = group;
      const label = group.length > 1 ? `${first.label} and ${group.length - 1} more` : first.label;
      const whole = this.tensor([bytes / 4], "float32", label);
      clear(whole);
      this.#live.set(whole.buffer, { bytes: Math.max(16, bytes), offsets: new Set(offsets) });
      group.forEach(({ shape, label }, i) => {
        tensors.push({ ...whole, offsetBytes: offsets[i] ?? 0, shape, label });
      });
      start += group.length;
    }
    return tensors;
  }

  #take(bytes: number, label: string): GPUBuffer {
    const free = this.#free.get(bytes)?.pop();
    if (free) {
      free.label = label;
      return free;
    }
    const { maxBufferSize } = this.#handle.limits;
    const { maxBytes, adapterName } = this.#options;
    expectBufferSize(label, bytes, maxBufferSize);
    if (this.#allocatedBytes + bytes > maxBytes) this.trim();
    const inUse = `beside ${formatBytes(this.#allocatedBytes)} in use on ${adapterName}`;
    if (this.#allocatedBytes + bytes > maxBytes)
      throw outOfMemory(label, bytes, `${inUse}, there are ${formatBytes(maxBytes)}`);
    this.#handle.pushErrorScope("out-of-memory");
    const buffer = this.#handle.createBuffer({
      label,
      size: bytes,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    const allocation: Promise<void> = this.#handle
      .popErrorScope()
      .then((error) => {
        if (error)
          this.#options.failed(
            outOfMemory(label, bytes, `it has no room for them ${inUse}`, error),
          );
      })
      .catch(() => undefined) // the device is lost, and says so itself
      .finally(() => this.#allocations.delete(allocation));
    this.#allocations.add(allocation);
    this.#buffersCreated++;
    this.#allocatedBytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#allocatedBytes);
    return buffer;
  }

  /** Takes tensors' buffers back, each with the last tensor in it. @throws DeviceError for a tensor that is not alive */
  release(tensors: readonly Tensor[]): void {
    for (const tensor of tensors) {
      const live = this.#live.get(tensor.buffer);
      if (!live?.offsets.delete(tensor.offsetBytes))
        throw new DeviceError(
          `release: tensor "${tensor.label}" is not alive; it was released before`,
          "validation",
        );
      if (live.offsets.size > 0) continue;
      const { bytes } = live;
      this.#live.delete(tensor.buffer);
      this.#liveBytes -= bytes;
      const list = this.#free.get(bytes);
      if (list) list.push(tensor.buffer);
      else this.#free.set(bytes, [tensor.buffer]);
    }
    this.#options.changed();
  }

  /** Destroys the buffers that no tensor uses. */
  trim(): void {
    for (const [bytes, buffers] of this.#free)
      for (const buffer of buffers) {
        buffer.destroy();
        this.#allocatedBytes -= bytes;
      }
    this.#free.clear();
    this.#options.changed();
  }

  /** Whether the adapter has yet to say that it has room for some buffer. */
  get pending(): boolean {
    return this.#allocations.size > 0;
  }

  /** Resolves when the adapter has granted, or refused, all memory asked for. */
  async settled(): Promise<void> {
    await Promise.all(this.#allocations);
  }

  memory(): MemoryUse {
    return {
      liveBytes: this.#liveBytes,
      allocatedBytes: this.#allocatedBytes,
      peakBytes: this.#peakBytes,
      liveTensors: this.#live.size,
      buffersCreated: this.#buffersCreated,
    };
  }
}

/** @throws DeviceError for what no buffer of the adapter can hold */
export function expectBufferSize(label: string, bytes: number, maxBufferSize: number): void {
  if (bytes > maxBufferSize)
    throw outOfMemory(label, bytes, `this adapter makes buffers of ${maxBufferSize} bytes at most`);
}

function outOfMemory(label: string, bytes: number, rest: string, cause?: GPUError): DeviceError {
  return new DeviceError(
    `out of memory: ${label} asks for ${formatBytes(bytes)}; ${rest}; use a smaller batch or network`,
    "out-of-memory",
    { cause },
  );
}
