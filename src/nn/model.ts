/**
 * A network of layers in a row: built once for a device, then recorded into programs.
 */
import type { Context } from "../gpu/context.ts";
import type { Device } from "../gpu/device.ts";
import type { ScratchMemory } from "../gpu/memory_plan.ts";
import { plannedMemory } from "../gpu/program.ts";
import { Random } from "../random.ts";
import { elementCount, sameMemory, ShapeError, type Shape, type Tensor } from "../tensor.ts";
import { Choices, operationKey, type Operation } from "../kernels/choices.ts";
import { leakyReluBiasGrad, leakyReluGrad } from "../kernels/leaky_relu.ts";
import { Dense } from "./dense.ts";
import type { BackwardReads, Layer, LayerConfig, LayerPass, Parameter, Pass } from "./layer.ts";
import { LeakyReLU } from "./leaky_relu.ts";
import { MaxPool2D } from "./max_pool2d.ts";
import { checkNetwork, layersOf, shapeProblem, type NetworkConfig } from "./network.ts";
import {
  backwardLayer,
  expectPrecision,
  forwardLayer,
  precisionOf,
  weightCopy,
  type Precision,
} from "./precision.ts";
import { Softmax } from "./softmax.ts";
import { summarize } from "./summary.ts";
import { tuneOperations } from "./tune.ts";
import { loadChoices } from "./choices_file.ts";

export interface BuildOptions {
  /** Seeds the initial values; each parameter has a stream of its own, keyed by its name. */
  readonly seed: number;
  /** Images in one step, for which the forward and backward pipelines are compiled. Default 32. */
  readonly batchSize?: number;
  /**
   * Let layers apply the leaky ReLU behind them themselves. The same numbers, but for the order of some sums, in less
   * time and memory. Default: yes, unless the environment has TUNINGFORK_FUSE=0.
   */
  readonly fuse?: boolean;
  /**
   * How algorithms are chosen: by the adapter's class (`off`), as measured on this adapter before where it was (`cached`),
   * or measured now where it was not (`full`; seconds to minutes). Default: TUNINGFORK_TUNE of the environment, else
   * `cached`.
   */
  readonly tune?: TuneMode;
  /**
   * `mixed` stores activations and their gradients in float16, half the memory, where the adapter has shader-f16; sums,
   * parameters and the optimizer stay float32. Default: TUNINGFORK_PRECISION of the environment, else `float32`.
   */
  readonly precision?: Precision | undefined;
}

export const TUNE_MODES = ["off", "cached", "full"] as const;
export type TuneMode = (typeof TUNE_MODES)[number];

function tuneMode(): TuneMode {
  const asked = process.env["TUNINGFORK_TUNE"] || "cached";
  const mode = TUNE_MODES.find((name) => name === asked);
  if (!mode) throw new Error(`TUNINGFORK_TUNE: expected ${TUNE_MODES.join(", ")}, got "${asked}"`);
  return mode;
}

/**
 * The activations of a recorded forward pass: `outputs[i]` is layer i's, `outputs[-1]` would be the input. Those that
 * nothing recorded later reads are freed: give `observe` to see them.
 */
export interface Activations {
  readonly x: Tensor;
  readonly outputs: readonly Tensor[];
  /** What layers keep for backward beside their inputs and outputs. */
  readonly kept: Map<Layer, Tensor>;
  /** Float16 copies of weights, for backward. */
  readonly weights: ReadonlyMap<Layer, Tensor>;
  /** Outputs that were freed already. */
  readonly freed: readonly Tensor[];
}

/** Layers in a row. Make it from a network, `build()` it for a device, then fit, predict, freeze or give it a new head. */
export class Sequential {
  /** Height, width, channels. */
  readonly input: readonly [number, number, number];
  #layers: Layer[];
  #device: Device | undefined;
  #seed = 0;
  #fuse = true;
  #precision: Precision = "float32";
  #choices = new Choices();

  /**
   * @param network as a network file has it, or the input shape and layers of one's own
   * @throws NetworkError, ShapeError when the layers do not fit together
   */
  constructor(
    network: NetworkConfig | { input: readonly [number, number, number]; layers: Layer[] },
  ) {
    this.input = network.input;
    this.#layers = isLayers(network.layers) ? network.layers : layersOf(checkNetwork(network));
    this.shapes();
  }

