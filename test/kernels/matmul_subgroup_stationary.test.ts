import { expect } from "chai";
import { roundToFloat16, toFloat16 } from "../../src/float16.ts";
import type { Context } from "../../src/gpu/context.ts";
import { denseInputGrad, denseWeightGrad } from "../../src/kernels/dense.ts";
import { matmulSubgroupBatched } from "../../src/kernels/matmul_subgroup.ts";
import {
  matmulSubgroupStationary,
  stationaryTile,
  stationaryTiles,
  type ProductSizes,
  type StationaryTile,
} from "../../src/kernels/matmul_subgroup_stationary.ts";
import { dense } from "../../src/reference/dense.ts";
import type { Reference } from "../../src/reference/reference.ts";
import type { DType, Tensor } from "../../src/tensor.ts";
import { expectClose } from "../../src/testing/close.ts";
import { randomFloats, toFloat64 } from "../../src/testing/inputs.ts";
import { runKernel } from "../../src/testing/kernel.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16, skipWithoutSubgroups } from "../support/skip.ts";

interface Case extends ProductSizes {
  readonly transposeB?: boolean;
  readonly bias?: boolean;
  readonly accumulate?: boolean;
  readonly leakySlope?: number;
}

const CASES: Case[] = [
  { batch: 1, m: 1, n: 4, k: 4 },
  { batch: 2, m: 3, n: 8, k: 12, bias: true },
  // A lane group past the last row; were it to write, the next matrix would get its sums as well.
  { batch: 3, m: 37, n: 16, k: 20, transposeB: true, accumulate: true },
  { batch: 1, m: 70, n: 36, k: 32, leakySlope: 0.1 },
  { batch: 2, m: 65, n: 68, k: 64, accumulate: true },
  { batch: 1, m: 9, n: 260, k: 36, bias: true, leakySlope: 0.3 },
  // More rows of b than are held.
  { batch: 2, m: 33, n: 32, k: 132 },
  { batch: 1, m: 18, n: 12, k: 300, transposeB: true, bias: true, accumulate: true },
  // Rows in several workgroups.
  { batch: 1, m: 2100, n: 8, k: 8 },
];

const nameOf = ({ batch, m, n, k, ...flags }: Case): string =>
  [
    `${batch} x [${m},${k}] [${k},${n}]`,
    ...Object.entries(flags).map(([key, v]) => `${key} ${v}`),
  ].join(", ");

/** Inputs, and what must come out; b as [batch][k,n]. */
function prepare(test: Case, round = (x: Float32Array): Float32Array => x) {
  const { batch, m, n, k } = test;
  const a = round(randomFloats([batch, m, k], 1, "a"));
  const b = round(randomFloats([batch, k, n], 2, "b"));
  const bias = test.bias === true ? randomFloats([n], 3, "bias") : undefined;
  const before = randomFloats([batch, m, n], 4, "c");
  const parts = Array.from({ length: batch }, (_, i) =>
    dense(
      toFloat64(a.subarray(i * m * k, (i + 1) * m * k)),
      toFloat64(b.subarray(i * k * n, (i + 1) * k * n)),
      bias && toFloat64(bias),
      { n: m, inC: k, outC: n },
    ),
  );
  const joined = (key: "values" | "absSum") =>
    Float64Array.from(parts.flatMap((part) => [...part[key]]));
  const want: Reference = {
    values: joined("values"),
    absSum: joined("absSum"),
    reduction: k + 2,
  };
  want.values.forEach((value, i) => {
    const sum = value + (test.accumulate === true ? (before[i] ?? 0) : 0);
    want.values[i] = sum > 0 ? sum : (test.leakySlope ?? 1) * sum;
    want.absSum[i] = (want.absSum[i] ?? 0) + Math.abs(before[i] ?? 0);
  });
  return { a, b, bias, before, want };
}

/** [batch][k,n] to [batch][n,k]. */
function transposed(b: Float32Array, { batch, n, k }: ProductSizes): Float32Array {
  return Float32Array.from(b, (_, i) => {
    const [block, row, column] = [Math.floor(i / (n * k)), Math.floor(i / k) % n, i % k];
    return b[(block * k + column) * n + row] ?? 0;
  }).subarray(0, batch * n * k);
}

