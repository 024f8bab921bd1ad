/** `tuningfork import`: a model of another framework as one of ours. */
import { extname } from "node:path";
import { InteropError } from "../interop/files.ts";
import { importKeras, type Imported } from "../interop/keras.ts";
import { importPytorch, readNameMap } from "../interop/pytorch.ts";
import type { Sequential } from "../nn/model.ts";
import { readNetwork } from "../nn/network.ts";
import type { ModelInfo } from "../nn/weights.ts";

export interface ImportOptions {
  readonly from: string;
  readonly network?: string;
  readonly map?: string;
  readonly classes?: readonly string[];
  readonly crop?: number;
  readonly out: string;
}

/** Writes the model, and prints which weight became which. */
export async function importModel(options: ImportOptions): Promise<number> {
  const imported = await read(options);
  for (const { ours, theirs } of imported.mapping) console.log(`${ours} <- ${theirs}`);
  for (const note of notes(imported)) console.error(`note: ${note}`);
  console.log(`${options.out}: ${imported.model.layers.length} layers from ${options.from}`);
  return 0;
}

async function read({ from, network, map, classes, crop, out }: ImportOptions): Promise<Imported> {
  const ours = network === undefined ? undefined : readNetwork(network);
  const info = (model: Sequential, metadata: Readonly<Record<string, string>> = {}): ModelInfo => ({
    classes: checkedClasses(model, classes ?? parseClasses(metadata["classes"])),
    crop: crop ?? Number(metadata["crop"] ?? 1),
    dataSet: metadata["data_set"] ?? "unknown",
  });
  const format = extname(from).toLowerCase();
  if (format === ".safetensors")
    return importPytorch(from, out, info, {
      network: ours,
      map: map === undefined ? undefined : await readNameMap(map),
    });
  if (map !== undefined)
    throw new InteropError(
      `import ${from}: --map is for PyTorch's .safetensors; Keras' weights are found by the names of layers`,
    );
  if ([".h5", ".hdf5", ".keras", ".json"].includes(format))
    return importKeras(from, out, info, ours);
  const hint = [".pt", ".pth", ".bin", ".ckpt"].includes(format)
    ? `; in Python: safetensors.torch.save_file(model.state_dict(), "model.safetensors")`
    : "";
  throw new InteropError(
    `import ${from}: expected .h5, .keras, a model.json of TensorFlow.js, or PyTorch's .safetensors, got "${format}"${hint}`,
  );
}

function parseClasses(text: string | undefined): readonly string[] | undefined {
  return text === undefined ? undefined : (JSON.parse(text) as string[]);
}

/** Without names the classes are numbered. */
function checkedClasses(model: Sequential, names: readonly string[] | undefined): string[] {
  const count = model.classCount;
  if (names && names.length !== count)
    throw new InteropError(
      `import: expected ${count} names of classes, as many as the model has outputs, got ${names.length}; give --classes again`,
    );
  return names ? [...names] : Array.from({ length: count }, (_, index) => String(index));
}

function notes({ rescales }: Imported): string[] {
  if (rescales) return ["its Rescaling by 1/255 was left out: tuningfork scales pixels itself"];
  return [
    "tuningfork feeds RGB pixels / 255; the file does not say what the model was trained on, so check a prediction",
  ];
}
