/** TensorFlow.js layers models: `model.json`, which holds Keras' description, and its weights in binary files beside it. */
import { open, readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeFolder } from "../folders.ts";
import { systemReason } from "../system_errors.ts";
import { elementCount, type Shape } from "../tensor.ts";
import { expectReadable, InteropError, writePieces, writeWhole } from "./files.ts";
import { kerasOfNetwork } from "./keras_config.ts";
import type { KerasFile, KerasTensor } from "./keras_files.ts";
import { bytesOf, openModel } from "./model_file.ts";

interface ManifestWeight {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype: string;
  readonly quantization?: unknown;
}

interface ManifestGroup {
  readonly paths: readonly string[];
  readonly weights: readonly ManifestWeight[];
}

interface ModelJson {
  readonly format?: string;
  readonly modelTopology?: Readonly<Record<string, unknown>>;
  readonly weightsManifest?: readonly ManifestGroup[];
}

/** @throws InteropError when model.json is no layers model, or a file of weights is missing or truncated */
export async function openTfjs(path: string): Promise<KerasFile> {
  const where = `import ${path}`;
  await expectReadable(path);
  let json: ModelJson;
  try {
    json = JSON.parse(await readFile(path, "utf8")) as ModelJson;
  } catch (cause) {
    throw new InteropError(`${where}: no JSON; copy or save it again`, { cause });
  }
  const { modelTopology: topology, weightsManifest: manifest } = json;
  if (json.format === "graph-model")
    throw new InteropError(
      `${where}: expected a layers model, got a graph model, whose layers are gone; convert it with --output_format tfjs_layers_model`,
    );
  if (!topology || !manifest)
    throw new InteropError(
      `${where}: expected modelTopology and weightsManifest, as TensorFlow.js saves them, got ${Object.keys(json).join(", ") || "nothing"}`,
    );
  const weights = new Map<string, KerasTensor[]>();
  for (const group of manifest) await addGroup(weights, group, path, where);
  return {
    config: topology["model_config"] ?? topology,
    weights,
    numbered: false,
    close: () => Promise.resolve(),
  };
}

/** A group's weights lie end to end in its files, which follow one another. */
async function addGroup(
  weights: Map<string, KerasTensor[]>,
  group: ManifestGroup,
  path: string,
  where: string,
): Promise<void> {
  const shards = new Shards(group.paths.map((name) => join(dirname(path), name)));
  let start = 0;
  for (const { name, shape, dtype, quantization } of group.weights) {
    if (dtype !== "float32" || quantization !== undefined)
      throw new InteropError(
        `${where}: ${name}: expected float32, got ${quantization === undefined ? dtype : "quantized weights"}; convert the model without quantization`,
      );
    const at = start;
    const count = elementCount(shape);
    start += 4 * count;
    const layer = name.split("/").at(-2) ?? name;
    const tensors = weights.get(layer) ?? [];
    tensors.push({ name, shape, read: () => shards.read(at, count) });
    weights.set(layer, tensors);
  }
  const bytes = await shards.size(where);
  if (bytes !== start)
    throw new InteropError(
      `${where}: expected ${start} bytes in ${group.paths.join(", ")}, got ${bytes}; copy or save them again`,
    );
}

/** Files that are read as if they were one. */
class Shards {
  readonly #paths: readonly string[];
  #sizes: number[] = [];

  constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  async size(where: string): Promise<number> {
    this.#sizes = await Promise.all(
      this.#paths.map(async (path) => {
        const found = await stat(path).catch((cause: unknown) => {
          throw new InteropError(
            `${where}: its weights ${path} cannot be read: ${systemReason(cause) ?? ""}`,
            { cause },
          );
        });
        return found.size;
      }),
    );
    return this.#sizes.reduce((sum, size) => sum + size, 0);
  }

  async read(start: number, count: number): Promise<Float32Array> {
    const values = new Float32Array(count);
    const bytes = bytesOf(values);
    let fileStart = 0;
    for (const [index, path] of this.#paths.entries()) {
      const size = this.#sizes[index] ?? 0;
      const from = Math.max(start, fileStart);
      const to = Math.min(start + bytes.length, fileStart + size);
      if (from < to) {
        const file = await open(path);
        try {
          await file.read(bytes, from - start, to - from, from - fileStart);
        } finally {
          await file.close();
        }
      }
      fileStart += size;
    }
    return values;
  }
}

const WEIGHTS_FILE = "weights.bin";

/**
 * Writes a model file of ours as `model.json` and `weights.bin` into a folder, for `tf.loadLayersModel`.
 * @throws CheckpointError, InteropError
 */
export async function exportTfjs(modelPath: string, folder: string): Promise<void> {
  const source = await openModel(modelPath);
  try {
    const manifest: ManifestGroup = {
      paths: [WEIGHTS_FILE],
      weights: source.parameters.map(({ name, layer, shape }) => ({
        name: `${layer}/${name.endsWith(".weight") ? "kernel" : "bias"}`,
        shape,
        dtype: "float32",
      })),
    };
    const json = {
      format: "layers-model",
      generatedBy: "tuningfork",
      convertedBy: null,
      modelTopology: {
        ...{ keras_version: "2.15.0", backend: "tensorflow" },
        model_config: kerasOfNetwork(source.model),
      },
      weightsManifest: [manifest],
    };
    await makeFolder(folder).catch((cause: unknown) => {
      throw new InteropError(
        `export ${folder}: cannot be written: ${systemReason(cause) ?? String(cause)}`,
        { cause },
      );
    });
    await writePieces(join(folder, WEIGHTS_FILE), async function* () {
      for (const { name } of source.parameters) yield bytesOf(await source.read(name));
    });
    await writeWhole(join(folder, "model.json"), (temporary) =>
      writeFile(temporary, JSON.stringify(json)),
    );
  } finally {
    await source.close();
  }
}
