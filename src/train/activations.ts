/** What single layers make of single images. */
import type { ImageSet } from "../data/dataset.ts";
import { affineWarpSet } from "../kernels/affine_warp.ts";
import { cast } from "../kernels/cast.ts";
import type { Sequential } from "../nn/model.ts";
import type { Tensor } from "../tensor.ts";
import { releaseImages, uploadImages } from "./images.ts";
import { evaluationMatrices } from "./predict.ts";

/** The output of one layer for one image; a vector counts as 1 x 1 with many channels. */
export interface LayerActivations {
  readonly layer: string;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** height * width * channels, HWC. */
  readonly values: Float32Array;
}

/**
 * Runs one image of a set through the network and reads the outputs of the named layers.
 * @throws Error naming the layers that there are, when one is asked for that is not
 */
export async function activationsOf(
  model: Sequential,
  set: ImageSet,
  imageIndex: number,
  layers: readonly string[],
): Promise<LayerActivations[]> {
  const { device } = model;
  for (const name of layers) model.layer(name);
  const shapes = model.shapes();
  const kept = new Map<string, Tensor>();
  model.layers.forEach(({ name }, index) => {
    const shape = [1, ...(shapes[index + 1] ?? [])];
    if (layers.includes(name)) kept.set(name, device.tensor(shape, "float32", `${name} kept`));
  });
  const images = uploadImages(device, set);
  const indices = device.upload(Uint32Array.of(imageIndex), [1], "indices");
  const matrices = device.upload(evaluationMatrices(set, model.input, 1), [1, 2, 3], "matrices");
  await device.run("activations", (ctx) => {
    const x = ctx.scratch([1, ...model.input], model.activationType, "x");
    affineWarpSet(ctx, { chunks: images.chunks, indices, matrices }, x);
    model.forward(ctx, x, {
      training: false,
      seed: 0,
      observe: (inner, { name, tensor }) => {
        const copy = kept.get(name);
        if (copy) cast(inner, { x: tensor }, copy);
      },
    });
  });
  const result: LayerActivations[] = [];
  for (const layer of layers) {
    const tensor = kept.get(layer);
    if (!tensor) continue;
    const [channels = 1, width = 1, height = 1] = tensor.shape.slice(1).reverse();
    result.push({ layer, height, width, channels, values: await device.readFloats(tensor) });
  }
  releaseImages(device, images);
  device.release(indices, matrices, ...kept.values());
  return result;
}
