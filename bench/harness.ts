/** Our engine under measurement: refuses what cannot run before anything does, verifies, then times. */
import { totalmem } from "node:os";
import { setTimeout } from "node:timers/promises";
import type { Context, Dispatch } from "../src/gpu/context.ts";
import { openDevice, type Device } from "../src/gpu/device.ts";
import type { Program } from "../src/gpu/program.ts";
import { Choices, operationKey } from "../src/kernels/choices.ts";
import { flat } from "../src/kernels/windows.ts";
import { tuneOperations } from "../src/nn/tune.ts";
import { messageOf } from "../src/system_errors.ts";
import {
  formatBytes,
  sizeBytes,
  slice,
  type DType,
  type Shape,
  type Tensor,
  type TypedArray,
} from "../src/tensor.ts";
import type { Effort, Engine, Measured, NetworkWork, Precision, Task } from "./engine.ts";
import {
  chosenAlgorithm,
  NO_FLOAT16,
  operationOf,
  unsupportedReason,
  workloadOf,
  type Workload,
} from "./kernels.ts";
import {
  inferenceVerifier,
  networkBytes,
  openInference,
  openTrainingStep,
  verifyTraining,
  type NetworkRun,
  type StepLosses,
} from "./network.ts";

/** Copies of the tensors are used in turn until they exceed any cache: the largest of 2024's GPUs holds 50 to 96 MB. */
const ROTATED_BYTES = 128 * 1024 * 1024;
const MOST_COPIES = 16;
/** A sample below this is made of several runs where only the host's clock tells the time, and for whole networks. */
const SAMPLE_MS = 40;
const MOST_RUNS = 32;
/** A GPU's clock rises under load: warm up at least as long. */
const WARM_UP_MS = 100;
/** Taken even where they need more than the time given, though not where one alone does, nor beyond three times of it. */
const LEAST_SAMPLES = 3;

/** After a failure, Dawn may take so long to say that the device is lost. */
const LOSS_MS = 100;

export interface TuningforkOptions {
  /** Tells a second device from the first. */
  readonly name?: string;
  /** What was measured on this device; what is not listed is chosen by the kind of adapter. */
  readonly choices?: Choices;
  /** Measures what is not listed, before its first row. */
  readonly tunes?: boolean;
  /** Opens another device of the same adapter, after one was lost. */
  readonly open?: () => Promise<Device>;
}

/** Our own kernels on one device, and on the next where one is lost: a task too long for a driver is not the end of a run. */
export class Tuningfork implements Engine {
  readonly name: string;
  #device: Device;
  #isLost = false;
  readonly #open: () => Promise<Device>;
  readonly #choices: Choices;
  readonly #tunes: boolean;
  /** What the verified training steps lost, for peers to be compared with. */
  readonly losses = new Map<NetworkWork, StepLosses["losses"]>();

  constructor(
    device: Device,
    {
      name = "tuningfork",
      choices = new Choices(),
      tunes = false,
      open = openDevice,
    }: TuningforkOptions = {},
  ) {
    this.#device = device;
    this.name = name;
    this.#choices = choices;
    this.#tunes = tunes;
    this.#open = open;
  }

  /** Why a task cannot run on this device, in words; undefined where it can. Nothing is allocated. */
  problem(task: Task): string | undefined {
    try {
      return task.work.op === "training_step" || task.work.op === "inference"
        ? this.#networkProblem(task.work, task.precision)
        : this.#kernelProblem(task);
    } catch (error) {
      return messageOf(error);
    }
  }

  #networkProblem(work: NetworkWork, precision: Precision): string | undefined {
    if (precision === "mixed" && !this.#device.hasFloat16) return NO_FLOAT16;
    const { total, largest } = networkBytes(work, precision);
    return this.#tooLarge(largest, total);
  }

