import { expect } from "chai";
import { compilePipeline } from "../../src/gpu/pipeline.ts";
import type { Context, Dispatch } from "../../src/gpu/context.ts";
import type { Device } from "../../src/gpu/device.ts";
import { loadShader } from "../../src/gpu/shader.ts";
import {
  findSubgroupMatrix,
  multipliesRightly,
  SUBGROUP_MATRIX,
  subgroupMatricesAllowed,
} from "../../src/gpu/subgroup_matrix.ts";
import { conv2dGeometry } from "../../src/geometry.ts";
import {
  chooseConv2dAlgorithm,
  conv2d,
  conv2dInputGrad,
  conv2dUnsupported,
  conv2dWeightGrad,
} from "../../src/kernels/conv2d.ts";
import type { Conv2dPass } from "../../src/kernels/conv2d_algorithm.ts";
import type { Shape, Tensor } from "../../src/tensor.ts";
import { expectPass, nameOf, PASSES, prepare, type Conv2dCase } from "../support/conv2d.ts";
import { useDevice } from "../support/device.ts";
import { withNullDevice } from "../support/null_backend.ts";
import { skipUnless, skipWithoutFloat16, skipWithoutSubgroups } from "../support/skip.ts";
import { leakyReference } from "../support/leaky.ts";
import { expectClose } from "../../src/testing/close.ts";
import { GuardedScratch } from "../../src/testing/guarded.ts";

const algorithm = "subgroup_matrix";
const ALL = ["forward", "input_grad", "weight_grad"] as const;
/** As NVIDIA's adapters list them. */
const NVIDIA = { m: 16, n: 16, k: 16, lanes: 32, emulated: false };

/**
 * Odd numbers of pixels, taps and channels, sizes one off the emulated tiles of 32 by 32 and 64 by 16 and 16 along the
 * sum. Few kinds of shaders, since each takes a software adapter seconds to compile: outC above 16 with a bias, up to 16
 * without; inC a multiple of 8 in these and none in the last.
 */
const CASES: readonly Conv2dCase[] = [
  { x: [1, 3, 11, 8], w: [1, 1, 8, 24] },
  { x: [2, 5, 7, 24], w: [3, 2, 24, 40], padding: "same" },
  {
    x: [1, 8, 6, 40],
    w: [2, 3, 40, 32],
    dilations: [3, 2],
    padding: [
      [0, 3],
      [2, 1],
    ],
  },
  { x: [3, 5, 13, 8], w: [3, 3, 8, 16], padding: "same", bias: false },
  { x: [1, 13, 5, 16], w: [2, 3, 16, 8], padding: "same", bias: false },
];
const STRIDED: Conv2dCase = { x: [2, 7, 9, 24], w: [3, 3, 24, 8], strides: [2, 3], bias: false };
const ODD_CHANNELS: readonly Conv2dCase[] = [
  { x: [1, 1, 1, 1], w: [1, 1, 1, 24] },
  { x: [2, 7, 9, 3], w: [3, 5, 3, 40], strides: [3, 2], padding: "same" },
  { x: [1, 9, 8, 17], w: [2, 2, 17, 24], dilations: 2 },
];

/** Few pixels and sums long enough for parts, the last slice of which is not whole; which pass, in how many. */
const SPLIT_CASES: readonly (readonly ["forward" | "input_grad", Conv2dCase, number])[] = [
  ["forward", { x: [1, 5, 7, 64], w: [3, 3, 64, 24], padding: "same" }, 2],
  ["forward", { x: [2, 3, 3, 93], w: [3, 3, 93, 40], strides: 2, padding: "same" }, 3],
  ["input_grad", { x: [1, 5, 7, 24], w: [3, 3, 24, 88], padding: "same" }, 3],
];

/** One pass against the reference; forward, where there is a bias there is a leaky ReLU too, in the same shader. */
async function expectRight(device: Device, pass: Conv2dPass, test: Conv2dCase): Promise<void> {
  const p = prepare(test, "float16");
  const want = PASSES[pass].want(p);
  if (pass !== "forward") {
    await expectPass(device, pass, p, want, { algorithm });
    return;
  }
  const leakySlope = p.b ? 0.3 : 1;
  const y = await PASSES.forward.run(device, p, { ...p.sizes, algorithm, leakySlope }, p.dy);
  expectClose(y, leakyReference(want, leakySlope), p.yShape, { stored: "float16" });
}

