/**
 * Galaxy images from files: decoded, centrally cropped, resized (antialiased) to one size by sharp, and cached as uint8,
 * so that the second start only reads one file.
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { availableParallelism } from "node:os";
import path from "node:path";
import { crc32 } from "node:zlib";
import sharp, { type Sharp } from "sharp";
import type { ImageSet, LoadedSet, OnProgress } from "./dataset.ts";
import { countWithExamples, reasonOf } from "./errors.ts";
import { isFitsFile, readFitsColour } from "./fits_colour.ts";
import { cacheFolder } from "./locate.ts";

/** Raise it whenever the same files would give other pixels: old cache entries are then not found. */
const LOADER_VERSION = 1;

// Each image is small, so the parallelism is over images; sharp's own threads per image and its file cache only get in
// the way (its cache would also hide a file that has changed).
sharp.concurrency(1);
sharp.cache(false);

/** One galaxy: one file, or three FITS files for red, green and blue. */
export interface GalaxyFile {
  readonly path: string | readonly [red: string, green: string, blue: string];
  readonly id: string;
  /** Index into the set's classes, -1 for unknown. */
  readonly label: number;
}

export interface DecodeOptions {
  /** Height and width of the result in pixels. */
  readonly size: number;
  /** The central fraction of the shorter side that is kept, in (0, 1]; 1 (the default) is the largest central square. */
  readonly crop?: number;
  /** 3 (RGB, the default) or 1 (grey). */
  readonly channels?: 1 | 3;
}

export interface GalaxyImagesOptions extends DecodeOptions {
  readonly name: string;
  readonly classes: readonly string[];
  readonly onProgress?: OnProgress | undefined;
  /** The folder of cached images, or false for no cache. Default: cacheFolder(). */
  readonly cache?: string | false | undefined;
}

/** An image that could not be decoded. */
export interface BrokenImage {
  readonly path: string;
  readonly reason: string;
}

/**
 * Decodes one image file (JPEG, PNG and whatever else sharp reads, grey or with transparency, any size; or FITS).
 * Returns uint8 [size, size, channels]. Throws an error that names the file if it is no image.
 */
export async function decodeImage(
  file: GalaxyFile["path"],
  options: DecodeOptions,
): Promise<Uint8Array> {
  checkDecodeOptions(options);
  try {
    return await decode(file, options);
  } catch (cause) {
    throw new Error(`${pathText(file)}: not a readable image: ${reasonOf(cause)}`, { cause });
  }
}

async function decode(
  file: GalaxyFile["path"],
  { size, crop = 1, channels = 3 }: DecodeOptions,
): Promise<Uint8Array> {
  const image = await openImage(file);
  const { width, height } = await image.metadata();
  // sharp's own message for a width it cannot tell would be about the extract below.
  if (!width || !height) throw new Error("it has no width or height");
  const side = Math.max(1, Math.round(crop * Math.min(width, height)));
  const { data, info } = await image
    .extract({
      left: Math.floor((width - side) / 2),
      top: Math.floor((height - side) / 2),
      width: side,
      height: side,
    })
    .flatten({ background: "#000" }) // transparent is sky
    .resize(size, size, { fit: "fill", kernel: "lanczos3", fastShrinkOnLoad: false })
    .toColourspace(channels === 3 ? "srgb" : "b-w")
    .raw({ depth: "uchar" })
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== channels)
    throw new Error(`expected ${channels} channels after decoding, got ${info.channels}`);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

async function openImage(file: GalaxyFile["path"]): Promise<Sharp> {
  if (typeof file !== "string" || isFitsFile(file)) {
    const { rgb, width, height } = await readFitsColour(typeof file === "string" ? [file] : file);
    return sharp(rgb, { raw: { width, height, channels: 3 } });
  }
  // "error" refuses a truncated file, yet not one with a harmless oddity in its metadata.
  return sharp(await readFile(file), { failOn: "error" });
}

/** Width and height of an image file in pixels, from its header. Throws like decodeImage. */
export async function imageSize(
  file: GalaxyFile["path"],
): Promise<{ readonly width: number; readonly height: number }> {
  try {
    const { width, height } = await (await openImage(file)).metadata();
    return { width, height };
  } catch (cause) {
    throw new Error(`${pathText(file)}: not a readable image: ${reasonOf(cause)}`, { cause });
  }
}

/**
 * Decodes all files in parallel, or takes the cached result. Broken images are left out and reported as one warning
 * that counts and names them; that all are broken is an error.
 */
export async function loadGalaxyImages(
  files: readonly GalaxyFile[],
  options: GalaxyImagesOptions,
): Promise<LoadedSet & { readonly broken: readonly BrokenImage[] }> {
  checkDecodeOptions(options);
  const { name, classes, size, crop = 1, channels = 3, cache = cacheFolder() } = options;
  if (files.length === 0) throw new Error(`data set ${name}: no images found`);
  const warnings: string[] = [];
  const cacheFile = cache === false ? undefined : await cachePath(cache, files, options);
  let pixels = cacheFile && (await readCache(cacheFile));
  if (!pixels) {
    pixels = await decodeAll(files, options);
    if (cacheFile) {
      const problem = await writeCache(cacheFile, pixels);
      if (problem) warnings.push(`${name}: decoded images are not cached: ${problem}`);
    }
  }
  options.onProgress?.({ stage: `decode ${name}`, done: files.length, total: files.length });

  const { images, broken } = pixels;
  const isBroken = new Set(broken.map(({ index }) => index));
  const kept = files.filter((_, index) => !isBroken.has(index));
  const brokenImages = broken.map(({ index, reason }) => ({
    path: pathText(files[index]!.path),
    reason,
  }));
  const first = brokenImages[0];
  if (kept.length === 0)
    throw new Error(
      `data set ${name}: none of the ${files.length} images could be decoded; the first: ${first?.path}: ${first?.reason}`,
    );
  if (first)
    warnings.push(
      `${name}: left out ${countWithExamples(
        brokenImages.map((b) => b.path),
        "broken image",
      )}: ${first.reason}`,
    );
  const set: ImageSet = {
    name,
    images,
    count: kept.length,
    height: size,
    width: size,
    channels,
    labels: Int32Array.from(kept, (file) => file.label),
    classes,
    ids: kept.map((file) => file.id),
    crop,
  };
  return { set, warnings, broken: brokenImages };
}

