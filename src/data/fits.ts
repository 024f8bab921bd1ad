/**
 * A small FITS reader (FITS standard 4.0, https://fits.gsfc.nasa.gov/fits_standard.html): images of any BITPIX and binary
 * tables, vector columns included. Our own, because of the packages on npm jsfitsio wants Node 22 and fitsjs is written for
 * the browser and unmaintained; what galaxies need of the format is little.
 */
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { reasonOf } from "./errors.ts";

const BLOCK = 2880;
const CARD = 80;

export type FitsValue = string | number | boolean;

/** One header-and-data unit. */
export interface FitsUnit {
  readonly header: ReadonlyMap<string, FitsValue>;
  readonly data: Uint8Array;
}

/** `values` row by row from the top of the picture (FITS stores the bottom row first), BSCALE and BZERO applied. */
export interface FitsImage {
  readonly width: number;
  readonly height: number;
  readonly values: Float32Array;
  readonly header: FitsUnit["header"];
}

/** Reads a FITS file, gzip-compressed or not, into its units. */
export async function readFits(file: string): Promise<FitsUnit[]> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
    if (bytes[0] === 0x1f && bytes[1] === 0x8b) bytes = await promisify(gunzip)(bytes);
  } catch (cause) {
    throw new Error(`${file}: cannot be read: ${reasonOf(cause)}`, { cause });
  }
  return parseFits(bytes, file);
}

/** The units of a FITS file's bytes; `file` is what errors call it. */
export function parseFits(bytes: Uint8Array, file: string): FitsUnit[] {
  const units: FitsUnit[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    // Anything but an extension after the last unit is padding, as the standard allows.
    if (units.length > 0 && cardText(bytes, offset, 8) !== "XTENSION") break;
    const { header, end } = parseHeader(bytes, offset, file, units.length === 0);
    const dataBytes = unitBytes(header);
    if (end + dataBytes > bytes.length)
      throw new Error(
        `${file}: FITS data cut off: unit ${units.length} needs ${dataBytes} bytes from ${end}, the file has ${bytes.length}; get it again`,
      );
    units.push({ header, data: bytes.subarray(end, end + dataBytes) });
    offset = end + Math.ceil(dataBytes / BLOCK) * BLOCK;
  }
  if (units.length === 0) throw new Error(`${file}: not a FITS file: it is empty`);
  return units;
}

function parseHeader(
  bytes: Uint8Array,
  start: number,
  file: string,
  primary: boolean,
): { header: Map<string, FitsValue>; end: number } {
  if (primary && cardText(bytes, start, 9) !== "SIMPLE  =")
    throw new Error(`${file}: not a FITS file: it does not begin with SIMPLE`);
  const header = new Map<string, FitsValue>();
  for (let at = start; at + CARD <= bytes.length; at += CARD) {
    const card = cardText(bytes, at, CARD);
    const key = card.slice(0, 8).trimEnd();
    if (key === "END")
      return { header, end: start + Math.ceil((at + CARD - start) / BLOCK) * BLOCK };
    if (card.slice(8, 10) !== "= ") continue; // COMMENT, HISTORY, blank
    const value = parseValue(card.slice(10));
    if (value !== undefined) header.set(key, value);
  }
  throw new Error(`${file}: FITS header cut off: no END card; get the file again`);
}

function parseValue(field: string): FitsValue | undefined {
  const text = field.trimStart();
  if (text.startsWith("'")) {
    const quoted = /^'((?:[^']|'')*)'/.exec(text);
    return quoted?.[1]?.replaceAll("''", "'").trimEnd();
  }
  const bare = text.split("/", 1)[0]!.trim();
  if (bare === "T") return true;
  if (bare === "F") return false;
  const number = Number(bare.replace(/[dD]/, "E"));
  return bare === "" || Number.isNaN(number) ? undefined : number;
}

function cardText(bytes: Uint8Array, offset: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(offset, offset + length));
}

function number(header: FitsUnit["header"], key: string, otherwise: number): number {
  const value = header.get(key);
  return typeof value === "number" ? value : otherwise;
}

