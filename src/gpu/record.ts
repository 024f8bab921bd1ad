/**
 * Recording a program: its scratch memory is planned, its dispatches are checked, its pipelines compiled, its bind groups
 * and parameter blocks made.
 */
import {
  elementCount,
  formatShape,
  sizeBytes,
  type DType,
  type Shape,
  type Tensor,
} from "../tensor.ts";
import { expectBufferSize } from "./buffer_pool.ts";
import type { Context, Dispatch } from "./context.ts";
import type { DeviceCore } from "./device_core.ts";
import { DeviceError, ShaderError } from "./errors.ts";
import {
  planMemory,
  scratchMemory,
  type Lifetime,
  type MemoryPlan,
  type PlanLimits,
  type ScratchLife,
  type ScratchMemory,
} from "./memory_plan.ts";
import type { Pipeline } from "./pipeline.ts";
import { Program, type Command } from "./program.ts";
import { packParams } from "./shader.ts";

/**
 * Runs `build` twice: once to see which scratch tensors live when, then, with memory planned for them, to record its
 * dispatches. Compiles what they need and makes their bind groups.
 * @param scratchFrom a program whose scratch memory this one may use too: the two never run at the same time, and it
 * must outlive this one
 */
export async function record(
  device: DeviceCore,
  label: string,
  build: (ctx: Context) => void,
  scratchFrom?: Program,
): Promise<Program> {
  device.check();
  scratchFrom?.expectAlive();
  const lifetimes = lifetimesOf(device, build);
  const plan = planMemory(lifetimes, planLimits(device), scratchFrom?.scratch.map(sizeBytes));
  const recorder = new Recorder(device, lifetimes, plan, scratchFrom);
  try {
    build(recorder);
    return await recorder.finish(label);
  } catch (error) {
    recorder.abandon();
    throw error;
  }
}

/** What recording `build` would take of scratch memory; nothing is allocated. */
export function plannedMemory(device: DeviceCore, build: (ctx: Context) => void): ScratchMemory {
  const lifetimes = lifetimesOf(device, build);
  return scratchMemory(lifetimes, planMemory(lifetimes, planLimits(device)));
}

function planLimits({ limits }: DeviceCore): PlanLimits {
  return {
    alignment: limits.minStorageBufferOffsetAlignment,
    maxBufferBytes: limits.maxBufferSize,
  };
}

/** How long each scratch tensor of `build` lives, in the order in which it asks for them. */
function lifetimesOf(device: DeviceCore, build: (ctx: Context) => void): Lifetime[] {
  const planner = new Planner(device);
  build(planner);
  return planner.finish();
}

interface Life extends Lifetime {
  first: number;
  last: number;
  freed: boolean;
  readonly meets: Set<number>;
}

/** Records nothing but the lives of scratch tensors, whose buffers are only names, and which of them meet. */
class Planner implements Context {
  readonly device: DeviceCore;
  scope?: string;
  readonly #lives: Life[] = [];
  readonly #indices = new Map<GPUBuffer, number>();
  #commands = 0;

  constructor(device: DeviceCore) {
    this.device = device;
  }

  dispatch({ shader, constants, tensors }: Dispatch): void {
    const { bindings } = this.device.shader(shader, constants);
    const [read, written]: [Tensor[], Tensor[]] = [[], []];
    tensors.forEach((tensor, i) => (bindings[i] === "read_write" ? written : read).push(tensor));
    this.#meet(read, written);
  }

  copy(from: Tensor, to: Tensor): void {
    this.#meet([from], [to]);
  }

  /**
   * What the next command reads and what it writes must not lie in one buffer. What it writes may: WebGPU then asks only
   * that no two tensors overlap.
   */
  #meet(read: readonly Tensor[], written: readonly Tensor[]): void {
    const command = this.#commands++;
    const indexOf = ({ buffer }: Tensor) => this.#indices.get(buffer);
    for (const tensor of [...read, ...written]) {
      const life = this.#lives[indexOf(tensor) ?? -1];
      if (!life) continue;
      life.first = Math.min(life.first, command);
      life.last = command + 1;
    }
    for (const a of written.map(indexOf))
      for (const b of read.map(indexOf)) {
        if (a === undefined || b === undefined || a === b) continue;
        this.#lives[a]?.meets.add(b);
        this.#lives[b]?.meets.add(a);
      }
  }

  scratch(shape: Shape, dtype: DType, label: string): Tensor {
    const bytes = Math.max(16, sizeBytes({ shape, dtype }));
    // Here, since a recording of far too large tensors, cut into windows, would take hours to plan.
    expectBufferSize(`${label} ${formatShape(shape)}`, bytes, this.device.limits.maxBufferSize);
    const name = { label } as GPUBuffer;
    this.#indices.set(name, this.#lives.length);
    const [first, last] = [Infinity, 0];
    this.#lives.push({ label, bytes, first, last, freed: false, meets: new Set() });
    return { buffer: name, offsetBytes: 0, shape, dtype, label };
  }

  free(tensor: Tensor): void {
    const life = this.#lives[this.#indices.get(tensor.buffer) ?? -1];
    if (life?.freed !== false)
      throw new DeviceError(
        `free: "${tensor.label}" is no live scratch tensor of this recording`,
        "validation",
      );
    life.freed = true;
  }

  /** From the first command that touches it; up to the last one if it was freed, else to the end and beyond. */
  finish(): Lifetime[] {
    return this.#lives.map((life) => {
      const first = Math.min(life.first, this.#commands);
      return { ...life, first, last: life.freed ? Math.max(first, life.last) : Infinity };
    });
  }
}

