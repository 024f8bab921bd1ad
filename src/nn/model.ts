/**
 * A network of layers in a row: built once for a device, then recorded into programs.
 */
import type { Context } from "../gpu/context.ts";
import type { Device } from "../gpu/device.ts";
import { ShapeError } from "../gpu/errors.ts";
import { Random } from "../random.ts";
import { elementCount, type Shape, type Tensor } from "../tensor.ts";
import { Dense } from "./dense.ts";
import type { Layer, LayerConfig, Parameter, Pass } from "./layer.ts";
import { checkNetwork, layersOf, shapeProblem, type NetworkConfig } from "./network.ts";
import { Softmax } from "./softmax.ts";
import { summarize } from "./summary.ts";

export interface BuildOptions {
  /** Seeds the initial values; each parameter has a stream of its own, keyed by its name. */
  readonly seed: number;
  /** Images in one step, for which the forward and backward pipelines are compiled. Default 32. */
  readonly batchSize?: number;
}

/** The activations of a recorded forward pass: `outputs[i]` is layer i's, `outputs[-1]` would be the input. */
export interface Activations {
  readonly x: Tensor;
  readonly outputs: readonly Tensor[];
}

/** Layers in a row. Make it from a network, `build()` it for a device, then fit, predict, freeze or give it a new head. */
export class Sequential {
  /** Height, width, channels. */
  readonly input: readonly [number, number, number];
  #layers: Layer[];
  #device: Device | undefined;
  #seed = 0;

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

  /** The device that `build()` was given. */
  get device(): Device {
    if (!this.#device) throw new Error("model: not built; call build(device, { seed }) first");
    return this.#device;
  }

  /**
   * Creates the parameters with their initial values and compiles every pipeline of forward and backward, so that no
   * shape can surprise a kernel and no shader compiles later.
   * @throws ShapeError, DeviceError (out of memory), ShaderError
   */
  async build(device: Device, { seed, batchSize = 32 }: BuildOptions): Promise<this> {
    if (this.#device) throw new Error("model: built already; make a new one for another device");
    this.#device = device;
    this.#seed = seed;
    this.#createParameters(this.#layers);
    await device.finish();
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

  /** Records forward and backward once, only to have their pipelines compiled. */
  async #compile(batchSize: number): Promise<void> {
    const { device } = this;
    const grads = this.trainableParameters();
    for (const parameter of grads) parameter.grad = parameter.value;
    try {
      const program = await device.record("compile", (ctx) => {
        const x = ctx.scratch([batchSize, ...this.input], "float32", "x");
        const step = ctx.scratch([4], "uint32", "step");
        const pass = { training: true, seed: 0, step };
        const activations = this.forward(ctx, x, pass);
        this.backward(ctx, activations, this.logits(activations), pass);
        this.forward(ctx, x, { training: false, seed: 0 });
      });
      program.destroy();
    } finally {
      for (const parameter of grads) delete parameter.grad;
    }
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

  /** Records the forward pass. x: [n, ...input]. Frees each activation when training does not need it. */
  forward(ctx: Context, x: Tensor, pass: Pass): Activations {
    const outputs: Tensor[] = [];
    let current = x;
    for (const [index, layer] of this.#layers.entries()) {
      ctx.scope = `${layer.name} forward`;
      const y = layer.forward(ctx, current, { ...pass, index });
      pass.observe?.(ctx, { layer, kind: "output", name: layer.name, tensor: y });
      const live = pass.training || current.buffer === x.buffer || y.buffer === current.buffer;
      if (!live) ctx.free(current);
      outputs.push(y);
      current = y;
    }
    ctx.scope = "";
    return { x, outputs };
  }

  /** What the loss kernel takes: the input of a final Softmax, else the last output. */
  logits({ x, outputs }: Activations): Tensor {
    return outputs[this.#top] ?? x;
  }

  /**
   * Records the backward pass from the gradient of the loss with respect to the logits, down to the lowest trainable
   * layer. Parameters that have a `grad` get their gradient; frees activations on the way.
   */
  backward(ctx: Context, { x, outputs }: Activations, dLogits: Tensor, pass: Pass): void {
    const lowest = this.lowestTrainable();
    if (lowest < 0)
      throw new Error("model: every layer is frozen, so there is nothing to train; unfreeze one");
    let dy = dLogits;
    for (let index = this.#top; index >= lowest; index--) {
      const layer = this.#layers[index];
      const y = outputs[index];
      const input = outputs[index - 1] ?? x;
      if (!layer || !y) throw new Error(`model: no activation of layer ${index}`);
      ctx.scope = `${layer.name} backward`;
      const dx = layer.backward(ctx, { x: input, y, dy }, index > lowest, { ...pass, index });
      for (const { name, grad } of layer.parameters)
        if (grad) pass.observe?.(ctx, { layer, kind: "parameter gradient", name, tensor: grad });
      if (!dx) break;
      pass.observe?.(ctx, { layer, kind: "input gradient", name: layer.name, tensor: dx });
      // Buffers, not tensors: a layer that passes its input on gives back what it got, perhaps in another shape.
      if (dy.buffer !== dLogits.buffer) {
        if (dx.buffer !== dy.buffer) ctx.free(dy);
        if (y.buffer !== input.buffer) ctx.free(y);
      }
      dy = dx;
    }
    ctx.scope = "";
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
