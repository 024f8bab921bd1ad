import { readFileSync } from "node:fs";
import path from "node:path";
import { expect } from "chai";
import { countPerClass } from "../../src/data/dataset.ts";
import { loadFashionMnist } from "../../src/data/fashion_mnist.ts";
import { idxGz, realDataSet } from "./fixtures.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder, write } from "../support/files.ts";

describe("fashion_mnist", () => {
  const folder = temporaryFolder();
  const pixels = Uint8Array.from({ length: 3 * 4 }, (_, i) => i * 20);
  const imagesFile = (): string => path.join(folder(), "train-images-idx3-ubyte.gz");
  const labelsFile = (): string => path.join(folder(), "train-labels-idx1-ubyte.gz");

  beforeEach(() => {
    write(imagesFile(), idxGz([3, 2, 2], pixels));
    write(labelsFile(), idxGz([3], Uint8Array.of(9, 0, 4)));
  });

  it("reads images and labels", async () => {
    const set = await loadFashionMnist(folder());
    expect([set.count, set.height, set.width, set.channels]).to.deep.equal([3, 2, 2, 1]);
    expect([...set.images]).to.deep.equal([...pixels]);
    expect([...set.labels]).to.deep.equal([9, 0, 4]);
    expect(set.classes[9]).to.equal("Ankle boot");
    expect(set.ids).to.deep.equal(["train-0", "train-1", "train-2"]);
  });

  it("says that a gzip stream is cut off", async () => {
    const whole = readFileSync(imagesFile());
    write(imagesFile(), whole.subarray(0, whole.length - 9));
    expect(await rejection(loadFashionMnist(folder()))).to.match(
      /train-images.*not a whole gzip file.*get it again/,
    );
  });

  const broken: [string, () => void, RegExp][] = [
    [
      "fewer bytes than the header says",
      () => write(imagesFile(), idxGz([4, 2, 2], pixels)),
      /\[4,2,2\] = 16 bytes, got 12/,
    ],
    [
      "more bytes than the header says",
      () => write(imagesFile(), idxGz([2, 2, 2], pixels)),
      /\[2,2,2\] = 8 bytes, got 12/,
    ],
    [
      "labels where images should be",
      () => write(imagesFile(), readFileSync(labelsFile())),
      /expected 16 bytes, got 11|expected magic 0x00000803, got 0x00000801/,
    ],
    [
      "another number of labels than images",
      () => write(labelsFile(), idxGz([2], Uint8Array.of(1, 2))),
      /3 in .*images.* vs 2 in .*labels/,
    ],
    [
      "a label that is no class",
      () => write(labelsFile(), idxGz([3], Uint8Array.of(1, 10, 2))),
      /labels are 0 to 9, got 10 for image 1/,
    ],
    ["no idx file at all", () => write(labelsFile(), "hello"), /not a whole gzip file/],
  ];
  for (const [name, damage, message] of broken) {
    it(`refuses ${name}`, async () => {
      damage();
      expect(await rejection(loadFashionMnist(folder()))).to.match(message);
    });
  }

  it("refuses the wrong magic in a file that is long enough", async () => {
    write(imagesFile(), idxGz([2, 1, 2, 3], pixels));
    expect(await rejection(loadFashionMnist(folder()))).to.match(
      /expected magic 0x00000803, got 0x00000804/,
    );
  });

  it("says which file is not there", async () => {
    expect(await rejection(loadFashionMnist(folder(), "test"))).to.match(/t10k-.*cannot be read/);
  });

  it("reads the real test part", async function () {
    const set = await loadFashionMnist(realDataSet(this, "fashion-mnist"), "test");
    expect([set.count, set.height, set.width]).to.deep.equal([10000, 28, 28]);
    expect(countPerClass(set)).to.deep.equal(Array.from({ length: 10 }, () => 1000));
  });
});
