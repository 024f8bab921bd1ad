/** Whole networks: the gradients of a layer's parameters against differences of the loss, one direction a layer. */
import type { Context } from "../gpu/context.ts";
import type { Device } from "../gpu/device.ts";
import { softmaxCrossEntropy } from "../kernels/softmax_cross_entropy.ts";
import { stepState } from "../kernels/step_state.ts";
import type { Layer, Parameter, Pass } from "../nn/layer.ts";
import { layerLabel } from "../nn/shapes.ts";
import type { Sequential } from "../nn/model.ts";
import { Random } from "../random.ts";
import { formatShape, type Tensor } from "../tensor.ts";
import { compare, FLOAT32_EPSILON } from "./close.ts";
import { isUnwritten, unwritten, type Guarded } from "./guarded.ts";
import { awayFromZero, randomFloats } from "./inputs.ts";
import {
  checkedTensor,
  makeReport,
  type CheckedTensor,
  type GradientProblem,
  type GradientReport,
} from "./report.ts";

export interface ModelCheckOptions {
  /** Images in the batch. Default 2. */
  readonly batchSize?: number | undefined;
  /** Of images, labels, directions, and of the initial values of a model that is not built. Default 1. */
  readonly seed?: number | undefined;
}

/**
 * Moves the parameters of each layer that learns along a direction near their gradient and compares how the loss changes
 * with what the gradient says. The loss is softmax cross-entropy of random labels, with dropout as in training; a network
 * of one output has its sum instead. A built model gets its parameters back; one that is not is built for the check. All
 * in float32, whatever precision the model was built for: differences of the loss would drown in float16.
 */
export async function checkModel(
  device: Device,
  model: Sequential,
  { batchSize = 2, seed = 1 }: ModelCheckOptions,
): Promise<GradientReport> {
  const built = model.parameters().length > 0;
  if (!built) await model.build(device, { seed, batchSize, precision: "float32" });
  const check = new ModelCheck(device, model, batchSize, seed);
  try {
    await check.run();
  } finally {
    check.release();
    if (!built) model.destroy();
  }
  const name = `network of ${model.layers.length} layers at ${formatShape([batchSize, ...model.input])}`;
  return makeReport(name, check.tensors, check.problems);
}

class ModelCheck {
  readonly tensors: CheckedTensor[] = [];
  readonly problems: GradientProblem[] = [];
  readonly #device: Device;
  readonly #model: Sequential;
  readonly #n: number;
  readonly #seed: number;
  readonly #owned: Tensor[] = [];
  readonly #grads = new Map<Parameter, Guarded>();
  readonly #x: Tensor;
  readonly #labels: Tensor;
  readonly #step: Tensor;
  readonly #rowLoss: Tensor;
  readonly #correct: Tensor;

  constructor(device: Device, model: Sequential, n: number, seed: number) {
    this.#device = device;
    this.#model = model;
    this.#n = n;
    this.#seed = seed;
    const own = (tensor: Tensor): Tensor => {
      this.#owned.push(tensor);
      return tensor;
    };
    const shape = [n, ...model.input];
    const random = new Random(seed, "labels");
    const labels = Int32Array.from({ length: n }, () => random.below(model.classCount));
    this.#x = own(device.upload(randomFloats(shape, seed, "images"), shape, "x"));
    this.#labels = own(device.upload(labels, [n], "labels"));
    const state = stepState({ step: 0, learningRate: 0, beta1: 0.9, slot: 0 });
    this.#step = own(device.upload(state, [4], "step"));
    this.#rowLoss = own(device.tensor([n], "float32", "rowLoss"));
    this.#correct = own(device.tensor([n], "uint32", "correct"));
  }

