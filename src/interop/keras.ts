/** Keras and TensorFlow.js models as model files of ours. */
import { Sequential } from "../nn/model.ts";
import type { NetworkConfig } from "../nn/network.ts";
import type { ModelInfo } from "../nn/weights.ts";
import { formatShape } from "../tensor.ts";
import { InteropError, listNames } from "./files.ts";
import { networkOfKeras } from "./keras_config.ts";
import type { KerasFile, KerasTensor } from "./keras_files.ts";
import { numberedNames, openKerasH5, openKerasZip } from "./keras_h5.ts";
import { completeInfo, parametersOf, writeModel } from "./model_file.ts";
import { openTfjs } from "./tfjs.ts";

/** What an import takes beside the file. */
export interface ImportOptions {
  /** In place of what the file says itself; needed where that is weights alone. */
  readonly network?: NetworkConfig | undefined;
  /** Classes are numbered, and nothing is cropped, unless this or the file says otherwise. */
  readonly info?: Partial<ModelInfo>;
}

/** What an import made of a file. */
export interface Imported {
  readonly model: Sequential;
  /** Our parameter and theirs, in order. */
  readonly mapping: readonly { readonly ours: string; readonly theirs: string }[];
  /** True where the file says itself that pixels are scaled by 1/255; undefined where it says nothing. */
  readonly rescales?: boolean;
}

/**
 * Makes a model file of a Keras (`.h5`, `.weights.h5`, `.keras`) or TensorFlow.js (`model.json`) model. Weights are found by
 * the names of layers; their layouts are ours already.
 * @throws InteropError naming layers that are missing, surplus, of another shape, or have no counterpart
 */
export async function importKeras(
  from: string,
  modelPath: string,
  { network, info = {} }: ImportOptions = {},
): Promise<Imported> {
  const where = `import ${from}`;
  const file = await openKeras(from);
  try {
    if (!network && file.config === undefined)
      throw new InteropError(
        `${where}: holds weights alone and no description of the model; give the network with --network FILE.json`,
      );
    const described = network ? { network } : networkOfKeras(file.config, where);
    const model = new Sequential(described.network);
    const found = match(model, file, where);
    await writeModel(modelPath, model, completeInfo(model, info), ({ name }) =>
      (found.get(name) as KerasTensor).read(),
    );
    return {
      model,
      mapping: [...found].map(([ours, { name }]) => ({ ours, theirs: name })),
      ...("rescales" in described && { rescales: described.rescales }),
    };
  } finally {
    await file.close();
  }
}

const openKeras = (path: string): Promise<KerasFile> => {
  if (path.endsWith(".keras")) return openKerasZip(path);
  if (path.endsWith(".json")) return openTfjs(path);
  return openKerasH5(path);
};

/** Our parameters -> their tensors, by layer; every one there, in its shape, and none left over. */
function match(model: Sequential, file: KerasFile, where: string): Map<string, KerasTensor> {
  const parameters = parametersOf(model);
  const theirNames = file.numbered ? numberedNames(model) : undefined;
  const layers = [...new Set(parameters.map(({ layer }) => layer))];
  const nameOf = (layer: string) => theirNames?.get(layer) ?? layer;
  const missing = layers.filter((layer) => !file.weights.has(nameOf(layer))).map(nameOf);
  const wanted = new Set(layers.map(nameOf));
  const surplus = [...file.weights.keys()].filter((layer) => !wanted.has(layer));
  if (missing.length > 0 || surplus.length > 0) {
    const complaints = [
      ...(missing.length > 0 ? [`the file lacks the weights of ${listNames(missing)}`] : []),
      ...(surplus.length > 0 ? [`the network has no layers ${listNames(surplus)}`] : []),
    ];
    throw new InteropError(
      `${where}: layers differ: ${complaints.join(", and ")}; name the layers of --network as the file does`,
    );
  }
  const found = new Map<string, KerasTensor>();
  for (const layer of layers) {
    const ours = parameters.filter((parameter) => parameter.layer === layer);
    const theirs = file.weights.get(nameOf(layer)) ?? [];
    if (theirs.length !== ours.length)
      throw new InteropError(
        `${where}: layer "${layer}": expected ${ours.length} weights, got ${listNames(theirs.map(({ name }) => name))}; see useBias`,
      );
    ours.forEach(({ name, shape }, index) => {
      const tensor = theirs[index];
      if (!tensor || formatShape(tensor.shape) !== formatShape(shape))
        throw new InteropError(
          `${where}: layer "${layer}": expected ${name} ${formatShape(shape)}, got ${tensor?.name ?? "none"} ${formatShape(tensor?.shape ?? [])}; the network is another`,
        );
      found.set(name, tensor);
    });
  }
  return found;
}
