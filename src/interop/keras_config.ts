/**
 * Keras' description of a model (the same JSON in `.h5`, `.keras` and TensorFlow.js' `model.json`) as a network of ours, and
 * back. Keras 2 and 3 differ in a few names, and both are read.
 */
import type { Padding } from "../geometry.ts";
import type { LayerConfig } from "../nn/layer.ts";
import type { Sequential } from "../nn/model.ts";
import type { NetworkConfig } from "../nn/network.ts";
import { InteropError } from "./files.ts";
import { stepsOf, type Step } from "./steps.ts";

type Json = Readonly<Record<string, unknown>>;

/** A network out of a Keras model, and whether it begins by scaling pixels itself. */
export interface KerasNetwork {
  readonly network: NetworkConfig;
  /** True where a `Rescaling` by 1/255 was found, which our own scaling of pixels replaces. */
  readonly rescales: boolean;
}

/**
 * Reads `{"class_name":"Sequential","config":{...}}`; of functional models those whose layers stand in a row.
 * @throws InteropError naming the first layer that has no counterpart here, and why
 */
export function networkOfKeras(json: unknown, where: string): KerasNetwork {
  const reader = new KerasReader(where);
  const model = record(json);
  const { class_name: kind, config } = model;
  if (kind !== "Sequential" && kind !== "Functional" && kind !== "Model")
    throw new InteropError(
      `${where}: expected a Sequential or Functional model, got ${JSON.stringify(kind)}; give the network with --network FILE.json`,
    );
  const layers = Array.isArray(config) ? (config as unknown[]) : record(config)["layers"];
  for (const layer of Array.isArray(layers) ? (layers as unknown[]) : []) reader.add(record(layer));
  return reader.finish();
}

class KerasReader {
  readonly #where: string;
  readonly #layers: LayerConfig[] = [];
  #input: [number, number, number] | undefined;
  #rescales = false;
  /** Of a ZeroPadding2D that waits for its convolution. */
  #padding: Padding | undefined;
  #before: string | undefined;
  #at = "";

  constructor(where: string) {
    this.#where = where;
  }