type ScratchTenant = { -readonly [key in keyof ScratchLife]: ScratchLife[key] };

class Recorder implements Context {
  readonly device: DeviceCore;
  scope?: string;
  readonly #recorded: (Dispatch | { from: Tensor; to: Tensor })[] = [];
  readonly #lifetimes: readonly Lifetime[];
  readonly #plan: MemoryPlan;
  readonly #lender: Program | undefined;
  /** A tensor for each buffer of the plan: the lender's, then this program's own. */
  readonly #buffers: readonly Tensor[];
  readonly #own: readonly Tensor[];
  #next = 0;
  /** What lies in each buffer at this point of the recording, the latest first, and what lay there before. */
  readonly #tenants = new Map<GPUBuffer, ScratchTenant[]>();
  #params: GPUBuffer | undefined;

  constructor(
    device: DeviceCore,
    lifetimes: readonly Lifetime[],
    plan: MemoryPlan,
    lender: Program | undefined,
  ) {
    this.device = device;
    this.#lifetimes = lifetimes;
    this.#plan = plan;
    this.#lender = lender;
    const lent = lender?.scratch ?? [];
    this.#own = allocate(device, plan, lent.length);
    this.#buffers = [...lent, ...this.#own];
  }

  dispatch(dispatch: Dispatch): void {
    const [x, y = 1, z = 1] = dispatch.workgroups;
    const most = this.device.limits.maxComputeWorkgroupsPerDimension;
    if (![x, y, z].every((size) => Number.isInteger(size) && size > 0 && size <= most))
      throw new DeviceError(
        `${dispatch.label}: workgroups [${x},${y},${z}] are outside 1 to ${most}; use grid1d`,
        "validation",
      );
    this.#touch(dispatch.tensors);
    this.#recorded.push({ ...dispatch, scope: this.scope ?? "" });
  }

  copy(from: Tensor, to: Tensor): void {
    if (sizeBytes(from) !== sizeBytes(to))
      throw new DeviceError(
        `copy "${from.label}" to "${to.label}": ${sizeBytes(from)} bytes vs ${sizeBytes(to)}`,
        "validation",
      );
    this.#touch([from, to]);
    this.#recorded.push({ from, to });
  }

