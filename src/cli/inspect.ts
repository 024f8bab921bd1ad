/** `tuningfork inspect`: feature maps of single layers for one image, as PNG grids. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ImageSet } from "../data/dataset.ts";
import { decodeImage } from "../data/galaxy_images.ts";
import { prepareFolder } from "../folders.ts";
import { openDevice } from "../gpu/device.ts";
import { loadModel } from "../nn/weights.ts";
import { featureMapGridPng } from "../study/image_grid.ts";
import { activationsOf } from "../train/activations.ts";

export interface InspectOptions {
  readonly model: string;
  readonly image: string;
  readonly layers: readonly string[];
  readonly crop?: number;
  readonly out: string;
}

/** Writes `LAYER.png` for each layer: its channels side by side, each scaled on its own. */
export async function inspect(options: InspectOptions): Promise<number> {
  await prepareFolder(options.out);
  const device = await openDevice();
  try {
    const { model, info } = await loadModel(device, options.model, { batchSize: 1 });
    const [height, width, channels] = model.input;
    const size = Math.max(height, width);
    const crop = options.crop ?? info.crop;
    const images = await decodeImage(options.image, {
      size,
      crop,
      channels: channels === 1 ? 1 : 3,
    });
    const set: ImageSet = {
      name: options.image,
      images,
      count: 1,
      height: size,
      width: size,
      channels: channels === 1 ? 1 : 3,
      labels: Int32Array.of(-1),
      classes: info.classes,
      ids: [options.image],
      crop,
    };
    for (const maps of await activationsOf(model, set, 0, options.layers)) {
      const path = join(options.out, `${maps.layer}.png`);
      await writeFile(path, await featureMapGridPng(maps));
      console.log(`${path}: ${maps.channels} maps of ${maps.height} x ${maps.width}`);
    }
    return 0;
  } finally {
    device.destroy();
  }
}