/** Emulated matrices are shared by the lanes of subgroups that are there. */
function skipWithoutEmulation(context: Mocha.Context, device: Device): void {
  skipWithoutFloat16(context, device);
  skipWithoutSubgroups(context, device);
}

describe("conv2d by subgroup matrices, emulated", function () {
  this.timeout(120_000);
  // Rows, columns and depth differ in every pair of tile and matrix, as do the matrices in a tile.
  const device = useDevice({ emulateSubgroupMatrix: { m: 16, n: 8, k: 8 } });

  for (const pass of ALL) {
    const odd = pass === "input_grad" ? [STRIDED] : ODD_CHANNELS;
    for (const test of [...CASES, ...odd])
      it(`${pass} ${nameOf(test)}`, async function () {
        skipWithoutEmulation(this, device());
        await expectRight(device(), pass, test);
      });
  }

  it("forward and weight_grad with a stride", async function () {
    skipWithoutEmulation(this, device());
    for (const pass of ["forward", "weight_grad"] as const)
      await expectRight(device(), pass, STRIDED);
  });

  it("sums the pixels of a weight gradient in parts", async function () {
    skipWithoutEmulation(this, device());
    const many: Conv2dCase = { x: [2, 23, 31, 8], w: [3, 3, 8, 24], padding: "same" };
    await expectRight(device(), "weight_grad", many);
  });

  for (const [pass, test, splits] of SPLIT_CASES)
    it(`${pass} in splits ${nameOf(test)}`, async function () {
      skipWithoutEmulation(this, device());
      const p = prepare(test, "float16");
      // Partial sums begin as NaN: each must be written.
      const scratch = new GuardedScratch(device());
      try {
        const on = (ctx: Context) => scratch.context(ctx);
        await expectPass(device(), pass, p, PASSES[pass].want(p), { algorithm, on });
        const [product, sum] = scratch.dispatches.filter(({ shader }) => shader !== "repack");
        expect(product?.shader).to.contain(algorithm);
        expect(product?.params?.["splits"]).to.equal(splits);
        expect(sum?.shader).to.equal("sum_splits");
        for (const tensor of scratch.tensors) await tensor.read();
      } finally {
        scratch.release();
      }
    });

  it("is never chosen", function () {
    const g = conv2dGeometry([1, 8, 8, 64], [3, 3, 64, 64]);
    for (const pass of ALL)
      expect(chooseConv2dAlgorithm(device(), g, pass, { dtype: "float16" })).not.to.equal(
        algorithm,
      );
  });
});

describe("conv2d by subgroup matrices, lower than wide", function () {
  this.timeout(120_000);
  const device = useDevice({ emulateSubgroupMatrix: { m: 8, n: 16, k: 16 } });

  for (const pass of ALL)
    it(`${pass} ${nameOf(CASES[1]!)}`, async function () {
      skipWithoutEmulation(this, device());
      await expectRight(device(), pass, CASES[1]!);
    });
});

describe("conv2d by subgroup matrices of the adapter", function () {
  this.timeout(120_000);
  const device = useDevice();
  // Beyond a tile of every size, and more splits than one.
  const large: Conv2dCase = { x: [3, 31, 29, 40], w: [3, 3, 40, 72], padding: "same" };
  const inSplits = (pass: Conv2dPass) =>
    SPLIT_CASES.filter(([split]) => split === pass).map(([, test]) => test);

  for (const pass of ALL)
    it(pass, async function () {
      skipUnless(this, device().subgroupMatrix, "needs tensor cores that Dawn knows of");
      const odd = pass === "input_grad" ? [] : ODD_CHANNELS;
      for (const test of [...CASES, STRIDED, large, ...odd, ...inSplits(pass)])
        await expectRight(device(), pass, test);
    });
});

