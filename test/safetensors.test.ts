import { expect } from "chai";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CheckpointError,
  openSafetensors,
  readSafetensors,
  writeSafetensors,
  type TensorToWrite,
} from "../src/safetensors.ts";
import { skipUnless } from "./support/skip.ts";

const bytesOf = (values: Float32Array | Int32Array): Uint8Array => new Uint8Array(values.buffer);
const WEIGHT: TensorToWrite = {
  name: "conv1.weight",
  dtype: "F32",
  shape: [2, 3],
  bytes: bytesOf(Float32Array.of(1, -2, 3.5, NaN, Infinity, -0)),
};

async function failure(promise: Promise<unknown>): Promise<CheckpointError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).to.be.instanceOf(CheckpointError);
  return error as CheckpointError;
}

describe("safetensors", () => {
  let folder = "";
  let path = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "tuningfork-safetensors-"));
    path = join(folder, "a.safetensors");
  });
  afterEach(() => {
    chmodSync(folder, 0o700);
    rmSync(folder, { recursive: true });
  });

  /** A file with this header and as many zero bytes after it. */
  const writeRaw = (header: unknown, dataBytes: number, announced?: number): void => {
    const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(announced ?? json.length));
    writeFileSync(path, Buffer.concat([length, json, Buffer.alloc(dataBytes)]));
  };

  describe("writeSafetensors", () => {
    it("gives back what was written, of every type the engine has", async () => {
      const labels = Int32Array.of(-1, 2 ** 31 - 1);
      await writeSafetensors(path, {
        tensors: [
          { name: "u", dtype: "U8", shape: [3], bytes: Uint8Array.of(0, 128, 255) },
          { name: "labels", dtype: "I32", shape: [2], bytes: bytesOf(labels) },
          { name: "mask", dtype: "U32", shape: [1], bytes: Uint8Array.of(255, 255, 255, 255) },
          { name: "empty", dtype: "F32", shape: [0, 4], bytes: new Uint8Array(0) },
          { name: "loss", dtype: "F32", shape: [], bytes: bytesOf(Float32Array.of(0.25)) },
          { name: "__proto__", dtype: "U8", shape: [1], bytes: Uint8Array.of(7) },
          WEIGHT,
        ],
        metadata: { seed: "1", class_names: '["E","S"] \u00e9' },
      });
      const { metadata, tensors } = await readSafetensors(path);
      expect(metadata).to.deep.equal({ seed: "1", class_names: '["E","S"] \u00e9' });
      expect(tensors.get("conv1.weight")?.shape).to.deep.equal([2, 3]);
      expect(tensors.get("conv1.weight")?.values).to.deep.equal(
        Float32Array.of(1, -2, 3.5, NaN, Infinity, -0),
      );
      expect(tensors.get("labels")?.values).to.deep.equal(labels);
      expect(tensors.get("mask")?.values).to.deep.equal(Uint32Array.of(2 ** 32 - 1));
      expect(tensors.get("u")?.values).to.deep.equal(Uint8Array.of(0, 128, 255));
      expect(tensors.get("loss")).to.deep.equal({
        dtype: "F32",
        shape: [],
        values: Float32Array.of(0.25),
      });
      expect(tensors.get("empty")?.values).to.deep.equal(new Float32Array(0));
      expect(tensors.get("__proto__")?.values).to.deep.equal(Uint8Array.of(7));
      expect(readdirSync(folder), "nothing is left beside it").to.deep.equal(["a.safetensors"]);
    });

    it("lays the file out as the format says: header padded to 8 bytes, wide types first, names sorted", async () => {
      const one = (name: string, dtype: "U8" | "F32"): TensorToWrite => ({
        name,
        dtype,
        shape: [1],
        bytes: new Uint8Array(dtype === "U8" ? 1 : 4),
      });
      await writeSafetensors(path, {
        tensors: [one("z", "F32"), one("a", "U8"), one("b", "F32")],
        metadata: {},
      });
      const file = readFileSync(path);
      const length = Number(file.readBigUInt64LE());
      expect(length % 8).to.equal(0);
      expect(file.subarray(8, 8 + length).toString()).to.match(
        /^\{"__metadata__":\{\},"b":\{"dtype":"F32","shape":\[1\],"data_offsets":\[0,4\]\},"z":.*\[4,8\]\},"a":.*\[8,9\]\}\} *$/,
      );
      expect(file.length).to.equal(8 + length + 9);
    });

    it("asks for the bytes one tensor at a time, after the one before was written", async () => {
      let alive = 0;
      let most = 0;
      const lazy = (name: string): TensorToWrite => ({
        name,
        dtype: "U8",
        shape: [1000],
        bytes: () => {
          most = Math.max(most, ++alive);
          setImmediate(() => alive--);
          return Promise.resolve(new Uint8Array(1000).fill(name.charCodeAt(0)));
        },
      });
      await writeSafetensors(path, { tensors: ["a", "b", "c"].map(lazy), metadata: {} });
      expect(most).to.equal(1);
      const { tensors } = await readSafetensors(path);
      expect(tensors.get("b")?.values.every((value) => value === 98)).to.equal(true);
    });

    const expectUntouched = (): void => {
      expect(readFileSync(path, "utf8")).to.equal("the old file");
      expect(readdirSync(folder)).to.deep.equal(["a.safetensors"]);
    };

    it("leaves the old file as it was when the disk is full", async function () {
      skipUnless(this, existsSync("/dev/full"), "needs /dev/full, which Linux has");
      writeFileSync(path, "the old file");
      // Every write to /dev/full fails with ENOSPC; the temporary file follows the link to it.
      symlinkSync("/dev/full", `${path}.tmp-${process.pid}`);
      const error = await failure(writeSafetensors(path, { tensors: [WEIGHT], metadata: {} }));
      expect(error.message).to.equal(
        `checkpoint ${path}: cannot be written: the disk is full; free some space or choose another folder`,
      );
      expectUntouched();
    });

    it("leaves the old file as it was when a tensor's bytes do not fit its shape", async () => {
      writeFileSync(path, "the old file");
      const bad = { ...WEIGHT, name: "z", bytes: new Uint8Array(20) };
      const error = await failure(writeSafetensors(path, { tensors: [WEIGHT, bad], metadata: {} }));
      expect(error.message).to.contain("tensor z: F32 [2,3] takes 24 bytes, got 20");
      expectUntouched();
    });

    it("passes on the error of a tensor whose bytes cannot be had", async () => {
      writeFileSync(path, "the old file");
      const lost = new Error("device: lost");
      const bad = { ...WEIGHT, bytes: () => Promise.reject(lost) };
      const got = await writeSafetensors(path, { tensors: [bad], metadata: {} }).catch(
        (error: unknown) => error,
      );
      expect(got).to.equal(lost);
      expectUntouched();
    });

    it("says that the folder is missing, or not writable", async function () {
      const missing = join(folder, "no", "a.safetensors");
      const error = await failure(writeSafetensors(missing, { tensors: [], metadata: {} }));
      expect(error.message).to.equal(
        `checkpoint ${missing}: cannot be written: no such file or folder`,
      );
      if (process.getuid?.() === 0) return; // root may write anywhere
      chmodSync(folder, 0o500);
      const denied = await failure(writeSafetensors(path, { tensors: [], metadata: {} }));
      expect(denied.message).to.contain("permission denied");
    });

    it("refuses two tensors of one name", async () => {
      const error = await failure(
        writeSafetensors(path, { tensors: [WEIGHT, WEIGHT], metadata: {} }),
      );
      expect(error.message).to.contain('two tensors to write are called "conv1.weight"');
    });
  });

  describe("openSafetensors", () => {
    const floats = { dtype: "F32", shape: [2], data_offsets: [0, 8] };

    it("accepts a hand-made file (control case)", async () => {
      writeRaw({ a: floats, b: { dtype: "F32", shape: [1], data_offsets: [8, 12] } }, 12);
      const file = await openSafetensors(path);
      expect([...file.tensors.keys()]).to.deep.equal(["a", "b"]);
      expect(file.metadata).to.deep.equal({});
      expect(await file.read("b")).to.deep.equal(Float32Array.of(0));
      const error = await failure(file.read("conv1.weight"));
      expect(error.message).to.equal(
        `checkpoint ${path}: missing conv1.weight; the file has 2 tensors, e.g. a`,
      );
      await file.close();
    });

    const REFUSALS: [string, unknown, number, string, number?][] = [
      ["no JSON", "{nonsense", 0, "its header is no JSON"],
      ["JSON of another kind", "[1]", 0, "its header is no JSON object"],
      ["an absurd header length", {}, 0, "a header of 4611686018427388000 bytes", 2 ** 62],
      ["a header beyond the end", {}, 0, "truncated: a header of 9 bytes", 9],
      ["truncated data", { a: floats }, 7, "truncated: its tensors take 8 bytes, and 7 are there"],
      ["bytes too many", { a: floats }, 9, "1 bytes after its last tensor"],
      ["an entry that is no object", { a: 1 }, 0, "tensor a: expected an object"],
      ["an unknown dtype", { a: { ...floats, dtype: "Q4" } }, 8, "tensor a: expected a dtype of"],
      ["a negative size", { a: { ...floats, shape: [-2] } }, 8, "tensor a: expected a shape of"],
      ["one offset", { a: { ...floats, data_offsets: [0] } }, 8, "expected two data_offsets"],
      [
        "a length that is not the shape's",
        { a: { ...floats, shape: [3] } },
        8,
        "expected data_offsets 12 bytes apart for F32 [3]",
      ],
      [
        "overlapping tensors",
        { a: floats, b: { ...floats, data_offsets: [4, 12] } },
        12,
        "tensor b starts at byte 4, where 8 was expected: tensors overlap",
      ],
      [
        "a gap",
        { a: floats, b: { ...floats, data_offsets: [12, 20] } },
        20,
        "tensor b starts at byte 12, where 8 was expected: there is a gap",
      ],
      ["metadata that is no text", { __metadata__: { step: 3 } }, 0, "expected a string, got 3"],
    ];
    for (const [name, header, dataBytes, message, announced] of REFUSALS)
      it(`refuses ${name}`, async () => {
        writeRaw(header, dataBytes, announced);
        const error = await failure(openSafetensors(path));
        expect(error.message).to.contain(`checkpoint ${path}: `);
        expect(error.message).to.contain(message);
      });

    it("refuses a file of a few bytes, a folder and a path where nothing is", async () => {
      writeFileSync(path, "oops");
      expect((await failure(openSafetensors(path))).message).to.contain("too few for a header");
      expect((await failure(openSafetensors(folder))).message).to.match(/folder/);
      const missing = join(folder, "b.safetensors");
      expect((await failure(openSafetensors(missing))).message).to.equal(
        `checkpoint ${missing}: cannot be read: no such file or folder`,
      );
    });
  });

  describe("other types", () => {
    const write = async (dtype: "F64" | "F16" | "BF16" | "I64", data: Uint8Array, count: number) =>
      writeSafetensors(path, {
        tensors: [{ name: "x", dtype, shape: [count], bytes: data }],
        metadata: {},
      });
    const words16 = (...words: number[]) => new Uint8Array(Uint16Array.of(...words).buffer);

    it("converts F64, F16 and BF16 to float32 when asked to", async () => {
      await write("F64", new Uint8Array(Float64Array.of(0.1, -3).buffer), 2);
      let { tensors } = await readSafetensors(path, { toFloat32: true });
      expect(tensors.get("x")?.values).to.deep.equal(Float32Array.of(0.1, -3));

      // 1, -2, largest, smallest subnormal, 1/3 rounded, -0, infinity, NaN
      await write("F16", words16(0x3c00, 0xc000, 0x7bff, 1, 0x3555, 0x8000, 0x7c00, 0x7e00), 8);
      ({ tensors } = await readSafetensors(path, { toFloat32: true }));
      expect(tensors.get("x")?.values).to.deep.equal(
        Float32Array.of(1, -2, 65504, 2 ** -24, 0.333251953125, -0, Infinity, NaN),
      );

      await write("BF16", words16(0x3f80, 0xc040, 0xff80), 3);
      ({ tensors } = await readSafetensors(path, { toFloat32: true }));
      expect(tensors.get("x")?.values).to.deep.equal(Float32Array.of(1, -3, -Infinity));
    });

    it("refuses them otherwise, by name", async () => {
      await write("F64", new Uint8Array(16), 2);
      expect((await failure(readSafetensors(path))).message).to.equal(
        `checkpoint ${path}: tensor x [2] is F64: expected F32, I32, U32 or U8; save it as one of these`,
      );
      await write("I64", new Uint8Array(16), 2);
      expect((await failure(readSafetensors(path, { toFloat32: true }))).message).to.contain(
        "tensor x [2] is I64: expected F32, I32, U32 or U8 (or F64, F16, BF16, which are converted)",
      );
    });
  });
});
