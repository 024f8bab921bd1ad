import { expect } from "chai";
import { planMemory, scratchMemory, type Lifetime } from "../../src/gpu/memory_plan.ts";

const life = (bytes: number, first: number, last: number): Lifetime => ({
  label: `${bytes} bytes from ${first}`,
  bytes,
  first,
  last,
});

describe("planMemory", () => {
  const cases: [string, Lifetime[], number[]][] = [
    ["nothing takes nothing", [], []],
    ["tensors one after another share", [life(8, 0, 1), life(8, 1, 2), life(4, 2, 3)], [0, 0, 0]],
    ["tensors at one time do not", [life(8, 0, 2), life(8, 1, 3)], [0, 1]],
    [
      "the smallest buffer that is free is taken",
      [life(8, 0, 9), life(4, 0, 1), life(4, 2, 3)],
      [0, 1, 1],
    ],
    ["a large tensor that comes late decides first", [life(4, 0, 1), life(16, 1, 2)], [0, 0]],
    [
      "one that lives for ever shares with nothing after it",
      [life(8, 0, Infinity), life(8, 5, 6)],
      [0, 1],
    ],
  ];
  for (const [name, lifetimes, buffers] of cases)
    it(name, () => {
      const plan = planMemory(lifetimes);
      expect(plan.bufferOf).to.deep.equal(buffers);
      expect(plan.bufferBytes).to.have.length(new Set(buffers).size);
    });

  it("never has two tensors in one buffer at a time, nor one in a buffer too small", () => {
    let seed = 1;
    const random = (n: number) => (seed = (seed * 48271) % 2147483647) % n;
    for (let trial = 0; trial < 50; trial++) {
      const lifetimes = Array.from({ length: 30 }, () => {
        const first = random(40);
        return life(4 + 4 * random(100), first, first + 1 + random(10));
      });
      const plan = planMemory(lifetimes, [100, 200]);
      plan.bufferOf.forEach((buffer, i) => {
        const own = lifetimes[i]!;
        expect(plan.bufferBytes[buffer]).to.be.at.least(own.bytes);
        lifetimes.forEach((other, j) => {
          if (j > i && plan.bufferOf[j] === buffer)
            expect(own.first >= other.last || other.first >= own.last).to.equal(true);
        });
      });
      const memory = scratchMemory(lifetimes, planMemory(lifetimes));
      expect(memory.plannedBytes).to.be.within(memory.liveBytes, memory.naiveBytes);
    }
  });

  it("takes what is lent before it asks for more", () => {
    const plan = planMemory([life(8, 0, 2), life(8, 1, 3)], [64]);
    expect(plan).to.deep.include({ bufferOf: [0, 1], bufferBytes: [64, 8] });
  });
});
