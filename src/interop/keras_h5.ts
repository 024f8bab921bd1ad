/**
 * Keras' HDF5 files: whole models (`.h5`), weights alone (`.weights.h5`) and the zip of both (`.keras`). Read and written by
 * h5wasm, the HDF5 library compiled to WebAssembly, straight from and to the disk.
 */
import { readFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { unzipSync } from "fflate";
import type { Dataset, Entity, File, Group } from "h5wasm/node";
import { expectReadable, InteropError, writeWhole } from "./files.ts";
import { kerasOfNetwork } from "./keras_config.ts";
import type { KerasFile, KerasTensor } from "./keras_files.ts";
import { openModel } from "./model_file.ts";

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
    const why = cause instanceof Error ? cause.message : String(cause);
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
 * Writes a model file of ours as a whole Keras model, which Keras 2 and 3 load with `keras.models.load_model`.
 * @throws CheckpointError, InteropError
 */
export async function exportKerasH5(modelPath: string, h5Path: string): Promise<void> {
  const source = await openModel(modelPath);
  try {
    const config = JSON.stringify(kerasOfNetwork(source.model));
    await writeWhole(h5Path, async (temporary) => {
      const file = await openH5(temporary, `export ${h5Path}`, "w");
      try {
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
      } finally {
        file.close();
      }
    });
  } finally {
    await source.close();
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
    const text = cause instanceof Error ? cause.message : String(cause);
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
