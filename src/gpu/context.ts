/**
 * What a kernel wrapper is given: a place to record dispatches. Nothing runs while it records.
 */
import { ShapeError, type DType, type Shape, type Tensor } from "../tensor.ts";
import type { AdapterDetails } from "./adapter.ts";
import type { Constants, ShaderType } from "./shader.ts";
import type { SubgroupMatrix } from "./subgroup_matrix.ts";

/** What kernels know of the device that they are recorded for: enough to choose shaders and grids, nothing to run them with. */
export interface Capabilities {
  readonly summary: AdapterDetails;
  readonly limits: GPUSupportedLimits;
  /** The most bytes that one storage binding may show. */
  readonly maxBindingBytes: number;
  /** Lanes of a subgroup where the adapter has the feature and one fixed size, else 0. */
  readonly subgroupSize: number;
  /** Whether shaders can store float16 here. */
  readonly hasFloat16: boolean;
  /** The products of float16 matrices that the adapter has units for (tensor cores). */
  readonly subgroupMatrix: SubgroupMatrix | undefined;
}

/** One dispatch of a shader: what it reads and writes, and how often it runs. */
export interface Dispatch {
  /** Shown by Dawn's errors and by the profiler, e.g. `conv2d conv1.weight`. */
  readonly label: string;
  /** `shaders/NAME.wgsl`. */
  readonly shader: string;
  readonly constants?: Constants;
  /** Group 0 in binding order: inputs in argument order, then outputs. */
  readonly tensors: readonly Tensor[];
  /** The fields of the shader's `struct Params`, by name. */
  readonly params?: Readonly<Record<string, number>>;
  readonly workgroups: readonly [number, number?, number?];
  /** Floating-point operations, two for a multiply-add: for profiles, where the shader's name and params do not tell. */
  readonly flops?: number;
  /** Bytes read and written, where that is not each tensor once: for profiles. */
  readonly bytes?: number;
  /** What was being recorded, see `Context.scope`; the recording fills it in. */
  readonly scope?: string;
}

/** What a recording asks for measured choices; src/kernels/choices.ts has one. */
export interface AlgorithmChoices {
  algorithmFor(operation: {
    readonly op: "conv2d" | "dense";
    readonly pass: "forward" | "input_grad" | "weight_grad";
    readonly sizes: Readonly<Record<string, number>>;
    readonly dtype?: DType;
  }): string | undefined;
}

/**
 * Where a recording happens. The function given to `device.record` runs twice: first to plan its scratch memory, when
 * scratch tensors have no buffers yet, then to record. What it dispatches must not depend on where they lie.
 */
export interface Context {
  readonly device: Capabilities;
  /** What is being recorded, e.g. `conv1 forward`; profiles and messages group dispatches by it. */
  scope?: string;
  /** Algorithms by operation, where they were measured; kernels ask it before they choose. */
  choices?: AlgorithmChoices;
  /** Records one dispatch. @throws ShaderError, ShapeError before anything is encoded. */
  dispatch(dispatch: Dispatch): void;
  /** Records a copy between tensors of equal size. */
  copy(from: Tensor, to: Tensor): void;
  /** A tensor that lives for the rest of the recording, or until `free`; its memory is then used again. */
  scratch(shape: Shape, dtype: DType, label: string): Tensor;
  /** Ends the life of a scratch tensor: what is recorded after may overwrite it. */
  free(tensor: Tensor): void;
}

/** a / b, rounded up: how many groups of b hold a things. */
export function ceilDiv(a: number, b: number): number {
  return Math.ceil(a / b);
}

/**
 * A grid of at least `workgroups` workgroups, folded into y above what one dimension may hold. Shaders undo it with
 * `workgroup_index()` of lib/index.wgsl and return where the index is past the end.
 */
export function grid1d(device: Capabilities, workgroups: number): [number, number] {
  const most = device.limits.maxComputeWorkgroupsPerDimension;
  if (workgroups <= most) return [Math.max(1, workgroups), 1];
  const rows = ceilDiv(workgroups, most);
  return [ceilDiv(workgroups, rows), rows];
}

/**
 * How many items an invocation works through where a shader loops. A GPU wants an invocation for each; on software
 * adapters starting one costs more than the work of most items (Mesa's, leaky ReLU of 4M elements: a seventh of the
 * time with 16 for each).
 */
export function itemsPerInvocation(device: Capabilities): number {
  return device.summary.class === "hardware" ? 1 : 16;
}

/**
 * The type in which a shader computes `count` floats: four at a time where that divides, since a software adapter pays
 * for each access, not for its size (Mesa's, Adamax of 1M elements: a quarter of the time). Arithmetic is in float32
 * whatever the tensors are stored as: `Stored` is `Value` as it lies in memory.
 */
export function valueType(
  count: number,
  dtype: DType = "float32",
): { Value: "f32" | "vec4f"; Stored: ShaderType; lanes: number } {
  const half = dtype === "float16";
  return count % 4 === 0
    ? { Value: "vec4f", Stored: half ? "vec4h" : "vec4f", lanes: 4 }
    : { Value: "f32", Stored: half ? "f16" : "f32", lanes: 1 };
}

/** The alias `Stored` of a shader that loads and stores single elements: it computes in float32 all the same. */
export function storedType({ dtype }: Tensor): "f32" | "f16" {
  return dtype === "float16" ? "f16" : "f32";
}

/**
 * Fails unless the tensors of an op hold float32, or all of them float16.
 * @throws ShapeError naming the op and the first tensor that differs
 */
export function expectFloats(op: string, first: Tensor, ...rest: readonly Tensor[]): void {
  expectDType(op, first.dtype === "float16" ? "float16" : "float32", first, ...rest);
}

/**
 * Fails unless the tensors of an op hold `wanted`: float32 where it sums, whatever its activations are stored as.
 * @throws ShapeError naming the op and the first tensor that differs
 */
export function expectDType(op: string, wanted: DType, ...tensors: readonly Tensor[]): void {
  for (const { label, dtype, shape } of tensors)
    if (dtype !== wanted)
      throw new ShapeError(op, `"${label}": expected ${wanted}, got ${dtype}`, { got: shape });
}

/** The grid for a shader that loops over `count` items by lib/chunk.wgsl; it needs no folding, however many they are. */
export function chunkGrid(device: Capabilities, count: number, workgroupSize: number): [number] {
  const workgroups = ceilDiv(count, workgroupSize * itemsPerInvocation(device));
  return [Math.min(Math.max(1, workgroups), device.limits.maxComputeWorkgroupsPerDimension)];
}
