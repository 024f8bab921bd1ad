import { expect } from "chai";
import type { Capabilities, Context, Dispatch } from "../../src/gpu/context.ts";
import { conv2dGeometry } from "../../src/geometry.ts";
import type { GpuKind } from "../../src/gpu/adapter.ts";
import { conv2d, conv2dInputGrad } from "../../src/kernels/conv2d.ts";
import type { DType, Shape, Tensor } from "../../src/tensor.ts";
import { GuardedScratch } from "../../src/testing/guarded.ts";
import {
  expectPass,
  nameOf,
  PASSES,
  prepare,
  skipUnsupported,
  type Conv2dCase,
} from "../support/conv2d.ts";
import { useDevice } from "../support/device.ts";

type SplitPass = "forward" | "input_grad";
const algorithm = "implicit_gemm";
const FLOATS = ["float32", "float16"] as const;

/** Few pixels and long sums; each pass with its splits, or 1 where its own sum is too short. */
const CASES: readonly { test: Conv2dCase; splits: Readonly<Record<SplitPass, number>> }[] = [
  { test: { x: [1, 7, 7, 64], w: [3, 3, 64, 64], padding: "same" }, splits: both(2) },
  { test: { x: [1, 1, 2, 260], w: [3, 3, 260, 260], padding: "same" }, splits: both(9) },
  // 53 slices of the sum for three splits, the last slice not whole.
  { test: { x: [1, 2, 2, 93], w: [3, 3, 93, 93], padding: "same" }, splits: both(3) },
  // Less than four elements of x.
  { test: { x: [1, 3, 1, 1], w: [23, 23, 1, 1], padding: "same", bias: false }, splits: both(2) },
  // Several tiles along both axes.
  { test: { x: [2, 9, 9, 68], w: [3, 3, 68, 76], padding: "same" }, splits: both(2) },
  // Phases of 1, 2 and 4 taps.
  { test: { x: [1, 5, 4, 60], w: [3, 3, 60, 132], strides: 2, padding: "same" }, splits: both(2) },
  // Phases without taps: by kernels smaller than the stride, and by a dilation that repeats them.
  { test: { x: [2, 7, 8, 260], w: [2, 1, 260, 36], strides: 3 }, splits: of(2, 1) },
  { test: { x: [2, 7, 8, 36], w: [2, 1, 36, 516], strides: 3 }, splits: of(1, 2) },
  {
    test: {
      x: [2, 6, 5, 58],
      w: [3, 3, 58, 58],
      strides: [2, 1],
      dilations: 2,
      padding: [
        [0, 3],
        [2, 1],
      ],
    },
    splits: both(2),
  },
];

function of(forward: number, inputGrad: number): Record<SplitPass, number> {
  return { forward, input_grad: inputGrad };
}

function both(splits: number): Record<SplitPass, number> {
  return of(splits, splits);
}

/** Of the dispatches of one pass, how many partial sums there are; refuses other dispatches. */
function splitsIn([first, ...rest]: readonly Dispatch[]): number {
  expect(first?.shader).to.match(/^conv2d_(input_grad_)?implicit_gemm$/);
  const splits = first?.params?.["splits"] ?? 0;
  expect(rest.map(({ shader }) => shader)).to.deep.equal(splits > 1 ? ["sum_splits"] : []);
  return splits;
}

for (const pass of ["forward", "input_grad"] as const)
  describe(`conv2d implicit_gemm in splits, ${pass}`, () => {
    const device = useDevice();
    for (const { test, splits } of CASES.filter(({ splits }) => splits[pass] > 1))
      for (const dtype of test.dilations || test.x[1] === 7 ? FLOATS : (["float32"] as const))
        it(`${dtype} ${nameOf(test)}`, async function () {
          const p = prepare(test, dtype);
          skipUnsupported(this, device(), p, pass, algorithm);
          // Partial sums begin as NaN: each must be written, also of pixels that nothing reads.
          const scratch = new GuardedScratch(device());
          try {
            const on = (ctx: Context) => scratch.context(ctx);
            await expectPass(device(), pass, p, PASSES[pass].want(p), { algorithm, on });
            expect(splitsIn(scratch.dispatches)).to.equal(splits[pass]);
            for (const tensor of scratch.tensors) await tensor.read();
          } finally {
            scratch.release();
          }
        });
  });