/** A device that says of itself what the choice and the wrappers ask, and does nothing. */
function pretended(subgroupMatrix: Device["subgroupMatrix"]): Device {
  const device: Pick<Device, "subgroupMatrix" | "subgroupSize" | "maxBindingBytes"> = {
    subgroupMatrix,
    subgroupSize: 32,
    maxBindingBytes: 2 ** 27,
  };
  const shown = {
    maxComputeInvocationsPerWorkgroup: 1024,
    maxComputeWorkgroupsPerDimension: 65_535,
    minStorageBufferOffsetAlignment: 256,
  };
  const summary = { software: false, class: "hardware" };
  return { ...device, limits: shown, summary } as unknown as Device;
}

/** What a pass would dispatch on a device. */
function dispatches(device: Device, pass: Conv2dPass, test: Conv2dCase): Dispatch[] {
  const g = conv2dGeometry(test.x, test.w, test);
  const recorded: Dispatch[] = [];
  const tensor = (shape: Shape, dtype: Tensor["dtype"], label: string): Tensor => ({
    ...{ shape, dtype, label, offsetBytes: 0 },
    buffer: {} as GPUBuffer,
  });
  const ctx: Context = {
    device,
    dispatch: (dispatch) => recorded.push(dispatch),
    copy: () => undefined,
    scratch: tensor,
    free: () => undefined,
  };
  const x = tensor(test.x, "float16", "x");
  const w = tensor(test.w, pass === "weight_grad" ? "float32" : "float16", "w");
  const y = tensor([g.n, g.outH, g.outW, g.outC], "float16", "y");
  const b = test.bias === false ? undefined : tensor([g.outC], "float32", "b");
  if (pass === "forward") conv2d(ctx, { x, w, b }, test, y);
  else if (pass === "input_grad") conv2dInputGrad(ctx, { dy: y, w }, test, x);
  else conv2dWeightGrad(ctx, { x, dy: y }, test, w);
  return recorded.filter(({ shader }) => shader.includes(algorithm));
}

describe("conv2d by subgroup matrices, on tensor cores", () => {
  const layer: Conv2dCase = { x: [2, 24, 24, 64], w: [3, 3, 64, 64], padding: "same" };

  it("is chosen for float16, eight channels at a time", () => {
    const gpu = pretended(NVIDIA);
    const chosen = (inC: number, outC: number, dtype: "float16" | "float32" = "float16") =>
      chooseConv2dAlgorithm(gpu, conv2dGeometry([1, 8, 8, inC], [3, 3, inC, outC]), "forward", {
        dtype,
      });
    expect(chosen(64, 64)).to.equal(algorithm);
    expect(chosen(8, 8)).to.equal(algorithm);
    expect(chosen(64, 64, "float32")).to.equal("implicit_gemm");
    expect(chosen(3, 64)).to.equal("implicit_gemm");
    expect(chosen(64, 12)).to.equal("implicit_gemm");
  });

  it("says why it cannot run", () => {
    const why = (
      device: Device,
      inC: number,
      outC: number,
      pass: Conv2dPass = "forward",
      dtype: "float16" | "float32" = "float16",
    ) => {
      const g = conv2dGeometry([1, 8, 8, inC], [3, 3, inC, outC]);
      return conv2dUnsupported(device, g, pass, algorithm, dtype);
    };
    const gpu = pretended(NVIDIA);
    expect(why(gpu, 3, 8)).to.equal(undefined);
    expect(why(gpu, 8, 8, "forward", "float32")).to.contain("the tensors are float32");
    expect(why(gpu, 8, 12)).to.equal("outC is 12, no multiple of 8");
    expect(why(gpu, 3, 8, "input_grad")).to.equal("inC is 3, no multiple of 8");
    expect(why(pretended(undefined), 8, 8)).to.contain("no subgroup matrices");
  });

  it("splits the sums of y and dx where tiles are few", () => {
    const gpu = pretended(NVIDIA);
    for (const pass of ["forward", "input_grad"] as const) {
      const splits = (x: Shape) => dispatches(gpu, pass, { ...layer, x })[0]?.params?.["splits"];
      expect(splits(layer.x), "18 tiles, 576 terms").to.equal(2);
      expect(splits([1, 96, 96, 64]), "144 tiles").to.equal(2);
      expect(splits([2, 96, 96, 64]), "288 tiles").to.equal(1);
    }
  });

  it("compiles", async function () {
    await withNullDevice(this, async (device) => {
      for (const config of [NVIDIA, { ...NVIDIA, n: 8 }, { ...NVIDIA, m: 8 }])
        for (const test of [
          layer,
          { ...layer, x: [32, 96, 96, 64] },
          { ...layer, w: [3, 3, 64, 32] },
          { ...layer, x: [2, 96, 96, 64] },
        ])
          for (const pass of ALL) {
            const [dispatch] = dispatches(pretended(config), pass, test);
            const { shader, constants = {} } = dispatch!;
            await compilePipeline(device, loadShader(shader, constants), constants);
          }
      const check = { MATRIX_M: 16, MATRIX_N: 16, MATRIX_K: 16, LANES: 128 };
      await compilePipeline(device, loadShader("subgroup_matrix_check", check), check);
      expect(await multipliesRightly(device, { ...NVIDIA, lanes: 128 }), "computed").to.equal(
        false,
      );
    });
  });
});

