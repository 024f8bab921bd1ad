/**
 * The device without its programs: tensors in pooled buffers, compiled pipelines, uploads, reads, and its first error.
 */
import { totalmem } from "node:os";
import { fromFloat16, toFloat16 } from "../float16.ts";
import { messageOf } from "../system_errors.ts";
import {
  dtypeOf,
  elementCount,
  formatShape,
  sizeBytes,
  type DType,
  type Shape,
  type Tensor,
  type TypedArray,
} from "../tensor.ts";
import type { OpenAdapterOptions, OpenedAdapter } from "./adapter.ts";
import { BufferPool, type MemoryUse } from "./buffer_pool.ts";
import type { Capabilities } from "./context.ts";
import { DeviceError } from "./errors.ts";
import { compilePipeline, pipelineKey, type Pipeline } from "./pipeline.ts";
import { loadShader, type Constants, type Shader } from "./shader.ts";
import type { SubgroupMatrix } from "./subgroup_matrix.ts";
import { waitWithPauses } from "./wait.ts";

/** Which adapter to open, and less than it offers, for tests. */
export interface DeviceOptions extends OpenAdapterOptions {
  /** Bind at most this many bytes at once, below what the adapter allows; makes windows testable on small tensors. */
  readonly maxBindingBytes?: number;
  /**
   * Refuse tensors beyond this many bytes in all. Default: on a software adapter the machine's memory, since its driver
   * does not notice that memory is short and crashes on first use; else no limit but the adapter's own.
   */
  readonly maxMemoryBytes?: number;
  /** Compute products of matrices of this size as if the adapter had them, where it has float16 and subgroups. For tests. */
  readonly emulateSubgroupMatrix?: Pick<SubgroupMatrix, "m" | "n" | "k">;
  /** Where shaders lie, a URL that ends with a slash. Default: those of this project. */
  readonly shaderFolder?: URL;
}

/** What has been sent to the queue since the device was opened; tests hold training to it. */
export interface Traffic {
  readonly submits: number;
  readonly reads: number;
}

/**
 * What the host is at: `encode` to `upload` keep it busy; during the others it may do something else meanwhile.
 * `phase` is what the caller of `device.span` wants to see as one.
 */
export type HostKind =
  "encode" | "submit" | "upload" | "record" | "compile" | "read" | "wait" | "phase";

/** Is told what the device does: a profile, while one is taken. */
export interface Observer {
  /** Runs `work` and returns what it returns. */
  span<T>(kind: HostKind, label: string, work: () => T, bytes?: number): T;
  /** Runs `submit`, which submits what was encoded since the last time. */
  submit(label: string, submit: () => void): void;
  /** Runs `encode`, which writes copies of so many bytes into the encoder. */
  copy(encoder: GPUCommandEncoder, label: string, bytes: number, encode: () => void): void;
  /** Tensors or buffers came or went. */
  memory(use: MemoryUse): void;
}

/** A GPU with its pool of buffers, compiled pipelines, queue and first error: what programs are made of and profiles look at. */
export class DeviceCore implements Capabilities {
  readonly handle: GPUDevice;
  readonly summary: OpenedAdapter["summary"];
  readonly limits: GPUSupportedLimits;
  readonly maxBindingBytes: number;
  readonly subgroupSize: number;
  readonly hasFloat16: boolean;
  readonly subgroupMatrix: SubgroupMatrix | undefined;
  /** While a profile is taken. */
  protected observer: Observer | undefined;
  /** Programs submitted, see `traffic()`. */
  protected submits = 0;
  /** Dawn's instance: collected while the device lives, it takes the process down. */
  readonly #instance: { gpu?: GPU };
  readonly #pool: BufferPool;
  readonly #shaderFolder: URL | undefined;
  readonly #shaders = new Map<string, Shader>();
  readonly #pipelines = new Map<string, Promise<Pipeline>>();
  readonly #staging = new Map<number, GPUBuffer[]>();
  readonly #compiling: (shader: Shader, constants: Constants) => void;
  #reads = 0;
  #failure: DeviceError | undefined;
  #destroyed = false;

