/**
 * Fashion-MNIST from its four idx.gz files (http://yann.lecun.com/exdb/mnist: big-endian magic 0x0000 08 DIMS, sizes, bytes).
 * The images stay 28x28x1; the GPU's warp brings them to the network's size and channels.
 */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { FASHION_MNIST_CLASSES } from "./catalogue.ts";
import type { ImageSet } from "./dataset.ts";
import { reasonOf } from "./errors.ts";

export type FashionMnistPart = "train" | "test";

const PREFIX: Readonly<Record<FashionMnistPart, string>> = { train: "train", test: "t10k" };

/** The content of an idx file of uint8: `values` in row-major order of `shape`. */
export interface IdxArray {
  readonly shape: readonly number[];
  readonly values: Uint8Array;
}

/** Loads 60,000 (train) or 10,000 (test) images, [n, 28, 28, 1], from the folder with the idx.gz files. */
export async function loadFashionMnist(
  folder: string,
  part: FashionMnistPart = "train",
): Promise<ImageSet> {
  const imagesFile = path.join(folder, `${PREFIX[part]}-images-idx3-ubyte.gz`);
  const labelsFile = path.join(folder, `${PREFIX[part]}-labels-idx1-ubyte.gz`);
  const [images, { labels }] = await Promise.all([
    readIdx(imagesFile, 3),
    readFashionMnistLabels(folder, part),
  ]);
  const [count = 0, height = 0, width = 0] = images.shape;
  if (labels.length !== count)
    throw new Error(
      `fashion-mnist: as many labels as images expected: ${count} in ${imagesFile} vs ${labels.length} in ${labelsFile}; get both again`,
    );
  return {
    name: `fashion-mnist/${part}`,
    images: images.values,
    count,
    height,
    width,
    channels: 1,
    labels,
    classes: FASHION_MNIST_CLASSES,
    ids: Array.from({ length: count }, (_, i) => `${part}-${i}`),
    crop: 1,
  };
}

/** The labels alone, [n], indices into `classes`. */
export async function readFashionMnistLabels(
  folder: string,
  part: FashionMnistPart,
): Promise<Pick<ImageSet, "labels" | "classes">> {
  const labelsFile = path.join(folder, `${PREFIX[part]}-labels-idx1-ubyte.gz`);
  const labels = await readIdx(labelsFile, 1);
  const unknown = labels.values.findIndex((label) => label >= FASHION_MNIST_CLASSES.length);
  if (unknown >= 0)
    throw new Error(
      `${labelsFile}: labels are 0 to ${FASHION_MNIST_CLASSES.length - 1}, got ${labels.values[unknown]} for image ${unknown}; the file is not Fashion-MNIST's`,
    );
  return { labels: Int32Array.from(labels.values), classes: FASHION_MNIST_CLASSES };
}

/** Reads a gzip-compressed idx file of uint8 with `rank` dimensions. */
export async function readIdx(file: string, rank: number): Promise<IdxArray> {
  let compressed: Buffer;
  try {
    compressed = await readFile(file);
  } catch (cause) {
    throw new Error(`${file}: cannot be read: ${reasonOf(cause)}`, { cause });
  }
  let bytes: Buffer;
  try {
    bytes = await promisify(gunzip)(compressed);
  } catch (cause) {
    throw new Error(
      `${file}: not a whole gzip file: ${reasonOf(cause)}; it was probably cut off, get it again (tuningfork data fetch fashion-mnist)`,
      { cause },
    );
  }
  return parseIdx(bytes, rank, file);
}

/** Parses idx bytes; `file` is what errors call them. */
export function parseIdx(bytes: Uint8Array, rank: number, file: string): IdxArray {
  const headerBytes = 4 + 4 * rank;
  if (bytes.length < headerBytes)
    throw new Error(
      `${file}: idx header cut off: expected ${headerBytes} bytes, got ${bytes.length}; get the file again`,
    );
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = view.getUint32(0);
  const expected = 0x0800 + rank;
  if (magic !== expected)
    throw new Error(
      `${file}: not an idx file of bytes with ${rank} dimensions: expected magic 0x${hex(expected)}, got 0x${hex(magic)}`,
    );
  const shape = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
  const size = shape.reduce((product, n) => product * n, 1);
  if (bytes.length - headerBytes !== size)
    throw new Error(
      `${file}: idx data of the wrong length: its header says [${shape.join(",")}] = ${size} bytes, got ${bytes.length - headerBytes}; get the file again`,
    );
  return { shape, values: bytes.subarray(headerBytes) };
}

function hex(word: number): string {
  return word.toString(16).padStart(8, "0");
}