  #kernelProblem(task: Task): string | undefined {
    const unsupported = unsupportedReason(this.#device, task);
    if (unsupported !== undefined) return unsupported;
    const { tensors, record } = workloadOf(this.#device, task, this.#choices);
    const dry = new DryRun(this.#device);
    const fakes = Object.entries(tensors).map(
      ([name, { shape, dtype }]) => [name, dry.scratch(shape, dtype, name)] as const,
    );
    record(dry, Object.fromEntries(fakes));
    return this.#tooLarge(dry.largest, dry.peak);
  }

  #tooLarge(largest: number, total: number): string | undefined {
    const { limits, summary } = this.#device;
    if (largest > limits.maxBufferSize)
      return `needs a buffer of ${formatBytes(largest)}, and this adapter makes ${formatBytes(limits.maxBufferSize)} at most; use a smaller n`;
    const memory = Math.min(totalmem(), process.constrainedMemory() || Infinity);
    if (summary.software && total > memory)
      return `needs ${formatBytes(total)} of memory, and this machine has ${formatBytes(memory)}; use a smaller n`;
    return undefined;
  }

  /** Verifies and times. A task that loses the device fails with the reason; the next one gets another device. */
  async time(task: Task, effort: Effort): Promise<Measured> {
    try {
      if (this.#isLost) await this.#reopen();
    } catch (error) {
      return {
        ...{ samplesMs: [], lost: true },
        error: `device lost before, and no other opens: ${messageOf(error)}`,
      };
    }
    const measured = await this.#time(task, effort);
    const patience = setTimeout(measured.error === undefined ? 0 : LOSS_MS);
    const loss = await Promise.race([this.#device.handle.lost, patience]);
    if (!loss) return measured;
    this.#isLost = true;
    const why = loss.message.trim().replace(/\s+/g, " ").replace(/\.$/, "") || "no reason given";
    return {
      ...{ samplesMs: [], lost: true },
      error: `device lost: ${why}; use a smaller n or another --algorithm`,
    };
  }

  async #reopen(): Promise<void> {
    const device = await this.#open();
    const [expected, got] = [this.#device, device].map(({ summary }) => summary.description);
    if (got !== expected) {
      device.destroy();
      throw new Error(`another adapter: expected ${expected ?? ""}, got ${got ?? ""}`);
    }
    this.#device.destroy();
    this.#device = device;
    this.#isLost = false;
  }

  async #time(task: Task, effort: Effort): Promise<Measured> {
    const { work, precision } = task;
    try {
      if (work.op === "training_step" || work.op === "inference")
        return await this.#timeNetwork(work, precision, effort);
      return await this.#timeKernel(task, effort);
    } catch (error) {
      return { samplesMs: [], error: messageOf(error) };
    }
  }

  async #timeKernel(task: Task, effort: Effort): Promise<Measured> {
    const device = this.#device;
    await this.#tune(task);
    const load = workloadOf(device, task, this.#choices);
    const chosen = chosenAlgorithm(device, task, this.#choices);
    const copies: Copy[] = [];
    try {
      const before = Object.fromEntries(
        Object.entries(load.tensors).map(([name, { values }]) => [name, values()]),
      );
      copies.push(await openCopy(device, load, before));
      const wrong = await verify(device, load, before, copies[0]!);
      if (wrong !== undefined) return { samplesMs: [], error: wrong };
      const wanted = Math.min(MOST_COPIES, Math.ceil(ROTATED_BYTES / copies[0]!.bytes));
      while (copies.length < wanted)
        copies.push(await openCopy(device, load, before, copies[0]!.program));
      const programs = copies.map(({ program }) => program);
      return { samplesMs: await timePrograms(device, programs, effort), chosen };
    } finally {
      for (const { program, tensors } of copies.reverse()) {
        program.destroy();
        device.release(...Object.values(tensors));
      }
      device.trim();
    }
  }

  async #tune(task: Task): Promise<void> {
    const operation = operationOf(task);
    if (!this.#tunes || !operation || task.algorithm !== "auto") return;
    const key = operationKey(operation);
    if (this.#choices.entries().some(([known]) => known === key)) return;
    for (const { chosen } of await tuneOperations(this.#device, [operation]))
      this.#choices.set(operation, chosen);
  }

  async #timeNetwork(work: NetworkWork, precision: Precision, effort: Effort): Promise<Measured> {
    const device = this.#device;
    let run: NetworkRun;
    if (work.op === "inference") {
      run = await openInference(device, work, precision);
      run.submit(0);
      const { at, check } = inferenceVerifier(work, precision);
      const answer = await run.answer();
      const wrong = check(at.map((index) => answer[index]!));
      if (wrong !== undefined) {
        run.close();
        return { samplesMs: [], error: wrong };
      }
    } else {
      const { losses, wrong } = await verifyTraining(device, work, precision);
      if (wrong !== undefined) return { samplesMs: [], error: wrong };
      this.losses.set(work, losses);
      run = await openTrainingStep(device, work, precision);
    }
    try {
      let index = 0;
      const submit = () => {
        run.submit(index++);
      };
      return { samplesMs: await timeByClock(device, submit, effort) };
    } finally {
      run.close();
    }
  }

  close(): Promise<void> {
    this.#device.destroy();
    return Promise.resolve();
  }
}

interface Copy {
  readonly program: Program;
  readonly tensors: Readonly<Record<string, Tensor>>;
  readonly bytes: number;
}

async function openCopy(
  device: Device,
  load: Workload,
  before: Readonly<Record<string, TypedArray>>,
  scratchFrom?: Program,
): Promise<Copy> {
  const tensors: Record<string, Tensor> = {};
  try {
    for (const [name, { shape }] of Object.entries(load.tensors))
      tensors[name] = device.upload(before[name]!, shape, name);
    const record = (ctx: Context) => {
      load.record(ctx, tensors);
    };
    const program = await device.record("bench", record, scratchFrom);
    const bytes = Object.values(tensors).reduce((sum, tensor) => sum + sizeBytes(tensor), 0);
    return { program, tensors, bytes };
  } catch (error) {
    device.release(...Object.values(tensors));
    throw error;
  }
}

async function verify(
  device: Device,
  load: Workload,
  before: Readonly<Record<string, TypedArray>>,
  { program, tensors }: Copy,
): Promise<string | undefined> {
  device.submit(program);
  const outputs: Record<string, TypedArray> = {};
  for (const name of load.outputs) {
    const [all] = flat(tensors[name]!);
    const { checked = all!.shape[0]! } = load;
    outputs[name] = await device.read(slice(all!, 0, checked));
  }
  return load.check(outputs, before);
}

/**
 * Times programs that do the same on different memory, in turn: by GPU timestamps where there are any, else by the clock.
 * A sample is the time of one program, in milliseconds.
 */
export function timePrograms(
  device: Device,
  programs: readonly Program[],
  effort: Effort,
): Promise<number[]> {
  let turn = 0;
  const next = () => programs[turn++ % programs.length]!;
  if (!device.handle.features.has("timestamp-query"))
    return timeByClock(
      device,
      () => {
        device.submit(next());
      },
      effort,
    );
  return sample(async () => {
    const dispatches = await next().time();
    const ms = dispatches.reduce((sum, { ms }) => sum + ms, 0);
    return ms > 0 ? ms : undefined; // the GPU's clock has wrapped
  }, effort);
}

/** Times what `submit` queues, by the clock, several at a time where one is short. A sample is the time of one. */
function timeByClock(device: Device, submit: () => void, effort: Effort): Promise<number[]> {
  return sample(async (shortestMs) => {
    const wanted = shortestMs > 0 ? Math.ceil(SAMPLE_MS / shortestMs) : 1;
    const runs = Math.min(MOST_RUNS, wanted);
    const started = performance.now();
    for (let i = 0; i < runs; i++) submit();
    await device.finish();
    return (performance.now() - started) / runs;
  }, effort);
}

/**
 * Warms up, then takes samples until their number or the time is reached.
 * @param run is given the least time of a run so far, 0 at first; resolves with the time of one run, or with nothing where
 * it could not be told
 */
async function sample(
  run: (shortestMs: number) => Promise<number | undefined>,
  { seconds, samples }: Effort,
): Promise<number[]> {
  const started = performance.now();
  const elapsedMs = () => performance.now() - started;
  let shortestMs = 0;
  const take = async (): Promise<number | undefined> => {
    const ms = await run(shortestMs);
    if (ms !== undefined) shortestMs = shortestMs > 0 ? Math.min(shortestMs, ms) : ms;
    return ms;
  };
  // The run that was verified has compiled the shaders; another one tells how long a run takes.
  const first = await take();
  if (first !== undefined && first > seconds * 1000) return [first];
  while (elapsedMs() < WARM_UP_MS) await take();
  const samplesMs: number[] = [];
  let missed = 0;
  const wantsMore = () => {
    const count = samplesMs.length;
    if (count < LEAST_SAMPLES) return count === 0 || elapsedMs() < 3000 * seconds;
    return count < samples && elapsedMs() < 1000 * seconds;
  };
  while (wantsMore()) {
    const ms = await take();
    if (ms !== undefined) {
      samplesMs.push(ms);
      missed = 0;
    } else if (++missed > 30) throw new Error("no time can be told: the GPU's clock stands still");
  }
  return samplesMs;
}

/** Records nothing: sees only what an operation would bind and ask for. */
class DryRun implements Context {
  readonly device: Device;
  /** The largest tensor, and the most that live at the same time, in bytes. */
  largest = 0;
  peak = 0;
  #live = 0;

  constructor(device: Device) {
    this.device = device;
  }

  dispatch({ label, tensors }: Dispatch): void {
    const most = this.device.maxBindingBytes;
    const tooLarge = tensors.find((tensor) => sizeBytes(tensor) > most);
    if (tooLarge)
      throw new Error(
        `${label}: "${tooLarge.label}" takes ${formatBytes(sizeBytes(tooLarge))}, and one binding holds ${formatBytes(most)} on this adapter; use a smaller shape`,
      );
  }

  copy(): void {
    // Copies have no limit of their own.
  }

  scratch(shape: Shape, dtype: DType, label: string): Tensor {
    const bytes = sizeBytes({ shape, dtype });
    this.#live += bytes;
    this.peak = Math.max(this.peak, this.#live);
    this.largest = Math.max(this.largest, bytes);
    return { buffer: {} as GPUBuffer, offsetBytes: 0, shape, dtype, label };
  }

  free(tensor: Tensor): void {
    this.#live -= sizeBytes(tensor);
  }
}
