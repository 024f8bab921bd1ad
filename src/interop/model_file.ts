/** Model files on the host: read for export and written by import without a device. */
import { checkParameter, modelMetadata, modelOf, type ModelInfo } from "../nn/weights.ts";
import type { Sequential } from "../nn/model.ts";
import { openSafetensors, writeSafetensors } from "../safetensors.ts";
import type { Shape } from "../tensor.ts";
import { InteropError, listNames } from "./files.ts";

/** One parameter of a network, as `<layer>.weight` or `<layer>.bias`. */
export interface HostParameter {
  readonly name: string;
  readonly layer: string;
  readonly shape: Shape;
}

/** The parameters that a model has or will have, in order; the model need not be built. */
export function parametersOf(model: Sequential): HostParameter[] {
  const shapes = model.shapes();
  return model.layers.flatMap((layer, index) =>
    layer
      .parameterSpecs(shapes[index] ?? [])
      .map(({ name, shape }) => ({ name: `${layer.name}.${name}`, layer: layer.name, shape })),
  );
}

/** An open model file whose parameters are all there. `close` it. */
export interface OpenModel {
  readonly path: string;
  readonly model: Sequential;
  readonly info: ModelInfo;
  readonly parameters: readonly HostParameter[];
  /** The values of a parameter. */
  readonly read: (name: string) => Promise<Float32Array>;
  readonly close: () => Promise<void>;
}

/** @throws CheckpointError when the file is no model of ours, or lacks a parameter */
export async function openModel(path: string): Promise<OpenModel> {
  const file = await openSafetensors(path);
  try {
    const { model, info } = modelOf(file);
    const parameters = parametersOf(model);
    for (const parameter of parameters) checkParameter(file, parameter);
    const read = async (name: string) => (await file.read(name)) as Float32Array;
    return { path, model, info, parameters, read, close: () => file.close() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * The facts of a model that comes from elsewhere: what is given, else what its metadata says, else classes by number.
 * @throws InteropError when there are more or fewer classes than outputs
 */
export function completeInfo(
  model: Sequential,
  given: Partial<ModelInfo>,
  metadata: Readonly<Record<string, string>> = {},
): ModelInfo {
  const { classCount } = model;
  const named = metadata["classes"];
  const classes = given.classes ?? (named && (JSON.parse(named) as string[]));
  if (classes && classes.length !== classCount)
    throw new InteropError(
      `import: expected ${classCount} names of classes, as many as the model has outputs, got ${classes.length}: ${listNames(classes)}; give --classes again`,
    );
  if (classes && new Set(classes).size < classes.length)
    throw new InteropError(
      `import: expected names of classes that differ, got ${listNames(classes)}; give --classes again`,
    );
  return {
    classes: classes || Array.from({ length: classCount }, (_, index) => String(index)),
    crop: given.crop ?? Number(metadata["crop"] ?? 1),
    dataSet: given.dataSet ?? metadata["data_set"] ?? "unknown",
  };
}

/**
 * Writes a model file.
 * @param read called for one parameter after the other
 * @throws CheckpointError
 */
export async function writeModel(
  path: string,
  model: Sequential,
  info: ModelInfo,
  read: (parameter: HostParameter) => Promise<Float32Array>,
): Promise<void> {
  await writeSafetensors(path, {
    tensors: parametersOf(model).map((parameter) => ({
      name: parameter.name,
      dtype: "F32",
      shape: parameter.shape,
      bytes: async () => bytesOf(await read(parameter)),
    })),
    metadata: modelMetadata(model, info),
  });
}

/** The bytes of an array; not a copy. */
export function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
