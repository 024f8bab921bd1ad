/**
 * Networks as JSON: every key is checked and an unknown one refused by name.
 */
import { readFileSync } from "node:fs";
import { elementCount, ShapeError } from "../tensor.ts";
import type { Padding } from "../geometry.ts";
import { systemReason } from "../system_errors.ts";
import { Conv2D } from "./conv2d.ts";
import { Dense } from "./dense.ts";
import { Dropout } from "./dropout.ts";
import { Flatten } from "./flatten.ts";
import type { Layer, LayerConfig } from "./layer.ts";
import { LeakyReLU } from "./leaky_relu.ts";
import { MaxPool2D } from "./max_pool2d.ts";
import { Softmax } from "./softmax.ts";

/** The version of network files that is read here; a file without the key `version` is of version 1. */
const NETWORK_VERSION = 1;
/** Values of one image, beyond which no array of the host and no index of a shader goes. */
const MOST_INPUTS = 2 ** 31 - 1;

/** `{"version":1,"input":[96,96,3],"layers":[{"type":"Conv2D","name":"conv1",...},...]}` */
export interface NetworkConfig {
  /** Height, width, channels. */
  readonly input: readonly [number, number, number];
  readonly layers: readonly LayerConfig[];
}

/** A network file or object that does not describe a network. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";
}

/** Makes a layer from its own keys; `keys` reads them and refuses what is left over. */
export type LayerFactory = (name: string, keys: Keys) => Layer;

const factories = new Map<string, LayerFactory>([
  [
    "Conv2D",
    (name, keys) =>
      new Conv2D(name, {
        filters: keys.count("filters"),
        kernelSize: keys.pair("kernelSize"),
        strides: keys.pair("strides", 1),
        dilations: keys.pair("dilations", 1),
        padding: keys.padding(),
        useBias: keys.flag("useBias", true),
      }),
  ],
  ["LeakyReLU", (name, keys) => new LeakyReLU(name, { slope: keys.number("slope", 0.3) })],
  [
    "MaxPool2D",
    (name, keys) => {
      const size = keys.pair("size");
      return new MaxPool2D(name, {
        size,
        strides: keys.pair("strides", size),
        padding: keys.padding(),
      });
    },
  ],
  ["Dropout", (name, keys) => new Dropout(name, { rate: keys.rate("rate") })],
  ["Flatten", (name) => new Flatten(name)],
  [
    "Dense",
    (name, keys) =>
      new Dense(name, { units: keys.count("units"), useBias: keys.flag("useBias", true) }),
  ],
  ["Softmax", (name) => new Softmax(name)],
]);

/** Makes a layer type of one's own known to network files. */
export function registerLayer(type: string, factory: LayerFactory): void {
  factories.set(type, factory);
}

/** Reads and checks a network file. @throws NetworkError naming the file and what is wrong with it */
export function readNetwork(path: string): NetworkConfig {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    const why = systemReason(cause) ?? (cause instanceof Error ? cause.message : String(cause));
    throw new NetworkError(`network ${path}: cannot be read: ${why}`, { cause });
  }
  const network = checkNetwork(json, `network ${path}`);
  layersOf(network, `network ${path}`);
  return network;
}

/** Checks the outer form of a network; `layersOf` checks the layers. */
export function checkNetwork(json: unknown, where = "network"): NetworkConfig {
  const keys = new Keys(where, json);
  const version = keys.take("version") ?? NETWORK_VERSION;
  if (version !== NETWORK_VERSION)
    throw new NetworkError(
      `${where}: version: expected ${NETWORK_VERSION}, got ${JSON.stringify(version)}; use the tuningfork that wrote it, or a newer one`,
    );
  const input = keys.take("input");
  const layers = keys.take("layers");
  keys.end();
  if (!isSizes(input, 3) || elementCount(input) > MOST_INPUTS)
    throw new NetworkError(
      `${where}: input: expected [height, width, channels] of at most ${MOST_INPUTS} values, got ${JSON.stringify(input)}`,
    );
  if (!Array.isArray(layers) || layers.length === 0)
    throw new NetworkError(
      `${where}: layers: expected a list with at least one layer, got ${JSON.stringify(layers)}`,
    );
  return { input: input as [number, number, number], layers: layers as LayerConfig[] };
}

