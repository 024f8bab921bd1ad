/**
 * The device: tensors in pooled buffers, compiled pipelines, uploads, reads, and waiting that leaves the cores alone.
 */
import { totalmem } from "node:os";
import { setTimeout } from "node:timers/promises";
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
import { messageOf } from "../system_errors.ts";
import { fromFloat16, toFloat16 } from "../float16.ts";
import { openAdapter, type OpenAdapterOptions, type OpenedAdapter } from "./adapter.ts";
import { BufferPool, type MemoryUse } from "./buffer_pool.ts";
import type { Capabilities, Context } from "./context.ts";
import {
  debugSettings,
  printDevice,
  printDispatches,
  printShader,
  type DebugSettings,
} from "./debug.ts";
import { DeviceError } from "./errors.ts";
import { compilePipeline, pipelineKey, type Pipeline } from "./pipeline.ts";
import { Profiler, type HostKind, type Recording } from "./profiler.ts";
import { Program, record } from "./program.ts";
import { loadShader, type Constants, type Shader } from "./shader.ts";
import {
  findSubgroupMatrix,
  multipliesRightly,
  SUBGROUP_MATRIX,
  type SubgroupMatrix,
} from "./subgroup_matrix.ts";
import { submitSingly } from "./validate.ts";

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

/** Limits that are worth having beyond WebGPU's defaults; each is requested as the adapter offers it. */
const WANTED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupsPerDimension",
] as const;

const WANTED_FEATURES = ["timestamp-query", "subgroups", "shader-f16"] as const;

/** What has been sent to the queue since the device was opened; tests hold training to it. */
export interface Traffic {
  readonly submits: number;
  readonly reads: number;
}

