/**
 * A program: dispatches recorded once, with their pipelines compiled and their bind groups and parameter blocks made,
 * that runs any number of times without creating anything.
 */
import { sizeBytes, type Tensor } from "../tensor.ts";
import type { Dispatch } from "./context.ts";
import type { DeviceCore } from "./device_core.ts";
import { DeviceError } from "./errors.ts";
import type { ScratchLife, ScratchMemory } from "./memory_plan.ts";
import type { Pipeline } from "./pipeline.ts";
import type { Profiler } from "./profiler.ts";
import { durationsMs, Timestamps, type Interval } from "./timestamps.ts";
import type { SingleCommand } from "./validate.ts";

/** What a program runs, ready to be encoded. */
export type Command =
  | {
      readonly kind: "dispatch";
      readonly dispatch: Dispatch;
      readonly pipeline: Pipeline;
      readonly group: GPUBindGroup;
    }
  | { readonly kind: "copy"; readonly from: Tensor; readonly to: Tensor };

/** GPU time of one dispatch of a program. */
export interface DispatchTime {
  readonly label: string;
  readonly shader: string;
  readonly ms: number;
}

/** Dispatches recorded once, with their buffers and pipelines, to be submitted as often as one likes. */
export class Program {
  readonly label: string;
  readonly #device: DeviceCore;
  readonly #commands: readonly Command[];
  /** The scratch buffers of its own, as tensors; a program recorded with `scratchFrom` borrows them. */
  readonly scratch: readonly Tensor[];
  /** What the scratch tensors take, planned and without a plan. */
  readonly memory: ScratchMemory;
  /** Which scratch tensor lies where, from which command to which; those that no command touches are left out. */
  readonly lives: readonly ScratchLife[];
  readonly #params: GPUBuffer | undefined;
  readonly #lender: Program | undefined;
  #destroyed = false;

  /** Called by `device.record`. @param lender the program whose scratch memory this one uses too */
  constructor(
    device: DeviceCore,
    label: string,
    commands: readonly Command[],
    scratch: readonly Tensor[],
    memory: ScratchMemory,
    lives: readonly ScratchLife[],
    params: GPUBuffer | undefined,
    lender: Program | undefined,
  ) {
    this.#device = device;
    this.label = label;
    this.#commands = commands;
    this.scratch = scratch;
    this.memory = memory;
    this.lives = lives;
    this.#params = params;
    this.#lender = lender;
  }

  /** What the program dispatches, in order: for tests, profiles and a look at what a model does. */
  get dispatches(): readonly Dispatch[] {
    return this.#commands.flatMap((command) =>
      command.kind === "dispatch" ? [command.dispatch] : [],
    );
  }

  /** How many dispatches and copies it makes. */
  get commandCount(): number {
    return this.#commands.length;
  }

  /** What it does, command by command. */
  get commands(): SingleCommand[] {
    this.expectAlive();
    return this.#commands.map((command): SingleCommand => {
      if (command.kind === "copy") {
        const { from, to } = command;
        const encode = (encoder: GPUCommandEncoder) => {
          encodeCopy(encoder, from, to);
        };
        return { label: `copy ${from.label}`, scope: "", writes: [to], encode };
      }
      const { label, scope = "", tensors } = command.dispatch;
      const { bindings } = command.pipeline.shader;
      return {
        ...{ label, scope, writes: tensors.filter((_, i) => bindings[i] === "read_write") },
        encode: (encoder) => {
          const pass = encoder.beginComputePass({ label });
          encodeDispatch(pass, command);
          pass.end();
        },
      };
    });
  }

  /** Fails once the program, or the one whose scratch memory it shares, was destroyed. @throws DeviceError */
  expectAlive(): void {
    if (this.#destroyed)
      throw new DeviceError(`program "${this.label}": used after destroy()`, "validation");
    this.#lender?.expectAlive();
  }

  /** Writes the program into an encoder. @param profiler times each dispatch in a pass of its own */
  encode(encoder: GPUCommandEncoder, profiler?: Profiler): void {
    this.expectAlive();
    profiler?.program(this);
    let pass: GPUComputePassEncoder | undefined;
    for (const command of this.#commands) {
      if (command.kind === "copy") {
        pass?.end();
        pass = undefined;
        const { from, to } = command;
        const copy = () => {
          encodeCopy(encoder, from, to);
        };
        if (profiler) profiler.copy(encoder, `copy ${from.label}`, sizeBytes(from), copy);
        else copy();
      } else if (profiler) {
        profiler.dispatch(encoder, command.dispatch, command.pipeline.shader, (timed) => {
          encodeDispatch(timed, command);
        });
      } else {
        pass ??= encoder.beginComputePass({ label: this.label });
        encodeDispatch(pass, command);
      }
    }
    pass?.end();
  }

  /**
   * Runs once with every dispatch in a pass of its own and returns their GPU times.
   * @throws DeviceError when the adapter has no timestamp queries
   */
  async time(): Promise<DispatchTime[]> {
    this.expectAlive();
    this.#device.check();
    const { handle } = this.#device;
    const timestamps = new Timestamps(this.#device, "time");
    const intervals: Interval[] = [];
    const encoder = handle.createCommandEncoder({ label: `time ${this.label}` });
    for (const command of this.#commands) {
      if (command.kind === "copy") {
        encodeCopy(encoder, command.from, command.to);
        continue;
      }
      const { writes, interval } = timestamps.next();
      intervals.push(interval);
      const { label } = command.dispatch;
      const pass = encoder.beginComputePass({ label, timestampWrites: writes });
      encodeDispatch(pass, command);
      pass.end();
    }
    handle.queue.submit([encoder.finish()]);
    const ms = durationsMs(await timestamps.read(), intervals);
    return this.dispatches.map(({ label, shader }, i) => ({ label, shader, ms: ms[i] ?? 0 }));
  }

  /** Gives the scratch tensors back. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#device.release(...this.scratch);
    this.#params?.destroy();
  }
}

function encodeDispatch(
  pass: GPUComputePassEncoder,
  command: Command & { kind: "dispatch" },
): void {
  pass.setPipeline(command.pipeline.handle);
  pass.setBindGroup(0, command.group);
  const [x, y = 1, z = 1] = command.dispatch.workgroups;
  pass.dispatchWorkgroups(x, y, z);
}

function encodeCopy(encoder: GPUCommandEncoder, from: Tensor, to: Tensor): void {
  encoder.copyBufferToBuffer(
    from.buffer,
    from.offsetBytes,
    to.buffer,
    to.offsetBytes,
    sizeBytes(from),
  );
}