  /** Notes that the next command touches these. */
  #touch(tensors: readonly Tensor[]): void {
    const command = this.#recorded.length;
    for (const { buffer, offsetBytes } of tensors) {
      const life = this.#tenants
        .get(buffer)
        ?.find((l) => l.offsetBytes <= offsetBytes && offsetBytes < l.offsetBytes + l.bytes);
      if (!life) continue;
      life.first = Math.min(life.first, command);
      life.last = Math.max(life.last, command);
    }
  }

  scratch(shape: Shape, dtype: DType, label: string): Tensor {
    const index = this.#next++;
    const place = this.#plan.places[index];
    const planned = this.#buffers[place?.buffer ?? -1];
    const bytes = Math.max(16, sizeBytes({ shape, dtype }));
    if (!place || !planned || this.#lifetimes[index]?.bytes !== bytes)
      throw new DeviceError(
        `record: scratch tensor "${label}" was not asked for when the memory was planned; the function that records ` +
          `runs twice and must do the same both times`,
        "validation",
      );
    const tenants = this.#tenants.get(planned.buffer) ?? [];
    this.#tenants.set(planned.buffer, tenants);
    tenants.unshift({ ...place, label, bytes, first: Infinity, last: -1 });
    return { buffer: planned.buffer, offsetBytes: place.offsetBytes, shape, dtype, label };
  }

  /** The plan has it already. */
  free(): void {
    return;
  }

  abandon(): void {
    this.device.release(...this.#own);
    this.#params?.destroy();
  }

  async finish(label: string): Promise<Program> {
    const pipelines = await Promise.all(
      this.#recorded.map((entry) =>
        "shader" in entry
          ? this.device.pipeline(entry.shader, entry.constants)
          : Promise.resolve(undefined),
      ),
    );
    const stride = Math.max(this.device.limits.minUniformBufferOffsetAlignment, 16);
    const { bytes, offsets } = packAll(this.#recorded, pipelines, stride);
    if (bytes.length > 0) this.#params = uploadParams(this.device, label, bytes);
    const commands = this.#recorded.map((entry, i): Command => {
      const pipeline = pipelines[i];
      if (!("shader" in entry) || !pipeline)
        return { kind: "copy", ...(entry as { from: Tensor; to: Tensor }) };
      const group = bindGroup(this.device, entry, pipeline, this.#params, offsets[i] ?? 0);
      return { kind: "dispatch", dispatch: entry, pipeline, group };
    });
    await this.device.settle();
    const memory = scratchMemory(this.#lifetimes, this.#plan);
    const lives = [...this.#tenants.values()].flat().filter(({ last }) => last >= 0);
    const args = [this.#own, memory, lives, this.#params, this.#lender] as const;
    return new Program(this.device, label, commands, ...args);
  }
}

/** The plan's buffers that were not lent; all of them or, where one is refused, none. */
function allocate(device: DeviceCore, plan: MemoryPlan, lent: number): Tensor[] {
  const tensors: Tensor[] = [];
  try {
    for (const { bytes, label } of plan.buffers.slice(lent))
      tensors.push(device.tensor([bytes / 4], "uint32", label));
  } catch (error) {
    device.release(...tensors);
    throw error;
  }
  return tensors;
}

function packAll(
  recorded: readonly (Dispatch | { from: Tensor; to: Tensor })[],
  pipelines: readonly (Pipeline | undefined)[],
  stride: number,
): { bytes: Uint8Array<ArrayBuffer>; offsets: number[] } {
  const offsets: number[] = [];
  const blocks: { at: number; block: ArrayBuffer }[] = [];
  let end = 0;
  recorded.forEach((entry, i) => {
    const shader = pipelines[i]?.shader;
    offsets.push(end);
    if (!("shader" in entry) || !shader) return;
    const block = packParams(shader, entry.params ?? {});
    if (shader.params.length === 0) return;
    blocks.push({ at: end, block });
    end += Math.ceil(block.byteLength / stride) * stride;
  });
  const bytes = new Uint8Array(end);
  for (const { at, block } of blocks) bytes.set(new Uint8Array(block), at);
  return { bytes, offsets };
}

function uploadParams(
  device: DeviceCore,
  label: string,
  bytes: Uint8Array<ArrayBuffer>,
): GPUBuffer {
  const buffer = device.handle.createBuffer({
    label: `${label} params`,
    size: bytes.length,
    usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
  });
  device.handle.queue.writeBuffer(buffer, 0, bytes);
  return buffer;
}

function bindGroup(
  device: DeviceCore,
  dispatch: Dispatch,
  { shader, layout }: Pipeline,
  params: GPUBuffer | undefined,
  paramsOffset: number,
): GPUBindGroup {
  const { label } = dispatch;
  if (dispatch.tensors.length !== shader.bindings.length)
    throw new ShaderError(
      `${label}: ${shader.name}.wgsl has ${shader.bindings.length} bindings, got ${dispatch.tensors.length} tensors`,
      { file: `${shader.name}.wgsl` },
    );
  for (const tensor of dispatch.tensors) checkBinding(device, label, tensor);
  const resources: GPUBufferBinding[] = dispatch.tensors.map((tensor) => ({
    buffer: tensor.buffer,
    offset: tensor.offsetBytes,
    size: Math.max(4, sizeBytes(tensor)),
  }));
  if (params && shader.params.length > 0) {
    const size = Math.max(16, Math.ceil((shader.params.length * 4) / 16) * 16);
    resources.push({ buffer: params, offset: paramsOffset, size });
  }
  const entries = resources.map((resource, binding) => ({ binding, resource }));
  return device.handle.createBindGroup({ label, layout, entries });
}

function checkBinding(device: DeviceCore, label: string, tensor: Tensor): void {
  const bytes = sizeBytes(tensor);
  const alignment = device.limits.minStorageBufferOffsetAlignment;
  if (bytes > device.maxBindingBytes)
    throw new DeviceError(
      `${label}: "${tensor.label}" of ${elementCount(tensor.shape)} elements takes ${bytes} bytes, and one binding ` +
        `holds at most ${device.maxBindingBytes}; the kernel must work in windows`,
      "validation",
    );
  if (tensor.offsetBytes % alignment !== 0)
    throw new DeviceError(
      `${label}: "${tensor.label}" starts at byte ${tensor.offsetBytes}, no multiple of ${alignment}`,
      "validation",
    );
}