describe("matmul_subgroup_stationary", () => {
  const device = useDevice();

  const run = async (
    test: Case,
    tile: StationaryTile,
    { a, b, bias, before }: Omit<ReturnType<typeof prepare>, "want">,
    upload = (values: Float32Array, label: string): Tensor =>
      device().upload(values, [values.length], label),
  ): Promise<Float32Array> => {
    const { batch, m, n, k, transposeB = false, accumulate = false, leakySlope = 1 } = test;
    const tensors = {
      a: upload(a, "a"),
      b: upload(transposeB ? transposed(b, test) : b, "b"),
      bias: bias && device().upload(bias, [n], "bias"),
      c: device().upload(before, [batch, m, n], "c"),
    };
    const encode = (ctx: Context, y: Tensor): void => {
      if (accumulate) ctx.copy(tensors.c, y);
      matmulSubgroupStationary(
        ctx,
        {
          ...{ label: "test", batch, m, n, k, splits: 1, accumulate, leakySlope },
          ...{ a: { tensor: tensors.a, offset: 0, stride: k, block: m * k }, transposeA: false },
          ...{ b: { tensor: tensors.b, offset: 0, stride: transposeB ? k : n, block: k * n } },
          ...{ transposeB, bias: tensors.bias, biasCount: n },
          c: { tensor: y, offset: 0, stride: n, block: m * n },
        },
        tile,
      );
    };
    const got = await runKernel(device(), [batch, m, n], encode);
    device().release(...Object.values(tensors).filter((tensor) => tensor !== undefined));
    return got;
  };

  for (const test of CASES)
    it(nameOf(test), async function () {
      skipWithoutSubgroups(this, device());
      const { want, ...inputs } = prepare(test);
      const tile = stationaryTile(device(), test, "float32");
      const got = await run(test, tile, inputs);
      expectClose(got, want, [test.batch, test.m, test.n]);
      expect(await run(test, tile, inputs), "a second run").to.deep.equal(got);
    });

  it("computes the same by tiles of all kinds", async function () {
    skipWithoutSubgroups(this, device());
    const test = { batch: 2, m: 1401, n: 52, k: 44 };
    const { want, ...inputs } = prepare(test);
    const tiles = stationaryTiles(device(), test, "float32").filter(
      ({ QUADS, ROWS }) => QUADS * ROWS === 1 || QUADS === 8 || ROWS === 8 || QUADS * ROWS === 4,
    );
    expect(tiles).to.have.lengthOf.above(3);
    for (const tile of tiles) expectClose(await run(test, tile, inputs), want, [2, 1401, 52]);
  });

  it("takes float16", async function () {
    skipWithoutSubgroups(this, device());
    skipWithoutFloat16(this, device());
    const test = { batch: 2, m: 21, n: 40, k: 36 };
    const { want, ...inputs } = prepare(test, roundToFloat16);
    const got = await run(
      test,
      stationaryTile(device(), test, "float32"),
      inputs,
      (values, label) => device().upload(toFloat16(values), [values.length], label),
    );
    expectClose(got, want, [2, 21, 40]);
  });

  it("keeps what is not finite in its row", async function () {
    skipWithoutSubgroups(this, device());
    const test = { batch: 1, m: 9, n: 32, k: 20 };
    const inputs = prepare(test);
    inputs.a.fill(NaN, 0, 20);
    inputs.a.fill(Infinity, 8 * 20);
    const got = await run(test, stationaryTile(device(), test, "float32"), inputs);
    expect([...got.subarray(0, 32)].every(Number.isNaN)).to.equal(true);
    expect([...got.subarray(32, 8 * 32)].every(Number.isFinite)).to.equal(true);
  });
});