/** The layers of a network, named and checked. @throws NetworkError naming the layer and the key */
export function layersOf(network: NetworkConfig, where = "network"): Layer[] {
  const names = new Set<string>();
  return network.layers.map((config, index) => {
    const position = `${where}: layers[${index}]`;
    const keys = new Keys(position, config);
    const type = keys.take("type");
    const factory = typeof type === "string" ? factories.get(type) : undefined;
    if (!factory)
      throw new NetworkError(
        `${position}: type: expected one of ${[...factories.keys()].join(", ")}, got ${JSON.stringify(type)}`,
      );
    const name = keys.take("name") ?? `${String(type).toLowerCase()}${index + 1}`;
    if (typeof name !== "string" || !/^[\w-]+$/.test(name))
      throw new NetworkError(
        `${position}: name: expected letters, digits, _ and -, got ${JSON.stringify(name)}`,
      );
    if (names.has(name))
      throw new NetworkError(`${position}: name: "${name}" is taken by a layer before`);
    names.add(name);
    const trainable = keys.flag("trainable", true);
    const layer = factory(name, keys.at(`${position} (${String(type)} "${name}")`));
    keys.end();
    layer.trainable = trainable;
    return layer;
  });
}

const isSizes = (value: unknown, length: number): value is number[] =>
  Array.isArray(value) &&
  value.length === length &&
  value.every((size) => Number.isInteger(size) && (size as number) > 0);

/** The keys of one JSON object, each read once; what is left at the end is unknown. */
export class Keys {
  #where: string;
  readonly #values: Map<string, unknown>;
  readonly #known: string[] = [];
  #failure: NetworkError | undefined;

  constructor(where: string, json: unknown) {
    if (typeof json !== "object" || json === null || Array.isArray(json))
      throw new NetworkError(`${where}: expected an object, got ${JSON.stringify(json)}`);
    this.#where = where;
    this.#values = new Map(Object.entries(json));
  }

  /** Names the object in errors: `layer "conv1"`. */
  at(where: string): this {
    this.#where = where;
    return this;
  }

  /** The value of a key, of any type; undefined where there is none. */
  take(key: string): unknown {
    const value = this.#values.get(key);
    this.#values.delete(key);
    this.#known.push(key);
    return value;
  }

  /** Refuses keys that nobody asked for, then the first value that was wrong: a misspelt key is named, not missed. */
  end(): void {
    const [unknown] = this.#values.keys();
    if (unknown !== undefined)
      throw new NetworkError(
        `${this.#where}: unknown key "${unknown}"; it may have ${this.#known.join(", ")}`,
      );
    if (this.#failure) throw this.#failure;
  }

  /** Remembers the first wrong value; what the caller returns in its place is never used. */
  #fail(key: string, expected: string, got: unknown): void {
    const what = got === undefined ? "nothing" : JSON.stringify(got);
    this.#failure ??= new NetworkError(`${this.#where}: ${key}: expected ${expected}, got ${what}`);
  }

  /** Any finite number. Refusals are thrown by `end()`. */
  number(key: string, fallback?: number): number {
    const value = this.take(key) ?? fallback;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    this.#fail(key, "a number", value);
    return 0;
  }

  /** In [0, 1). */
  rate(key: string): number {
    const value = this.number(key);
    if (value >= 0 && value < 1) return value;
    this.#fail(key, "a number from 0 to below 1", value);
    return 0;
  }

  /** An integer above 0. */
  count(key: string): number {
    const value = this.take(key);
    if (isSizes([value], 1)) return value as number;
    this.#fail(key, "an integer above 0", value);
    return 1;
  }

  /** true or false. */
  flag(key: string, fallback: boolean): boolean {
    const value = this.take(key) ?? fallback;
    if (typeof value === "boolean") return value;
    this.#fail(key, "true or false", value);
    return fallback;
  }

  /** `[height, width]`, or one number for both. */
  pair(key: string, fallback?: number | readonly [number, number]): readonly [number, number] {
    const value = this.take(key) ?? fallback;
    const sizes: unknown = typeof value === "number" ? [value, value] : value;
    if (isSizes(sizes, 2)) return sizes as [number, number];
    this.#fail(key, "an integer above 0 or [height, width]", value);
    return [1, 1];
  }

  /** `"same"`, `"valid"` (the default) or `[[top, bottom], [left, right]]`. */
  padding(): Padding {
    const value = this.take("padding") ?? "valid";
    const explicit =
      Array.isArray(value) &&
      value.length === 2 &&
      value.every(
        (side) =>
          Array.isArray(side) &&
          side.length === 2 &&
          side.every((p) => Number.isInteger(p) && (p as number) >= 0),
      );
    if (value === "same" || value === "valid" || explicit) return value as Padding;
    this.#fail("padding", '"same", "valid" or [[top, bottom], [left, right]]', value);
    return "valid";
  }
}

/** An error for a network whose layers do not fit together, with the layer it was found at. */
export function shapeProblem(layer: Layer, error: unknown): Error {
  if (error instanceof ShapeError && !error.message.includes(`"${layer.name}"`))
    return new ShapeError(`${layer.type} "${layer.name}"`, error.message, error.shapes, {
      cause: error,
    });
  return error instanceof Error ? error : new Error(String(error));
}