/** The images that could be decoded, in the order of the files, and which could not. */
interface Pixels {
  readonly images: Uint8Array;
  readonly broken: readonly { readonly index: number; readonly reason: string }[];
}

async function decodeAll(
  files: readonly GalaxyFile[],
  options: GalaxyImagesOptions,
): Promise<Pixels> {
  const { size, channels = 3, name, onProgress } = options;
  const imageBytes = size * size * channels;
  const images = new Uint8Array(files.length * imageBytes);
  const broken: { index: number; reason: string }[] = [];
  let next = 0;
  let done = 0;
  const worker = async (): Promise<void> => {
    while (next < files.length) {
      const index = next++;
      try {
        images.set(await decode(files[index]!.path, options), index * imageBytes);
      } catch (cause) {
        broken.push({ index, reason: reasonOf(cause) });
      }
      done++;
      if (done % 64 === 0) onProgress?.({ stage: `decode ${name}`, done, total: files.length });
    }
  };
  // Twice the cores: while one image waits for the disk, another is decoded.
  await Promise.all(Array.from({ length: 2 * availableParallelism() }, worker));

  broken.sort((a, b) => a.index - b.index);
  if (broken.length === 0) return { images, broken };
  const isBroken = new Set(broken.map(({ index }) => index));
  let to = 0;
  for (let from = 0; from < files.length; from++) {
    if (isBroken.has(from)) continue;
    images.copyWithin(to * imageBytes, from * imageBytes, (from + 1) * imageBytes);
    to++;
  }
  return { images: images.slice(0, to * imageBytes), broken };
}

// A cache entry is one file: MAGIC, uint32 length of the header, uint32 CRC-32 of the pixels, the header (JSON), the pixels.
const MAGIC = "tuningfork images 1\n";

/** Named by a hash of everything that the pixels depend on. */
async function cachePath(
  folder: string,
  files: readonly GalaxyFile[],
  { name, size, crop = 1, channels = 3 }: GalaxyImagesOptions,
): Promise<string> {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([LOADER_VERSION, sharp.versions, size, crop, channels]));
  const paths = files.flatMap((file) => file.path);
  const states = await Promise.all(
    paths.map(async (file) => {
      try {
        const { size: bytes, mtimeMs } = await stat(file);
        return [path.resolve(file), bytes, mtimeMs];
      } catch {
        return [path.resolve(file), -1, 0]; // it will be reported as broken when decoded
      }
    }),
  );
  hash.update(JSON.stringify(states));
  const label = name.replace(/[^\w-]+/g, "_").slice(-40);
  return path.join(folder, "images", `${label}-${size}-${hash.digest("hex").slice(0, 24)}.bin`);
}

/** Reads a cache entry; one that is damaged counts as none, and is written anew. */
async function readCache(file: string): Promise<Pixels | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch {
    return undefined;
  }
  try {
    const fixed = MAGIC.length + 8;
    if (bytes.toString("latin1", 0, MAGIC.length) !== MAGIC) return undefined;
    const headerBytes = bytes.readUInt32LE(MAGIC.length);
    const header = JSON.parse(bytes.toString("utf8", fixed, fixed + headerBytes)) as {
      imageBytes: number;
      broken: Pixels["broken"];
    };
    const images = new Uint8Array(bytes.buffer, bytes.byteOffset + fixed + headerBytes);
    if (images.length !== header.imageBytes) return undefined;
    if (crc32(images) !== bytes.readUInt32LE(MAGIC.length + 4)) return undefined;
    const now = new Date();
    await utimes(file, now, now).catch(() => undefined); // lets a user see which entries are still in use
    return { images, broken: header.broken };
  } catch {
    return undefined;
  }
}

/** Writes beside and renames, so that no reader ever sees half an entry. Returns why it failed, if it did. */
async function writeCache(file: string, { images, broken }: Pixels): Promise<string | undefined> {
  const header = Buffer.from(JSON.stringify({ imageBytes: images.length, broken }));
  const fixed = Buffer.alloc(MAGIC.length + 8);
  fixed.write(MAGIC, "latin1");
  fixed.writeUInt32LE(header.length, MAGIC.length);
  fixed.writeUInt32LE(crc32(images), MAGIC.length + 4);
  const beside = `${file}.${randomUUID()}.part`;
  try {
    await mkdir(path.dirname(file), { recursive: true });
    const handle = await open(beside, "wx");
    try {
      for (const part of [fixed, header, images]) await handle.writeFile(part);
    } finally {
      await handle.close();
    }
    await rename(beside, file);
    return undefined;
  } catch (cause) {
    await rm(beside, { force: true }).catch(() => undefined);
    return reasonOf(cause);
  }
}

function checkDecodeOptions({ size, crop = 1 }: DecodeOptions): void {
  if (!Number.isInteger(size) || size < 1)
    throw new RangeError(`image size: expected a whole number of pixels above 0, got ${size}`);
  if (!(crop > 0 && crop <= 1))
    throw new RangeError(`crop: expected a fraction above 0 and at most 1, got ${crop}`);
}

function pathText(file: GalaxyFile["path"]): string {
  return typeof file === "string" ? file : file.join(" + ");
}