/** Opens the best adapter there is. @throws DeviceError with the next step when there is none. */
export async function openDevice(options: DeviceOptions = {}): Promise<Device> {
  const debug = debugSettings();
  const opened = await openAdapter(options);
  const { adapter } = opened;
  // GPUBufferUsage, GPUMapMode and the other constants of the WebGPU specification.
  const { globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  const requiredLimits: Record<string, number> = {};
  for (const limit of WANTED_LIMITS) requiredLimits[limit] = adapter.limits[limit];
  const requiredFeatures: string[] = WANTED_FEATURES.filter((name) => adapter.features.has(name));
  const matrix = findSubgroupMatrix(adapter);
  if (matrix) requiredFeatures.push(SUBGROUP_MATRIX);
  const handle = await adapter
    .requestDevice({
      label: "tuningfork",
      requiredLimits,
      requiredFeatures: requiredFeatures as GPUFeatureName[],
    })
    .catch((cause: unknown) => {
      throw new DeviceError(
        `device: ${opened.summary.description} gave no device: ${messageOf(cause)}`,
        "no-adapter",
        { cause },
      );
    });
  const matrixWorks = matrix && (await multipliesRightly(handle, matrix));
  const device = new Device(opened, handle, options, debug, matrixWorks ? matrix : undefined);
  printDevice(debug, device);
  return device;
}

/** A GPU with its pool of buffers, compiled pipelines, queue and first error. `openDevice` makes one; `destroy()` lets the process end. */
export class Device implements Capabilities {
  readonly handle: GPUDevice;
  readonly summary: OpenedAdapter["summary"];
  readonly limits: GPUSupportedLimits;
  readonly maxBindingBytes: number;
  readonly subgroupSize: number;
  readonly hasFloat16: boolean;
  readonly subgroupMatrix: SubgroupMatrix | undefined;
  /** Dawn's instance: collected while the device lives, it takes the process down. */
  readonly #instance: { gpu?: GPU };
  readonly #pool: BufferPool;
  readonly #shaderFolder: URL | undefined;
  readonly #shaders = new Map<string, Shader>();
  readonly #pipelines = new Map<string, Promise<Pipeline>>();
  readonly #staging = new Map<number, GPUBuffer[]>();
  #submits = 0;
  #reads = 0;
  #failure: DeviceError | undefined;
  #destroyed = false;
  readonly #debug: DebugSettings;
  /** While a profile is taken. */
  #profiler: Profiler | undefined;
  /** What debugging has yet to say of submissions. */
  readonly #reports = new Set<Promise<void>>();

  constructor(
    opened: OpenedAdapter,
    handle: GPUDevice,
    options: DeviceOptions,
    debug: DebugSettings,
    subgroupMatrix?: SubgroupMatrix,
  ) {
    this.#debug = debug;
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
      changed: () => this.#profiler?.memory(this.memory()),
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
      this.#fail(event.error);
    });
    void handle.lost.then((info) => {
      this.#failure = new DeviceError(
        `device: lost (${info.reason}): ${info.message || "no reason given"}; open another one`,
        "lost",
      );
    });
  }

  #fail(error: GPUError): void {
    const memory = error.constructor.name === "GPUOutOfMemoryError";
    this.#failure ??= new DeviceError(
      `device: ${error.message.trim()}`,
      memory ? "out-of-memory" : "validation",
    );
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
   * @param expectedMs how long the queued work should still take; the host sleeps through most of it.
   * @throws DeviceError what the device reported since it was last asked
   */
  async read(tensor: Tensor, expectedMs = 0): Promise<TypedArray> {
    this.check();
    this.#reads++;
    const bytes = sizeBytes(tensor);
    return this.span("read", tensor.label, () => this.#read(tensor, bytes, expectedMs), bytes);
  }

  async #read(tensor: Tensor, bytes: number, expectedMs: number): Promise<TypedArray> {
    const result = new Uint8Array(bytes);
    const PIECE = 64 * 1024 * 1024;
    for (let start = 0; start < bytes; start += PIECE) {
      const size = Math.min(PIECE, bytes - start);
      const staging = this.#takeStaging(size);
      this.#submitCopy(`read ${tensor.label}`, size, (encoder) => {
        encoder.copyBufferToBuffer(tensor.buffer, tensor.offsetBytes + start, staging, 0, size);
      });
      if (start === 0) await this.#sleepMost(expectedMs);
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
  async readFloats(tensor: Tensor, expectedMs = 0): Promise<Float32Array> {
    const values = await this.read(tensor, expectedMs);
    if (values instanceof Uint16Array) return fromFloat16(values);
    if (!(values instanceof Float32Array))
      throw new DeviceError(`readFloats "${tensor.label}": it holds ${tensor.dtype}`, "validation");
    return values;
  }

  /** Waits for what was copied into a staging buffer, copies it on into `result` and gives the buffer back. */
  async #collect(staging: GPUBuffer, result: Uint8Array): Promise<void> {
    try {
      await staging.mapAsync(GPUMapMode.READ, 0, result.length);
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
        printShader(this.#debug, shader, constants);
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

  /**
   * Records a program: its pipelines are compiled, its bind groups made and its memory granted when the promise
   * resolves.
   * @param build runs twice, first to plan the scratch memory: it must do the same both times
   * @param scratchFrom a program whose scratch memory this one may share; it must outlive this one
   */
  record(label: string, build: (ctx: Context) => void, scratchFrom?: Program): Promise<Program> {
    return this.span("record", label, () => record(this, label, build, scratchFrom));
  }

  /** Waits until the adapter has granted, or refused, all memory asked for. @throws DeviceError */
  async settle(): Promise<void> {
    await this.#pool.settled();
    this.check();
  }

  /** Records, submits once and forgets: for single operations. */
  async run(label: string, build: (ctx: Context) => void): Promise<void> {
    const program = await this.record(label, build);
    try {
      this.submit(program);
    } finally {
      program.destroy();
    }
  }

  /** Submits programs, in order, as one submission. @throws DeviceError what the device reports of it, or before it */
  submit(...programs: readonly Program[]): void {
    this.check();
    const label = programs.map((p) => p.label).join(", ");
    if (this.#debug.validate) {
      const commands = programs.flatMap((program) => program.commands);
      this.#report(submitSingly(this, commands));
    } else {
      const shown = this.#debug.level >= 2 && !this.#profiler;
      const profiler = shown ? new Profiler(this, "TUNINGFORK_DEBUG") : this.#profiler;
      this.#submit(label, (encoder) => {
        for (const program of programs) program.encode(encoder, profiler);
      });
      if (shown && profiler)
        this.#report(
          profiler.durations().then((spans) => {
            printDispatches(this.#debug, label, spans);
            return undefined;
          }),
        );
    }
    this.#submits++;
    this.check();
  }

  /** Keeps what debugging finds for the next call that checks; `finish()` waits for it. */
  #report(outcome: Promise<DeviceError | undefined>): void {
    const report: Promise<void> = outcome
      .then((fault) => {
        if (fault) this.#failure ??= fault;
      })
      .catch(() => undefined) // the device is lost, and says so itself
      .finally(() => this.#reports.delete(report));
    this.#reports.add(report);
  }

  /** Submits what `encode` writes; a profile shows both. */
  #submit(label: string, encode: (encoder: GPUCommandEncoder) => void): void {
    const encoder = this.handle.createCommandEncoder({ label });
    const commands = this.span("encode", label, () => {
      encode(encoder);
      return encoder.finish();
    });
    const submit = () => {
      this.handle.queue.submit([commands]);
    };
    if (this.#profiler) this.#profiler.submit(label, submit);
    else submit();
  }

  #submitCopy(label: string, bytes: number, encode: (encoder: GPUCommandEncoder) => void): void {
    this.#submit(label, (encoder) => {
      const copy = () => {
        encode(encoder);
      };
      if (this.#profiler) this.#profiler.copy(encoder, label, bytes, copy);
      else copy();
    });
  }

  /**
   * Records what host and GPU do while `work` runs, and until the GPU is done with what it submitted. Programs run as
   * they would without, but each dispatch in a pass of its own.
   * @throws DeviceError when the adapter has no timestamp queries, or a profile is being taken already
   */
  async profile(work: () => Promise<unknown>): Promise<Recording> {
    if (this.#profiler)
      throw new DeviceError(
        "profile: one is being taken already; end it before the next",
        "validation",
      );
    if (this.#debug.validate)
      throw new DeviceError(
        "profile: TUNINGFORK_VALIDATE=1 submits each dispatch alone, which is not worth timing; unset it",
        "validation",
      );
    const profiler = new Profiler(this);
    await this.finish();
    await profiler.begin();
    this.#profiler = profiler;
    try {
      await work();
      await this.finish();
    } finally {
      this.#profiler = undefined;
    }
    return profiler.end();
  }

  /** Shows `work` as one span of a profile while one is taken. Returns what `work` returns. */
  span<T>(kind: HostKind, label: string, work: () => T, bytes?: number): T {
    return this.#profiler ? this.#profiler.span(kind, label, work, bytes) : work();
  }

  /**
   * Resolves when all submitted work is done.
   * @param expectedMs how long it should still take; the host sleeps through most of it, since a pending promise of
   * Dawn's keeps a core busy that a software adapter needs.
   */
  async finish(expectedMs = 0): Promise<void> {
    await this.#sleepMost(expectedMs);
    this.check();
    await this.submittedWorkDone().catch(() => undefined); // lost, as settle() says
    await Promise.all(this.#reports);
    await this.settle();
  }

  /** WebGPU's `onSubmittedWorkDone()`, which a profile shows. */
  submittedWorkDone(): Promise<undefined> {
    return this.span("wait", "for the GPU", () => this.handle.queue.onSubmittedWorkDone());
  }

  /** Leaves the cores alone for so long, which a profile shows. */
  sleep(ms: number): Promise<void> {
    return this.span("sleep", "host asleep", () => setTimeout(ms));
  }

  /** Sleeps through nine tenths of a wait that is long enough for the timer to be worth it. */
  async #sleepMost(expectedMs: number): Promise<void> {
    if (expectedMs > 4) await this.sleep(expectedMs * 0.9);
  }

  memory(): MemoryUse {
    return this.#pool.memory();
  }

  traffic(): Traffic {
    return { submits: this.#submits, reads: this.#reads };
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
