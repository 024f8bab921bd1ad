import { expect } from "chai";
import { conv2dGeometry } from "../../src/geometry.ts";
import { conv2dUnsupported } from "../../src/kernels/conv2d.ts";
import { WINOGRAD_TILES, type OutTiles } from "../../src/kernels/conv2d_winograd.ts";
import type { Conv2dPass } from "../../src/kernels/conv2d_algorithm.ts";
import * as plain from "../../src/reference/conv2d.ts";
import {
  conv2dInputGradWinograd,
  conv2dWeightGradWinograd,
  conv2dWinograd,
} from "../../src/reference/conv2d_winograd.ts";
import type { Reference } from "../../src/reference/reference.ts";
import {
  asHardware,
  expectPass,
  nameOf,
  PASSES,
  prepare,
  preparedOnce,
  type Conv2dCase,
  type Prepared,
} from "../support/conv2d.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16 } from "../support/skip.ts";
import { toFloat64 } from "../../src/testing/inputs.ts";

const CASES: readonly Conv2dCase[] = [
  { x: [1, 1, 1, 1], w: [3, 3, 1, 1], padding: "same" },
  { x: [1, 1, 1, 4], w: [3, 3, 4, 4], padding: "same" },
  { x: [2, 3, 3, 3], w: [3, 3, 3, 5] },
  { x: [2, 4, 4, 4], w: [3, 3, 4, 4], bias: false },
  { x: [1, 5, 6, 1], w: [3, 3, 1, 3] },
  { x: [3, 6, 5, 2], w: [3, 3, 2, 1], padding: "same" },
  { x: [2, 5, 7, 3], w: [3, 3, 3, 4], padding: "same", bias: false },
  {
    x: [2, 5, 6, 2],
    w: [3, 3, 2, 5],
    padding: [
      [0, 3],
      [2, 1],
    ],
  },
  {
    x: [1, 2, 3, 4],
    w: [3, 3, 4, 4],
    padding: [
      [5, 4],
      [0, 6],
    ],
  },
  // 64 and 65 tiles, channels one off 16, 32 and 64: at, and one off, the tiles of the products.
  { x: [1, 18, 18, 17], w: [3, 3, 17, 63] },
  { x: [1, 12, 28, 65], w: [3, 3, 65, 31] },
  { x: [2, 13, 9, 33], w: [3, 3, 33, 64], padding: "same" },
  // 800 tiles, which the weight gradient adds in parts.
  { x: [2, 40, 40, 4], w: [3, 3, 4, 4], padding: "same" },
  // Tiles of 3x3 pixels.
  { x: [1, 1, 1, 1], w: [2, 2, 1, 1], padding: "same" },
  { x: [2, 7, 5, 3], w: [2, 2, 3, 4], padding: "same" },
  { x: [1, 4, 8, 4], w: [2, 2, 4, 5], bias: false },
  {
    x: [2, 3, 4, 2],
    w: [2, 2, 2, 3],
    padding: [
      [3, 0],
      [1, 2],
    ],
  },
  { x: [2, 17, 12, 33], w: [2, 2, 33, 31] },
  // Tiles of 6x6 or 8x8 pixels of x.
  { x: [1, 1, 1, 1], w: [5, 5, 1, 1], padding: "same" },
  { x: [2, 5, 7, 3], w: [5, 5, 3, 4], padding: "same" },
  { x: [1, 8, 6, 4], w: [5, 5, 4, 5], bias: false },
  {
    x: [2, 3, 4, 2],
    w: [5, 5, 2, 3],
    padding: [
      [6, 1],
      [2, 5],
    ],
  },
  { x: [2, 12, 15, 17], w: [5, 5, 17, 33], padding: "same" },
  { x: [1, 8, 9, 4], w: [5, 5, 4, 4], bias: false }, // 4x5 pixels of y: a tile of 4x4, and one column more
  { x: [1, 19, 16, 32], w: [3, 3, 32, 32], padding: "same" },
];

