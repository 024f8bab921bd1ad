/**
 * PyTorch state dicts in safetensors files, in and out. Filters and dense weights change their order (layouts.ts); the first
 * dense layer after Flatten also changes the order of its inputs, since PyTorch flattens NCHW.
 */
import { readFile, writeFile } from "node:fs/promises";
import { Sequential } from "../nn/model.ts";
import { checkNetwork, NetworkError, type NetworkConfig } from "../nn/network.ts";
import { modelMetadata } from "../nn/weights.ts";
import { openSafetensors, writeSafetensors, type SafetensorsFile } from "../safetensors.ts";
import { messageOf, systemReason } from "../system_errors.ts";
import { formatShape, type Shape } from "../tensor.ts";
import { InteropError, listNames, writeWhole } from "./files.ts";
import type { Imported, ImportOptions } from "./keras.ts";
import { denseFromTorch, denseToTorch, hwioToOihw, oihwToHwio } from "./layouts.ts";
import {
  bytesOf,
  completeInfo,
  openModel,
  parametersOf,
  writeModel,
  type HostParameter,
} from "./model_file.ts";
import { pytorchModule } from "./pytorch_module.ts";
import { stepsOf } from "./steps.ts";

/** A parameter of ours, and how PyTorch has it. */
interface TorchParameter extends HostParameter {
  readonly torchShape: Shape;
  /** What Flatten took apart before this dense weight, [h, w, c]. */
  readonly image: Shape | undefined;
}

function torchParameters(model: Sequential): TorchParameter[] {
  const images = new Map(
    stepsOf(model, "PyTorch").map((step) => [
      step.name,
      step.type === "Dense" ? step.image : undefined,
    ]),
  );
  return parametersOf(model).map((parameter) => ({
    ...parameter,
    torchShape: torchShape(parameter.shape),
    image: parameter.shape.length === 2 ? images.get(parameter.layer) : undefined,
  }));
}

function torchShape(shape: Shape): Shape {
  const [a = 1, b = 1, inC = 1, outC = 1] = shape;
  if (shape.length === 4) return [outC, inC, a, b];
  return shape.length === 2 ? [b, a] : shape;
}

/**
 * Writes a model file of ours as a state dict, and beside it (`F.py` for `F.safetensors`) the `torch.nn.Sequential` that takes
 * it.
 * @returns the path of the Python file
 * @throws CheckpointError, InteropError
 */
export async function exportPytorch(modelPath: string, path: string): Promise<string> {
  const source = await openModel(modelPath);
  try {
    const python = pytorchModule(source.model, source.info, path);
    const pythonPath = `${path.replace(/\.safetensors$/, "")}.py`;
    await writeWhole(pythonPath, (temporary) => writeFile(temporary, python));
    await writeSafetensors(path, {
      tensors: torchParameters(source.model).map((parameter) => ({
        name: parameter.name,
        dtype: "F32",
        shape: parameter.torchShape,
        bytes: async () => bytesOf(toTorch(await source.read(parameter.name), parameter)),
      })),
      metadata: { ...modelMetadata(source.model, source.info), format: "pt" },
    });
    return pythonPath;
  } finally {
    await source.close();
  }
}

function toTorch(values: Float32Array, { shape, image }: TorchParameter): Float32Array {
  if (shape.length === 4) return hwioToOihw(values, shape);
  return shape.length === 2 ? denseToTorch(values, shape, image) : values;
}

function fromTorch(values: Float32Array, { shape, image }: TorchParameter): Float32Array {
  if (shape.length === 4) return oihwToHwio(values, shape);
  return shape.length === 2 ? denseFromTorch(values, shape, image) : values;
}

/** Our layer or parameter -> theirs: `{"conv1":"features.0","head.bias":"classifier.b"}`. */
export type NameMap = Readonly<Record<string, string>>;

/** @throws InteropError when the file is no such map */
export async function readNameMap(path: string): Promise<NameMap> {
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    const why = systemReason(cause) ?? messageOf(cause);
    throw new InteropError(`--map ${path}: cannot be read: ${why}`, { cause });
  }
  const isMap =
    typeof json === "object" &&
    json !== null &&
    !Array.isArray(json) &&
    Object.values(json).every((theirs) => typeof theirs === "string");
  if (!isMap)
    throw new InteropError(
      `--map ${path}: expected {"our layer":"their module",...}, got ${JSON.stringify(json).slice(0, 80)}`,
    );
  return json as NameMap;
}

/**
 * Makes a model file of a PyTorch state dict. Names are matched by `map`, else by their being ours, else by shape; of modules
 * of one shape, which differ by number alone (`features.0`, `features.3`), in that order.
 * The network may be left out for files that `exportPytorch` wrote.
 * @throws CheckpointError, InteropError naming tensors that are missing, surplus or of another shape
 */
export async function importPytorch(
  from: string,
  modelPath: string,
  { network, map, info = {} }: ImportOptions & { readonly map?: NameMap | undefined } = {},
): Promise<Imported> {
  const where = `import ${from}`;
  const file = await openSafetensors(from);
  try {
    const model = new Sequential(network ?? networkInside(file, where));
    const parameters = torchParameters(model);
    const found = matchNames(parameters, file, map, where);
    await writeModel(
      modelPath,
      model,
      completeInfo(model, info, file.metadata),
      async ({ name }) => {
        const parameter = parameters.find((candidate) => candidate.name === name);
        const values = await file.read(found.get(name) ?? "", { toFloat32: true });
        const floats = values instanceof Float32Array ? values : Float32Array.from(values);
        return parameter ? fromTorch(floats, parameter) : floats;
      },
    );
    return { model, mapping: [...found].map(([ours, theirs]) => ({ ours, theirs })) };
  } finally {
    await file.close();
  }
}

