/** `tuningfork import`: a model of another framework as one of ours. */
import { extname } from "node:path";
import { expectOtherFile, InteropError } from "../interop/files.ts";
import { importKeras, type Imported } from "../interop/keras.ts";
import { importPytorch, readNameMap } from "../interop/pytorch.ts";
import { readNetwork } from "../nn/network.ts";

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

async function read(options: ImportOptions): Promise<Imported> {
  const { from, map, classes, crop, out } = options;
  expectOtherFile("import", from, out);
  const network = options.network === undefined ? undefined : readNetwork(options.network);
  const info = { ...(classes && { classes }), ...(crop !== undefined && { crop }) };
  const format = extname(from).toLowerCase();
  if (format === ".safetensors") {
    const names = map === undefined ? undefined : await readNameMap(map);
    return importPytorch(from, out, { network, info, map: names });
  }
  if (map !== undefined)
    throw new InteropError(
      `import ${from}: --map is for PyTorch's .safetensors; Keras' weights are found by the names of layers`,
    );
  if ([".h5", ".hdf5", ".keras", ".json"].includes(format))
    return importKeras(from, out, { network, info });
  const hint = [".pt", ".pth", ".bin", ".ckpt"].includes(format)
    ? `; in Python: safetensors.torch.save_file(model.state_dict(), "model.safetensors")`
    : "";
  throw new InteropError(
    `import ${from}: expected .h5, .keras, a model.json of TensorFlow.js, or PyTorch's .safetensors, got "${format}"${hint}`,
  );
}

function notes({ rescales }: Imported): string[] {
  if (rescales) return ["its Rescaling by 1/255 was left out: tuningfork scales pixels itself"];
  return [
    "tuningfork feeds RGB pixels / 255; the file does not say what the model was trained on, so check a prediction",
  ];
}
