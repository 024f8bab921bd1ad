import { expect } from "chai";
import type { Capabilities } from "../../src/gpu/context.ts";
import { conv2dGeometry, type Conv2dGeometry } from "../../src/geometry.ts";
import {
  chooseConv2dAlgorithm,
  conv2d,
  CONV2D_ALGORITHMS,
  conv2dInputGrad,
  conv2dWeightGrad,
  type Conv2dOptions,
} from "../../src/kernels/conv2d.ts";
import type { Conv2dPass } from "../../src/kernels/conv2d_algorithm.ts";
import { GEMM_TILES } from "../../src/kernels/conv2d_implicit_gemm.ts";
import * as reference from "../../src/reference/conv2d.ts";
import type { Shape } from "../../src/tensor.ts";
import {
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
import { subgroupUnsupported } from "../../src/kernels/subgroup.ts";
import { skipWithoutSubgroups } from "../support/skip.ts";
import { dot, expectGradient } from "../../src/testing/differences.ts";
import { toFloat64 } from "../../src/testing/inputs.ts";

/** Few enough elements that central differences take no time: what the reference is itself checked on. */
const SMALL_CASES: readonly Conv2dCase[] = [
  { x: [1, 1, 1, 1], w: [1, 1, 1, 1] },
  { x: [1, 1, 1, 3], w: [1, 1, 3, 5] },
  { x: [1, 1, 1, 4], w: [3, 3, 4, 4], padding: "same" },
  { x: [2, 5, 7, 3], w: [3, 3, 3, 4], strides: 2, padding: "same" },
  { x: [2, 6, 6, 4], w: [3, 3, 4, 8], strides: 2, padding: "same", bias: false },
  { x: [1, 8, 7, 1], w: [2, 2, 1, 3], padding: "same" },
  { x: [2, 4, 9, 3], w: [1, 7, 3, 4], padding: "same" },
  { x: [2, 7, 8, 3], w: [3, 3, 3, 4], strides: 3 },
  { x: [1, 7, 8, 4], w: [2, 3, 4, 4], strides: [2, 3], dilations: [3, 2], padding: "same" },
  // Strides that leave input pixels which no tap reaches, and a stride beyond the input.
  { x: [1, 7, 6, 4], w: [2, 3, 4, 8], strides: 2, dilations: 2, padding: "same" },
  { x: [2, 5, 6, 8], w: [1, 1, 8, 4], strides: 2 },
  { x: [1, 5, 2, 4], w: [3, 2, 4, 4], strides: [4, 3] },
  { x: [2, 3, 2, 3], w: [5, 5, 3, 4], padding: "same" },
  {
    x: [2, 5, 6, 2],
    w: [3, 4, 2, 5],
    padding: [
      [0, 3],
      [2, 1],
    ],
  },
  {
    x: [1, 2, 3, 4],
    w: [4, 3, 4, 4],
    strides: 2,
    padding: [
      [5, 4],
      [0, 6],
    ],
  },
];

/** Sizes at, and one off, the tiles of 64 or 128 rows, 32 or 64 columns and 16 along k; then a product of many tiles. */
const LARGE_CASES: readonly Conv2dCase[] = [
  { x: [2, 9, 9, 8], w: [6, 6, 8, 32], padding: "same" },
  { x: [3, 15, 14, 8], w: [3, 3, 8, 36], strides: 2, padding: "same" },
  { x: [2, 10, 9, 8], w: [3, 3, 8, 12], dilations: 2, padding: "same" },
  { x: [1, 7, 9, 17], w: [1, 1, 17, 63] },
  { x: [1, 8, 8, 16], w: [1, 1, 16, 64] },
  { x: [1, 5, 13, 15], w: [1, 1, 15, 65] },
  { x: [1, 5, 13, 63], w: [1, 1, 63, 33] },
  { x: [1, 7, 9, 64], w: [1, 1, 64, 32] },
  { x: [1, 8, 8, 65], w: [1, 1, 65, 31] },
  { x: [3, 23, 31, 3], w: [5, 5, 3, 32], padding: "same" },
  { x: [1, 128, 256, 4], w: [5, 7, 4, 4], padding: "same" },
];

const CASES = [...SMALL_CASES, ...LARGE_CASES];

/** Single elements and fours of channels, strides, dilations, asymmetric padding, sums in splits, a row's taps as channels. */
const FLOAT16_CASES = [
  ...SMALL_CASES.filter((test) => [1, 5, 7].includes(test.x[1] ?? 0) && test.x[3] !== 3),
  ...SMALL_CASES.filter(({ bias, w }) => bias === false || w[0] === 5),
  ...LARGE_CASES.filter(({ x }) => x[1] === 23),
];

/** Those that take any geometry; the others have files of their own, conv2d_gemm.test.ts and so on. */
const ALGORITHMS = CONV2D_ALGORITHMS.filter(
  (algorithm) => !["gemm_1x1", "winograd", "winograd_4x4", "subgroup_matrix"].includes(algorithm),
);

/** Tiles of one size for all products take long to compile, and differ from the default where there are several. */
const UNTILED = ALGORITHMS.filter((algorithm) => !(algorithm in GEMM_TILES));
const TILED_CASES = LARGE_CASES.filter(({ x }) => x[3] === 15 || x[3] === 65 || x[1] === 23);

describe("conv2d reference", () => {
  for (const test of SMALL_CASES)
    it(`gradients agree with central differences: ${nameOf(test)}`, () => {
      const { g, ...p } = prepare(test);
      const [x, w, dy] = [toFloat64(p.x), toFloat64(p.w), toFloat64(p.dy)];
      const y = (xs: Float64Array, ws: Float64Array) =>
        dot(reference.conv2d(xs, ws, undefined, g).values, dy);
      expectGradient((v) => y(v, w), x, reference.conv2dInputGrad(dy, w, g).values);
      expectGradient((v) => y(x, v), w, reference.conv2dWeightGrad(x, dy, g).values);
    });

  it("computes y = x * w + b of a case worked by hand", () => {
    // 1 2 3    1 0         1*1 + 4*2 + 5*3 = 24 (taps 1, 2, 3 at (0,0), (1,0), (1,1)) ... with bias 10
    // 4 5 6    2 3         2*1 + 5*2 + 6*3 = 30
    const g = conv2dGeometry([1, 2, 3, 1], [2, 2, 1, 1]);
    const x = Float64Array.of(1, 2, 3, 4, 5, 6);
    const y = reference.conv2d(x, Float64Array.of(1, 0, 2, 3), Float64Array.of(10), g);
    expect([...y.values]).to.deep.equal([34, 40]);
    expect([...y.absSum]).to.deep.equal([34, 40]);
  });
});

for (const pass of Object.keys(PASSES) as Conv2dPass[])
  describe(`conv2d ${pass}`, () => {
    const device = useDevice();

    for (const test of CASES) {
      const prepared = preparedOnce(test, PASSES[pass].want);
      for (const algorithm of TILED_CASES.includes(test) ? ALGORITHMS : UNTILED)
        it(`${algorithm} ${nameOf(test)}`, async function () {
          const { p, want } = prepared();
          skipUnsupported(this, device(), p, pass, algorithm);
          await expectPass(device(), pass, p, want, { algorithm });
        });
    }

    for (const test of FLOAT16_CASES) {
      const p = prepare(test, "float16");
      for (const algorithm of TILED_CASES.includes(test) ? ALGORITHMS : UNTILED)
        it(`${algorithm} float16 ${nameOf(test)}`, async function () {
          skipUnsupported(this, device(), p, pass, algorithm);
          await expectPass(device(), pass, p, PASSES[pass].want(p), { algorithm });
        });
    }

    it("an infinite input shows in the output", async () => {
      const p = prepare({ x: [1, 4, 4, 4], w: [3, 3, 4, 4], padding: "same" });
      p.x.fill(Infinity);
      p.w.fill(Infinity);
      const y = await PASSES[pass].run(device(), p, p.sizes, p.dy.fill(Infinity));
      expect(y.some((value) => Number.isFinite(value))).to.equal(false);
    });
  });

describe("conv2d of tensors larger than one binding", () => {
  // Windows of two images for x and dy below; the filter of 1152 bytes fits.
  const device = useDevice({ maxBindingBytes: 4352 });
  const p = prepare({ x: [7, 8, 8, 4], w: [3, 3, 4, 8], padding: "same" });

  for (const pass of Object.keys(PASSES) as Conv2dPass[])
    for (const algorithm of ALGORITHMS)
      it(`${pass} ${algorithm} works in windows over the batch`, async function () {
        skipUnsupported(this, device(), p, pass, algorithm);
        await expectPass(device(), pass, p, PASSES[pass].want(p), { algorithm });
      });

  // Two images would fit, but not the copies of two with channels in fours, a row's taps as channels.
  const few = prepare({ x: [5, 8, 8, 3], w: [3, 3, 3, 6], padding: "same" });
  for (const pass of Object.keys(PASSES) as Conv2dPass[])
    it(`${pass} subgroup works in windows whose copies fit`, async function () {
      skipWithoutSubgroups(this, device());
      await expectPass(device(), pass, few, PASSES[pass].want(few), { algorithm: "subgroup" });
    });

  // Windows of four images for y, of which x would fit.
  const halves = prepare({ x: [7, 8, 8, 4], w: [3, 3, 4, 8], padding: "same" }, "float16");
  for (const pass of Object.keys(PASSES) as Conv2dPass[])
    for (const algorithm of UNTILED)
      it(`${pass} ${algorithm} of float16 works in windows over the batch`, async function () {
        skipUnsupported(this, device(), halves, pass, algorithm);
        await expectPass(device(), pass, halves, PASSES[pass].want(halves), { algorithm });
      });

  it("refuses a filter larger than one binding", async () => {
    const large = prepare({ x: [1, 3, 3, 16], w: [3, 3, 16, 8] });
    for (const pass of Object.keys(PASSES) as Conv2dPass[]) {
      const failed = await PASSES[pass]
        .run(device(), large, large.sizes, large.dy)
        .catch((error: unknown) => error);
      const name = pass === "weight_grad" ? 'dw "y"' : 'w "w"';
      expect(String(failed)).to.contain(
        `${name} [3,3,16,8] exceeds one binding: expected at most 4352 bytes on this adapter, got 4608`,
      );
    }
  });
});

describe("conv2d refuses", () => {
  const device = useDevice();

  /** What a recording of one pass is refused with, "" when it is not. */
  const refusal = async (
    encode: Conv2dPass,
    shapes: { x: Shape; w: Shape; b?: Shape; y: Shape },
    options: unknown = {},
    dtype: "float32" | "uint32" = "float32",
  ): Promise<string> => {
    const tensors = Object.entries(shapes).map(
      ([name, shape]) =>
        [name, device().tensor(shape, name === "x" ? dtype : "float32", name)] as const,
    );
    const { x, w, b, y } = Object.fromEntries(tensors);
    try {
      const program = await device().record("refused", (ctx) => {
        const given = options as Conv2dOptions;
        if (encode === "forward") conv2d(ctx, { x: x!, w: w!, b }, given, y!);
        else if (encode === "input_grad") conv2dInputGrad(ctx, { dy: y!, w: w! }, given, x!);
        else conv2dWeightGrad(ctx, { x: x!, dy: y! }, given, w!);
      });
      program.destroy();
      return "";
    } catch (error) {
      return String(error);
    } finally {
      device().release(...tensors.map(([, tensor]) => tensor));
    }
  };

  const good = { x: [2, 5, 7, 3], w: [3, 3, 3, 4], b: [4], y: [2, 3, 5, 4] };
  const passes: Conv2dPass[] = ["forward", "input_grad", "weight_grad"];
  const op = { forward: "conv2d", input_grad: "conv2dInputGrad", weight_grad: "conv2dWeightGrad" };

  for (const pass of passes) {
    it(`${pass}: nothing of the control case`, async () => {
      expect(await refusal(pass, good)).to.equal("");
    });

    const rules: [string, Partial<typeof good>, unknown, string][] = [
      [
        "other channels",
        { w: [3, 3, 2, 4] },
        {},
        "input channels differ: x [2,5,7,3] NHWC has 3, w [3,3,2,4] HWIO expects 2",
      ],
      [
        "stride 0",
        {},
        { strides: 0 },
        "strides: expected an integer of at least 1 or a list of two, got 0",
      ],
      [
        "a kernel beyond a valid input",
        { w: [6, 3, 3, 4] },
        {},
        "kernel exceeds the input in height: kernel 6 with dilation 1 spans 6, input 5 with padding [0,0] has 5",
      ],
      [
        "x of another rank",
        { x: [5, 7, 3] },
        {},
        "x has the wrong rank or an empty axis: expected [n,h,w,c] NHWC with sizes of at least 1, got [5,7,3]",
      ],
      [
        "w of another rank",
        { w: [3, 3, 12] },
        {},
        "w has the wrong rank or an empty axis: expected [kH,kW,inC,outC] HWIO with sizes of at least 1, got [3,3,12]",
      ],
      [
        "unknown padding",
        {},
        { padding: "full" },
        'padding: expected "same", "valid" or [[top,bottom],[left,right]] of integers from 0, got "full"',
      ],
      ["y of another shape", { y: [2, 3, 5, 5] }, {}, '"y": expected [2,3,5,4], got [2,3,5,5]'],
      [
        "an unknown algorithm",
        {},
        { algorithm: "fft" },
        `unknown algorithm: expected ${CONV2D_ALGORITHMS.join(", ")}, got "fft"`,
      ],
    ];
    for (const [name, shapes, options, message] of rules)
      it(`${pass}: ${name}`, async () => {
        const said = await refusal(pass, { ...good, ...shapes }, options);
        expect(said).to.contain(`ShapeError: ${op[pass]}: `).and.to.contain(message);
      });
  }

  it("an algorithm that this adapter cannot run", async () => {
    const runs = subgroupUnsupported(device()) === undefined;
    const said = await refusal("forward", good, { algorithm: "subgroup" });
    if (runs) expect(said).to.equal("");
    else expect(said).to.contain('conv2d: algorithm "subgroup" cannot run here: ');
  });

  it("a bias of another length", async () => {
    expect(await refusal("forward", { ...good, b: [3] })).to.contain(
      'conv2d: b "b": expected [4], got [3]',
    );
  });

  it("integers", async () => {
    expect(await refusal("forward", good, {}, "uint32")).to.contain(
      'conv2d: "x": expected float32, got uint32',
    );
  });
});

describe("chooseConv2dAlgorithm", () => {
  const g: Conv2dGeometry = conv2dGeometry([1, 8, 8, 16], [3, 3, 16, 32]);
  const device = useDevice();

  const hardware = () => pretend(device(), { software: false, subgroupSize: 32 });
  const software = (subgroupSize: number) => pretend(device(), { software: true, subgroupSize });
  const passes: Conv2dPass[] = ["forward", "input_grad", "weight_grad"];
  const choices = (adapter: Capabilities, geometry: Conv2dGeometry) =>
    passes.map((pass) => chooseConv2dAlgorithm(adapter, geometry, pass));
  const all = (algorithm: string) => passes.map(() => algorithm);

  it("takes tiles in workgroup memory on hardware", () => {
    expect(choices(hardware(), g)).to.deep.equal(all("implicit_gemm"));
  });

  it("takes subgroups on a software adapter that has them", () => {
    expect(choices(software(8), g)).to.deep.equal(all("subgroup"));
  });

  it("takes tiles on a software adapter without subgroups, or with too large ones", () => {
    expect(choices(software(0), g)).to.deep.equal(all("implicit_gemm"));
    expect(choices(software(32), g)).to.deep.equal(all("implicit_gemm"));
  });

  it("takes a 1x1 kernel for a matrix product, where that takes its channels", () => {
    const pointwise = conv2dGeometry([1, 8, 8, 32], [1, 1, 32, 64]);
    expect(choices(hardware(), pointwise)).to.deep.equal(all("gemm_1x1"));
    expect(choices(software(8), pointwise)).to.deep.equal(all("gemm_1x1"));
    const odd = conv2dGeometry([1, 8, 8, 3], [1, 1, 3, 64]);
    expect(choices(hardware(), odd)).to.deep.equal(all("implicit_gemm"));
  });

  describe("takes Winograd's on a software adapter for many channels and images that fill its tiles", () => {
    const rules: readonly (readonly [string, number, number, number, number])[] = [
      ["winograd", 2, 32, 64, 11],
      ["winograd", 2, 64, 32, 11],
      ["subgroup", 2, 40, 40, 11],
      ["subgroup", 2, 64, 64, 10],
      ["winograd_4x4", 3, 32, 32, 8],
      ["subgroup", 3, 24, 32, 8],
      ["subgroup", 3, 32, 32, 9], // 9x9 pixels in nine tiles of 4x4, or 25 of 2x2
      ["winograd", 3, 64, 64, 13],
      ["winograd_4x4", 5, 16, 32, 11],
      ["subgroup", 5, 16, 24, 11],
      ["winograd", 5, 32, 32, 13],
      ["subgroup", 4, 64, 64, 12],
    ];
    for (const [algorithm, kernel, inC, outC, size] of rules)
      it(`${kernel}x${kernel} from ${inC} to ${outC} channels, ${size} pixels wide: ${algorithm}`, () => {
        const geometry = conv2dGeometry([1, size, size, inC], [kernel, kernel, inC, outC], {
          padding: "same",
        });
        expect(choices(software(8), geometry)).to.deep.equal(all(algorithm));
        expect(choices(hardware(), geometry)).to.deep.equal(all("implicit_gemm"));
      });
  });
});