/** Winograd's own sums of |terms| are the bound, without a factor: docs/numerics.md has why and what was measured. */
const WANT: Readonly<Record<Conv2dPass, (p: Prepared, outTile: number) => Reference>> = {
  forward: ({ x, w, b, g }, outTile) =>
    conv2dWinograd(toFloat64(x), toFloat64(w), b && toFloat64(b), g, outTile),
  input_grad: ({ dy, w, g }, outTile) =>
    conv2dInputGradWinograd(toFloat64(dy), toFloat64(w), g, outTile),
  weight_grad: ({ x, dy, g }, outTile) =>
    conv2dWeightGradWinograd(toFloat64(x), toFloat64(dy), g, outTile),
};

/** Each algorithm with the cases that it takes. */
const ALGORITHMS = (["winograd", "winograd_4x4"] as const).map((algorithm) => {
  const outTiles: OutTiles = WINOGRAD_TILES[algorithm];
  const tileOf = ({ w }: Conv2dCase) => outTiles[w[0] ?? 0] ?? 0;
  return { algorithm, tileOf, cases: CASES.filter((test) => tileOf(test) > 0) };
});

const PASS_NAMES = Object.keys(PASSES) as Conv2dPass[];

describe("conv2d winograd reference", () => {
  for (const { algorithm, cases, tileOf } of ALGORITHMS)
    for (const test of cases)
      it(`agrees with plain sums: ${algorithm} ${nameOf(test)}`, () => {
        const p = prepare(test);
        for (const pass of PASS_NAMES) {
          const got = WANT[pass](p, tileOf(test));
          const want = PASSES[pass].want(p);
          expect(got.reduction).to.equal(want.reduction);
          const differs = want.values.findIndex(
            (value, i) => !(Math.abs(got.values[i]! - value) <= 1e-13 * got.absSum[i]!),
          );
          expect(differs, `${pass}: first element that differs`).to.equal(-1);
          // What it adds is at least what the plain sum adds.
          const less = want.absSum.findIndex((sum, i) => !(got.absSum[i]! >= sum * (1 - 1e-13)));
          expect(less, `${pass}: first element with smaller |terms|`).to.equal(-1);
        }
      });

  it("adds 64 / 9 times as much as the plain sum where all magnitudes are alike", () => {
    const g = conv2dGeometry([1, 4, 4, 2], [3, 3, 2, 1]);
    const ones = (count: number) => new Float64Array(count).fill(1);
    const { values, absSum } = conv2dWinograd(ones(32), ones(18), undefined, g, 2);
    expect([...values]).to.deep.equal([18, 18, 18, 18]);
    expect([...absSum]).to.deep.equal([128, 128, 128, 128]);
    expect([...plain.conv2d(ones(32), ones(18), undefined, g).absSum]).to.deep.equal([
      18, 18, 18, 18,
    ]);
  });
});

for (const { algorithm, cases, tileOf } of ALGORITHMS)
  for (const pass of PASS_NAMES)
    describe(`conv2d ${algorithm} ${pass}`, () => {
      const device = useDevice();
      for (const test of cases) {
        const prepared = preparedOnce(test, (p) => WANT[pass](p, tileOf(test)));
        it(nameOf(test), async () => {
          const { p, want } = prepared();
          await expectPass(device(), pass, p, want, { algorithm });
        });
        it(`with the products for GPUs ${nameOf(test)}`, async () => {
          const { p, want } = prepared();
          await expectPass(device(), pass, p, want, { algorithm, on: asHardware });
        });
      }

      for (const test of cases.filter(({ x, w }) => x[1] === 5 || (x[3] === 4 && w[0] === 2)))
        it(`float16 ${nameOf(test)}`, async function () {
          skipWithoutFloat16(this, device());
          const p = prepare(test, "float16");
          await expectPass(device(), pass, p, WANT[pass](p, tileOf(test)), { algorithm });
        });

      it("float16 with the products for GPUs", async function () {
        skipWithoutFloat16(this, device());
        const test: Conv2dCase = { x: [2, 9, 7, 8], w: [3, 3, 8, 12], padding: "same" };
        const p = prepare(test, "float16");
        const want = WANT[pass](p, tileOf(test));
        await expectPass(device(), pass, p, want, { algorithm, on: asHardware });
      });
    });

