import { expect } from "chai";
import { readFileSync } from "node:fs";
import type { Context } from "../../src/gpu/context.ts";
import type { Device } from "../../src/gpu/device.ts";
import {
  planMemory,
  scratchMemory,
  type Lifetime,
  type ScratchMemory,
} from "../../src/gpu/memory_plan.ts";
import { plannedMemory } from "../../src/gpu/record.ts";
import { Sequential } from "../../src/nn/model.ts";
import type { NetworkConfig } from "../../src/nn/network.ts";
import type { Shape, Tensor } from "../../src/tensor.ts";
import { useDevice } from "../support/device.ts";
import { skipUnless } from "../support/skip.ts";

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
      "one that is placed before a larger one saves a buffer",
      [life(4, 0, 2, [1]), life(4, 1, 3, [0, 2]), life(4, 2, 4, [1, 3]), life(16, 3, 6, [2])],
      [16, 4],
      [
        [1, 0],
        [0, 0],
        [1, 0],
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

  it("never has two tensors in one place at a time, nor where they must not meet, nor unaligned, nor another plan", () => {
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
      expect(planMemory(lifetimes, limits, lent), "the same again").to.deep.equal(plan);
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

describe("planMemory for training steps", () => {
  const own = useDevice();
  const discrete = useDevice({ actAs: "discrete" });
  // What an exact solver found to be the least that WebGPU's rule allows, as docs/performance.md tells, and a little more.
  const cases: [string, () => Device, string, number, number][] = [
    ["software", own, "quick", 32, 1.29],
    ["software", own, "paper", 8, 1.11],
    ["software", own, "paper", 32, 1.01],
    ["software", own, "paper", 128, 1.03],
    ["discrete", discrete, "quick", 8, 1.12],
    ["discrete", discrete, "quick", 32, 1.12],
    ["discrete", discrete, "paper", 8, 1.12],
    ["discrete", discrete, "paper", 32, 1.24],
  ];
  for (const [kind, device, network, n, most] of cases)
    it(`takes at most ${most} of what lives at once: ${network} network, n=${n}, ${kind} adapter`, function () {
      // Which tensors there are depends on the algorithms, and these on the size of subgroups, too.
      skipUnless(this, own().summary.class === "mesa-software", "needs Mesa's software adapter");
      const { plannedBytes, liveBytes } = stepMemory(device(), network, n);
      expect(plannedBytes / liveBytes).to.be.within(1, most);
    });
});

/** Of a network that has no parameters on the device: nothing is allocated or run. */
function stepMemory(device: Device, network: string, n: number): ScratchMemory {
  const file = new URL(`../../networks/${network}.json`, import.meta.url);
  const model = new Sequential(JSON.parse(readFileSync(file, "utf8")) as NetworkConfig);
  const shapes = model.shapes();
  const tensor = (label: string, shape: Shape): Tensor => ({
    ...{ buffer: { label } as GPUBuffer, offsetBytes: 0, shape, dtype: "float32", label },
  });
  model.layers.forEach((layer, i) => {
    layer.parameters = layer.parameterSpecs(shapes[i]!).map(({ name, shape }) => {
      const label = `${layer.name}.${name}`;
      const [value, grad] = [tensor(label, shape), tensor(`${label}.grad`, shape)];
      return { name: label, shape, layer, value, grad };
    });
  });
  return plannedMemory(device, (ctx: Context) => {
    const x = ctx.scratch([n, ...model.input], "float32", "x");
    const pass = { training: true, seed: 0, step: tensor("step", [4]) };
    const activations = model.forward(ctx, x, pass);
    const { shape, dtype } = model.logits(activations);
    model.backward(ctx, activations, ctx.scratch(shape, dtype, "logits.dx"), pass);
  });
}