  #refuse(what: string): never {
    throw new InteropError(`${this.#where}: ${this.#at}: ${what}`);
  }

  add(layer: Json): void {
    const type = String(layer["class_name"]);
    const config = record(layer["config"]);
    const named = config["name"] ?? layer["name"];
    const original = typeof named === "string" ? named : type.toLowerCase();
    this.#at = `${type} "${original}"`;
    this.#expectInARow(layer, original);
    this.#readInput(config);
    if (type === "InputLayer") return;
    const format = config["data_format"];
    if (format !== undefined && format !== null && format !== "channels_last")
      this.#refuse(`data_format: expected "channels_last", got ${JSON.stringify(format)}`);
    if (this.#padding && type !== "Conv2D")
      this.#refuse("a ZeroPadding2D stands before it; expected a Conv2D there");
    const name = original.replace(/[^\w-]/g, "_");
    const made = this.#layer(type, config);
    if (made) this.#push(name, config, made);
    this.#activation(name, type, config);
  }

  finish(): KerasNetwork {
    this.#at = "model";
    if (!this.#input)
      this.#refuse(
        "expected an input of fixed height, width and channels, got none; give the network with --network FILE.json",
      );
    if (this.#layers.length === 0) this.#refuse("expected layers, got none");
    return {
      network: { input: this.#input, layers: this.#layers },
      rescales: this.#rescales,
    };
  }

  #push(name: string, config: Json, layer: Omit<LayerConfig, "name">): void {
    const { type, ...rest } = layer;
    const frozen = config["trainable"] === false && (type === "Conv2D" || type === "Dense");
    this.#layers.push({ type: String(type), name, ...rest, ...(frozen && { trainable: false }) });
  }

  /** Each layer of a functional model names those that it takes its input from. */
  #expectInARow(layer: Json, name: string): void {
    const inputs = inboundLayers(layer["inbound_nodes"]);
    if (inputs.length > 1 || (inputs[0] !== undefined && inputs[0] !== this.#before))
      this.#refuse(
        `expected its input from the layer before, "${this.#before ?? "none"}", got it from ${inputs.join(", ")}; only layers in a row are supported`,
      );
    this.#before = name;
  }

  #readInput(config: Json): void {
    const shape = config["batch_shape"] ?? config["batch_input_shape"];
    if (!Array.isArray(shape) || this.#input) return;
    const [, height, width, channels, ...more] = shape as unknown[];
    if (!isCount(height) || !isCount(width) || !isCount(channels) || more.length > 0)
      this.#refuse(
        `expected an input [batch, height, width, channels] of fixed size, got ${JSON.stringify(shape)}; give the network with --network FILE.json`,
      );
    this.#input = [height, width, channels];
  }

  #layer(type: string, config: Json): Omit<LayerConfig, "name"> | undefined {
    switch (type) {
      case "Rescaling":
        this.#rescaling(config);
        return undefined;
      case "ZeroPadding2D":
        this.#padding = this.#pads(config["padding"]);
        return undefined;
      case "Conv2D":
        return this.#conv2D(config);
      case "MaxPooling2D":
        return {
          type: "MaxPool2D",
          size: this.#pair(config, "pool_size"),
          strides: this.#pair(config, "strides", config["pool_size"]),
          padding: this.#samePadding(config),
        };
      case "Dense":
        return { type, units: config["units"], useBias: config["use_bias"] !== false };
      case "Dropout":
        return { type, rate: config["rate"] };
      case "LeakyReLU": // Keras 2 and TensorFlow.js say alpha, Keras 3 negative_slope
        return {
          type,
          slope: this.#number(config["negative_slope"] ?? config["alpha"] ?? 0.3, "slope"),
        };
      case "ReLU":
        if ((config["max_value"] ?? null) !== null || Number(config["threshold"] ?? 0) !== 0)
          this.#refuse("expected neither max_value nor threshold; only slopes are supported");
        return { type: "LeakyReLU", slope: this.#number(config["negative_slope"] ?? 0, "slope") };
      case "Softmax": {
        const axis = config["axis"] ?? -1;
        if (axis !== -1 && axis !== 1)
          this.#refuse(`axis: expected -1, got ${JSON.stringify(axis)}`);
        return { type };
      }
      case "Flatten":
        return { type };
      case "Activation":
        return undefined; // what it is, #activation says
      default:
        return this.#refuse(
          "this type of layer has no counterpart here; it may be Conv2D, LeakyReLU, ReLU, MaxPooling2D, Dropout, Flatten, Dense, Softmax, Activation, Rescaling or ZeroPadding2D",
        );
    }
  }

  #conv2D(config: Json): Omit<LayerConfig, "name"> {
    const groups = config["groups"] ?? 1;
    if (groups !== 1) this.#refuse(`groups: expected 1, got ${JSON.stringify(groups)}`);
    const padding = this.#samePadding(config);
    if (this.#padding && padding !== "valid")
      this.#refuse(`padding after a ZeroPadding2D: expected "valid", got "${padding}"`);
    const layer = {
      type: "Conv2D",
      filters: config["filters"],
      kernelSize: this.#pair(config, "kernel_size"),
      strides: this.#pair(config, "strides", 1),
      dilations: this.#pair(config, "dilation_rate", 1),
      padding: this.#padding ?? padding,
      useBias: config["use_bias"] !== false,
    };
    this.#padding = undefined;
    return layer;
  }

  #rescaling(config: Json): void {
    const [scale, offset] = [Number(config["scale"]), Number(config["offset"] ?? 0)];
    if (this.#layers.length > 0 || Math.abs(scale * 255 - 1) > 1e-6 || offset !== 0)
      this.#refuse(
        `expected scale 1/255 and offset 0 before all other layers, as tuningfork scales pixels, got scale ${scale}, offset ${offset}`,
      );
    this.#rescales = true;
  }

  /** The activation that a layer has in itself becomes a layer of its own. */
  #activation(name: string, type: string, config: Json): void {
    const activation = config["activation"];
    const kind = typeof activation === "string" ? activation : record(activation)["class_name"];
    const own = type === "Activation" ? name : undefined;
    switch (kind) {
      case undefined:
      case "linear":
        break;
      case "relu":
        this.#push(own ?? `${name}_relu`, {}, { type: "LeakyReLU", slope: 0 });
        break;
      case "leaky_relu": // keras.activations.leaky_relu
        this.#push(own ?? `${name}_relu`, {}, { type: "LeakyReLU", slope: 0.2 });
        break;
      case "softmax":
        this.#push(own ?? `${name}_softmax`, {}, { type: "Softmax" });
        break;
      default:
        this.#refuse(
          `activation: expected linear, relu, leaky_relu or softmax, got ${JSON.stringify(kind)}`,
        );
    }
  }

  #samePadding(config: Json): "same" | "valid" {
    const padding = config["padding"] ?? "valid";
    if (padding === "same" || padding === "valid") return padding;
    return this.#refuse(`padding: expected "same" or "valid", got ${JSON.stringify(padding)}`);
  }

  #pair(config: Json, key: string, fallback?: unknown): [number, number] {
    const value = config[key] ?? fallback;
    const [height, width] = (Array.isArray(value) ? value : [value, value]) as unknown[];
    if (isCount(height) && isCount(width)) return [height, width];
    return this.#refuse(`${key}: expected two integers above 0, got ${JSON.stringify(value)}`);
  }

  #pads(value: unknown): Padding {
    const [h, w] = (Array.isArray(value) ? value : [value, value]) as unknown[];
    const side = (v: unknown): [number, number] => {
      const [a, b] = (Array.isArray(v) ? v : [v, v]) as unknown[];
      if (Number.isInteger(a) && Number.isInteger(b)) return [Number(a), Number(b)];
      return this.#refuse(`padding: expected integers, got ${JSON.stringify(value)}`);
    };
    return [side(h), side(w)];
  }

  #number(value: unknown, key: string): number {
    if (typeof value === "number") return value;
    return this.#refuse(`${key}: expected a number, got ${JSON.stringify(value)}`);
  }
}