describe("multipliesRightly", () => {
  const device = useDevice();

  it("takes right products, and neither wrong ones nor none", async function () {
    skipWithoutFloat16(this, device());
    skipWithoutSubgroups(this, device());
    const { handle, subgroupSize: lanes } = device();
    const emulated = { m: 16, n: 8, k: 8, lanes, emulated: true };
    expect(await multipliesRightly(handle, emulated)).to.equal(true);
    // Three quarters of the sums are left to lanes that there are not.
    expect(await multipliesRightly(handle, { ...emulated, lanes: 4 * lanes })).to.equal(false);
    expect(await multipliesRightly(handle, { ...emulated, emulated: false })).to.equal(false);
  });
});

describe("findSubgroupMatrix", () => {
  const config = (M: number, N: number, K: number, result = "f32") => ({
    ...{ componentType: "f16", resultComponentType: result, M, N, K },
  });
  const adapter = (
    configs: ReturnType<typeof config>[],
    { min = 32, max = 32, missing = "" } = {},
  ) => ({
    features: { has: (name: string) => name !== missing },
    limits: { maxComputeInvocationsPerWorkgroup: 256 },
    info: { subgroupMinSize: min, subgroupMaxSize: max, subgroupMatrixConfigs: configs },
  });
  const nvidia = [config(16, 16, 16, "f16"), config(16, 8, 16), config(16, 16, 16)];

  it("takes the largest with float32 sums", () => {
    expect(findSubgroupMatrix(adapter(nvidia))).to.deep.equal(NVIDIA);
  });

  it("takes none that the shaders cannot be built with", () => {
    expect(findSubgroupMatrix(adapter([config(16, 16, 16, "f16")]))).to.equal(undefined);
    expect(findSubgroupMatrix(adapter([config(16, 16, 4), config(32, 8, 8)]))).to.equal(undefined);
    expect(findSubgroupMatrix(adapter(nvidia, { min: 8 }))).to.equal(undefined);
    expect(findSubgroupMatrix(adapter(nvidia, { min: 128, max: 128 }))).to.equal(undefined);
    for (const missing of [SUBGROUP_MATRIX, "subgroups", "shader-f16"])
      expect(findSubgroupMatrix(adapter(nvidia, { missing }))).to.equal(undefined);
  });
});

describe("TUNINGFORK_SUBGROUP_MATRIX", () => {
  it("leaves subgroup matrices alone when off, and refuses what it does not know", () => {
    expect([undefined, "on", "off"].map((value) => subgroupMatricesAllowed(value))).to.deep.equal([
      true,
      true,
      false,
    ]);
    expect(() => subgroupMatricesAllowed("0")).to.throw(
      'TUNINGFORK_SUBGROUP_MATRIX: expected on or off, got "0"; set one of them, or unset it',
    );
  });
});