  async run(): Promise<void> {
    const layers = this.#model.layers.filter(
      ({ trainable, parameters }) => trainable && parameters.length > 0,
    );
    const gradients = await this.#gradients();
    if (this.problems.length > 0) return;
    const loss = await this.#lossProgram();
    try {
      for (const layer of layers) await this.#checkLayer(layer, gradients, loss.run);
    } finally {
      loss.destroy();
    }
  }

  release(): void {
    for (const grad of this.#grads.values()) grad.release();
    this.#device.release(...this.#owned);
  }

  /** Records the loss from the logits, and its gradient where `dx` is given. */
  #recordLoss(ctx: Context, logits: Tensor, dx?: Tensor): void {
    const outputs = { rowLoss: this.#rowLoss, correct: this.#correct };
    const inputs = { x: logits, labels: this.#labels };
    softmaxCrossEntropy(ctx, inputs, dx ? { ...outputs, dx } : outputs);
  }

  get #pass(): Pass {
    return { training: true, seed: this.#seed, step: this.#step };
  }

  /** One output is no classifier: its loss is the output itself, summed over the batch. */
  get #single(): boolean {
    return this.#model.classCount === 1;
  }

  async #gradients(): Promise<ReadonlyMap<Parameter, Float32Array>> {
    const device = this.#device;
    const parameters = this.#model.trainableParameters();
    for (const parameter of parameters) {
      const grad = unwritten(device, parameter.shape, "float32", `${parameter.name}.grad`);
      this.#grads.set(parameter, grad);
      parameter.grad = grad.tensor;
    }
    const shape = [this.#n, this.#model.classCount];
    const ones = device.upload(new Float32Array(this.#n).fill(1), [this.#n, 1], "ones");
    try {
      await device.run("gradients", (ctx) => {
        const activations = this.#model.forward(ctx, this.#x, this.#pass);
        const dLogits = ctx.scratch(shape, "float32", "logits.dx");
        const logits = this.#model.logits(activations);
        if (!this.#single) this.#recordLoss(ctx, logits, dLogits);
        this.#model.backward(ctx, activations, this.#single ? ones : dLogits, this.#pass);
      });
    } finally {
      device.release(ones);
      for (const parameter of parameters) delete parameter.grad;
    }
    const values = new Map<Parameter, Float32Array>();
    for (const [parameter, grad] of this.#grads) {
      const { words, overrun } = await grad.inspect();
      const floats = new Float32Array(words.buffer);
      values.set(parameter, floats);
      const problem = (kind: GradientProblem["kind"], message: string) =>
        this.problems.push({ kind, message: `${parameter.name}: ${message}` });
      if (overrun) problem("written outside", "a kernel wrote outside its gradient");
      const left = words.filter(isUnwritten).length;
      if (left > 0)
        problem(
          "not written",
          `${left} of ${words.length} elements of its gradient are never written`,
        );
      else if (!floats.every(Number.isFinite)) problem("not finite", "its gradient is not finite");
    }
    return values;
  }

  /** The loss at the parameters as they are. */
  async #lossProgram(): Promise<{ run: () => Promise<number>; destroy: () => void }> {
    const device = this.#device;
    const output = device.tensor([this.#n, this.#model.classCount], "float32", "logits");
    const program = await device.record("loss", (ctx) => {
      const activations = this.#model.forward(ctx, this.#x, this.#pass);
      ctx.copy(this.#model.logits(activations), output);
      if (!this.#single) this.#recordLoss(ctx, output);
    });
    return {
      run: async () => {
        device.submit(program);
        const values = await device.readFloats(this.#single ? output : this.#rowLoss);
        return values.reduce((sum, value) => sum + value, 0) / (this.#single ? 1 : this.#n);
      },
      destroy: () => {
        program.destroy();
        device.release(output);
      },
    };
  }

  async #checkLayer(
    layer: Layer,
    gradients: ReadonlyMap<Parameter, Float32Array>,
    loss: () => Promise<number>,
  ): Promise<void> {
    const device = this.#device;
    // Near the gradient itself, so that a fault in any part shows; a direction quite at random would hide it in noise.
    const moves: { parameter: Parameter; values: Float32Array; direction: Float32Array }[] = [];
    let slope = 0;
    let length = 0;
    let size = 0;
    for (const parameter of layer.parameters) {
      const gradient = gradients.get(parameter);
      if (!gradient) continue;
      const factors = awayFromZero(parameter.shape, this.#seed, `direction ${parameter.name}`);
      const still = gradient.every((g) => g === 0);
      const direction = gradient.map((g, i) => (still ? 1 : g) * (1 + 0.5 * (factors[i] ?? 0)));
      const values = await device.readFloats(parameter.value);
      moves.push({ parameter, values, direction });
      direction.forEach((d, i) => {
        slope += d * (gradient[i] ?? NaN);
        length += d * d;
        size += (values[i] ?? NaN) ** 2;
      });
    }
    const norm = Math.sqrt(length);
    const lossAt = async (distance: number): Promise<number> => {
      for (const { parameter, values, direction } of moves)
        device.write(
          parameter.value,
          values.map((value, i) => value + (distance / norm) * (direction[i] ?? NaN)),
        );
      return loss();
    };
    const found = await slopeOf(lossAt, 0.01 * Math.max(0.1, Math.sqrt(size)));
    for (const { parameter, values } of moves) device.write(parameter.value, values);

    const got = slope / norm;
    const bound = 1e-2 * Math.abs(found.slope) + found.error;
    const want = { values: Float64Array.of(found.slope), bounds: Float64Array.of(bound) };
    const comparison = compare([got], want, [1]);
    const against = "differences of the loss along one direction";
    const tensor = checkedTensor(`gradients of ${layerLabel(layer)}`, [1], against, comparison);
    this.tensors.push(tensor);
    if (comparison.failed > 0)
      this.problems.push({
        kind: "gradient",
        message:
          `${layerLabel(layer)}: along its gradient the loss changes at a rate of ${found.slope.toPrecision(4)}, the gradient says ${got.toPrecision(4)}` +
          "; the fault is in its parameters' gradients, or in the dx of a layer above it: check the layers one by one",
        tensor,
      });
    else if (bound > 0.2 * Math.abs(got) && got !== 0)
      this.problems.push({
        kind: "not smooth",
        message: `${layerLabel(layer)}: differences of the loss say too little: ${found.slope.toPrecision(3)} +- ${found.error.toPrecision(2)}; take another seed or a larger batch`,
        tensor,
      });
  }
}

/**
 * The derivative at 0 by central differences, at the step that leaves the least open: rounding below; above, the distance
 * of the two one-sided differences and that from the step before, which are large where a ReLU or a pooling bends within
 * the step.
 */
async function slopeOf(
  lossAt: (distance: number) => Promise<number>,
  largest: number,
): Promise<{ slope: number; error: number }> {
  let best = { slope: NaN, error: Infinity };
  const here = await lossAt(0);
  let last = NaN;
  for (let h = largest; h > largest / 5000; h /= 4) {
    const [above, below] = [await lossAt(h), await lossAt(-h)];
    const slope = (above - below) / (2 * h);
    const bend = Math.abs(above - here - (here - below)) / (2 * h);
    const rounding = (4 * FLOAT32_EPSILON * Math.max(Math.abs(above), Math.abs(below))) / h;
    const error = rounding + bend + Math.abs(slope - last);
    if (error < best.error) best = { slope, error };
    last = slope;
  }
  return best;
}