  /** @param compiling called with each shader before it is compiled */
  constructor(
    opened: OpenedAdapter,
    handle: GPUDevice,
    options: DeviceOptions,
    subgroupMatrix: SubgroupMatrix | undefined,
    compiling: (shader: Shader, constants: Constants) => void,
  ) {
    this.#compiling = compiling;
    this.#instance = { gpu: opened.gpu };
    this.handle = handle;
    this.summary = opened.summary;
    this.limits = handle.limits;
    this.maxBindingBytes = Math.min(
      handle.limits.maxStorageBufferBindingSize,
      options.maxBindingBytes ?? Number.POSITIVE_INFINITY,
    );
    this.#pool = new BufferPool(handle, {
      maxBytes: options.maxMemoryBytes ?? (opened.summary.software ? hostMemoryBytes() : Infinity),
      adapterName: opened.summary.description,
      changed: () => this.observer?.memory(this.memory()),
      failed: (error) => {
        if (this.#failure?.kind !== "lost") this.#failure = error;
      },
    });
    this.#shaderFolder = options.shaderFolder;
    const { subgroupMinSize, subgroupMaxSize } = opened.summary;
    const fixed = subgroupMinSize > 0 && subgroupMinSize === subgroupMaxSize;
    this.hasFloat16 = handle.features.has("shader-f16");
    this.subgroupSize = handle.features.has("subgroups") && fixed ? subgroupMinSize : 0;
    const emulated = options.emulateSubgroupMatrix;
    this.subgroupMatrix =
      emulated && this.hasFloat16 && this.subgroupSize > 0
        ? { ...emulated, lanes: this.subgroupSize, emulated: true }
        : subgroupMatrix;
    handle.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.fail(errorOf(event.error));
    });
    void handle.lost.then((info) => {
      this.#failure = new DeviceError(
        `device: lost (${info.reason}): ${info.message || "no reason given"}; open another one`,
        "lost",
      );
    });
  }

  /** Keeps an error for the next call that checks, unless there is one already. */
  protected fail(error: DeviceError): void {
    this.#failure ??= error;
  }

  /**
   * Throws the first error that the device reported since it was last asked; once lost, it says so every time.
   * @throws DeviceError
   */
  check(): void {
    if (this.#destroyed) throw new DeviceError("device: used after destroy()", "lost");
    // What a failed allocation invalidates fails too, and is reported sooner: wait for the cause.
    const failure = this.#pool.pending ? undefined : this.#failure;
    if (!failure) return;
    if (failure.kind !== "lost") this.#failure = undefined;
    throw failure;
  }

  /**
   * A tensor with undefined contents.
   * @throws DeviceError when no buffer may be that large. Where the adapter itself runs out of memory, the next call
   * that waits for it throws.
   */
  tensor(shape: Shape, dtype: DType, label: string): Tensor {
    this.check();
    return this.#pool.tensor(shape, dtype, label);
  }

  /**
   * Tensors of zeros that lie one after another, so that one kernel can work on all of them (see `joined` of tensor.ts):
   * in one buffer, or in several where one may not be that large.
   */
  packed(specs: readonly { readonly shape: Shape; readonly label: string }[]): Tensor[] {
    this.check();
    return this.#pool.packed(specs, (whole) => {
      this.clear(whole);
    });
  }

  /** Gives a tensor's buffer back to the pool, with the last tensor in it. Work already submitted still sees it as it was. */
  release(...tensors: readonly Tensor[]): void {
    this.#pool.release(tensors);
  }

  /** Destroys the pooled buffers that no tensor uses. */
  trim(): void {
    this.#pool.trim();
  }

  /** A tensor with the given values; the dtype follows from the array. */
  upload(values: TypedArray, shape: Shape, label: string): Tensor {
    const tensor = this.tensor(shape, dtypeOf(values), label);
    this.write(tensor, values);
    return tensor;
  }

  /**
   * Queues new contents for a tensor, after all that was submitted and before all that will be. A float16 tensor takes
   * float32 values too, rounded to nearest, ties to even.
   */
  write(tensor: Tensor, values: TypedArray): void {
    this.check();
    const count = elementCount(tensor.shape);
    if (tensor.dtype === "float16" && values instanceof Float32Array) values = toFloat16(values);
    if (values.length !== count || dtypeOf(values) !== tensor.dtype)
      throw new DeviceError(
        `write "${tensor.label}": expected ${count} values of ${tensor.dtype} for ${formatShape(tensor.shape)}, ` +
          `got ${values.length} of ${dtypeOf(values)}`,
        "validation",
      );
    let bytes = new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);
    if (bytes.length % 4 !== 0) {
      const padded = new Uint8Array(sizeBytes(tensor));
      padded.set(bytes);
      bytes = padded;
    }
    // In pieces: Dawn stages each write in host memory.
    const PIECE = 64 * 1024 * 1024;
    for (let start = 0; start < bytes.length; start += PIECE) {
      const piece = bytes.subarray(start, Math.min(start + PIECE, bytes.length));
      const write = () => {
        this.handle.queue.writeBuffer(tensor.buffer, tensor.offsetBytes + start, piece);
      };
      this.span("upload", tensor.label, write, piece.length);
    }
    this.check();
  }

  /** Sets all bytes of a tensor to zero. */
  clear(...tensors: readonly Tensor[]): void {
    this.check();
    const bytes = tensors.reduce((sum, tensor) => sum + sizeBytes(tensor), 0);
    this.#submitCopy("clear", bytes, (encoder) => {
      for (const tensor of tensors)
        encoder.clearBuffer(tensor.buffer, tensor.offsetBytes, sizeBytes(tensor));
    });
    this.check();
  }

  /**
   * Waits for all work and copies a tensor to the host. Large tensors come in pieces, so that the staging memory
   * stays small.
   * @throws DeviceError what the device reported since it was last asked
   */
  async read(tensor: Tensor): Promise<TypedArray> {
    this.check();
    this.#reads++;
    const bytes = sizeBytes(tensor);
    return this.span("read", tensor.label, () => this.#read(tensor, bytes), bytes);
  }

  async #read(tensor: Tensor, bytes: number): Promise<TypedArray> {
    const result = new Uint8Array(bytes);
    const PIECE = 64 * 1024 * 1024;
    for (let start = 0; start < bytes; start += PIECE) {
      const size = Math.min(PIECE, bytes - start);
      const staging = this.#takeStaging(size);
      this.#submitCopy(`read ${tensor.label}`, size, (encoder) => {
        encoder.copyBufferToBuffer(tensor.buffer, tensor.offsetBytes + start, staging, 0, size);
      });
      await this.#collect(staging, result.subarray(start, start + size));
    }
    return typedView(result, tensor.dtype, elementCount(tensor.shape));
  }

  /**
   * Queues a copy of a tensor to the host as it is after all that was submitted; `finish()` waits for it. The two are
   * apart so that a training loop can go on submitting in between.
   */
  copyOut(tensor: Tensor): { finish: () => Promise<TypedArray> } {
    this.check();
    this.#reads++;
    const bytes = sizeBytes(tensor);
    const staging = this.#takeStaging(bytes);
    this.#submitCopy(`copy out ${tensor.label}`, bytes, (encoder) => {
      encoder.copyBufferToBuffer(tensor.buffer, tensor.offsetBytes, staging, 0, bytes);
    });
    return {
      finish: async () => {
        const result = new Uint8Array(bytes);
        await this.span("read", tensor.label, () => this.#collect(staging, result), bytes);
        return typedView(result, tensor.dtype, elementCount(tensor.shape));
      },
    };
  }

  /** `read` for float32 and float16 tensors. */
  async readFloats(tensor: Tensor): Promise<Float32Array> {
    const values = await this.read(tensor);
    if (values instanceof Uint16Array) return fromFloat16(values);
    if (!(values instanceof Float32Array))
      throw new DeviceError(`readFloats "${tensor.label}": it holds ${tensor.dtype}`, "validation");
    return values;
  }

  /** Waits for what was copied into a staging buffer, copies it on into `result` and gives the buffer back. */
  async #collect(staging: GPUBuffer, result: Uint8Array): Promise<void> {
    try {
      await this.waitFor(staging.mapAsync(GPUMapMode.READ, 0, result.length));
    } catch (cause) {
      this.check(); // knows more than the buffer does
      throw new DeviceError(`read: the device gave nothing back: ${messageOf(cause)}`, "lost", {
        cause,
      });
    }
    result.set(new Uint8Array(staging.getMappedRange(0, result.length)));
    staging.unmap();
    this.#staging.get(staging.size)?.push(staging);
    await this.settle();
  }

  #takeStaging(bytes: number): GPUBuffer {
    const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, 256)));
    const list = this.#staging.get(size) ?? [];
    this.#staging.set(size, list);
    return (
      list.pop() ??
      this.handle.createBuffer({
        label: "staging",
        size,
        usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      })
    );
  }

  /** Compiles a shader with its constants, once. @throws ShaderError with the compiler's messages */
  pipeline(shaderName: string, constants: Constants = {}): Promise<Pipeline> {
    this.check();
    const key = pipelineKey(shaderName, constants);
    let pipeline = this.#pipelines.get(key);
    if (!pipeline) {
      pipeline = this.span("compile", key, async () => {
        const shader = this.shader(shaderName, constants);
        this.#compiling(shader, constants);
        return compilePipeline(this.handle, shader, constants);
      });
      this.#pipelines.set(key, pipeline);
    }
    return pipeline;
  }

  /** A shader's code and bindings with these constants. @throws ShaderError when there is none of that name */
  shader(shaderName: string, constants: Constants = {}): Shader {
    const key = pipelineKey(shaderName, constants);
    const shader = this.#shaders.get(key) ?? loadShader(shaderName, constants, this.#shaderFolder);
    this.#shaders.set(key, shader);
    return shader;
  }

  /** Submits what `encode` writes; a profile shows both. */
  protected submitEncoded(label: string, encode: (encoder: GPUCommandEncoder) => void): void {
    const encoder = this.handle.createCommandEncoder({ label });
    const commands = this.span("encode", label, () => {
      encode(encoder);
      return encoder.finish();
    });
    const submit = () => {
      this.handle.queue.submit([commands]);
    };
    if (this.observer) this.observer.submit(label, submit);
    else submit();
  }

  #submitCopy(label: string, bytes: number, encode: (encoder: GPUCommandEncoder) => void): void {
    this.submitEncoded(label, (encoder) => {
      const copy = () => {
        encode(encoder);
      };
      if (this.observer) this.observer.copy(encoder, label, bytes, copy);
      else copy();
    });
  }

  /** Shows `work` as one span of a profile while one is taken. Returns what `work` returns. */
  span<T>(kind: HostKind, label: string, work: () => T, bytes?: number): T {
    return this.observer ? this.observer.span(kind, label, work, bytes) : work();
  }

  /** Waits until the adapter has granted, or refused, all memory asked for. @throws DeviceError */
  async settle(): Promise<void> {
    await this.#pool.settled();
    this.check();
  }

  /**
   * Marks where the queue has come to; `reached()` waits until all that was submitted before is done. The two are apart
   * so that a training loop can go on submitting in between. Of a device that is lost, `check()` says so.
   */
  mark(): { reached: () => Promise<void> } {
    const done = this.handle.queue.onSubmittedWorkDone().catch(() => undefined);
    return {
      reached: () =>
        this.span("wait", "for the GPU", async () => {
          await this.waitFor(done);
        }),
    };
  }

  /** Waits for a promise of Dawn's and leaves a software adapter its cores. */
  protected waitFor<T>(promise: Promise<T>): Promise<T> {
    return this.summary.software ? waitWithPauses(promise) : promise;
  }

  memory(): MemoryUse {
    return this.#pool.memory();
  }

  traffic(): Traffic {
    return { submits: this.submits, reads: this.#reads };
  }

  /** Frees everything, at once. A process that forgets it exits all the same. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#pipelines.clear();
    this.handle.destroy();
    delete this.#instance.gpu;
  }
}

/** What this process may have: a container's share of the machine's memory, or all of it. */
function hostMemoryBytes(): number {
  return Math.min(totalmem(), process.constrainedMemory() || Infinity);
}

function errorOf(error: GPUError): DeviceError {
  const memory = error.constructor.name === "GPUOutOfMemoryError";
  return new DeviceError(
    `device: ${error.message.trim()}`,
    memory ? "out-of-memory" : "validation",
  );
}

function typedView(bytes: Uint8Array, dtype: DType, count: number): TypedArray {
  switch (dtype) {
    case "float32":
      return new Float32Array(bytes.buffer, 0, count);
    case "float16":
      return new Uint16Array(bytes.buffer, 0, count);
    case "int32":
      return new Int32Array(bytes.buffer, 0, count);
    case "uint32":
      return new Uint32Array(bytes.buffer, 0, count);
    case "uint8":
      return new Uint8Array(bytes.buffer, 0, count);
  }
}
