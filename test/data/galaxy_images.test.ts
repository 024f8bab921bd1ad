import { readFileSync, readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect } from "chai";
import sharp, { type Sharp } from "sharp";
import { decodeImage, type GalaxyFile, loadGalaxyImages } from "../../src/data/galaxy_images.ts";
import { writeImage } from "./fixtures.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder, write } from "../support/files.ts";

const RED = { r: 255, g: 0, b: 0 };
const BLUE = { r: 0, g: 0, b: 255 };

describe("galaxy_images", () => {
  const folder = temporaryFolder();
  const at = (name: string): string => path.join(folder(), name);

  describe("decodeImage", () => {
    it("keeps the central fraction only", async () => {
      // Blue, but for a red square of 10x10 in the middle of 20x20.
      const red = sharp({ create: { width: 10, height: 10, channels: 3, background: RED } });
      const image = sharp({ create: { width: 20, height: 20, channels: 3, background: BLUE } });
      const composed = image.composite([{ input: await red.png().toBuffer(), left: 5, top: 5 }]);
      write(at("a.png"), await composed.png().toBuffer());
      const cropped = await decodeImage(at("a.png"), { size: 4, crop: 0.5 });
      expect([...cropped]).to.deep.equal(Array.from({ length: 16 }, () => [255, 0, 0]).flat());
      const whole = await decodeImage(at("a.png"), { size: 20 });
      expect([...whole.subarray(0, 3)]).to.deep.equal([0, 0, 255]);
    });

    it("cuts a square from the middle of an oblong image", async () => {
      const left = { create: { width: 30, height: 10, channels: 3 as const, background: BLUE } };
      const red = { create: { width: 10, height: 10, channels: 3 as const, background: RED } };
      const composed = sharp(left).composite([
        { input: await sharp(red).png().toBuffer(), left: 10, top: 0 },
      ]);
      write(at("a.png"), await composed.png().toBuffer());
      const square = await decodeImage(at("a.png"), { size: 2 });
      expect([...square]).to.deep.equal([255, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0]);
    });

    it("averages when it shrinks (antialiased)", async () => {
      const size = 64;
      const chequered = Buffer.from(
        Uint8Array.from({ length: size * size }, (_, i) => ((i + Math.floor(i / size)) % 2) * 255),
      );
      const raw = sharp(chequered, { raw: { width: size, height: size, channels: 1 } });
      write(at("a.png"), await raw.png().toBuffer());
      const small = await decodeImage(at("a.png"), { size: 8, channels: 1 });
      for (const value of small) expect(value).to.be.within(115, 140);
    });

    const formats: [string, (image: Sharp) => Sharp][] = [
      ["grey.png", (image) => image.toColourspace("b-w").png()],
      ["grey16.png", (image) => image.toColourspace("grey16").png()],
      ["rgba.png", (image) => image.ensureAlpha(1).png()],
      ["palette.png", (image) => image.png({ palette: true })],
      ["progressive.jpg", (image) => image.jpeg({ progressive: true, quality: 100 })],
      ["grey.jpg", (image) => image.toColourspace("b-w").jpeg({ quality: 100 })],
    ];
    for (const [name, encode] of formats) {
      it(`makes RGB and grey of ${name}`, async () => {
        const grey = { r: 120, g: 120, b: 120 };
        const image = sharp({ create: { width: 9, height: 9, channels: 3, background: grey } });
        write(at(name), await encode(image).toBuffer());
        const rgb = await decodeImage(at(name), { size: 3 });
        expect(rgb.length).to.equal(27);
        for (const value of rgb) expect(value).to.be.within(118, 122);
        expect((await decodeImage(at(name), { size: 3, channels: 1 })).length).to.equal(9);
      });
    }

    it("takes transparent for black sky", async () => {
      const clear = { r: 255, g: 255, b: 255, alpha: 0 };
      const image = sharp({ create: { width: 4, height: 4, channels: 4, background: clear } });
      write(at("a.png"), await image.png().toBuffer());
      expect([...(await decodeImage(at("a.png"), { size: 1 }))]).to.deep.equal([0, 0, 0]);
    });

    it("enlarges an image that is smaller than asked for", async () => {
      await writeImage(at("a.png"), 3, RED);
      expect((await decodeImage(at("a.png"), { size: 8 })).length).to.equal(192);
    });

    const noImages: [string, string | Uint8Array][] = [
      ["text", "this is no image"],
      ["nothing", ""],
      ["half a FITS header", "SIMPLE  =                    T"],
    ];
    for (const [name, content] of noImages) {
      it(`names the file that is ${name}`, async () => {
        const file = write(at(name.includes("FITS") ? "x.fits" : "x.jpg"), content);
        const message = await rejection(decodeImage(file, { size: 8 }));
        expect(message).to.include(`${file}: not a readable image: `);
        expect(message).not.to.include("\n");
      });
    }

    it("refuses a JPEG that is cut off, and a file that is not there", async () => {
      const file = await writeImage(at("a.jpg"), 400);
      const bytes = readFileSync(file);
      writeFileSync(file, bytes.subarray(0, (bytes.length + 623) / 2)); // past the header of 623 bytes
      expect(await rejection(decodeImage(file, { size: 8 }))).to.match(/a\.jpg: not a readable/);
      expect(await rejection(decodeImage(at("b.jpg"), { size: 8 }))).to.match(
        /no such file or folder/,
      );
    });

    it("refuses a crop or a size that makes no sense", async () => {
      const file = await writeImage(at("a.png"));
      expect(await rejection(decodeImage(file, { size: 8, crop: 0 }))).to.match(/crop: .*got 0/);
      expect(await rejection(decodeImage(file, { size: 8, crop: 1.5 }))).to.match(/got 1.5/);
      expect(await rejection(decodeImage(file, { size: 0 }))).to.match(/image size: .*got 0/);
    });
  });

  describe("loadGalaxyImages", () => {
    const options = { name: "t", classes: ["x", "y"], size: 4 };
    const load = (files: readonly GalaxyFile[], cache: string | false = false) =>
      loadGalaxyImages(files, { ...options, cache });

    /** Images of different brightness: image i has red = 10 * i. */
    async function someImages(count: number, size = 12): Promise<GalaxyFile[]> {
      return Promise.all(
        Array.from({ length: count }, async (_, i) => ({
          path: await writeImage(at(`in/${i}.png`), size, { r: 10 * i, g: 7, b: 9 }),
          id: String(i),
          label: i % 2,
        })),
      );
    }

    it("keeps the order of the files", async () => {
      const { set, warnings } = await load(await someImages(20));
      expect([set.count, set.height, set.width, set.channels]).to.deep.equal([20, 4, 4, 3]);
      for (let i = 0; i < 20; i++) {
        expect(set.images[i * 48]).to.equal(10 * i);
        expect([set.ids[i], set.labels[i]]).to.deep.equal([String(i), i % 2]);
      }
      expect(warnings).to.deep.equal([]);
    });

    it("reports broken images and goes on with the others", async () => {
      const files = await someImages(6);
      write(at("in/1.png"), "no image");
      write(at("in/4.png"), readFileSync(at("in/5.png")).subarray(0, 60));
      const { set, broken, warnings } = await load(files);
      expect(set.ids).to.deep.equal(["0", "2", "3", "5"]);
      expect([...set.labels]).to.deep.equal([0, 0, 1, 1]);
      expect([0, 1, 2, 3].map((i) => set.images[i * 48])).to.deep.equal([0, 20, 30, 50]);
      expect(set.images.length).to.equal(4 * 48);
      expect(broken.map((b) => b.path)).to.deep.equal([at("in/1.png"), at("in/4.png")]);
      expect(warnings).to.have.length(1);
      expect(warnings[0]).to.match(/left out 2 broken images \(.*1\.png, .*4\.png\): /);
    });

    it("refuses a set in which every image is broken, and an empty one", async () => {
      const file = { path: write(at("a.png"), "no image"), id: "a", label: 0 };
      expect(await rejection(load([file, file]))).to.match(/none of the 2 images could be decoded/);
      expect(await rejection(load([]))).to.match(/no images found/);
    });

    const cacheEntry = (): string => {
      const images = at("cache/images");
      const entries = readdirSync(images);
      expect(entries).to.have.length(1);
      return path.join(images, entries[0]!);
    };

    it("takes the second time from the cache, identical", async () => {
      const files = await someImages(24, 700);
      const mtime = new Date("2020-01-01"); // whole seconds, so that it can be set again exactly
      utimesSync(at("in/0.png"), mtime, mtime);
      const first = await load(files, at("cache"));
      const second = await load(files, at("cache"));
      expect(second.set).to.deep.equal(first.set);
      // The proof that it was the cache: other pixels under the same name, size and time are not seen.
      const { size } = statSync(at("in/0.png"));
      writeFileSync(at("in/0.png"), Buffer.alloc(size));
      utimesSync(at("in/0.png"), mtime, mtime);
      expect((await load(files, at("cache"))).set).to.deep.equal(first.set);
    });

    it("decodes anew when a file changed", async () => {
      const files = await someImages(3);
      await load(files, at("cache"));
      await writeImage(at("in/0.png"), 40, { r: 99, g: 0, b: 0 });
      expect((await load(files, at("cache"))).set.images[0]).to.equal(99);
    });

    it("keeps sizes, crops and channels apart", async () => {
      const files = await someImages(3);
      for (const other of [{}, { size: 5 }, { crop: 0.5 }, { channels: 1 as const }])
        await loadGalaxyImages(files, { ...options, ...other, cache: at("cache") });
      expect(readdirSync(at("cache/images"))).to.have.length(4);
    });

    it("remembers which images were broken", async () => {
      const files = await someImages(3);
      write(at("in/1.png"), "no image");
      const first = await load(files, at("cache"));
      const second = await load(files, at("cache"));
      expect(second.broken).to.deep.equal(first.broken);
      expect(second.set.ids).to.deep.equal(["0", "2"]);
    });

    const damages: [string, (bytes: Buffer) => Buffer][] = [
      ["one bit of the pixels changed", (bytes) => ((bytes[bytes.length - 5]! ^= 1), bytes)],
      ["cut off", (bytes) => bytes.subarray(0, bytes.length - 3)],
      ["emptied", () => Buffer.alloc(0)],
      ["of another kind", () => Buffer.from("something else altogether, longer than a header")],
    ];
    for (const [name, damage] of damages) {
      it(`rebuilds a cache entry that was ${name}`, async () => {
        const files = await someImages(5);
        const first = await load(files, at("cache"));
        const good = readFileSync(cacheEntry());
        writeFileSync(cacheEntry(), damage(Buffer.from(good)));
        expect((await load(files, at("cache"))).set).to.deep.equal(first.set);
        expect(readFileSync(cacheEntry()).equals(good)).to.equal(true);
      });
    }

    it("works without a cache that can be written, and says so", async () => {
      write(at("file"), "a file where the folder should be");
      const { set, warnings } = await load(await someImages(2), at("file"));
      expect(set.count).to.equal(2);
      expect(warnings[0]).to.match(/decoded images are not cached: /);
    });

    it("tells how far it is", async () => {
      const seen: number[] = [];
      const files = await someImages(3);
      await loadGalaxyImages(
        Array.from({ length: 150 }, (_, i) => files[i % 3]!),
        {
          ...options,
          cache: false,
          onProgress: ({ done, total }) => {
            expect(total).to.equal(150);
            seen.push(done);
          },
        },
      );
      expect(seen).to.deep.equal([64, 128, 150]);
    });
  });
});