/** Standard 4.0, equation 2: |BITPIX| / 8 * GCOUNT * (PCOUNT + NAXIS1 * ... * NAXISn). */
function unitBytes(header: FitsUnit["header"]): number {
  const axes = number(header, "NAXIS", 0);
  if (axes === 0) return 0;
  let elements = 1;
  for (let axis = 1; axis <= axes; axis++) elements *= number(header, `NAXIS${axis}`, 0);
  const bytes = Math.abs(number(header, "BITPIX", 8)) / 8;
  return bytes * number(header, "GCOUNT", 1) * (number(header, "PCOUNT", 0) + elements);
}

const READERS: Readonly<Record<number, (view: DataView, at: number) => number>> = {
  8: (view, at) => view.getUint8(at),
  16: (view, at) => view.getInt16(at),
  32: (view, at) => view.getInt32(at),
  64: (view, at) => Number(view.getBigInt64(at)),
  [-32]: (view, at) => view.getFloat32(at),
  [-64]: (view, at) => view.getFloat64(at),
};

/** The first image of a file: the primary unit's, or an IMAGE extension's if that is empty. */
export async function readFitsImage(file: string): Promise<FitsImage> {
  const units = await readFits(file);
  const unit = units.find(
    ({ header, data }, index) =>
      data.length > 0 && (index === 0 || header.get("XTENSION") === "IMAGE"),
  );
  if (!unit) throw new Error(`${file}: no image in this FITS file (${units.length} units)`);
  return decodeImageUnit(unit, file);
}

function decodeImageUnit({ header, data }: FitsUnit, file: string): FitsImage {
  const axes = number(header, "NAXIS", 0);
  const shape = Array.from({ length: axes }, (_, i) => number(header, `NAXIS${i + 1}`, 0));
  const [width = 0, height = 0, ...others] = shape;
  if (axes < 2 || others.some((n) => n !== 1))
    throw new Error(`${file}: expected an image of two axes, got [${shape.join(",")}]`);
  const bitpix = number(header, "BITPIX", 0);
  const read = READERS[bitpix];
  if (!read)
    throw new Error(`${file}: BITPIX expected to be 8, 16, 32, 64, -32 or -64, got ${bitpix}`);
  const bytesPerValue = Math.abs(bitpix) / 8;
  const scale = number(header, "BSCALE", 1);
  const zero = number(header, "BZERO", 0);
  const blank = bitpix > 0 ? header.get("BLANK") : undefined;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const values = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    const row = (height - 1 - y) * width;
    for (let x = 0; x < width; x++) {
      const raw = read(view, (row + x) * bytesPerValue);
      values[y * width + x] = raw === blank ? NaN : zero + scale * raw;
    }
  }
  return { width, height, values, header };
}

/** Size of one element of a binary table's column, and how it is read. K loses precision above 2^53. */
const COLUMN_TYPES: Readonly<
  Record<string, { bytes: number; read: (view: DataView, at: number) => number }>
> = {
  L: { bytes: 1, read: (view, at) => (view.getUint8(at) === 0x54 ? 1 : 0) },
  B: { bytes: 1, read: (view, at) => view.getUint8(at) },
  I: { bytes: 2, read: (view, at) => view.getInt16(at) },
  J: { bytes: 4, read: (view, at) => view.getInt32(at) },
  K: { bytes: 8, read: (view, at) => Number(view.getBigInt64(at)) },
  E: { bytes: 4, read: (view, at) => view.getFloat32(at) },
  D: { bytes: 8, read: (view, at) => view.getFloat64(at) },
};

/** Bytes of the types that we can only step over: bits, complex numbers, descriptors of variable-length arrays. */
const SKIPPED_TYPES: Readonly<Record<string, (repeat: number) => number>> = {
  X: (repeat) => Math.ceil(repeat / 8),
  A: (repeat) => repeat,
  C: (repeat) => 8 * repeat,
  M: (repeat) => 16 * repeat,
  P: (repeat) => 8 * repeat,
  Q: (repeat) => 16 * repeat,
};

interface FitsColumn {
  readonly name: string;
  readonly type: string;
  readonly repeat: number;
  readonly offset: number;
  /** Characters of one string in an A column of several strings (TDIM). */
  readonly stringLength: number;
  readonly scale: number;
  readonly zero: number;
}

