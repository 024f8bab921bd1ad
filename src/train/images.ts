/** Image sets in GPU memory, as uint8, in chunks that each fit one binding. */
import type { Device } from "../gpu/device.ts";
import type { ImageSet } from "../data/dataset.ts";
import type { Tensor } from "../tensor.ts";

export interface DeviceImages {
  readonly set: ImageSet;
  /** [count, height, width, channels] uint8 each, in order; chunk i starts at image `firstIndex`. */
  readonly chunks: readonly { readonly images: Tensor; readonly firstIndex: number }[];
}

/** Uploads a set once; batches are then drawn on the GPU. @throws DeviceError when memory is short */
export function uploadImages(device: Device, set: ImageSet): DeviceImages {
  const imageBytes = set.height * set.width * set.channels;
  const perChunk = Math.max(1, Math.floor(device.maxBindingBytes / imageBytes));
  const chunks = [];
  for (let firstIndex = 0; firstIndex < set.count; firstIndex += perChunk) {
    const count = Math.min(perChunk, set.count - firstIndex);
    const bytes = set.images.subarray(firstIndex * imageBytes, (firstIndex + count) * imageBytes);
    const shape = [count, set.height, set.width, set.channels];
    chunks.push({ images: device.upload(bytes, shape, `${set.name} images`), firstIndex });
  }
  return { set, chunks };
}

/** Gives the device memory of uploaded images back. */
export function releaseImages(device: Device, { chunks }: DeviceImages): void {
  device.release(...chunks.map(({ images }) => images));
}
