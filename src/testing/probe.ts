/**
 * Runs a layer's forward and backward on the GPU between guard words and notes what it does wrong beside computing wrong
 * values: too little written, too much, into its inputs, in another shape, not finite.
 */
import type { Dispatch } from "../gpu/context.ts";
import type { Device } from "../gpu/device.ts";
import type { Program } from "../gpu/program.ts";
import { stepState } from "../kernels/step_state.ts";
import type { Layer, LayerPass, Parameter } from "../nn/layer.ts";
import { layerLabel } from "../nn/shapes.ts";
import { elementCount, formatShape, sameMemory, type Shape, type Tensor } from "../tensor.ts";
import { indexOf } from "./close.ts";
import { guarded, GuardedScratch, isUnwritten, unwritten, type Guarded } from "./guarded.ts";
import { sameBits } from "./kernel.ts";
import type { GradientProblem } from "./report.ts";

/** A layer at some values: x [n, ...], and its parameters by their own names. */
export interface Subject {
  readonly layer: Layer;
  readonly shape: Shape;
  readonly outputShape: Shape;
  readonly x: Float32Array;
  readonly parameters: readonly ParameterValues[];
  readonly seed: number;
  readonly training: boolean;
}

export interface ParameterValues {
  /** Without the layer's: `weight`. */
  readonly name: string;
  readonly shape: Shape;
  readonly values: Float32Array;
}

/** What one run gave. */
export interface Outcome {
  readonly y: Float32Array | undefined;
  /** By name: `x` where dx was asked for, and the parameters that learn. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
  /** What backward dispatched. */
  readonly backward: readonly Dispatch[];
  readonly problems: readonly GradientProblem[];
}

export interface RunSettings {
  /** Runs backward too. */
  readonly dy?: Float32Array;
  /** Default true: a gradient of each parameter is asked for. */
  readonly learns?: boolean;
  /** Default true. */
  readonly needsDx?: boolean;
  /** What outputs hold before: see GuardedScratch. */
  readonly fill?: "unwritten" | "zeros";
}

/** `dx`, `dweight`: what the gradient of a variable is called. */
export const gradientName = (variable: string): string => `d${variable}`;

