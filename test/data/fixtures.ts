/**
 * What the data tests share: small images, and where the real data is.
 */
import { gzipSync } from "node:zlib";
import sharp from "sharp";
import { dataSetInfo, howToGet, type DataSetName } from "../../src/data/catalogue.ts";
import { locateDataSet } from "../../src/data/locate.ts";
import { write } from "../support/files.ts";
import { skipUnless } from "../support/skip.ts";

/** Writes a square image of one colour; the extension says the format. */
export async function writeImage(
  file: string,
  size = 16,
  background: { r: number; g: number; b: number } = { r: 200, g: 100, b: 50 },
): Promise<string> {
  const image = sharp({ create: { width: size, height: size, channels: 3, background } });
  const bytes = file.endsWith(".png")
    ? await image.png().toBuffer()
    : await image.jpeg({ quality: 95 }).toBuffer();
  return write(file, bytes);
}

/** An idx file of bytes, gzip-compressed. */
export function idxGz(shape: readonly number[], values: Uint8Array): Buffer {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header.writeUInt32BE(0x0800 + shape.length);
  shape.forEach((n, i) => header.writeUInt32BE(n, 4 + 4 * i));
  return gzipSync(Buffer.concat([header, values]));
}

/** The folder of a real data set, or the running test is skipped. */
export function realDataSet(test: Mocha.Context, name: DataSetName): string {
  const found = locateDataSet(name);
  skipUnless(test, found, `needs the data set ${name}; ${howToGet(dataSetInfo(name))}`);
  return found.folder;
}
