import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { bestRate, boundOf, matrixVariants, measureCeilings } from "../../bench/ceilings.ts";
import { openDevice } from "../../src/gpu/device.ts";
import { compilePipeline } from "../../src/gpu/pipeline.ts";
import { loadShader } from "../../src/gpu/shader.ts";
import { useDevice } from "../support/device.ts";
import { withNullDevice } from "../support/null_backend.ts";
import { skipUnless, skipWithoutFloat16, skipWithoutSubgroups } from "../support/skip.ts";

const EMULATED = { m: 16, n: 8, k: 8 };

describe("bench/ceilings: boundOf", () => {
  const CEILINGS = { gflops: 50, gbps: 10 };
  const of = (flops: number, ceilings: Parameters<typeof boundOf>[1], mixed = false) =>
    boundOf({ flops, bytes: 10 }, ceilings, mixed ? "mixed" : "float32");
  const memory = { bound: "memory", ceiling: 10 };

  it("what moves much and computes little is bound by memory", () => {
    expect(of(49, CEILINGS)).to.deep.equal(memory);
    expect(of(51, CEILINGS)).to.deep.equal({ bound: "compute", ceiling: 50 });
  });

  it("mixed rows have a ceiling of their own, where it was measured", () => {
    const both = { ...CEILINGS, mixedGflops: 400 };
    expect(of(399, both, true)).to.deep.equal(memory);
    expect(of(401, both, true)).to.deep.equal({ bound: "compute", ceiling: 400 });
    expect(of(51, both)).to.deep.equal({ bound: "compute", ceiling: 50 });
    expect(of(51, CEILINGS, true)).to.deep.equal({ bound: "compute", ceiling: 50 });
  });
});

describe("bench/ceilings: measured", () => {
  const device = useDevice();

  it("are above nothing, and that of mixed rows is measured where it is asked for", async () => {
    const float32 = await measureCeilings(device(), 0.1);
    expect(float32).to.have.all.keys("gflops", "gbps");
    expect(float32.gflops).to.be.above(0.1);
    expect(float32.gbps).to.be.above(0.01);
    const { gflops, mixedGflops } = await measureCeilings(device(), 0.1, true);
    if (device().subgroupMatrix) expect(mixedGflops).to.be.at.least(gflops);
    else expect(mixedGflops).to.equal(gflops);
  });
});

describe("bench/ceilings: products of subgroup matrices, emulated", () => {
  const device = useDevice({ emulateSubgroupMatrix: EMULATED });

  it("count as many multiply-adds as their rate is made of", async function () {
    skipWithoutFloat16(this, device());
    skipWithoutSubgroups(this, device());
    const [variant] = matrixVariants(device().subgroupMatrix!);
    expect(variant).to.include({ flops: 2 * 16 * 8 * 8 * 4 * variant!.count });
    expect(variant!.want(3)).to.equal((3 * variant!.flops) / 2 / variant!.count);
    expect(await bestRate(device(), [variant!], 0.1)).to.be.above(0);
  });
});

describe("bench/ceilings: products of subgroup matrices, on tensor cores", () => {
  it("compile", async function () {
    await withNullDevice(this, async (handle) => {
      for (const [m, n, k] of [
        [16, 16, 16],
        [16, 8, 16],
        [8, 8, 8],
      ] as const)
        for (const variant of matrixVariants({ m, n, k, lanes: 32, emulated: false })) {
          const { shader, constants } = variant;
          await compilePipeline(handle, loadShader(shader, constants), constants);
        }
    });
  });
});

describe("bench/ceilings: a wrong kernel", () => {
  useDevice(); // skips these tests where there is no adapter
  let folder = "";
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "tuningfork-shaders-"));
    cpSync("shaders", folder, { recursive: true });
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  for (const [shader, from, to] of [
    ["bench_fma", "fma(a$i, m, c)", "fma(a$i, m, 1.01 * c)"],
    ["bench_subgroup_matrix", "turn < params.turns", "turn + 1 < params.turns"],
  ] as const)
    it(`${shader} is not measured`, async function () {
      const good = readFileSync(`shaders/${shader}.wgsl`, "utf8");
      const changed = good.replace(from, to);
      expect(changed).not.to.equal(good);
      writeFileSync(join(folder, `${shader}.wgsl`), changed);
      const device = await openDevice({
        ...{ shaderFolder: pathToFileURL(`${folder}/`), emulateSubgroupMatrix: EMULATED },
      });
      try {
        const isMatrix = shader === "bench_subgroup_matrix";
        skipUnless(this, !isMatrix || device.subgroupMatrix, "needs shader-f16 and subgroups");
        const rate = isMatrix
          ? bestRate(device, matrixVariants(device.subgroupMatrix!), 0.1)
          : measureCeilings(device, 0.1);
        expect(await rate.then(String, String)).to.match(
          /multiply-adds are wrong: expected \d+, got/,
        );
      } finally {
        device.destroy();
        writeFileSync(join(folder, `${shader}.wgsl`), good);
      }
    });
});
