import { expect } from "chai";
import { philox4x32, Random, seedWords, type Words4 } from "../src/random.ts";

describe("random", () => {
  // Random123 1.14, tests/kat_vectors, philox4x32 10 rounds.
  const KNOWN: [Words4, [number, number], Words4][] = [
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ];
  for (const [counter, key, words] of KNOWN)
    it(`philox4x32-10 of ${counter.map((c) => c.toString(16)).join(" ")}`, () => {
      expect(philox4x32(counter, key)).to.deep.equal(words);
    });

  it("gives the same stream for the same seed, purpose and index, and another one otherwise", () => {
    const draw = (seed: number, purpose: string, index: number) => {
      const random = new Random(seed, purpose, index);
      return Array.from({ length: 10 }, () => random.uint32());
    };
    expect(draw(7, "shuffle", 3)).to.deep.equal(draw(7, "shuffle", 3));
    for (const other of [draw(8, "shuffle", 3), draw(7, "augment", 3), draw(7, "shuffle", 4)])
      expect(other).not.to.deep.equal(draw(7, "shuffle", 3));
  });

  it("has the moments of a uniform and of a normal distribution", () => {
    const random = new Random(1, "moments");
    const count = 20000;
    let uniform = 0;
    let normal = 0;
    let square = 0;
    for (let i = 0; i < count; i++) {
      uniform += random.uniform();
      const value = random.normal();
      normal += value;
      square += value * value;
    }
    // Four standard deviations and more: sqrt(1/12 / 20000) = .002, sqrt(1 / 20000) = .007, sqrt(2 / 20000) = .01.
    expect(uniform / count).to.be.closeTo(0.5, 0.01);
    expect(normal / count).to.be.closeTo(0, 0.03);
    expect(square / count).to.be.closeTo(1, 0.05);
  });

  it("permutes: every integer once", () => {
    const order = new Random(5, "permutation").permutation(1000);
    expect([...order].sort((a, b) => a - b)).to.deep.equal(
      Array.from({ length: 1000 }, (_, i) => i),
    );
  });

  it("splits a seed above 2^32 and refuses what is no seed", () => {
    expect(seedWords(2 ** 32 + 5)).to.deep.equal([5, 1]);
    expect(() => seedWords(-1)).to.throw("seed: expected an integer from 0 to 2^53 - 1, got -1");
  });
});