describe("where conv2d implicit_gemm splits sums", () => {
  const device = useDevice();

  /** How a pass is split on an adapter that differs so from the one at hand; nothing is run. */
  const splitsOf = (
    pass: SplitPass,
    test: Conv2dCase,
    {
      kind = "discrete",
      maxBindingBytes = 2 ** 27,
    }: { kind?: GpuKind; maxBindingBytes?: number } = {},
  ): number => {
    const { x: xShape, w: wShape, ...sizes } = test;
    const { n, outH, outW, outC } = conv2dGeometry(xShape, wShape, sizes);
    const tensor = (shape: Shape, dtype: DType = "float32", label = ""): Tensor => ({
      ...{ buffer: {} as GPUBuffer, offsetBytes: 0, shape, dtype, label },
    });
    const [x, w, y] = [tensor(xShape), tensor(wShape), tensor([n, outH, outW, outC])];
    const summary = { ...device().summary, kind };
    const dispatches: Dispatch[] = [];
    const ctx: Context = {
      device: Object.create(device(), {
        summary: { value: summary },
        maxBindingBytes: { value: maxBindingBytes },
      }) as Capabilities,
      dispatch: (dispatch) => dispatches.push(dispatch),
      copy: () => undefined,
      scratch: tensor,
      free: () => undefined,
    };
    if (pass === "forward") conv2d(ctx, { x, w }, { ...sizes, algorithm }, y);
    else conv2dInputGrad(ctx, { dy: y, w }, { ...sizes, algorithm }, x);
    return splitsIn(dispatches);
  };
  const resnet = (n: number, size: number, channels: number, strides = 1): Conv2dCase => ({
    ...{ x: [n, size, size, channels], w: [3, 3, channels, channels], strides, padding: "same" },
  });

  for (const pass of ["forward", "input_grad"] as const)
    it(`${pass}: fills a GPU with the tiles of small images, and leaves large ones whole`, () => {
      const splits = (...sizes: Parameters<typeof resnet>) => splitsOf(pass, resnet(...sizes));
      expect(splits(32, 7, 512), "200 tiles").to.equal(3);
      expect(splits(32, 14, 256), "392 tiles").to.equal(1);
      expect(splits(1, 7, 512), "8 tiles").to.equal(18);
      expect(splits(1, 14, 256), "16 tiles").to.equal(9);
      expect(splits(1, 7, 56), "504 terms").to.equal(1);
    });

  it("counts the phases of a strided input gradient that have taps", () => {
    expect(splitsOf("input_grad", resnet(32, 14, 512, 2)), "800 tiles").to.equal(1);
    expect(splitsOf("input_grad", resnet(8, 14, 512, 2)), "224 tiles, 4 taps").to.equal(3);
    const pointwise = { x: [8, 14, 14, 512], w: [1, 1, 512, 2048], strides: 2 };
    expect(splitsOf("input_grad", pointwise), "56 tiles with taps").to.equal(8);
  });

  it("takes fewer on an integrated GPU, and as many as fit in one binding", () => {
    const integrated = { kind: "integrated" } as const;
    expect(splitsOf("forward", resnet(32, 7, 512), integrated)).to.equal(1);
    expect(splitsOf("forward", resnet(1, 7, 512), integrated)).to.equal(16);
    const test: Conv2dCase = { x: [1, 1, 272, 1024], w: [1, 1, 1024, 272] };
    expect(splitsOf("forward", test)).to.equal(4);
    const maxBindingBytes = 4 * 1024 * 272;
    expect(splitsOf("forward", test, { maxBindingBytes })).to.equal(3);
  });
});