const record = (value: unknown): Json =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};

const isCount = (value: unknown): value is number => Number.isInteger(value) && Number(value) > 0;

/** Names of layers in `inbound_nodes`: lists [name, node, tensor, ...], which Keras 3 hides in "keras_history". */
function inboundLayers(nodes: unknown): string[] {
  if (Array.isArray(nodes)) {
    const [name, node, tensor] = nodes as unknown[];
    if (typeof name === "string" && Number.isInteger(node) && Number.isInteger(tensor))
      return [name];
    return (nodes as unknown[]).flatMap(inboundLayers);
  }
  return Object.values(record(nodes)).flatMap(inboundLayers);
}

/** The model as Keras 2, Keras 3 and TensorFlow.js all read it. @throws InteropError */
export function kerasOfNetwork(model: Sequential): Json {
  const [height, width, channels] = model.input;
  const input = {
    class_name: "InputLayer",
    config: {
      ...{ batch_input_shape: [null, height, width, channels], dtype: "float32" },
      ...{ sparse: false, name: freeName("image", model) },
    },
  };
  return {
    class_name: "Sequential",
    config: {
      name: "tuningfork",
      layers: [input, ...stepsOf(model, "Keras").flatMap((step) => kerasLayers(step, model))],
    },
  };
}

/** The model as Keras 3 has it in `.keras` files: modules beside classes, and two keys by their new names. @throws InteropError */
export function keras3OfNetwork(model: Sequential): Json {
  const { class_name, config } = kerasOfNetwork(model);
  const { name, layers } = config as { name: string; layers: readonly Json[] };
  return {
    ...{ module: "keras", class_name, registered_name: null },
    config: {
      name,
      layers: layers.map((layer) => {
        const { alpha, batch_input_shape, ...same } = record(layer["config"]);
        return {
          ...{ module: "keras.layers", class_name: layer["class_name"], registered_name: null },
          config: {
            ...same,
            ...(alpha !== undefined && { negative_slope: alpha }),
            ...(batch_input_shape !== undefined && { batch_shape: batch_input_shape }),
          },
        };
      }),
    },
  };
}

function freeName(name: string, model: Sequential): string {
  return model.layers.some((layer) => layer.name === name) ? freeName(`${name}_`, model) : name;
}

function kerasLayers(step: Step, model: Sequential): Json[] {
  const { name, trainable } = step;
  const layer = (type: string, config: Json, as = name): Json => ({
    class_name: type,
    config: { name: as, trainable, dtype: "float32", ...config },
  });
  const channelsLast = { data_format: "channels_last" };
  switch (step.type) {
    case "Conv2D": {
      const g = step.geometry;
      const explicit = typeof step.padding !== "string";
      const conv = layer("Conv2D", {
        ...{ filters: g.outC, kernel_size: [g.kH, g.kW], strides: [g.strideH, g.strideW] },
        ...{ dilation_rate: [g.dilationH, g.dilationW], groups: 1, activation: "linear" },
        ...{ padding: explicit ? "valid" : step.padding, use_bias: step.useBias, ...channelsLast },
      });
      if (!explicit) return [conv];
      const padding = { padding: step.padding, ...channelsLast };
      return [layer("ZeroPadding2D", padding, freeName(`${name}_pad`, model)), conv];
    }
    case "MaxPool2D": {
      const g = step.geometry;
      if (typeof step.padding !== "string")
        throw new InteropError(
          `export: MaxPool2D "${name}": Keras pools with padding "same" or "valid" alone, got ${JSON.stringify(step.padding)}`,
        );
      const sizes = { pool_size: [g.kH, g.kW], strides: [g.strideH, g.strideW] };
      return [layer("MaxPooling2D", { ...sizes, padding: step.padding, ...channelsLast })];
    }
    case "LeakyReLU":
      return [layer("LeakyReLU", { alpha: step.slope })];
    case "Dropout":
      return [layer("Dropout", { rate: step.rate })];
    case "Flatten":
      return [layer("Flatten", channelsLast)];
    case "Dense":
      return [layer("Dense", { units: step.units, activation: "linear", use_bias: step.useBias })];
    case "Softmax":
      return [layer("Softmax", { axis: -1 })];
  }
}
