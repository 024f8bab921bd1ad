/**
 * The device as everyone above the kernels has it: what `DeviceCore` has, and programs, which it records, submits, profiles
 * and debugs.
 */
import { messageOf } from "../system_errors.ts";
import { openAdapter, type OpenedAdapter } from "./adapter.ts";
import type { Context } from "./context.ts";
import {
  debugSettings,
  printDevice,
  printDispatches,
  printShader,
  type DebugSettings,
} from "./debug.ts";
import { DeviceCore, type DeviceOptions } from "./device_core.ts";
import { DeviceError } from "./errors.ts";
import { Profiler, type Recording } from "./profiler.ts";
import type { Program } from "./program.ts";
import { record } from "./record.ts";
import {
  findSubgroupMatrix,
  multipliesRightly,
  subgroupMatricesAllowed,
  SUBGROUP_MATRIX,
  type SubgroupMatrix,
} from "./subgroup_matrix.ts";
import { submitSingly } from "./validate.ts";

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
  const allowed = subgroupMatricesAllowed(process.env["TUNINGFORK_SUBGROUP_MATRIX"]);
  const matrix = allowed ? findSubgroupMatrix(adapter) : undefined;
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
  const lost = await Promise.race([handle.lost, Promise.resolve(undefined)]);
  if (lost)
    throw new DeviceError(
      `device: ${opened.summary.description} was lost while its subgroup matrices were checked: ${lost.message}; set TUNINGFORK_SUBGROUP_MATRIX=off to do without them`,
      "lost",
    );
  const device = new Device(opened, handle, options, debug, matrixWorks ? matrix : undefined);
  printDevice(debug, device);
  return device;
}

/** A GPU that runs programs. `openDevice` makes one; `destroy()` lets the process end. */
export class Device extends DeviceCore {
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
    super(opened, handle, options, subgroupMatrix, (shader, constants) => {
      printShader(debug, shader, constants);
    });
    this.#debug = debug;
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
      this.submitEncoded(label, (encoder) => {
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
    this.submits++;
    this.check();
  }

  /** Keeps what debugging finds for the next call that checks; `finish()` waits for it. */
  #report(outcome: Promise<DeviceError | undefined>): void {
    const report: Promise<void> = outcome
      .then((fault) => {
        if (fault) this.fail(fault);
      })
      .catch(() => undefined) // the device is lost, and says so itself
      .finally(() => this.#reports.delete(report));
    this.#reports.add(report);
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
    this.observer = profiler;
    try {
      await work();
      await this.finish();
    } finally {
      this.#profiler = undefined;
      this.observer = undefined;
    }
    return profiler.end();
  }

  /** Waits for all work. @throws DeviceError what the device reported since it was last asked */
  async finish(): Promise<void> {
    this.check();
    await this.mark().reached();
    await Promise.all(this.#reports);
    await this.settle();
  }
}
