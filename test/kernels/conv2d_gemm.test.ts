import { expect } from "chai";
import type { Context } from "../../src/gpu/context.ts";
import { conv2dUnsupported } from "../../src/kernels/conv2d.ts";
import type { Conv2dPass } from "../../src/kernels/conv2d_algorithm.ts";
import { GuardedScratch } from "../../src/testing/guarded.ts";
import {
  asHardware,
  expectPass,
  nameOf,
  PASSES,
  prepare,
  preparedOnce,
  pretend,
  skipUnsupported,
  type Conv2dCase,
} from "../support/conv2d.ts";
import { useDevice } from "../support/device.ts";

const CASES: readonly Conv2dCase[] = [
  { x: [1, 1, 1, 1], w: [1, 1, 1, 1] },
  { x: [1, 1, 1, 3], w: [1, 1, 3, 5] },
  { x: [1, 1, 1, 4], w: [1, 1, 4, 4], padding: "same" },
  { x: [3, 5, 2, 4], w: [1, 1, 4, 8], bias: false },
  { x: [1, 7, 9, 17], w: [1, 1, 17, 63] },
  { x: [1, 7, 9, 64], w: [1, 1, 64, 32] },
  { x: [1, 8, 8, 16], w: [1, 1, 16, 64], dilations: 2 },
  { x: [1, 5, 13, 36], w: [1, 1, 36, 68], padding: "same" },
  { x: [1, 5, 13, 63], w: [1, 1, 63, 33] },
  // Pixels which the weight gradient adds in parts, and enough of them for tiles of 128 rows.
  { x: [2, 128, 129, 4], w: [1, 1, 4, 36] },
];

const PASS_NAMES = Object.keys(PASSES) as Conv2dPass[];

for (const pass of PASS_NAMES)
  describe(`conv2d gemm_1x1 ${pass}`, () => {
    const device = useDevice();
    for (const test of CASES) {
      const prepared = preparedOnce(test, PASSES[pass].want);
      it(nameOf(test), async function () {
        const { p, want } = prepared();
        // Channels in any number are for adapters whose products go through subgroups.
        skipUnsupported(this, device(), p, pass, "gemm_1x1");
        await expectPass(device(), pass, p, want, { algorithm: "gemm_1x1" });
      });
      if ([...test.w].slice(2).every((channels) => channels % 4 === 0))
        it(`with the products for GPUs ${nameOf(test)}`, async () => {
          const { p, want } = prepared();
          await expectPass(device(), pass, p, want, { algorithm: "gemm_1x1", on: asHardware });
        });
    }

    for (const test of CASES.filter(({ x }) => x[1] === 1 || x[3] === 17 || x[3] === 64))
      for (const [name, on] of [
        ["", undefined],
        [" with the products for GPUs", asHardware],
      ] as const) {
        const p = prepare(test, "float16");
        if (on && [p.g.inC, p.g.outC].some((channels) => channels % 4 !== 0)) continue;
        it(`float16${name} ${nameOf(test)}`, async function () {
          skipUnsupported(this, device(), p, pass, "gemm_1x1");
          const options = { algorithm: "gemm_1x1", ...(on && { on }) } as const;
          await expectPass(device(), pass, p, PASSES[pass].want(p), options);
        });
      }
  });

/** Sums long enough for parts, which go through fours, and tiles too few for a GPU; whose passes are split. */
const SPLIT_CASES: readonly (readonly [Conv2dCase, number, readonly Conv2dPass[]])[] = [
  [{ x: [2, 3, 5, 516], w: [1, 1, 516, 36] }, 2, ["forward"]],
  [{ x: [1, 1, 3, 36], w: [1, 1, 36, 516] }, 2, ["input_grad"]],
  [{ x: [1, 9, 9, 780], w: [1, 1, 780, 772], bias: false }, 3, ["forward", "input_grad"]],
];

