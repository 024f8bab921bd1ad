/**
 * Models as safetensors files: the weights, and in the metadata all that predict, inspect and export need.
 */
import type { Device } from "../gpu/device.ts";
import {
  CheckpointError,
  FILE_DTYPE,
  openSafetensors,
  writeSafetensors,
  type SafetensorsFile,
  type TensorToWrite,
} from "../safetensors.ts";
import { formatShape, type Tensor } from "../tensor.ts";
import type { Parameter } from "./layer.ts";
import { Sequential } from "./model.ts";
import { checkNetwork } from "./network.ts";
import type { Precision } from "./precision.ts";

/** What a model file says of the model beside its weights. */
export interface ModelInfo {
  readonly classes: readonly string[];
  /** The central fraction of an original image that the network saw in training. */
  readonly crop: number;
  /** What it was trained on last. */
  readonly dataSet: string;
}

const FORMAT = "tuningfork-1";
/** Pixels are uint8; the network sees them times this. */
export const PIXEL_SCALING = "1/255";

/** The metadata of a model file. */
export function modelMetadata(
  model: Sequential,
  info: ModelInfo,
): Readonly<Record<string, string>> {
  return {
    format: FORMAT,
    network: JSON.stringify(model.config()),
    input_size: JSON.stringify(model.input),
    classes: JSON.stringify(info.classes),
    pixel_scaling: PIXEL_SCALING,
    crop: String(info.crop),
    data_set: info.dataSet,
  };
}

/** Writes a model; whole or not at all. @throws CheckpointError */
export async function saveModel(
  path: string,
  model: Sequential,
  info: ModelInfo,
  more: { tensors?: readonly TensorToWrite[]; metadata?: Readonly<Record<string, string>> } = {},
): Promise<void> {
  const { device } = model;
  await writeSafetensors(path, {
    tensors: [
      ...model
        .parameters()
        .map((parameter) => tensorToWrite(device, parameter.name, parameter.value)),
      ...(more.tensors ?? []),
    ],
    metadata: { ...modelMetadata(model, info), ...more.metadata },
  });
}

/** A device tensor as a file takes it: read from the GPU when its turn comes. */
export function tensorToWrite(device: Device, name: string, tensor: Tensor): TensorToWrite {
  return {
    name,
    dtype: FILE_DTYPE[tensor.dtype],
    shape: tensor.shape,
    bytes: async () => {
      const values = await device.read(tensor);
      return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    },
  };
}

/** The network and the facts of a model file. @throws CheckpointError when it is none of ours */
export function modelOf(file: SafetensorsFile): { model: Sequential; info: ModelInfo } {
  const { metadata, path } = file;
  const { format, network } = metadata;
  if (network === undefined)
    throw new CheckpointError(
      path,
      `no network in its metadata, so it is no model of tuningfork; take it in with "tuningfork import --from ${path} --network FILE.json --out MODEL", ` +
        `or train on from it with --network and --init`,
    );
  if (format !== FORMAT)
    throw new CheckpointError(
      path,
      `format ${format ?? "unknown"}, and this version reads ${FORMAT}; use the version that wrote it`,
    );
  try {
    const model = new Sequential(checkNetwork(JSON.parse(network)));
    return {
      model,
      info: {
        classes: JSON.parse(metadata["classes"] ?? "[]") as string[],
        crop: Number(metadata["crop"] ?? 1),
        dataSet: metadata["data_set"] ?? "unknown",
      },
    };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CheckpointError(path, `its network cannot be built: ${why}`, { cause });
  }
}

/** Opens a model file, builds its network on the device and loads the weights. @throws CheckpointError */
export async function loadModel(
  device: Device,
  path: string,
  options: { batchSize?: number; seed?: number; precision?: Precision | undefined } = {},
): Promise<{ model: Sequential; info: ModelInfo }> {
  const file = await openSafetensors(path);
  try {
    const { model, info } = modelOf(file);
    await model.build(device, { seed: 0, ...options });
    await loadWeights(model, file);
    return { model, info };
  } finally {
    await file.close();
  }
}

/**
 * Loads the parameters of a built model from a file that has all of them, in their shapes.
 * @param only names of the layers to load; default all
 * @throws CheckpointError naming the first parameter that is missing or has another shape
 */
export async function loadWeights(
  model: Sequential,
  file: SafetensorsFile,
  only?: (parameter: Parameter) => boolean,
): Promise<void> {
  const wanted = model.parameters().filter((parameter) => only?.(parameter) ?? true);
  for (const parameter of wanted) checkParameter(file, parameter);
  for (const { name, value } of wanted) model.device.write(value, await file.read(name));
}

/** @throws CheckpointError when the file does not have the parameter, as float32 and in its shape */
export function checkParameter(
  file: SafetensorsFile,
  { name, shape }: Pick<Parameter, "name" | "shape">,
): void {
  const found = file.tensors.get(name);
  if (!found)
    throw new CheckpointError(
      file.path,
      `missing ${name} ${formatShape(shape)}; the file has ${file.tensors.size} tensors, e.g. ${file.tensors.keys().next().value ?? "none"}; ` +
        `these weights belong to another network`,
    );
  if (found.dtype !== "F32" || formatShape(found.shape) !== formatShape(shape))
    throw new CheckpointError(
      file.path,
      `${name}: expected F32 ${formatShape(shape)}, got ${found.dtype} ${formatShape(found.shape)}; ` +
        `these weights belong to another network${name.startsWith("dense") ? ", or need --new-head" : ""}`,
    );
}
