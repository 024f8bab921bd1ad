/**
 * Inference over whole image sets: probabilities, and what follows from them.
 */
import { resizeMatrix } from "../data/augment.ts";
import type { ImageSet } from "../data/dataset.ts";
import type { Program } from "../gpu/program.ts";
import { affineWarpSet } from "../kernels/affine_warp.ts";
import { softmax } from "../kernels/softmax.ts";
import type { Sequential } from "../nn/model.ts";
import { slice } from "../tensor.ts";
import { releaseImages, uploadImages, type DeviceImages } from "./images.ts";
import { Pace } from "./pace.ts";

/** What `predict` takes. */
export interface PredictOptions {
  /** Default 32. */
  readonly batchSize?: number;
  /** Called as batches are submitted. */
  readonly onProgress?: (done: number, total: number) => void;
  /** A program that is idle meanwhile, whose scratch memory may be used. */
  readonly scratchFrom?: Program | undefined;
}

/**
 * The probabilities of the classes for each image of a set, in order: [count, classes], row-major. Where the network
 * does not end in a Softmax, its outputs are taken for logits.
 * @throws DeviceError
 */
export async function predict(
  model: Sequential,
  set: ImageSet,
  options: PredictOptions = {},
): Promise<Float32Array> {
  const images = uploadImages(model.device, set);
  try {
    return await predictUploaded(model, images, options);
  } finally {
    releaseImages(model.device, images);
  }
}

/** `predict` for a set that is in GPU memory already. */
export async function predictUploaded(
  model: Sequential,
  images: DeviceImages,
  { batchSize = 32, onProgress, scratchFrom }: PredictOptions = {},
): Promise<Float32Array> {
  const { device, classCount } = model;
  const { count } = images.set;
  const n = Math.min(batchSize, count);
  const indices = device.tensor([n], "uint32", "predict.indices");
  const matrices = device.tensor([n, 2, 3], "float32", "predict.matrices");
  const y = device.tensor([n, classCount], "float32", "predict.y");
  device.write(matrices, evaluationMatrices(images.set, model.input, n));
  const record = (rows: number, from: Program | undefined) =>
    device.record(
      `inference n=${rows}`,
      (ctx) => {
        const x = ctx.scratch([rows, ...model.input], model.activationType, "x");
        const batch = { indices: slice(indices, 0, rows), matrices: slice(matrices, 0, rows) };
        ctx.scope = "batch";
        affineWarpSet(ctx, { chunks: images.chunks, ...batch }, x);
        const last = model.forward(ctx, x, { training: false, seed: 0 }).outputs.at(-1) ?? x;
        if (model.endsInSoftmax) ctx.copy(last, slice(y, 0, rows));
        else softmax(ctx, { x: last }, slice(y, 0, rows));
      },
      from,
    );
  const whole = await record(n, scratchFrom);
  const rest = count % n;
  const tail = rest > 0 ? await record(rest, whole) : whole;
  const result = new Float32Array(count * classCount);
  const pace = new Pace(device);
  let pending: { start: number; finish: () => Promise<ArrayLike<number>> } | undefined;
  const collect = async () => {
    if (pending) result.set(await pending.finish(), pending.start * classCount);
  };
  try {
    for (let start = 0; start < count; start += n) {
      const rows = Math.min(n, count - start);
      let next: { start: number; finish: () => Promise<ArrayLike<number>> } | undefined;
      await pace.submit(() => {
        device.write(
          slice(indices, 0, rows),
          Uint32Array.from({ length: rows }, (_, i) => start + i),
        );
        device.submit(rows === n ? whole : tail);
        next = { start, finish: device.copyOut(slice(y, 0, rows)).finish };
      });
      await collect();
      pending = next;
      onProgress?.(start + rows, count);
    }
    await device.finish();
    await collect();
  } finally {
    if (tail !== whole) tail.destroy();
    whole.destroy();
    device.release(indices, matrices, y);
  }
  return result;
}

/** The warp of evaluation: the whole image, resized to the network's input, for each of `n` images. */
export function evaluationMatrices(
  set: ImageSet,
  input: readonly [number, number, number],
  n: number,
): Float32Array {
  const [height, width] = input;
  const matrix = resizeMatrix({ height: set.height, width: set.width }, { height, width });
  const all = new Float32Array(n * 6);
  for (let i = 0; i < n; i++) all.set(matrix, i * 6);
  return all;
}
