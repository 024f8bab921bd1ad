/**
 * Tensors in files: the safetensors format (https://github.com/huggingface/safetensors), which every framework reads.
 * A file is the length of its header (uint64), the header (JSON: name -> dtype, shape, offsets; padded with spaces to 8
 * bytes), then the bytes of all tensors, little-endian and row-major, without gaps.
 *
 * Written here, since npm has nothing to build on (its only `safetensors` is one version, 0.0.1) and we need what
 * small libraries leave out: writing tensors of hundreds of megabytes one at a time, into a file that appears whole or not
 * at all, and a header that is checked before anything is believed.
 */
import { open, rename, rm, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { systemReason } from "./system_errors.ts";
import { elementCount, formatShape, type DType, type Shape, type TypedArray } from "./tensor.ts";

/** A file of weights or of training state that cannot be used. */
export class CheckpointError extends Error {
  override readonly name = "CheckpointError";
  /** The file, as the user named it. */
  readonly path: string;

  constructor(path: string, message: string, options?: ErrorOptions) {
    super(`checkpoint ${path}: ${message}`, options);
    this.path = path;
  }
}

/** Bytes of one element, for every type of the format that is made of whole bytes. */
const ELEMENT_BYTES = {
  F64: 8,
  I64: 8,
  U64: 8,
  F32: 4,
  I32: 4,
  U32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  U16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

export type FileDType = keyof typeof ELEMENT_BYTES;

/** How the tensors of the engine are called in a file. */
export const FILE_DTYPE = {
  float32: "F32",
  float16: "F16",
  int32: "I32",
  uint32: "U32",
  uint8: "U8",
} as const satisfies Record<DType, FileDType>;

export interface TensorInfo {
  readonly dtype: FileDType;
  readonly shape: Shape;
}

export interface TensorToWrite extends TensorInfo {
  readonly name: string;
  /** The elements, row-major and little-endian; a function is called when their turn comes, so that few are in memory. */
  readonly bytes: Uint8Array | (() => Promise<Uint8Array>);
}

export type Metadata = Readonly<Record<string, string>>;

export interface ReadOptions {
  /** Convert F64, F16 and BF16 to float32; without it they are refused. */
  readonly toFloat32?: boolean;
}

/** An open file. Tensors are read one at a time, in any order; `close` it. */
export interface SafetensorsFile {
  readonly path: string;
  readonly metadata: Metadata;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * F32, I32, U32 and U8 as they are; others only as `options` say.
   * @throws CheckpointError when the file has no such tensor, or not of such a type
   */
  read(name: string, options?: ReadOptions): Promise<TypedArray>;
  close(): Promise<void>;
}

/** Reads and writes go in pieces of this size: a single system call moves less than 2 GiB. */
const PIECE_BYTES = 64 * 1024 * 1024;
/** As the reference implementation has it: a longer header is a broken or hostile file. */
const MAX_HEADER_BYTES = 100_000_000;
const METADATA = "__metadata__";

/**
 * Writes a file that is there whole or not at all: beside its place first (`PATH.tmp-PID`), then renamed. Whatever goes
 * wrong, what was at `path` before stays and nothing is left beside it.
 * @throws CheckpointError when the file cannot be written or a tensor's bytes do not fit its shape
 */
export async function writeSafetensors(
  path: string,
  { tensors, metadata }: { tensors: Iterable<TensorToWrite>; metadata: Metadata },
): Promise<void> {
  // The reference implementation's order. Wide elements first keeps every tensor aligned to its own element size.
  const sorted = [...tensors].sort(
    (a, b) =>
      ELEMENT_BYTES[b.dtype] - ELEMENT_BYTES[a.dtype] ||
      Number(a.name > b.name) - Number(a.name < b.name),
  );
  const header = formatHeader(path, sorted, metadata);
  const temporary = `${path}.tmp-${process.pid}`;
  try {
    const file = await open(temporary, "w");
    try {
      await writeAll(file, header);
      for (const tensor of sorted) await writeAll(file, await tensorBytes(path, tensor));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined); // the error below is the one to report
    throw systemError(path, "cannot be written", error);
  }
  await syncFolder(dirname(path));
}

function formatHeader(path: string, sorted: readonly TensorToWrite[], metadata: Metadata): Buffer {
  // A Map and not an object literal: names such as "__proto__" or "7" must neither vanish nor move.
  const entries = new Map<string, unknown>([[METADATA, metadata]]);
  let end = 0;
  for (const tensor of sorted) {
    const { name, dtype, shape } = tensor;
    if (entries.has(name))
      throw new CheckpointError(path, `two tensors to write are called "${name}"`);
    const start = end;
    end += byteLength(tensor);
    entries.set(name, { dtype, shape, data_offsets: [start, end] });
  }
  const fields = [...entries].map(
    ([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`,
  );
  const json = Buffer.from(`{${fields.join(",")}}`);
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, " ");
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);
  return header;
}

async function tensorBytes(path: string, tensor: TensorToWrite): Promise<Uint8Array> {
  const bytes = typeof tensor.bytes === "function" ? await tensor.bytes() : tensor.bytes;
  if (bytes.length !== byteLength(tensor))
    throw new CheckpointError(
      path,
      `tensor ${tensor.name}: ${tensor.dtype} ${formatShape(tensor.shape)} takes ${byteLength(tensor)} bytes, got ${bytes.length}`,
    );
  return bytes;
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let start = 0; start < bytes.length;) {
    const { bytesWritten } = await file.write(
      bytes,
      start,
      Math.min(PIECE_BYTES, bytes.length - start),
    );
    start += bytesWritten;
  }
}

/** Makes the renaming survive a power failure, where the system lets a folder be opened (not on Windows). */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r").catch(() => undefined);
  await folder?.sync().catch(() => undefined);
  await folder?.close();
}

/**
 * Opens a file and checks its header against the format and the file's length.
 * @throws CheckpointError saying what is wrong with the file
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const file = await open(path, "r").catch((error: unknown) => {
    throw systemError(path, "cannot be read", error);
  });
  try {
    const { metadata, tensors, dataStart } = await readHeader(path, file);
    return {
      path,
      metadata,
      tensors,
      read: async (name, options = {}) => {
        const tensor = tensors.get(name);
        if (!tensor) throw new CheckpointError(path, `missing ${name}; ${describeNames(tensors)}`);
        const check = conversion(path, name, tensor, options);
        return check(await readAt(path, file, dataStart + tensor.start, byteLength(tensor)));
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

export interface LoadedTensor extends TensorInfo {
  readonly values: TypedArray;
}

/** All of a small file at once. @throws CheckpointError as `openSafetensors` and its `read` do */
export async function readSafetensors(
  path: string,
  options: ReadOptions = {},
): Promise<{ metadata: Metadata; tensors: ReadonlyMap<string, LoadedTensor> }> {
  const file = await openSafetensors(path);
  try {
    const tensors = new Map<string, LoadedTensor>();
    for (const [name, { dtype, shape }] of file.tensors)
      tensors.set(name, { dtype, shape, values: await file.read(name, options) });
    return { metadata: file.metadata, tensors };
  } finally {
    await file.close();
  }
}

interface PlacedTensor extends TensorInfo {
  /** Where its bytes start, counted from the end of the header. */
  readonly start: number;
}

async function readHeader(
  path: string,
  file: FileHandle,
): Promise<{ metadata: Metadata; tensors: Map<string, PlacedTensor>; dataStart: number }> {
  const stat = await file.stat();
  if (stat.isDirectory()) throw new CheckpointError(path, "is a folder, not a file");
  if (stat.size < 8)
    throw new CheckpointError(
      path,
      `no safetensors file: it has ${stat.size} bytes, too few for a header`,
    );
  const length = Number((await readAt(path, file, 0, 8)).readBigUInt64LE());
  if (length > MAX_HEADER_BYTES)
    throw new CheckpointError(
      path,
      `no safetensors file: a header of ${length} bytes is announced, and at most ${MAX_HEADER_BYTES} are allowed`,
    );
  if (8 + length > stat.size)
    throw new CheckpointError(
      path,
      `truncated: a header of ${length} bytes is announced, and ${stat.size - 8} bytes follow; copy or save it again`,
    );
  const json = (await readAt(path, file, 8, length)).toString("utf8");
  const { metadata, tensors } = parseHeader(path, json);
  const end = checkOffsets(path, tensors);
  const present = stat.size - 8 - length;
  if (end > present)
    throw new CheckpointError(
      path,
      `truncated: its tensors take ${end} bytes, and ${present} are there; copy or save it again`,
    );
  if (end < present)
    throw new CheckpointError(
      path,
      `${present - end} bytes after its last tensor belong to nothing`,
    );
  return { metadata, tensors, dataStart: 8 + length };
}

function parseHeader(
  path: string,
  json: string,
): { metadata: Metadata; tensors: Map<string, PlacedTensor> } {
  let header: unknown;
  try {
    header = JSON.parse(json);
  } catch (cause) {
    throw new CheckpointError(path, "no safetensors file: its header is no JSON", { cause });
  }
  if (!isRecord(header))
    throw new CheckpointError(path, "no safetensors file: its header is no JSON object");
  const tensors = new Map<string, PlacedTensor>();
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(header))
    if (name === METADATA) metadata = parseMetadata(path, entry);
    else tensors.set(name, parseEntry(path, name, entry));
  return { metadata, tensors };
}

function parseMetadata(path: string, entry: unknown): Record<string, string> {
  if (!isRecord(entry)) throw new CheckpointError(path, `header: ${METADATA} is no object`);
  const metadata: Record<string, string> = {};
  for (const [key, value] of Object.entries(entry)) {
    if (typeof value !== "string")
      throw new CheckpointError(
        path,
        `header: ${METADATA}.${key}: expected a string, got ${JSON.stringify(value)}`,
      );
    metadata[key] = value;
  }
  return metadata;
}

function parseEntry(path: string, name: string, entry: unknown): PlacedTensor {
  const refuse = (what: string): never => {
    throw new CheckpointError(
      path,
      `header: tensor ${name}: ${what}, got ${JSON.stringify(entry)}`,
    );
  };
  if (!isRecord(entry)) return refuse("expected an object");
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Object.hasOwn(ELEMENT_BYTES, dtype))
    return refuse(`expected a dtype of ${Object.keys(ELEMENT_BYTES).join(", ")}`);
  if (!isSizes(shape)) return refuse("expected a shape of whole numbers from 0");
  if (!isSizes(offsets) || offsets.length !== 2) return refuse("expected two data_offsets");
  const [start = 0, end = 0] = offsets;
  const tensor = { dtype: dtype as FileDType, shape, start };
  if (end - start !== byteLength(tensor))
    return refuse(
      `expected data_offsets ${byteLength(tensor)} bytes apart for ${dtype} ${formatShape(shape)}`,
    );
  return tensor;
}

/** The tensors must lie end to end. Returns where the last one ends. */
function checkOffsets(path: string, tensors: ReadonlyMap<string, PlacedTensor>): number {
  const placed = [...tensors].sort(
    ([, a], [, b]) => a.start - b.start || byteLength(a) - byteLength(b),
  );
  let end = 0;
  for (const [name, tensor] of placed) {
    if (tensor.start !== end)
      throw new CheckpointError(
        path,
        `header: tensor ${name} starts at byte ${tensor.start}, where ${end} was expected: ` +
          (tensor.start < end ? "tensors overlap" : "there is a gap"),
      );
    end += byteLength(tensor);
  }
  return end;
}

async function readAt(
  path: string,
  file: FileHandle,
  start: number,
  length: number,
): Promise<Buffer> {
  // Not from Buffer's pool: the bytes become a typed array, which must start at a multiple of its element size.
  const bytes = Buffer.from(new ArrayBuffer(length));
  for (let done = 0; done < length;) {
    const { bytesRead } = await file
      .read(bytes, done, Math.min(PIECE_BYTES, length - done), start + done)
      .catch((error: unknown) => {
        throw systemError(path, "cannot be read", error);
      });
    if (bytesRead === 0)
      throw new CheckpointError(
        path,
        `truncated: it ends at byte ${start + done} while being read`,
      );
    done += bytesRead;
  }
  return bytes;
}

/** How to make an array of a tensor's bytes. Asked before they are read, so that a refusal costs nothing. */
function conversion(
  path: string,
  name: string,
  { dtype, shape }: TensorInfo,
  options: ReadOptions,
): (bytes: Buffer) => TypedArray {
  const count = elementCount(shape);
  const floats = (at: (bytes: Buffer, index: number) => number) => (bytes: Buffer) =>
    Float32Array.from({ length: count }, (_, i) => at(bytes, i));
  switch (dtype) {
    case "F32":
      return (bytes) => new Float32Array(bytes.buffer, 0, count);
    case "I32":
      return (bytes) => new Int32Array(bytes.buffer, 0, count);
    case "U32":
      return (bytes) => new Uint32Array(bytes.buffer, 0, count);
    case "U8":
      return (bytes) => new Uint8Array(bytes.buffer, 0, count);
    case "F64":
      if (options.toFloat32) return floats((bytes, i) => bytes.readDoubleLE(8 * i));
      break;
    case "F16":
      if (options.toFloat32) return floats((bytes, i) => halfToFloat(bytes.readUInt16LE(2 * i)));
      break;
    case "BF16":
      if (options.toFloat32) return floats((bytes, i) => bfloatToFloat(bytes.readUInt16LE(2 * i)));
      break;
    default:
  }
  throw new CheckpointError(
    path,
    `tensor ${name} ${formatShape(shape)} is ${dtype}: expected F32, I32, U32 or U8` +
      `${options.toFloat32 ? " (or F64, F16, BF16, which are converted)" : ""}; save it as one of these`,
  );
}

/** IEEE 754 half precision: 1 sign, 5 exponent, 10 fraction bits. */
function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** bfloat16 is the upper half of a float32. */
function bfloatToFloat(bits: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint16(0, bits);
  return view.getFloat32(0);
}

function byteLength({ dtype, shape }: TensorInfo): number {
  return elementCount(shape) * ELEMENT_BYTES[dtype];
}

function describeNames(tensors: ReadonlyMap<string, unknown>): string {
  const [first] = tensors.keys();
  if (first === undefined) return "the file has no tensors";
  return tensors.size === 1
    ? `the file has only ${first}`
    : `the file has ${tensors.size} tensors, e.g. ${first}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

/** What the operating system refused, in words; anything else, as from a tensor's own `bytes()`, passes unchanged. */
function systemError(path: string, what: string, error: unknown): unknown {
  const reason = systemReason(error);
  if (reason === undefined) return error;
  return new CheckpointError(path, `${what}: ${reason}`, { cause: error });
}
