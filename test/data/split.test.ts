import { expect } from "chai";
import { stratifiedSplit, validationSplit } from "../../src/data/split.ts";

/** gz2's counts: 734 early types, 168 edge-on discs, 465 spirals, and 10 without label. */
function labelled(): { name: string; labels: Int32Array; classes: string[] } {
  const labels = [734, 168, 465].flatMap((count, label) =>
    Array.from({ length: count }, () => label),
  );
  labels.splice(500, 0, ...Array.from({ length: 10 }, () => -1));
  return { name: "t", labels: Int32Array.from(labels), classes: ["e", "d", "s"] };
}

function perClass(indices: Uint32Array, labels: Int32Array): number[] {
  return [0, 1, 2].map((label) => indices.filter((i) => labels[i] === label).length);
}

describe("split", () => {
  const set = labelled();

  it("gives each class its share", () => {
    const { train, test, unused } = stratifiedSplit(set, 0.8, 1);
    expect([train.length, test.length, unused.length]).to.deep.equal([1094, 273, 0]);
    expect(perClass(train, set.labels)).to.deep.equal([587, 135, 372]);
    expect(perClass(test, set.labels)).to.deep.equal([147, 33, 93]);
  });

  it("puts every labelled image in one part only", () => {
    const { train, test, unused } = stratifiedSplit(set, { train: 600, test: 300 }, 7);
    expect([train.length, test.length, unused.length]).to.deep.equal([600, 300, 467]);
    const all = [...train, ...test, ...unused].sort((a, b) => a - b);
    expect(new Set(all).size).to.equal(1367);
    for (const index of all) expect(set.labels[index]).to.be.at.least(0);
    for (const part of [train, test])
      expect([...part]).to.deep.equal([...part].sort((a, b) => a - b));
  });

  it("depends on the seed, and on nothing else", () => {
    const first = stratifiedSplit(set, 0.8, 3);
    expect(stratifiedSplit(labelled(), 0.8, 3)).to.deep.equal(first);
    expect([...stratifiedSplit(set, 0.8, 4).test]).not.to.deep.equal([...first.test]);
    expect([...validationSplit(set, 0.2, 3).test]).not.to.deep.equal([...first.test]);
  });

  it("keeps the test images of one split the same for fewer training images", () => {
    const { train, test } = validationSplit(set, 0.1, 5);
    expect([train.length, test.length]).to.deep.equal([1230, 137]);
  });

  it("takes all for training or all for testing", () => {
    expect(stratifiedSplit(set, 1, 1).test.length).to.equal(0);
    expect(stratifiedSplit(set, 0, 1).train.length).to.equal(0);
  });

  it("refuses more images than there are, and fractions that are none", () => {
    expect(() => stratifiedSplit(set, { train: 1000, test: 400 }, 1)).to.throw(
      "1000 for training and 400 for testing asked for, but it has 1367 labelled images",
    );
    expect(() => stratifiedSplit(set, 1.2, 1)).to.throw("got 1.2");
    expect(() => validationSplit(set, 0, 1)).to.throw("got 0");
  });
});