/** One run of forward and, with `dy`, of backward. The layer's own parameters are put back. */
export async function runLayer(
  device: Device,
  subject: Subject,
  { dy, learns = true, needsDx = true, fill = "unwritten" }: RunSettings,
): Promise<Outcome> {
  const { layer, shape, outputShape } = subject;
  const name = layerLabel(layer);
  const problems: GradientProblem[] = [];
  const inputs = new Map<string, Guarded>();
  const before = new Map<string, Float32Array>();
  const input = (key: string, values: Float32Array, size: Shape, label: string): Tensor => {
    const made = guarded(device, values, size, label);
    inputs.set(key, made);
    before.set(key, values);
    return made.tensor;
  };
  const kept = { parameters: layer.parameters, trainable: layer.trainable };
  const scratch = new GuardedScratch(device, fill);
  const grads = new Map<string, Guarded>();
  const step = uploadStep(device);
  let program: Program | undefined;
  try {
    const x = input("x", subject.x, shape, "x");
    const dyTensor = dy && input("dy", dy, outputShape, "dy");
    layer.trainable = learns;
    layer.parameters = subject.parameters.map((parameter): Parameter => {
      const label = `${layer.name}.${parameter.name}`;
      const value = input(parameter.name, parameter.values, parameter.shape, label);
      const made: Parameter = { name: label, shape: parameter.shape, layer, value };
      if (!learns || !dyTensor) return made;
      const size = elementCount(parameter.shape);
      const grad =
        fill === "zeros"
          ? guarded(device, new Float32Array(size), parameter.shape, `${label}.grad`)
          : unwritten(device, parameter.shape, "float32", `${label}.grad`);
      grads.set(parameter.name, grad);
      return { ...made, grad: grad.tensor };
    });
    const pass = passOf(subject, step);
    let y: Tensor | undefined;
    let dx: Tensor | undefined;
    let backward: readonly Dispatch[] = [];
    program = await device.record(`check ${name}`, (inner) => {
      const ctx = scratch.context(inner);
      y = layer.forward(ctx, x, pass);
      const forwardCount = scratch.dispatches.length;
      if (dyTensor) dx = layer.backward(ctx, { x, y, dy: dyTensor }, needsDx, pass);
      backward = scratch.dispatches.slice(forwardCount);
    });
    device.submit(program);
    const result = await collect(device, { y, dx: needsDx ? dx : undefined, grads });

    problems.push(...shapeProblem(name, "forward returned y", y, outputShape));
    if (dyTensor && needsDx)
      problems.push(...shapeProblem(name, "backward returned dx", dx, shape));
    if (result.y) problems.push(...valueProblems("y", result.y, y?.shape ?? outputShape));
    for (const [key, values] of result.gradients)
      problems.push(
        ...valueProblems(gradientName(key), values, grads.get(key)?.tensor.shape ?? shape),
      );
    for (const own of [...scratch.tensors, ...grads.values(), ...inputs.values()])
      if ((await own.inspect()).overrun)
        problems.push({
          kind: "written outside",
          message: `"${own.tensor.label}" ${formatShape(own.tensor.shape)}: a kernel wrote outside it; return where the index is past the end`,
        });
    for (const [key, own] of inputs) {
      if (key === "dy" || (dx && sameMemory(dx, own.tensor))) continue;
      const { words } = await own.inspect();
      const values = before.get(key);
      if (values && !sameBits(new Float32Array(words.buffer), values))
        problems.push({
          kind: "overwritten",
          message: `"${own.tensor.label}" was changed; forward and backward only read x and the parameters`,
        });
    }
    return { ...result, backward, problems };
  } catch (error) {
    const what = dy ? (learns ? "backward" : "backward of the frozen layer") : "forward";
    const said = error instanceof Error ? error.message : String(error);
    const hint =
      dy && !learns && subject.parameters.length > 0
        ? "; compute a parameter's gradient only where parameter.grad is there"
        : "";
    return {
      y: undefined,
      gradients: new Map(),
      backward: [],
      problems: [{ kind: "error", message: `${what} failed: ${said}${hint}` }],
    };
  } finally {
    Object.assign(layer, kept);
    program?.destroy();
    scratch.release();
    for (const own of [...inputs.values(), ...grads.values()]) own.release();
    device.release(step);
  }
}

/** The number of the step in which layers run here. */
export const STEP = 3;
const INDEX = 0;

/** What `referenceOf` needs to know of the runs. */
export const referencePass = ({ seed, training }: Subject) => ({
  seed,
  training,
  step: STEP,
  index: INDEX,
});

function passOf({ training, seed }: Subject, step: Tensor): LayerPass {
  return { training, seed, index: INDEX, ...(training && { step }) };
}

async function collect(
  device: Device,
  made: { y: Tensor | undefined; dx: Tensor | undefined; grads: ReadonlyMap<string, Guarded> },
): Promise<{ y: Float32Array | undefined; gradients: Map<string, Float32Array> }> {
  const floats = async (tensor: Tensor | undefined) =>
    tensor?.dtype === "float32" ? await device.readFloats(tensor) : undefined;
  const y = await floats(made.y);
  const gradients = new Map<string, Float32Array>();
  const dx = await floats(made.dx);
  if (dx) gradients.set("x", dx);
  for (const [key, grad] of made.grads) gradients.set(key, await device.readFloats(grad.tensor));
  return { y, gradients };
}

function shapeProblem(
  name: string,
  what: string,
  tensor: Tensor | undefined,
  shape: Shape,
): GradientProblem[] {
  const problem = (message: string): GradientProblem[] => [
    { kind: "shape", message: `${what}${message}` },
  ];
  if (!tensor) return problem(`: expected ${formatShape(shape)}, got nothing; return the tensor`);
  if (tensor.dtype !== "float32") return problem(` as ${tensor.dtype}; expected float32`);
  if (formatShape(tensor.shape) === formatShape(shape)) return [];
  const next = what.includes("dx")
    ? "it has the shape of x"
    : `outputShape of ${name} and what forward makes must be the same`;
  return problem(` of ${formatShape(tensor.shape)}; expected ${formatShape(shape)}: ${next}`);
}

