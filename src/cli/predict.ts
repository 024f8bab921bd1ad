/** `tuningfork predict`: the class and its probabilities for images of any size. */
import { decodeImage } from "../data/galaxy_images.ts";
import type { ImageSet } from "../data/dataset.ts";
import { openDevice } from "../gpu/device.ts";
import { argmax } from "../metrics/accuracy.ts";
import { loadModel } from "../nn/weights.ts";
import { messageOf } from "../system_errors.ts";
import { predict } from "../train/predict.ts";

export interface PredictCommandOptions {
  readonly model: string;
  readonly images: readonly string[];
  readonly crop?: number;
  readonly batchSize: number;
  readonly json: boolean;
}

/** Images are decoded and classified in groups of this many, so that a catalogue of any length streams through. */
const GROUP = 256;

/** A file that is no image is reported and the others go on; the exit code is then 1. */
export async function predictImages(options: PredictCommandOptions): Promise<number> {
  const device = await openDevice();
  let failed = 0;
  try {
    const { model, info } = await loadModel(device, options.model, {
      batchSize: options.batchSize,
    });
    const [height, width, channels] = model.input;
    const size = Math.max(height, width);
    const decodeOptions = {
      size,
      crop: options.crop ?? info.crop,
      channels: channels === 1 ? (1 as const) : (3 as const),
    };
    for (let start = 0; start < options.images.length; start += GROUP) {
      const paths: string[] = [];
      const pixels: Uint8Array[] = [];
      const group = options.images.slice(start, start + GROUP);
      const decoded = await Promise.allSettled(
        group.map((path) => decodeImage(path, decodeOptions)),
      );
      decoded.forEach((result, i) => {
        if (result.status === "fulfilled") {
          paths.push(group[i] ?? "");
          pixels.push(result.value);
        } else {
          failed++;
          console.error(messageOf(result.reason));
        }
      });
      if (paths.length === 0) continue;
      const set: ImageSet = {
        name: "images",
        images: concatenate(pixels),
        count: paths.length,
        height: size,
        width: size,
        channels: decodeOptions.channels,
        labels: new Int32Array(paths.length).fill(-1),
        classes: info.classes,
        ids: paths,
        crop: decodeOptions.crop,
      };
      const probabilities = await predict(model, set, { batchSize: options.batchSize });
      print(paths, probabilities, info.classes, options.json);
    }
  } finally {
    device.destroy();
  }
  if (failed > 0)
    console.error(`${failed} of ${options.images.length} files could not be classified`);
  return failed > 0 ? 1 : 0;
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function print(
  paths: readonly string[],
  probabilities: Float32Array,
  classes: readonly string[],
  json: boolean,
): void {
  const best = argmax(probabilities, classes.length);
  paths.forEach((path, i) => {
    const row = classes.map((name, c): [string, number] => [
      name,
      probabilities[i * classes.length + c] ?? 0,
    ]);
    const name = classes[best[i] ?? 0] ?? "";
    console.log(
      json
        ? JSON.stringify({ path, class: name, probabilities: Object.fromEntries(row) })
        : `${path}  ${name}  ${row.map(([c, p]) => `${c} ${p.toFixed(3)}`).join("  ")}`,
    );
  });
}