describe("conv2d gemm_1x1 with the products for GPUs, in splits", () => {
  const device = useDevice();
  for (const [test, splits, passes] of SPLIT_CASES)
    for (const pass of passes)
      for (const dtype of ["float32", "float16"] as const)
        it(`${pass} ${dtype} ${nameOf(test)}`, async function () {
          const p = prepare(test, dtype);
          skipUnsupported(this, device(), p, pass, "gemm_1x1");
          // Partial sums begin as NaN: each must be written.
          const scratch = new GuardedScratch(device());
          try {
            const on = (ctx: Context) => asHardware(scratch.context(ctx));
            const options = { algorithm: "gemm_1x1", on } as const;
            await expectPass(device(), pass, p, PASSES[pass].want(p), options);
            const [product, sum] = scratch.dispatches;
            expect([product?.shader, sum?.shader]).to.deep.equal(["matmul_batched", "sum_splits"]);
            expect(product?.params?.["splits"]).to.equal(splits);
            for (const tensor of scratch.tensors) await tensor.read();
          } finally {
            scratch.release();
          }
        });

  it("leaves sums whole where there are tiles enough", async () => {
    const p = prepare({ x: [1, 128, 128, 512], w: [1, 1, 512, 64], bias: false });
    const shaders = new Set<string>();
    const on = (ctx: Context): Context => ({
      ...asHardware(ctx),
      dispatch: ({ shader }) => shaders.add(shader),
    });
    await PASSES.forward.run(device(), p, { ...p.sizes, algorithm: "gemm_1x1" }, p.dy, on);
    expect([...shaders]).to.deep.equal(["matmul_batched"]);
  });
});

describe("conv2d gemm_1x1 of tensors larger than one binding", () => {
  // Windows of two images.
  const device = useDevice({ maxBindingBytes: 4352 });
  const p = prepare({ x: [7, 8, 8, 4], w: [1, 1, 4, 8] });
  for (const pass of PASS_NAMES) {
    it(`${pass} works in windows over the batch`, async () => {
      await expectPass(device(), pass, p, PASSES[pass].want(p), { algorithm: "gemm_1x1" });
    });
    it(`${pass} with the products for GPUs works in windows over the batch`, async () => {
      const options = { algorithm: "gemm_1x1", on: asHardware } as const;
      await expectPass(device(), pass, p, PASSES[pass].want(p), options);
    });
  }
});

describe("conv2d gemm_1x1 refuses", () => {
  const device = useDevice();
  const good: Conv2dCase = { x: [1, 7, 7, 4], w: [1, 1, 4, 8] };
  const rules: readonly (readonly [string, Partial<Conv2dCase>, string | undefined])[] = [
    ["nothing of the control case", {}, undefined],
    ["larger kernels", { w: [1, 3, 4, 8] }, "the kernel is 1x3, not 1x1"],
    ["strides", { strides: 2 }, "the stride is [2,2], not 1"],
    [
      "padding",
      {
        padding: [
          [0, 0],
          [0, 1],
        ],
      },
      "x is padded",
    ],
    [
      "odd channels on a GPU",
      { w: [1, 1, 4, 6] },
      "channels are no multiples of 4: inC is 4, outC 6",
    ],
  ];
  for (const [name, change, message] of rules)
    it(name, () => {
      const { g } = prepare({ ...good, ...change });
      const adapter = pretend(device(), { software: false, subgroupSize: 32 });
      for (const pass of PASS_NAMES)
        expect(conv2dUnsupported(adapter, g, pass, "gemm_1x1")).to.equal(message);
    });

  it("says so when it is asked for all the same", async () => {
    const p = prepare({ ...good, strides: 2 });
    const failed = await PASSES.forward
      .run(device(), p, { ...p.sizes, algorithm: "gemm_1x1" }, p.dy)
      .catch((error: unknown) => error);
    expect(String(failed)).to.contain(
      'ShapeError: conv2d: algorithm "gemm_1x1" cannot run here: the stride is [2,2], not 1; leave algorithm out',
    );
  });
});
