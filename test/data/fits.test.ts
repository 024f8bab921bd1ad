import { existsSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { expect } from "chai";
import { parseFits, FitsTable, readFitsImage } from "../../src/data/fits.ts";
import { asinhColour, readFitsColour } from "../../src/data/fits_colour.ts";
import { decodeImage } from "../../src/data/galaxy_images.ts";
import { realDataSet } from "./fixtures.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder, write } from "../support/files.ts";
import { skipUnless } from "../support/skip.ts";

type Cards = readonly (readonly [string, string | number | boolean])[];

/** A header-and-data unit as the standard wants it: cards of 80 characters, blocks of 2880 bytes. */
function unit(cards: Cards, data: Uint8Array): Buffer {
  const lines = cards.map(([key, value]) => {
    const text = typeof value === "boolean" ? (value ? "T" : "F") : String(value);
    return `${key.padEnd(8)}= ${typeof value === "string" ? value : text.padStart(20)} / why`;
  });
  const header = [...lines, "COMMENT  = no value", "END"].map((line) => line.padEnd(80)).join("");
  const pad = (bytes: Buffer, fill: number): Buffer =>
    Buffer.concat([bytes, Buffer.alloc((2880 - (bytes.length % 2880)) % 2880, fill)]);
  return Buffer.concat([pad(Buffer.from(header), 0x20), pad(Buffer.from(data), 0)]);
}

function image(bitpix: number, values: readonly number[], more: Cards = []): Buffer {
  const bytes = Math.abs(bitpix) / 8;
  const data = Buffer.alloc(6 * bytes);
  values.forEach((value, i) => {
    if (bitpix === 8) data.writeUInt8(value, i);
    else if (bitpix === 16) data.writeInt16BE(value, 2 * i);
    else if (bitpix === 32) data.writeInt32BE(value, 4 * i);
    else if (bitpix === 64) data.writeBigInt64BE(BigInt(value), 8 * i);
    else if (bitpix === -32) data.writeFloatBE(value, 4 * i);
    else data.writeDoubleBE(value, 8 * i);
  });
  const shape: Cards = [
    ["SIMPLE", true],
    ["BITPIX", bitpix],
    ["NAXIS", 2],
    ["NAXIS1", 3],
    ["NAXIS2", 2],
  ];
  return unit([...shape, ...more], data);
}

describe("fits", () => {
  const folder = temporaryFolder();
  const file = (content: Uint8Array): string => write(path.join(folder(), "a.fits"), content);

  for (const bitpix of [8, 16, 32, 64, -32, -64]) {
    it(`reads an image of BITPIX ${bitpix}, its top row first`, async () => {
      const { width, height, values } = await readFitsImage(
        file(image(bitpix, [1, 2, 3, 4, 5, 6])),
      );
      expect([width, height]).to.deep.equal([3, 2]);
      expect([...values]).to.deep.equal([4, 5, 6, 1, 2, 3]);
    });
  }

  it("applies BSCALE and BZERO, and makes BLANK not a number", async () => {
    const scaled = image(
      16,
      [-32768, 0, 1, 2, 3, 4],
      [
        ["BZERO", 32768],
        ["BSCALE", "0.5D0"],
        ["BLANK", 4],
      ],
    );
    const { values } = await readFitsImage(file(scaled));
    expect([...values]).to.deep.equal([32769, 32769.5, NaN, 16384, 32768, 32768.5]);
  });

  it("reads a compressed file, and an image in an extension", async () => {
    const empty = unit(
      [
        ["SIMPLE", true],
        ["BITPIX", 8],
        ["NAXIS", 0],
      ],
      new Uint8Array(),
    );
    const text = image(8, [1, 2, 3, 4, 5, 6]).toString("latin1");
    const extension = text.replace(/SIMPLE {2}=.{71}/, "XTENSION= 'IMAGE   '".padEnd(80));
    const bytes = Buffer.concat([empty, Buffer.from(extension, "latin1")]);
    const { values } = await readFitsImage(file(gzipSync(bytes)));
    expect([...values]).to.deep.equal([4, 5, 6, 1, 2, 3]);
  });

  const refused: [string, () => Buffer, RegExp][] = [
    ["no FITS", () => Buffer.from("\x89PNG".padEnd(3000)), /not a FITS file: it does not begin/],
    ["nothing", () => Buffer.alloc(0), /not a FITS file: it is empty/],
    ["a header without END", () => image(8, [1]).subarray(0, 240), /no END card/],
    ["cut-off data", () => image(-64, [1]).subarray(0, 2890), /needs 48 bytes .* has 2890/],
    ["BITPIX 12", () => image(8, [1], [["BITPIX", -16]]), /BITPIX expected .* got -16/],
  ];
  for (const [name, content, message] of refused) {
    it(`refuses ${name}`, async () => {
      expect(await rejection(readFitsImage(file(content())))).to.match(message);
    });
  }

  it("refuses a cube", async () => {
    const cube = unit(
      [
        ["SIMPLE", true],
        ["BITPIX", 8],
        ["NAXIS", 3],
        ["NAXIS1", 2],
        ["NAXIS2", 2],
        ["NAXIS3", 3],
      ],
      new Uint8Array(12),
    );
    expect(await rejection(readFitsImage(file(cube)))).to.match(/two axes, got \[2,2,3\]/);
  });

  it("reads a binary table: vectors, scaled numbers, text, several rows", () => {
    // Each row: 3 characters, 2 x int16, 1 x float64, 2 strings of 2.
    const row = (text: string, a: number, b: number, d: number, texts: string): Buffer => {
      const bytes = Buffer.alloc(3 + 4 + 8 + 4);
      bytes.write(text, 0, "latin1");
      bytes.writeInt16BE(a, 3);
      bytes.writeInt16BE(b, 5);
      bytes.writeDoubleBE(d, 7);
      bytes.write(texts, 15, "latin1");
      return bytes;
    };
    const data = Buffer.concat([row("ab ", 1, -2, 0.5, "xxyy"), row("c\0z", 3, 4, -1e9, "uuvv")]);
    const table: Cards = [
      ["XTENSION", "'BINTABLE'"],
      ["BITPIX", 8],
      ["NAXIS", 2],
      ["NAXIS1", 19],
      ["NAXIS2", 2],
      ["PCOUNT", 0],
      ["GCOUNT", 1],
      ["TFIELDS", 4],
      ["TTYPE1", "'NAME    '"],
      ["TFORM1", "'3A      '"],
      ["TTYPE2", "'PAIR    '"],
      ["TFORM2", "'2I      '"],
      ["TSCAL2", 10],
      ["TTYPE3", "'IT''S   '"],
      ["TFORM3", "'D       '"],
      ["TTYPE4", "'TEXTS   '"],
      ["TFORM4", "'4A      '"],
      ["TDIM4", "'(2, 2)  '"],
    ];
    const empty: Cards = [
      ["SIMPLE", true],
      ["BITPIX", 8],
      ["NAXIS", 0],
    ];
    const bytes = Buffer.concat([unit(empty, new Uint8Array()), unit(table, data)]);
    const parsed = new FitsTable(parseFits(bytes, "t.fits")[1]!, "t.fits");
    expect(parsed.columns).to.deep.equal(["NAME", "PAIR", "IT'S", "TEXTS"]);
    expect(parsed.strings("NAME")).to.deep.equal(["ab", "c"]);
    expect([...parsed.numbers("PAIR")]).to.deep.equal([10, -20, 30, 40]);
    expect([...parsed.numbers("IT'S")]).to.deep.equal([0.5, -1e9]);
    expect(parsed.strings("TEXTS")).to.deep.equal(["xx", "yy", "uu", "vv"]);
    expect(() => parsed.numbers("NONE")).to.throw("no column NONE; the table has NAME, PAIR");
    expect(() => parsed.numbers("NAME")).to.throw("FITS type A");
    expect(() => parsed.strings("PAIR")).to.throw("not text");
  });

  describe("colour", () => {
    const band = (values: number[]) => ({
      width: 5,
      height: 1,
      values: Float32Array.from(values),
      header: new Map(),
    });

    it("makes sky black, keeps the order of brightness, and keeps colour where it burns out", () => {
      // Sky around 10 with noise, one faint and one very bright source twice as bright in red.
      const red = band([10, 10.5, 9.5, 20, 1e6]);
      const other = band([10, 10.5, 9.5, 15, 5e5]);
      const { rgb } = asinhColour([red, other, other], { scales: [1, 1, 1] });
      const pixel = (i: number): number[] => [...rgb.subarray(3 * i, 3 * i + 3)];
      expect(pixel(0)).to.deep.equal([0, 0, 0]);
      expect(pixel(2)).to.deep.equal([0, 0, 0]);
      expect(pixel(3)[0]!).to.be.greaterThan(pixel(1)[0]!);
      expect(pixel(4)[0]).to.equal(255);
      expect(pixel(4)[1]).to.be.closeTo(127.5, 1);
    });

    it("wants bands of one size", async () => {
      const a = write(path.join(folder(), "a.fits"), image(8, [1, 2, 3, 4, 5, 6]));
      const small = image(8, [1, 2, 3, 4, 5, 6])
        .toString("latin1")
        .replace(/NAXIS1 {2}=.{71}/, `NAXIS1  = ${"2".padStart(20)}`.padEnd(80));
      const b = write(path.join(folder(), "b.fits"), Buffer.from(small, "latin1"));
      expect(await rejection(readFitsColour([a, b, a]))).to.match(/b\.fits: .* 3x2 in .* vs 2x2/);
      expect(await rejection(readFitsColour([a, b]))).to.match(/expected 1 or 3 bands, got 2/);
    });

    it("makes of EFIGI's FITS bands what its PNG shows", async function () {
      const efigi = realDataSet(this, "efigi");
      const name = "PGC0000243";
      const fits = (letter: string): string => path.join(efigi, "fits", `${name}_${letter}.fits`);
      skipUnless(this, existsSync(fits("g")), "a fetched EFIGI has the PNGs only, no FITS bands");
      const bands = await Promise.all([fits("i"), fits("r"), fits("g")].map(readFitsImage));
      expect(bands.map((b) => [b.width, b.height])).to.deep.equal(
        Array.from({ length: 3 }, () => [255, 255]),
      );
      const ours = await decodeImage([fits("i"), fits("r"), fits("g")], { size: 51 });
      const theirs = await decodeImage(path.join(efigi, "png", `${name}.png`), { size: 51 });
      expect(correlation(ours, theirs)).to.be.greaterThan(0.85);
      // The companion below the middle tells which way is up.
      expect(correlation(flipped(ours, 51), theirs)).to.be.lessThan(correlation(ours, theirs));
    });

    it("reads NA10's sample", async function () {
      const fits = path.join(realDataSet(this, "na10"), "fits");
      const band = (letter: string): string =>
        path.join(fits, `J000311.00+155754.0-${letter}.fits`);
      skipUnless(this, existsSync(band("g")), "this na10 has no FITS bands of J000311.00+155754.0");
      const { width, height, rgb } = await readFitsColour([band("i"), band("r"), band("g")]);
      expect([width, height]).to.deep.equal([181, 181]);
      const centre = 3 * (90 * 181 + 90);
      expect(rgb[centre]).to.be.greaterThan(150); // the bulge, reddish
      expect(rgb[centre + 2]).to.be.lessThan(rgb[centre]!);
      expect(rgb.subarray(0, 300).reduce((a, b) => a + b) / 300).to.be.lessThan(40); // the sky
    });
  });
});

/** Pearson's correlation of two images' bytes. */
function correlation(a: Uint8Array, b: Uint8Array): number {
  const mean = (x: Uint8Array): number => x.reduce((sum, v) => sum + v, 0) / x.length;
  const [ma, mb] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  a.forEach((value, i) => {
    ab += (value - ma) * (b[i]! - mb);
    aa += (value - ma) ** 2;
    bb += (b[i]! - mb) ** 2;
  });
  return ab / Math.sqrt(aa * bb);
}

/** The image upside down. */
function flipped(image: Uint8Array, size: number): Uint8Array {
  const rows = Array.from({ length: size }, (_, y) =>
    image.subarray(y * size * 3, (y + 1) * size * 3),
  );
  return Uint8Array.from(rows.reverse().flatMap((row) => [...row]));
}