describe("stationaryTile", () => {
  for (const subgroupSize of [4, 8, 16])
    it(`deals whole quads to ${subgroupSize} lanes, few enough multiply-adds, and all rows`, () => {
      for (const test of CASES)
        for (const tile of stationaryTiles({ subgroupSize }, test, "float32")) {
          const { LANES, LANES_N, HELD_K, QUADS, ROWS, rowsPerGroup } = tile;
          const at = `${nameOf(test)}: ${JSON.stringify(tile)}`;
          expect((ROWS * HELD_K) % (4 * LANES_N), at).to.equal(0);
          expect(HELD_K * QUADS * ROWS, at).to.be.at.most(128);
          expect(rowsPerGroup % (ROWS * (LANES / LANES_N)), at).to.equal(0);
        }
    });

  it("holds as much of b as a product asks for", () => {
    const of = (m: number, n: number, k: number) => {
      const sizes = { batch: 36, m, n, k };
      const { HELD_K, QUADS, ROWS } = stationaryTile({ subgroupSize: 8 }, sizes, "float32");
      return [HELD_K, QUADS, ROWS];
    };
    expect(of(4000, 64, 32)).to.deep.equal([32, 2, 2]);
    expect(of(4000, 32, 64)).to.deep.equal([64, 1, 2]);
    expect(of(4000, 128, 64)).to.deep.equal([64, 2, 1]);
    expect(of(1152, 128, 128)).to.deep.equal([128, 1, 1]);
    expect(of(1152, 128, 1000)).to.deep.equal([128, 1, 1]);
  });

  it("compiles less for a small product, unless that would sum a float16 result in parts", () => {
    const heldK = (dtype: DType) =>
      stationaryTile({ subgroupSize: 8 }, { batch: 1, m: 500, n: 16, k: 96 }, dtype).HELD_K;
    expect(heldK("float32")).to.equal(32);
    expect(heldK("float16")).to.equal(96);
  });
});

describe("products by subgroups", () => {
  const device = useDevice();

  const shadersOf = async (encode: (ctx: Context) => void): Promise<string[]> => {
    const program = await device().record("test", encode);
    const shaders = (await program.time()).map(({ shader }) => shader);
    program.destroy();
    return shaders;
  };

  it("keep b where many rows meet it, and c where few do", async function () {
    skipWithoutSubgroups(this, device());
    const tensor = (size: number): Tensor => device().tensor([size], "float32", "x");
    const [a, b, c] = [tensor(4096 * 64), tensor(4096 * 64), tensor(4096 * 64)];
    const product = (m: number, k: number, transposeA: boolean) =>
      shadersOf((ctx) => {
        const matrices = { a: { tensor: a, block: 0 }, b: { tensor: b, block: 0 } };
        matmulSubgroupBatched(ctx, {
          ...{ label: "test", batch: 1, m, n: 64, k, ...matrices, transposeA },
          c: { tensor: c, block: 0 },
        });
      });
    expect(await product(4096, 64, false)).to.deep.equal(["matmul_subgroup_stationary"]);
    expect(await product(32, 4096, false)).to.deep.equal(["matmul_subgroup"]);
    expect(await product(64, 4096, true)).to.deep.equal(["matmul_subgroup"]);
    device().release(a, b, c);
  });

  it("transpose x for the weight gradient of a wide dense layer, and dx behind the input gradient", async function () {
    skipWithoutSubgroups(this, device());
    const [n, inC, outC] = [30, 2001, 512];
    const x = device().upload(randomFloats([n, inC], 1), [n, inC], "x");
    const w = device().upload(randomFloats([inC, outC], 2), [inC, outC], "w");
    const dy = device().upload(randomFloats([n, outC], 3), [n, outC], "dy");
    const dx = device().tensor([n, inC], "float32", "dx");
    const dw = device().tensor([inC, outC], "float32", "dw");
    const shaders = [
      await shadersOf((ctx) => {
        denseWeightGrad(ctx, { x, dy }, { algorithm: "subgroup" }, dw);
      }),
      await shadersOf((ctx) => {
        denseInputGrad(ctx, { dy, w }, { algorithm: "subgroup" }, dx);
      }),
    ];
    device().release(x, w, dy, dx, dw);
    expect(shaders).to.deep.equal([
      ["repack", "matmul_subgroup_stationary"],
      ["matmul_subgroup_stationary", "repack"],
    ]);
  });
});