  get layers(): readonly Layer[] {
    return this.#layers;
  }

  /** The input shape and each layer's output shape, without the batch axis. @throws ShapeError naming the layer */
  shapes(): Shape[] {
    const shapes: Shape[] = [this.input];
    this.#layers.forEach((layer, index) => {
      if (layer instanceof Softmax && index !== this.#layers.length - 1)
        throw new ShapeError(`Softmax "${layer.name}"`, "only the last layer may be a Softmax");
      try {
        const shape = layer.outputShape(shapes[index] ?? []);
        layer.parameterSpecs(shapes[index] ?? []);
        shapes.push(shape);
      } catch (error) {
        throw shapeProblem(layer, error);
      }
    });
    return shapes;
  }

  /** Outputs of the last layer: the number of classes of a classifier. */
  get classCount(): number {
    return elementCount(this.shapes().at(-1) ?? []);
  }

  /** The layer that yields the logits. */
  get #top(): number {
    return this.#layers.length - (this.endsInSoftmax ? 2 : 1);
  }

  get endsInSoftmax(): boolean {
    return this.#layers.at(-1) instanceof Softmax;
  }

  get isBuilt(): boolean {
    return this.#device !== undefined;
  }

  /** The device that `build()` was given. */
  get device(): Device {
    if (!this.#device) throw new Error("model: not built; call build(device, { seed }) first");
    return this.#device;
  }

  /** As `build()` was told: what training, prediction and evaluation compute in. */
  get precision(): Precision {
    return this.#precision;
  }

  /** What inputs and activations are stored in. */
  get activationType(): "float32" | "float16" {
    return this.#precision === "mixed" ? "float16" : "float32";
  }

  /**
   * Creates the parameters with their initial values and compiles every pipeline of forward and backward, so that no
   * shape can surprise a kernel and no shader compiles later.
   * @throws ShapeError, DeviceError (out of memory, no float16), ShaderError
   */
  async build(device: Device, options: BuildOptions): Promise<this> {
    const { seed, batchSize = 32, fuse = process.env["TUNINGFORK_FUSE"] !== "0" } = options;
    const { tune = tuneMode() } = options;
    const precision = precisionOf(options.precision);
    if (this.#device) throw new Error("model: built already; make a new one for another device");
    expectPrecision(device, precision);
    this.#precision = precision;
    this.#device = device;
    this.#seed = seed;
    this.#fuse = fuse;
    this.#createParameters(this.#layers);
    await device.finish();
    await this.#tune(tune, batchSize);
    await this.#compile(batchSize);
    return this;
  }

  /** The parameters of neighbouring layers lie one after another, so that the optimizer updates them as one. */
  #createParameters(layers: readonly Layer[]): void {
    const shapes = this.shapes();
    const specs = this.#layers.flatMap((layer, index) =>
      layers.includes(layer)
        ? layer
            .parameterSpecs(shapes[index] ?? [])
            .map(({ name, ...spec }) => ({ ...spec, layer, label: `${layer.name}.${name}` }))
        : [],
    );
    for (const layer of layers) layer.parameters = [];
    this.device.packed(specs).forEach((value, i) => {
      const spec = specs[i];
      if (!spec) return;
      const { label: name, shape, init, layer } = spec;
      const values = new Float32Array(elementCount(shape));
      init(values, shape, new Random(this.#seed, `init ${name}`));
      this.device.write(value, values);
      layer.parameters.push({ name, shape, layer, value });
    });
  }

  /** The measured algorithms that programs recorded from now on take. A checkpoint has those of its run. */
  get choices(): Choices {
    return this.#choices;
  }

  useChoices(choices: Choices): void {
    this.#choices = choices;
  }

  async #tune(mode: TuneMode, batchSize: number): Promise<void> {
    if (mode === "off") return;
    const { device } = this;
    const warn = (message: string) => {
      process.emitWarning(message);
    };
    this.#choices = await loadChoices(device, warn);
    if (mode === "cached") return;
    const known = new Set(this.#choices.entries().map(([key]) => key));
    const unknown = this.operations(batchSize).filter((o) => !known.has(operationKey(o)));
    for (const { operation, chosen } of await tuneOperations(device, unknown))
      this.#choices.set(operation, chosen);
  }

  /** The operations of a training step that have more than one algorithm. */
  operations(batchSize: number): readonly Operation[] {
    const before = this.#choices;
    const asked = new Choices();
    this.#choices = asked;
    try {
      this.stepMemory(batchSize);
    } finally {
      this.#choices = before;
    }
    return asked.asked;
  }

  /** Records training and inference once, only to have their pipelines compiled. */
  async #compile(batchSize: number): Promise<void> {
    const program = await this.device.record("compile", (ctx) => {
      this.#recordStep(ctx, batchSize);
      const x = ctx.scratch([batchSize, ...this.input], this.activationType, "x");
      this.forward(ctx, x, { training: false, seed: 0 });
    });
    program.destroy();
  }

  /** What the activations and gradients of a training step take, planned and without a plan. @throws when not built */
  stepMemory(batchSize: number): ScratchMemory {
    return plannedMemory(this.device, (ctx) => {
      this.#recordStep(ctx, batchSize);
    });
  }

  /** Forward and backward, with the parameters' own memory in place of their gradients'. */
  #recordStep(ctx: Context, batchSize: number): void {
    if (this.lowestTrainable() < 0) return;
    const borrowed = this.trainableParameters().filter(({ grad }) => !grad);
    for (const parameter of borrowed) parameter.grad = parameter.value;
    const x = ctx.scratch([batchSize, ...this.input], this.activationType, "x");
    const step = ctx.scratch([4], "uint32", "step");
    const pass = { training: true, seed: 0, step };
    const activations = this.forward(ctx, x, pass);
    const { shape, dtype } = this.logits(activations);
    const dLogits = ctx.scratch(shape, dtype, "logits.dx");
    this.backward(ctx, activations, dLogits, pass);
    ctx.free(x);
    for (const parameter of borrowed) delete parameter.grad;
  }

  parameters(): Parameter[] {
    return this.#layers.flatMap((layer) => layer.parameters);
  }

  trainableParameters(): Parameter[] {
    return this.parameters().filter((parameter) => parameter.layer.trainable);
  }

  /** The index of the lowest layer that learns; backward stops there. -1 when none does. */
  lowestTrainable(): number {
    return this.#layers.findIndex((layer) => layer.trainable && layer.parameters.length > 0);
  }

  /** Stops layers from learning. Takes effect in programs recorded from then on. */
  freeze(which: readonly string[] | ((layer: Layer) => boolean)): this {
    return this.#setTrainable(which, false);
  }

  unfreeze(which: readonly string[] | ((layer: Layer) => boolean)): this {
    return this.#setTrainable(which, true);
  }

  #setTrainable(which: readonly string[] | ((layer: Layer) => boolean), trainable: boolean): this {
    if (typeof which === "function") {
      for (const layer of this.#layers) if (which(layer)) layer.trainable = trainable;
      return this;
    }
    for (const name of which) this.layer(name).trainable = trainable;
    return this;
  }

  /** @throws Error naming the layers that there are */
  layer(name: string): Layer {
    const layer = this.#layers.find((candidate) => candidate.name === name);
    if (!layer)
      throw new Error(
        `model: no layer "${name}"; it has ${this.#layers.map((l) => l.name).join(", ")}`,
      );
    return layer;
  }

  /**
   * A new, untrained last Dense layer of `units` outputs on the old body. Keeps the layer's name and the Softmax.
   * @param seed of the new layer's initial values; default: the seed of `build()`
   */
  replaceHead(units: number, seed = this.#seed): this {
    const index = this.#layers.findLastIndex((layer) => layer instanceof Dense);
    const old = this.#layers[index];
    if (!old) throw new Error("replaceHead: the network has no Dense layer");
    const head = new Dense(old.name, { ...(old.config() as { units: number }), units });
    this.#layers = this.#layers.with(index, head);
    this.shapes();
    if (this.#device) {
      this.#device.release(...old.parameters.map((parameter) => parameter.value));
      this.#seed = seed;
      this.#createParameters([head]);
    }
    return this;
  }

  /**
   * Records the forward pass. x: [n, ...input], of `activationType`; float32 always works. Frees each activation that neither a later layer nor backward reads.
   * In training a final Softmax is left out: the loss takes the logits.
   */
  forward(ctx: Context, x: Tensor, pass: Pass): Activations {
    const outputs: Tensor[] = [];
    const kept = new Map<Layer, Tensor>();
    const weights = new Map<Layer, Tensor>();
    const freed: Tensor[] = [];
    const last = pass.training ? this.#top : this.#layers.length - 1;
    let current = x;
    ctx.choices = this.#choices;
    for (const [index, layer] of this.#layers.slice(0, last + 1).entries()) {
      ctx.scope = `${layer.name} forward`;
      const leakySlope = this.#fusedSlope(index, pass);
      const absorbed = this.#fusedSlope(index - 1, pass) !== undefined;
      const weight = weightCopy(ctx, layer, current);
      const y = absorbed
        ? current
        : forwardLayer(ctx, layer, current, {
            ...pass,
            index,
            kept,
            ...(leakySlope !== undefined && { leakySlope }),
            ...(weight && { weight }),
          });
      if (weight && pass.training && this.#needsDx(index)) weights.set(layer, weight);
      else if (weight) ctx.free(weight);
      pass.observe?.(ctx, { layer, kind: "output", name: layer.name, tensor: y });
      outputs.push(y);
      const passedOn = sameMemory(current, x) || sameMemory(current, y);
      if (!passedOn && !this.#readInBackward(current, outputs, kept, pass)) {
        ctx.free(current);
        freed.push(current);
      }
      current = y;
    }
    ctx.scope = "";
    return { x, outputs, kept, weights, freed };
  }

  /** Whether backward of layer `index` computes the gradient of its input: layers below it learn. */
  #needsDx(index: number): boolean {
    const lowest = this.lowestTrainable();
    return lowest >= 0 && index > lowest;
  }

  /**
   * The slope of the leaky ReLU behind layer `index` which that layer applies itself. Backward then takes the sign from
   * the output, so the slope must not be negative; and an observer wants to see every output as it is.
   */
  #fusedSlope(index: number, pass: Pass): number | undefined {
    const next = this.#layers[index + 1];
    const fuses = this.#fuse && !pass.observe && this.#layers[index]?.fusesActivation === true;
    return fuses && next instanceof LeakyReLU && next.slope >= 0 ? next.slope : undefined;
  }

  /** Whether a max pooling stands behind a leaky ReLU that another layer applies: it then masks the gradient, too. */
  #poolsFused(index: number, pass: Pass): boolean {
    const isPool = this.#layers[index] instanceof MaxPool2D;
    return isPool && this.#fusedSlope(index - 2, pass) !== undefined;
  }

  /** Whether backward reads an output that the layers so far, `outputs`, have seen. */
  #readInBackward(
    tensor: Tensor,
    outputs: readonly Tensor[],
    kept: Map<Layer, Tensor>,
    pass: Pass,
  ): boolean {
    const lowest = this.lowestTrainable();
    if (!pass.training || lowest < 0) return false;
    return outputs.some((y, index) => {
      if (index < lowest) return false;
      const reads = this.#backwardReads(index, kept, pass);
      const x = outputs[index - 1];
      const readsX = reads.x && x !== undefined && sameMemory(x, tensor);
      return readsX || (reads.y && sameMemory(y, tensor));
    });
  }

  #backwardReads(index: number, kept: Map<Layer, Tensor>, pass: Pass): BackwardReads {
    const layer = this.#layers[index];
    const reads = layer?.backwardReads({ ...pass, index, kept }) ?? { x: true, y: true };
    const absorbed = this.#fusedSlope(index - 1, pass) !== undefined;
    // The sign comes from the leaky ReLU's output, or from that of the pooling behind it.
    if (absorbed) return { x: false, y: !this.#poolsFused(index + 1, pass) };
    return this.#poolsFused(index, pass) ? { ...reads, y: true } : reads;
  }

  /** What the loss kernel takes: the input of a final Softmax, else the last output. */
  logits({ x, outputs }: Activations): Tensor {
    return outputs[this.#top] ?? x;
  }

  /**
   * Records the backward pass from the gradient of the loss with respect to the logits, down to the lowest trainable
   * layer. Parameters that have a `grad` get their gradient; frees activations on the way.
   */
  backward(ctx: Context, activations: Activations, dLogits: Tensor, pass: Pass): void {
    const { x, outputs, kept, weights, freed } = activations;
    const lowest = this.lowestTrainable();
    if (lowest < 0)
      throw new Error("model: every layer is frozen, so there is nothing to train; unfreeze one");
    let dy = dLogits;
    ctx.choices = this.#choices;
    for (let index = this.#top; index >= lowest; index--) {
      const layer = this.#layers[index];
      const y = outputs[index];
      const input = outputs[index - 1] ?? x;
      if (!layer || !y) throw new Error(`model: no activation of layer ${index}`);
      ctx.scope = `${layer.name} backward`;
      const weight = weights.get(layer);
      const layerPass = { ...pass, index, kept, ...(weight && { weight }) };
      const dx = this.#layerBackward(ctx, layer, { x: input, y, dy }, layerPass);
      if (weight) ctx.free(weight);
      for (const { name, grad } of layer.parameters)
        if (grad) pass.observe?.(ctx, { layer, kind: "parameter gradient", name, tensor: grad });
      if (!dx) break;
      pass.observe?.(ctx, { layer, kind: "input gradient", name: layer.name, tensor: dx });
      const extra = kept.get(layer);
      if (extra) ctx.free(extra);
      if (!sameMemory(dy, dLogits)) {
        if (!sameMemory(dx, dy)) ctx.free(dy);
        if (!sameMemory(y, input) && !freed.some((gone) => sameMemory(gone, y))) ctx.free(y);
      }
      dy = dx;
    }
    ctx.scope = "";
  }

  /**
   * One layer's backward. A leaky ReLU that was fused into the layer below it masks dy and sums the bias gradient at
   * once; with a max pooling behind it before the pooling's gradient, where there are fewer elements, since both agree:
   * only the maximum of a window has a gradient, and its sign is that of the pooling's output.
   */
  #layerBackward(
    ctx: Context,
    layer: Layer,
    tensors: { readonly x: Tensor; readonly y: Tensor; readonly dy: Tensor },
    pass: LayerPass,
  ): Tensor | undefined {
    const { index } = pass;
    const absorbed = this.#fusedSlope(index - 1, pass) !== undefined;
    if (absorbed)
      return this.#poolsFused(index + 1, pass)
        ? tensors.dy
        : this.#maskedGradient(ctx, index - 1, tensors, pass);
    const masked = this.#poolsFused(index, pass)
      ? this.#maskedGradient(ctx, index - 2, tensors, pass)
      : tensors.dy;
    const hasBiasGrad = this.#fusedSlope(index, pass) !== undefined;
    const dx = backwardLayer(ctx, layer, { ...tensors, dy: masked }, this.#needsDx(index), {
      ...pass,
      hasBiasGrad,
    });
    if (masked !== tensors.dy) ctx.free(masked);
    return dx;
  }

  /** dy through the leaky ReLU that layer `index` applied itself, and the gradient of that layer's bias, if it learns. */
  #maskedGradient(
    ctx: Context,
    index: number,
    { y, dy }: { readonly y: Tensor; readonly dy: Tensor },
    pass: Pass,
  ): Tensor {
    const layer = this.#layers[index];
    const slope = this.#fusedSlope(index, pass) ?? 1;
    const dx = ctx.scratch(dy.shape, dy.dtype, `${layer?.name ?? ""}.dy`);
    const db = layer?.parameters.find(({ name }) => name === `${layer.name}.bias`)?.grad;
    if (db) leakyReluBiasGrad(ctx, { y, dy }, { slope }, { dx, db });
    else leakyReluGrad(ctx, { x: y, dy }, { slope }, dx);
    return dx;
  }

  /** A table of layers: shape, parameters, trainable or frozen, FLOPs, memory, and totals. */
  summary(batchSize = 32): string {
    return summarize(this, batchSize);
  }

  /** The network as a network file has it. */
  config(): NetworkConfig {
    return {
      input: [...this.input],
      layers: this.#layers.map((layer): LayerConfig => ({
        type: layer.type,
        name: layer.name,
        ...layer.config(),
        ...(layer.trainable ? {} : { trainable: false }),
      })),
    };
  }

  /** Gives the parameters' memory back. */
  destroy(): void {
    if (!this.#device) return;
    this.#device.release(...this.parameters().map((parameter) => parameter.value));
    for (const layer of this.#layers) layer.parameters = [];
    this.#device = undefined;
  }
}

function isLayers(layers: readonly Layer[] | readonly LayerConfig[]): layers is Layer[] {
  return layers.every((layer) => "forward" in layer);
}
