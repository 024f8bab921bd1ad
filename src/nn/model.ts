/**
 * A network of layers in a row: built once for a device, then recorded into programs.
 */
import type { Context } from "../gpu/context.ts";
import type { Device } from "../gpu/device.ts";
import type { ScratchMemory } from "../gpu/memory_plan.ts";
import { plannedMemory } from "../gpu/record.ts";
import { Random } from "../random.ts";
import { elementCount, ShapeError, type Shape, type Tensor } from "../tensor.ts";
import { Choices, operationKey, type Operation } from "../kernels/choices.ts";
import { loadChoices } from "./choices_file.ts";
import { Dense } from "./dense.ts";
import type { Layer, LayerConfig, Parameter, Pass } from "./layer.ts";
import { checkNetwork, layersOf, shapeProblem, type NetworkConfig } from "./network.ts";
import { logitsIndex, lowestTrainable, Passes, type Activations } from "./passes.ts";
import { expectPrecision, precisionOf, type Precision } from "./precision.ts";
import { Softmax } from "./softmax.ts";
import { summarize } from "./summary.ts";
import { tuneOperations } from "./tune.ts";

/** What `Sequential.build` takes. */
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

/** What `TUNINGFORK_TUNE` says; `cached` without. @throws Error for an unknown value */
export function tuneMode(): TuneMode {
  const asked = process.env["TUNINGFORK_TUNE"] || "cached";
  const mode = TUNE_MODES.find((name) => name === asked);
  if (!mode) throw new Error(`TUNINGFORK_TUNE: expected ${TUNE_MODES.join(", ")}, got "${asked}"`);
  return mode;
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

  /** From the input to the output. */
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

  /** Whether the last layer is a Softmax, which training leaves to the loss. */
  get endsInSoftmax(): boolean {
    return this.#layers.at(-1) instanceof Softmax;
  }

  /** Whether `build()` has given it a device and parameters. */
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

  /** Takes these algorithms in programs recorded from now on. */
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
    if (lowestTrainable(this.#layers) < 0) return;
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

  /** Of all layers, in their order; none before `build()`. */
  parameters(): Parameter[] {
    return this.#layers.flatMap((layer) => layer.parameters);
  }

  /** Those of the layers that are not frozen. */
  trainableParameters(): Parameter[] {
    return this.parameters().filter((parameter) => parameter.layer.trainable);
  }

  /** Stops layers from learning. Takes effect in programs recorded from then on. */
  freeze(which: readonly string[] | ((layer: Layer) => boolean)): this {
    return this.#setTrainable(which, false);
  }

  /** Lets layers learn again. Takes effect in programs recorded from then on. */
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
   * Records the forward pass. x: [n, ...input], of `activationType`; float32 always works. Frees each activation that
   * neither a later layer nor backward reads. In training a final Softmax is left out: the loss takes the logits.
   */
  forward(ctx: Context, x: Tensor, pass: Pass): Activations {
    ctx.choices = this.#choices;
    return new Passes(this.#layers, this.#fuse).forward(ctx, x, pass);
  }

  /** What the loss kernel takes: the input of a final Softmax, else the last output. */
  logits({ x, outputs }: Activations): Tensor {
    return outputs[logitsIndex(this.#layers)] ?? x;
  }

  /**
   * Records the backward pass from the gradient of the loss with respect to the logits, down to the lowest trainable
   * layer. Parameters that have a `grad` get their gradient; frees activations on the way.
   */
  backward(ctx: Context, activations: Activations, dLogits: Tensor, pass: Pass): void {
    ctx.choices = this.#choices;
    new Passes(this.#layers, this.#fuse).backward(ctx, activations, dLogits, pass);
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
