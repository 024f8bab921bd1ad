/**
 * Keras' HDF5 files: whole models (`.h5`), weights alone (`.weights.h5`) and the zip of both (`.keras`). Read and written by
 * h5wasm, the HDF5 library compiled to WebAssembly, straight from and to the disk.
 */
import { createReadStream } from "node:fs";
import { readFile, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { unzipSync, Zip, ZipPassThrough } from "fflate";
import type { Dataset, Entity, File, Group } from "h5wasm/node";
import { Conv2D } from "../nn/conv2d.ts";
import type { Sequential } from "../nn/model.ts";
import { messageOf } from "../system_errors.ts";
import { expectReadable, InteropError, writePieces, writeWhole } from "./files.ts";
import { keras3OfNetwork, kerasOfNetwork } from "./keras_config.ts";
import type { KerasFile, KerasTensor } from "./keras_files.ts";
import { openModel, type OpenModel } from "./model_file.ts";

/** @throws InteropError when the file cannot be read, is truncated, or is no HDF5 file of Keras */
export async function openKerasH5(path: string, where = `import ${path}`): Promise<KerasFile> {
  await expectReadable(path);
  const file = await openH5(path, where);
  try {
    const config = jsonAttribute(file, "model_config", where);
    const found = weightsOf(file, where);
    const close = () => Promise.resolve(void file.close());
    return { config, ...found, close };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Opens a `.keras` file: a zip of `config.json` and `model.weights.h5`. @throws InteropError */
export async function openKerasZip(path: string): Promise<KerasFile> {
  const where = `import ${path}`;
  await expectReadable(path);
  let entries: Record<string, Uint8Array>;
  try {
    entries = unzipSync(await readFile(path));
  } catch (cause) {
    const why = messageOf(cause);
    throw new InteropError(
      `${where}: no whole zip file, as .keras files are (${why}); copy or save it again`,
      { cause },
    );
  }
  const { "config.json": config, "model.weights.h5": weights } = entries;
  if (!config || !weights)
    throw new InteropError(
      `${where}: expected config.json and model.weights.h5 in it, got ${Object.keys(entries).join(", ") || "nothing"}`,
    );
  // HDF5 reads files, not memory.
  const folder = await mkdtemp(join(tmpdir(), "tuningfork-"));
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    const unpacked = join(folder, "model.weights.h5");
    await writeFile(unpacked, weights);
    const file = await openKerasH5(unpacked, where);
    return {
      ...file,
      config: parseJson(Buffer.from(config).toString(), where),
      close: async () => {
        await file.close();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

/**
 * Writes a model file of ours as a whole Keras model, for `keras.models.load_model`: where the path ends in `.keras` in the
 * format of Keras 3, else as `.h5`, which Keras 2 and 3 load.
 * @throws CheckpointError, InteropError
 */
export async function exportKeras(modelPath: string, path: string): Promise<void> {
  const source = await openModel(modelPath);
  try {
    const write = path.endsWith(".keras") ? writeKerasZip : writeKerasH5;
    await write(source, path);
  } finally {
    await source.close();
  }
}

/** A zip, not compressed, of what Keras 3 looks for in it by name. */
async function writeKerasZip(source: OpenModel, path: string): Promise<void> {
  const where = `export ${path}`;
  const config = JSON.stringify(keras3OfNetwork(source.model));
  const saved = new Date().toISOString().slice(0, 19).replace("T", "@");
  const metadata = JSON.stringify({ keras_version: "3.0.0", date_saved: saved });
  const folder = await mkdtemp(join(tmpdir(), "tuningfork-"));
  try {
    const weights = join(folder, "model.weights.h5");
    await writeH5(weights, where, (file) => writeNamedWeights(file, source));
    const { size } = await stat(weights);
    if (size > MAX_ZIP_BYTES)
      throw new InteropError(
        `${where}: ${size} bytes of weights: expected at most ${MAX_ZIP_BYTES}, a zip's; export an .h5 instead`,
      );
    await writePieces(path, () =>
      zipOf({
        "metadata.json": [Buffer.from(metadata)],
        "config.json": [Buffer.from(config)],
        "model.weights.h5": createReadStream(weights, { highWaterMark: ZIP_PIECE_BYTES }),
      }),
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a zip without its later extensions can hold, less some for the other entries. */
const MAX_ZIP_BYTES = 2 ** 32 - 2 ** 20;
const ZIP_PIECE_BYTES = 4 * 1024 * 1024;

async function* zipOf(
  entries: Readonly<Record<string, Iterable<Uint8Array> | AsyncIterable<Uint8Array>>>,
): AsyncGenerator<Uint8Array> {
  const ready: Uint8Array[] = [];
  const zip = new Zip((error, data) => {
    if (error) throw error;
    ready.push(data);
  });
  for (const [name, pieces] of Object.entries(entries)) {
    const entry = new ZipPassThrough(name);
    zip.add(entry);
    for await (const piece of pieces) {
      entry.push(piece);
      yield* ready.splice(0);
    }
    entry.push(new Uint8Array(0), true);
  }
  zip.end();
  yield* ready;
}

/** As Keras 3 does in `model.weights.h5`: see `namedWeights`. */
async function writeNamedWeights(file: File, { model, parameters, read }: OpenModel) {
  const layers = file.create_group("layers");
  for (const [layer, key] of numberedNames(model)) {
    const own = parameters.filter((parameter) => parameter.layer === layer);
    if (own.length === 0) continue;
    const vars = layers.create_group(key).create_group("vars");
    writeAttributes(vars, { name: layer });
    for (const [index, { name, shape }] of own.entries())
      vars.create_dataset({ name: String(index), data: await read(name), shape: [...shape] });
  }
}

/** What Keras 3 calls our layers in its files of weights: by type, counted from the second on. */
export function numberedNames(model: Sequential): Map<string, string> {
  const counts = new Map<string, number>();
  return new Map(
    model.layers.map((layer) => {
      const type = layer instanceof Conv2D ? "conv2d" : layer.type.toLowerCase();
      const count = counts.get(type) ?? 0;
      counts.set(type, count + 1);
      return [layer.name, count === 0 ? type : `${type}_${count}`];
    }),
  );
}

async function writeKerasH5(source: OpenModel, path: string): Promise<void> {
  const config = JSON.stringify(kerasOfNetwork(source.model));
  await writeWhole(path, (temporary) =>
    writeH5(temporary, `export ${path}`, async (file) => {
      writeAttributes(file, { keras_version: "2.15.0", backend: "tensorflow" });
      writeAttributes(file, { model_config: config });
      const root = file.create_group("model_weights");
      writeAttributes(root, { keras_version: "2.15.0", backend: "tensorflow" });
      root.create_attribute(
        "layer_names",
        source.model.layers.map(({ name }) => name),
      );
      for (const { name: layer } of source.model.layers) {
        const own = source.parameters.filter((parameter) => parameter.layer === layer);
        const group = root.create_group(layer);
        const names = own.map(({ name }) => kerasName(layer, name));
        if (names.length > 0) group.create_attribute("weight_names", names);
        else group.create_attribute("weight_names", [], [0], "S1");
        const inner = names.length > 0 ? group.create_group(layer) : group;
        for (const { name, shape } of own)
          inner.create_dataset({
            name: kerasName(layer, name).slice(layer.length + 1),
            data: await source.read(name),
            shape: [...shape],
          });
      }
    }),
  );
}

async function writeH5(
  path: string,
  where: string,
  write: (file: File) => Promise<void>,
): Promise<void> {
  const file = await openH5(path, where, "w");
  try {
    await write(file);
  } finally {
    file.close();
  }
}

const kerasName = (layer: string, parameter: string): string =>
  `${layer}/${parameter.endsWith(".weight") ? "kernel" : "bias"}:0`;

function writeAttributes(group: Group, attributes: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(attributes)) group.create_attribute(name, value);
}

async function openH5(path: string, where: string, mode: "r" | "w" = "r"): Promise<File> {
  const h5wasm = await import("h5wasm/node");
  // Without this, HDF5 prints its own stack of errors and hands out files that are none.
  (await h5wasm.ready).activate_throwing_error_handler();
  return describing(where, () => new h5wasm.File(resolve(path), mode));
}

/** HDF5's errors are pages; what they come to is a sentence. */
function describing<T>(where: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    const text = messageOf(cause);
    if (text.includes("truncated"))
      throw new InteropError(`${where}: truncated; copy or save it again`, { cause });
    if (text.includes("signature not found"))
      throw new InteropError(`${where}: no HDF5 file; expected one that Keras saved`, { cause });
    throw new InteropError(`${where}: HDF5 cannot read it: ${text.split("\n")[0] ?? ""}`, {
      cause,
    });
  }
}

function jsonAttribute(file: File, name: string, where: string): unknown {
  const text = file.attrs[name]?.value;
  return typeof text === "string" ? parseJson(text, where) : undefined;
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new InteropError(`${where}: its description of the model is no JSON`, { cause });
  }
}

function weightsOf(file: File, where: string): Pick<KerasFile, "weights" | "numbered"> {
  // Keras 2's save_weights writes at the root what whole models have in model_weights.
  const legacy = group(file.keys().includes("model_weights") ? file.get("model_weights") : file);
  if (legacy?.attrs["layer_names"])
    return { weights: legacyWeights(legacy, where), numbered: false };
  const layers = group(file.keys().includes("layers") ? file.get("layers") : null);
  if (layers) return namedWeights(layers, where);
  throw new InteropError(
    `${where}: no weights of Keras in it; expected a group model_weights or layers, got ${file.keys().join(", ") || "none"}`,
  );
}

/** `.h5`: each layer's group lists its datasets in the attribute weight_names. */
function legacyWeights(root: Group, where: string): Map<string, KerasTensor[]> {
  const weights = new Map<string, KerasTensor[]>();
  for (const layer of strings(root, "layer_names")) {
    const own = group(root.get(layer));
    if (!own) continue;
    const tensors = strings(own, "weight_names").map((name) => tensor(own.get(name), name, where));
    if (tensors.length > 0) weights.set(layer, tensors);
  }
  return weights;
}

/** `.weights.h5`: layers/<type and number>/vars/0, 1, ..., with the layer's name in an attribute of vars. */
function namedWeights(layers: Group, where: string): Pick<KerasFile, "weights" | "numbered"> {
  const weights = new Map<string, KerasTensor[]>();
  let numbered = false;
  for (const key of layers.keys()) {
    const own = group(layers.get(key));
    const vars = group(own?.keys().includes("vars") ? own.get("vars") : null);
    if (!own || !vars || vars.keys().length === 0) continue;
    const name = vars.attrs["name"]?.value;
    if (typeof name !== "string") numbered = true;
    const tensors = vars
      .keys()
      .sort((a, b) => Number(a) - Number(b))
      .map((index) => tensor(vars.get(index), `${key}/vars/${index}`, where));
    weights.set(typeof name === "string" ? name : key, tensors);
  }
  return { weights, numbered };
}

function tensor(entity: Entity | null, name: string, where: string): KerasTensor {
  if (!isDataset(entity))
    throw new InteropError(`${where}: ${name}: expected a dataset, got none; save it again`);
  return {
    name,
    shape: entity.shape ?? [],
    read: () => {
      const values = describing(where, () => entity.value);
      if (values instanceof Float32Array) return Promise.resolve(values);
      if (values instanceof Float64Array) return Promise.resolve(Float32Array.from(values));
      throw new InteropError(
        `${where}: ${name}: expected float32 or float64, got ${JSON.stringify(entity.dtype)}; save it as float32`,
      );
    },
  };
}

function strings(owner: Group, attribute: string): string[] {
  const value = owner.attrs[attribute]?.json_value;
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

const group = (entity: Entity | null): Group | undefined =>
  entity && "keys" in entity ? entity : undefined;

const isDataset = (entity: Entity | null): entity is Dataset =>
  entity !== null && "dtype" in entity && "shape" in entity;