/** A binary table. A vector column gives its elements row after row: `rows * repeat` values. */
export class FitsTable {
  readonly rows: number;
  readonly columns: readonly string[];
  readonly #columns: readonly FitsColumn[];
  readonly #rowBytes: number;
  readonly #data: Uint8Array;
  readonly #file: string;

  constructor({ header, data }: FitsUnit, file: string) {
    this.#file = file;
    this.#data = data;
    this.#rowBytes = number(header, "NAXIS1", 0);
    this.rows = number(header, "NAXIS2", 0);
    this.#columns = parseColumns(header, file);
    this.columns = this.#columns.map(({ name }) => name);
  }

  /** A column of numbers, TSCAL and TZERO applied. */
  numbers(name: string): Float64Array {
    const column = this.#column(name);
    const type = COLUMN_TYPES[column.type];
    if (!type)
      throw new Error(
        `${this.#file}: column ${name} has the FITS type ${column.type}, which is no number this reader knows (L B I J K E D)`,
      );
    const view = this.#view;
    const values = new Float64Array(this.rows * column.repeat);
    for (let row = 0, to = 0; row < this.rows; row++) {
      let at = row * this.#rowBytes + column.offset;
      for (let i = 0; i < column.repeat; i++, at += type.bytes)
        values[to++] = column.zero + column.scale * type.read(view, at);
    }
    return values;
  }

  /** A column of text: one string for each row, or several for each where TDIM says so. */
  strings(name: string): string[] {
    const column = this.#column(name);
    if (column.type !== "A")
      throw new Error(`${this.#file}: column ${name} is not text, its FITS type is ${column.type}`);
    const decoder = new TextDecoder("latin1");
    const texts: string[] = [];
    const length = column.stringLength;
    for (let row = 0; row < this.rows; row++) {
      const start = row * this.#rowBytes + column.offset;
      for (let i = 0; i + length <= column.repeat; i += length) {
        const text = decoder.decode(this.#data.subarray(start + i, start + i + length));
        texts.push(text.split("\0", 1)[0]!.trimEnd());
      }
    }
    return texts;
  }

  get #view(): DataView {
    return new DataView(this.#data.buffer, this.#data.byteOffset, this.#data.byteLength);
  }

  #column(name: string): FitsColumn {
    const column = this.#columns.find((c) => c.name === name);
    if (!column)
      throw new Error(`${this.#file}: no column ${name}; the table has ${this.columns.join(", ")}`);
    return column;
  }
}

function parseColumns(header: FitsUnit["header"], file: string): FitsColumn[] {
  const columns: FitsColumn[] = [];
  let offset = 0;
  for (let i = 1; i <= number(header, "TFIELDS", 0); i++) {
    const form = String(header.get(`TFORM${i}`) ?? "").trim();
    const match = /^(\d*)([A-Z])/.exec(form);
    const type = match?.[2] ?? "";
    const repeat = match?.[1] ? Number(match[1]) : 1;
    const bytes = COLUMN_TYPES[type]
      ? COLUMN_TYPES[type].bytes * repeat
      : SKIPPED_TYPES[type]?.(repeat);
    if (bytes === undefined)
      throw new Error(`${file}: column ${i} has TFORM "${form}", which is no FITS column type`);
    const firstDimension = /^\(\s*(\d+)\s*,/.exec(String(header.get(`TDIM${i}`) ?? ""))?.[1];
    columns.push({
      name: String(header.get(`TTYPE${i}`) ?? `column${i}`).trim(),
      type,
      repeat,
      offset,
      stringLength: firstDimension ? Number(firstDimension) : Math.max(1, repeat),
      scale: number(header, `TSCAL${i}`, 1),
      zero: number(header, `TZERO${i}`, 0),
    });
    offset += bytes;
  }
  return columns;
}

/** The first binary table of a file. */
export async function readFitsTable(file: string): Promise<FitsTable> {
  const units = await readFits(file);
  const unit = units.find(({ header }) => header.get("XTENSION") === "BINTABLE");
  if (!unit) throw new Error(`${file}: no binary table in this FITS file (${units.length} units)`);
  return new FitsTable(unit, file);
}