describe("conv2d winograd of tensors larger than one binding", () => {
  const device = useDevice({ maxBindingBytes: 4352 });
  const cases: readonly Conv2dCase[] = [
    // Windows of two images for x and dy; within them, of 8 tiles for what is transformed. The filter takes 2048 bytes so.
    { x: [7, 8, 8, 4], w: [3, 3, 4, 8], padding: "same" },
    // Windows of four images, and of 7 tiles. The filter takes 2304 bytes.
    { x: [5, 7, 8, 4], w: [5, 5, 4, 4], padding: "same" },
  ];

  for (const test of cases)
    for (const pass of PASS_NAMES) {
      const prepared = preparedOnce(test, (p) => WANT[pass](p, 2));
      it(`${pass} works in windows over the tiles: ${nameOf(test)}`, async () => {
        const { p, want } = prepared();
        await expectPass(device(), pass, p, want, { algorithm: "winograd" });
      });
      it(`${pass} with the products for GPUs works in windows over the tiles: ${nameOf(test)}`, async () => {
        const { p, want } = prepared();
        await expectPass(device(), pass, p, want, { algorithm: "winograd", on: asHardware });
      });
    }

  it("refuses a filter that exceeds one binding once transformed", async () => {
    const large = prepare({ x: [1, 3, 3, 8], w: [3, 3, 8, 12] });
    const message = "the transformed filter takes 6144 bytes, one binding 4352";
    for (const pass of PASS_NAMES) {
      expect(conv2dUnsupported(device(), large.g, pass, "winograd")).to.equal(message);
      const failed = await PASSES[pass]
        .run(device(), large, { ...large.sizes, algorithm: "winograd" }, large.dy)
        .catch((error: unknown) => error);
      expect(String(failed)).to.contain(
        `algorithm "winograd" cannot run here: ${message}; leave algorithm out or use "implicit_gemm"`,
      );
    }
  });
});

describe("conv2d winograd refuses", () => {
  const device = useDevice();
  const rules: readonly (readonly [string, Conv2dCase, string | undefined])[] = [
    ["nothing of the control case", { x: [1, 7, 7, 4], w: [3, 3, 4, 4] }, undefined],
    ["a 2x2 kernel", { x: [1, 7, 7, 4], w: [2, 2, 4, 4] }, undefined],
    ["a 5x5 kernel", { x: [1, 7, 7, 4], w: [5, 5, 4, 4] }, undefined],
    [
      "other squares",
      { x: [1, 7, 7, 4], w: [4, 4, 4, 4] },
      "the kernel is 4x4, not 2x2, 3x3 or 5x5",
    ],
    ["oblongs", { x: [1, 7, 7, 4], w: [3, 5, 4, 4] }, "the kernel is 3x5, not 2x2, 3x3 or 5x5"],
    [
      "strides",
      { x: [1, 7, 7, 4], w: [3, 3, 4, 4], strides: [1, 2] },
      "the stride is [1,2], not 1",
    ],
    [
      "dilations",
      { x: [1, 7, 7, 4], w: [3, 3, 4, 4], dilations: [2, 1] },
      "the dilation is [2,1], not 1",
    ],
  ];
  for (const [name, test, message] of rules)
    it(name, () => {
      for (const pass of PASS_NAMES)
        expect(conv2dUnsupported(device(), prepare(test).g, pass, "winograd")).to.equal(message);
    });
  it("a 2x2 kernel in tiles of 4x4", () => {
    const { g } = prepare({ x: [1, 7, 7, 4], w: [2, 2, 4, 4] });
    expect(conv2dUnsupported(device(), g, "forward", "winograd_4x4")).to.equal(
      "the kernel is 2x2, not 3x3 or 5x5",
    );
  });
});
