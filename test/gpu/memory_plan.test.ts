import { expect } from "chai";
import { planMemory, scratchMemory, type Lifetime } from "../../src/gpu/memory_plan.ts";

const LIMITS = { alignment: 4, maxBufferBytes: 1 << 20 };

const life = (bytes: number, first: number, last: number, meets: number[] = []): Lifetime => ({
  label: `${bytes} bytes from ${first}`,
  ...{ bytes, first, last, meets: new Set(meets) },
});

describe("planMemory", () => {
  const cases: [string, Lifetime[], number[], [number, number][]][] = [
    ["nothing takes nothing", [], [], []],
    [
      "tensors one after another lie in one place",
      [life(8, 0, 1), life(8, 1, 2), life(4, 2, 3)],
      [8],
      [
        [0, 0],
        [0, 0],
        [0, 0],
      ],
    ],
    [
      "tensors that meet in a dispatch lie in two buffers",
      [life(8, 0, 2, [1]), life(8, 1, 3, [0])],
      [8, 8],
      [
        [0, 0],
        [1, 0],
      ],
    ],
    [
      "several small ones lie where a large one was",
      [life(16, 0, 1), life(4, 1, 3), life(8, 1, 3), life(4, 2, 3)],
      [16],
      [
        [0, 0],
        [0, 8],
        [0, 0],
        [0, 12],
      ],
    ],
    [
      "a place between two others is found again",
      [life(16, 0, 1), life(8, 1, 2), life(4, 1, 9), life(4, 3, 4)],
      [16],
      [
        [0, 0],
        [0, 0],
        [0, 8],
        [0, 0],
      ],
    ],
    [
      "one that lives for ever leaves room beside it only",
      [life(8, 0, Infinity), life(8, 5, 6, [2]), life(8, 5, 6, [1])],
      [8, 8, 8],
      [
        [0, 0],
        [1, 0],
        [2, 0],
      ],
    ],
  ];
  for (const [name, lifetimes, bytes, places] of cases)
    it(name, () => {
      const plan = planMemory(lifetimes, LIMITS);
      expect(plan.buffers.map((buffer) => buffer.bytes)).to.deep.equal(bytes);
      expect(plan.places.map((place) => [place.buffer, place.offsetBytes])).to.deep.equal(places);
    });

  it("never has two tensors in one place at a time, nor where they must not meet, nor unaligned", () => {
    let seed = 1;
    const random = (n: number) => (seed = (seed * 48271) % 2147483647) % n;
    for (let trial = 0; trial < 50; trial++) {
      const met = Array.from({ length: 30 }, () => new Set<number>());
      for (let pair = 0; pair < 40; pair++) {
        const [a, b] = [random(30), random(30)];
        if (a === b) continue;
        met[a]!.add(b);
        met[b]!.add(a);
      }
      const lifetimes = met.map((meets) => {
        const first = random(40);
        return life(4 + 4 * random(100), first, first + 1 + random(10), [...meets]);
      });
      const lent = [100, 200];
      const limits = { alignment: 32, maxBufferBytes: 600 };
      const plan = planMemory(lifetimes, limits, lent);
      plan.places.forEach(({ buffer, offsetBytes }, i) => {
        const own = lifetimes[i]!;
        const { bytes } = plan.buffers[buffer]!;
        expect(offsetBytes % 32).to.equal(0);
        expect(offsetBytes + own.bytes).to.be.at.most(bytes);
        expect(bytes).to.be.at.most(buffer < 2 ? lent[buffer]! : 600);
        plan.places.slice(0, i).forEach((other, j) => {
          if (other.buffer !== buffer) return;
          const before = lifetimes[j]!;
          expect(own.meets.has(j)).to.equal(false);
          const apart =
            own.first >= before.last ||
            before.first >= own.last ||
            offsetBytes >= other.offsetBytes + before.bytes ||
            other.offsetBytes >= offsetBytes + own.bytes;
          expect(apart).to.equal(true);
        });
      });
      const memory = scratchMemory(lifetimes, planMemory(lifetimes, LIMITS));
      expect(memory.plannedBytes).to.be.within(memory.liveBytes, memory.naiveBytes);
    }
  });

  it("takes what is lent before it asks for more", () => {
    const plan = planMemory([life(8, 0, 2), life(8, 1, 3), life(8, 1, 3, [0, 1])], LIMITS, [16]);
    expect(plan.buffers.map(({ bytes }) => bytes)).to.deep.equal([16, 8]);
    expect(plan.places.map(({ buffer }) => buffer)).to.deep.equal([0, 0, 1]);
  });
});
