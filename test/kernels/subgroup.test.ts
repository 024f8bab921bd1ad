import { expect } from "chai";
import { conv2dGeometry } from "../../src/geometry.ts";
import { conv2dSubgroupUnsupported } from "../../src/kernels/conv2d_subgroup.ts";
import { repack } from "../../src/kernels/repack.ts";
import { subgroupLanes, subgroupTiles, subgroupUnsupported } from "../../src/kernels/subgroup.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutSubgroups } from "../support/skip.ts";
import { runKernel } from "../../src/testing/kernel.ts";

describe("subgroupLanes", () => {
  // [lanes, columns, lanes along the columns]: as many as the columns fill.
  const CASES = [
    [8, 3, 1],
    [8, 8, 2],
    [8, 16, 4],
    [8, 32, 8],
    [8, 48, 8],
    [8, 1000, 8],
    [4, 16, 4],
    [4, 5, 2],
  ] as const;
  for (const [subgroupSize, columns, lanesN] of CASES)
    it(`${subgroupSize} lanes, ${columns} columns`, () => {
      expect(subgroupLanes({ subgroupSize }, columns)).to.deep.equal({
        LANES: subgroupSize,
        LANES_N: lanesN,
      });
    });

  it("tiles cover what is left over", () => {
    const lanes = { LANES: 8, LANES_N: 4 };
    expect(subgroupTiles(lanes, 32, 16)).to.equal(1);
    expect(subgroupTiles(lanes, 33, 17)).to.equal(4);
  });

  it("refuses adapters without subgroups and with large ones", () => {
    expect(subgroupUnsupported({ subgroupSize: 8 })).to.equal(undefined);
    expect(subgroupUnsupported({ subgroupSize: 0 })).to.contain("no subgroups");
    expect(subgroupUnsupported({ subgroupSize: 32 })).to.contain("32 lanes");
  });
});

describe("repack", () => {
  const device = useDevice();
  // Two blocks of [2,3], numbered from 0.
  const VALUES = Float32Array.from({ length: 12 }, (_, i) => i);

  const run = async (shape: number[], options: Parameters<typeof repack>[2]) => {
    const x = device().upload(VALUES, [2, 2, 3], "x");
    const y = await runKernel(device(), shape, (ctx, out) => {
      repack(ctx, x, options, out);
    });
    device().release(x);
    return [...y];
  };

  it("pads rows and columns with zeros", async () => {
    const from = { row: 3, rows: 2, columns: 3 };
    const to = { row: 4, rows: 3, columns: 4 };
    expect(await run([2, 3, 4], { blocks: 2, from, to })).to.deep.equal(
      [
        [0, 1, 2, 0],
        [3, 4, 5, 0],
        [0, 0, 0, 0],
        [6, 7, 8, 0],
        [9, 10, 11, 0],
        [0, 0, 0, 0],
      ].flat(),
    );
  });

  it("transposes", async () => {
    const from = { row: 1, column: 3, rows: 3, columns: 2 };
    const to = { row: 2, rows: 3, columns: 2 };
    expect(await run([2, 3, 2], { blocks: 2, from, to })).to.deep.equal([
      ...[0, 3, 1, 4, 2, 5],
      ...[6, 9, 7, 10, 8, 11],
    ]);
  });

  it("cuts columns out of the middle", async () => {
    const from = { offset: 1, row: 3, rows: 4, columns: 2 };
    const to = { row: 2, rows: 4, columns: 2 };
    expect(await run([4, 2], { blocks: 1, from, to })).to.deep.equal([1, 2, 4, 5, 7, 8, 10, 11]);
  });
});

describe("conv2d by subgroups", () => {
  const small = useDevice({ maxBindingBytes: 4096 });

  it("leaves images whose copy exceeds one binding to other algorithms", function () {
    skipWithoutSubgroups(this, small());
    const why = (size: number, channels: number) =>
      conv2dSubgroupUnsupported(
        small(),
        conv2dGeometry([4, size, size, channels], [3, 3, channels, 4], { padding: "same" }),
        "forward",
        "float32",
      );
    // With channels in fours no copy is needed; copies of 2048 bytes an image come in windows of two.
    expect(why(12, 8)).to.equal(undefined);
    expect(why(8, 7)).to.equal(undefined);
    expect(why(12, 7)).to.contain("bytes, one binding 4096");
  });
});