function networkInside({ metadata }: SafetensorsFile, where: string): NetworkConfig {
  const { network, format } = metadata;
  if (network === undefined)
    throw new NetworkError(
      `${where}: a PyTorch state dict does not say how its layers are connected; give the network with --network FILE.json`,
    );
  if (format !== "pt")
    throw new InteropError(
      `${where}: is a model of tuningfork already; use it as it is, as in "tuningfork predict --model"`,
    );
  return checkNetwork(JSON.parse(network), where);
}

/** Our names -> theirs: every one there, in its shape, and none left over. */
function matchNames(
  parameters: readonly TorchParameter[],
  file: SafetensorsFile,
  map: NameMap | undefined,
  where: string,
): Map<string, string> {
  const found = map
    ? matchByMap(parameters, map, where)
    : (matchByName(parameters, file) ?? matchByShape(parameters, file, where));
  const missing = parameters.filter(({ name }) => !file.tensors.has(found.get(name) ?? ""));
  const used = new Set(found.values());
  const surplus = [...file.tensors.keys()].filter((name) => !used.has(name));
  if (missing.length > 0 || surplus.length > 0) {
    const lacking = missing.map(({ name, torchShape: shape }) => {
      const theirs = found.get(name);
      return `${theirs ?? name} ${formatShape(shape)}`;
    });
    const over = surplus.map(
      (name) => `${name} ${formatShape(file.tensors.get(name)?.shape ?? [])}`,
    );
    const complaints = [
      ...(lacking.length > 0 ? [`the file lacks ${listNames(lacking)}`] : []),
      ...(over.length > 0 ? [`the network has no place for ${listNames(over)}`] : []),
    ];
    throw new InteropError(
      `${where}: tensors differ: ${complaints.join(", and ")}; check --network, or give names with --map`,
    );
  }
  for (const { name, torchShape: wanted, shape } of parameters) {
    const theirs = found.get(name) ?? "";
    const got = file.tensors.get(theirs)?.shape ?? [];
    if (formatShape(got) === formatShape(wanted)) continue;
    const own = formatShape(got) === formatShape(shape);
    throw new InteropError(
      `${where}: ${theirs}: expected ${formatShape(wanted)} for ${name}, got ${formatShape(got)}${own ? ", which is the order of Keras and tuningfork, not PyTorch's" : ""}; check --network${map ? " and --map" : ""}`,
    );
  }
  return found;
}

function matchByMap(
  parameters: readonly TorchParameter[],
  map: NameMap,
  where: string,
): Map<string, string> {
  const unused = new Set(Object.keys(map));
  const found = new Map<string, string>();
  for (const { name, layer } of parameters) {
    const theirs = map[name] ?? (map[layer] && `${map[layer]}${name.slice(layer.length)}`);
    unused.delete(name);
    unused.delete(layer);
    found.set(name, theirs ?? name);
  }
  if (unused.size > 0)
    throw new InteropError(
      `${where}: --map names ${listNames([...unused])}, which the network does not have; it has ${listNames(parameters.map(({ name }) => name))}`,
    );
  return found;
}

function matchByName(
  parameters: readonly TorchParameter[],
  file: SafetensorsFile,
): Map<string, string> | undefined {
  if (!parameters.some(({ name }) => file.tensors.has(name))) return undefined;
  return new Map(parameters.map(({ name }) => [name, name]));
}

/** Modules of a state dict in order of their numbers: `features.10` after `features.3`. */
const byNumbers = new Intl.Collator("en", { numeric: true });

/** Layers of one shape, weights and biases together, are given to modules of that shape, in order. */
function matchByShape(
  parameters: readonly TorchParameter[],
  file: SafetensorsFile,
  where: string,
): Map<string, string> {
  const modules = new Map<string, string[]>(); // "weight [32,3,6,6] bias [32]" -> names of modules
  for (const name of [...file.tensors.keys()].sort((a, b) => byNumbers.compare(a, b))) {
    if (!name.endsWith(".weight")) continue;
    const module = name.slice(0, -".weight".length);
    const bias = file.tensors.get(`${module}.bias`)?.shape;
    const key = shapesKey(file.tensors.get(name)?.shape ?? [], bias);
    modules.set(key, [...(modules.get(key) ?? []), module]);
  }
  const found = new Map<string, string>();
  for (const weight of parameters.filter(({ name }) => name.endsWith(".weight"))) {
    const { layer } = weight;
    const bias = parameters.find(({ name }) => name === `${layer}.bias`);
    const candidates = modules.get(shapesKey(weight.torchShape, bias?.torchShape)) ?? [];
    if (new Set(candidates.map((name) => name.replace(/\d+/g, "#"))).size > 1)
      throw new InteropError(
        `${where}: ${listNames(candidates)} have one shape and no order; say which is "${layer}" with --map FILE.json`,
      );
    const module = candidates.shift();
    if (module === undefined) continue; // named as missing by the caller
    found.set(weight.name, `${module}.weight`);
    if (bias) found.set(bias.name, `${module}.bias`);
  }
  return found;
}

const shapesKey = (weight: Shape, bias: Shape | undefined): string =>
  `weight ${formatShape(weight)} bias ${bias ? formatShape(bias) : "none"}`;