/** Elements that nobody wrote, and elements that are not finite. */
function valueProblems(name: string, values: Float32Array, shape: Shape): GradientProblem[] {
  const placeOf = (i: number) => `[${indexOf(i, shape).join(",")}]`;
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const left: number[] = [];
  const bad: number[] = [];
  words.forEach((word, i) => {
    if (isUnwritten(word)) left.push(i);
    else if (!Number.isFinite(values[i])) bad.push(i);
  });
  const problems: GradientProblem[] = [];
  const [firstLeft] = left;
  if (firstLeft !== undefined)
    problems.push({
      kind: "not written",
      message: `${name}: ${left.length} of ${values.length} elements are never written, the first of them ${placeOf(firstLeft)}; ${
        left.length === values.length
          ? "is the kernel dispatched, and is this tensor its output?"
          : "is the number of workgroups rounded up (ceilDiv)?"
      }`,
    });
  const [firstBad] = bad;
  if (firstBad !== undefined)
    problems.push({
      kind: "not finite",
      message: `${name}: ${bad.length} of ${values.length} elements are not finite, the first of them ${placeOf(firstBad)} (${values[firstBad] ?? NaN})`,
    });
  return problems;
}

/**
 * The forward pass as a function of one variable, for differences: many points in one submission.
 * @param variable `x` or a parameter's name
 */
export async function forwardOf(
  device: Device,
  subject: Subject,
  variable: string,
): Promise<{
  evaluate: (points: readonly Float64Array[]) => Promise<Float32Array[]>;
  destroy: () => void;
}> {
  const { layer, shape, outputShape } = subject;
  const size =
    variable === "x" ? shape : subject.parameters.find((p) => p.name === variable)?.shape;
  if (!size) throw new Error(`differences: the layer has no parameter "${variable}"`);
  const length = elementCount(outputShape);
  const bytes = 4 * (elementCount(size) + 3 * length);
  const slots = Math.max(1, Math.min(64, Math.floor(256e6 / bytes)));
  const tensors: Tensor[] = [];
  const upload = (values: Float32Array, valuesShape: Shape, label: string): Tensor => {
    const tensor = device.upload(values, valuesShape, label);
    tensors.push(tensor);
    return tensor;
  };
  const x = upload(subject.x, shape, "x");
  const fixed = subject.parameters.map((p) => upload(p.values, p.shape, p.name));
  const moved = Array.from({ length: slots }, () => device.tensor(size, "float32", variable));
  const outputs = device.tensor([slots, length], "float32", "outputs");
  const step = uploadStep(device);
  tensors.push(...moved, outputs, step);
  const kept = layer.parameters;
  const program = await device
    .record("differences", (ctx) => {
      moved.forEach((point, slot) => {
        layer.parameters = subject.parameters.map((p, i): Parameter => ({
          name: `${layer.name}.${p.name}`,
          shape: p.shape,
          layer,
          value: p.name === variable ? point : (fixed[i] ?? point),
        }));
        const input = variable === "x" ? point : x;
        const y = layer.forward(ctx, input, passOf(subject, step));
        ctx.copy(y, {
          ...outputs,
          offsetBytes: outputs.offsetBytes + 4 * slot * length,
          shape: y.shape,
        });
        if (!sameMemory(y, input)) ctx.free(y);
      });
    })
    .finally(() => {
      layer.parameters = kept;
    });
  const evaluate = async (points: readonly Float64Array[]): Promise<Float32Array[]> => {
    const results: Float32Array[] = [];
    for (let start = 0; start < points.length; start += slots) {
      const some = points.slice(start, start + slots);
      some.forEach((point, slot) => {
        const tensor = moved[slot];
        if (tensor) device.write(tensor, Float32Array.from(point));
      });
      device.submit(program);
      const all = await device.readFloats(outputs);
      some.forEach((_, slot) => results.push(all.slice(slot * length, (slot + 1) * length)));
    }
    return results;
  };
  return {
    evaluate,
    destroy: () => {
      program.destroy();
      device.release(...tensors);
    },
  };
}

const uploadStep = (device: Device): Tensor =>
  device.upload(stepState({ step: STEP, learningRate: 0, beta1: 0.9, slot: 0 }), [4], "step");
