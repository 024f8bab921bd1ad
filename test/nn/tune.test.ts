import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { conv2dGeometry } from "../../src/geometry.ts";
import { makeFolder } from "../../src/folders.ts";
import { Choices, operationKey, type Operation } from "../../src/kernels/choices.ts";
import { CONV2D_ALGORITHMS } from "../../src/kernels/conv2d.ts";
import { Sequential } from "../../src/nn/model.ts";
import {
  describeOperation,
  tuneOperation,
  tuneOperations,
  type TunedOperation,
} from "../../src/nn/tune.ts";
import { choicesFile, loadChoices, saveChoices } from "../../src/nn/choices_file.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16 } from "../support/skip.ts";
import { TINY } from "../support/tiny.ts";

const conv = (n: number, pass: Operation["pass"] = "forward") => ({
  op: "conv2d" as const,
  pass,
  sizes: { ...conv2dGeometry([n, 8, 8, 4], [3, 3, 4, 8], { padding: "same" }) },
});

describe("Choices", () => {
  it("gives the algorithm of an operation at its batch size, or at the nearest", () => {
    const choices = new Choices();
    expect(choices.algorithmFor(conv(32))).to.equal(undefined);
    choices.set(conv(32), "winograd");
    choices.set(conv(1), "direct");
    expect([32, 20, 3, 1].map((n) => choices.algorithmFor(conv(n)))).to.deep.equal([
      "winograd",
      "winograd",
      "direct",
      "direct",
    ]);
    expect(choices.algorithmFor(conv(32, "input_grad"))).to.equal(undefined);
    expect(choices.asked).to.have.length(5);
    expect(new Choices(choices.entries()).algorithmFor(conv(30))).to.equal("winograd");
  });

  it("tells float16 from float32, whose names are as they were before there were others", () => {
    const half = { ...conv(32), dtype: "float16" } as const;
    const choices = new Choices([[operationKey(conv(32)), "winograd"]]);
    expect(choices.algorithmFor({ ...conv(32), dtype: "float32" })).to.equal("winograd");
    expect(choices.algorithmFor(half)).to.equal(undefined);
    choices.set(half, "subgroup");
    expect(choices.algorithmFor({ ...conv(30), dtype: "float16" })).to.equal("subgroup");
    expect(operationKey(conv(32))).to.match(/^conv2d forward inH=8 .* n=32$/);
    expect(describeOperation(half)).to.equal(`${describeOperation(conv(32))}, float16`);
  });
});

describe("the autotuner", () => {
  const device = useDevice();
  let cache: string;
  const cacheBefore = process.env["TUNINGFORK_CACHE"];

  before(async () => {
    cache = await mkdtemp(join(tmpdir(), "tuningfork-tune-"));
    process.env["TUNINGFORK_CACHE"] = cache;
  });
  after(async () => {
    if (cacheBefore === undefined) delete process.env["TUNINGFORK_CACHE"];
    else process.env["TUNINGFORK_CACHE"] = cacheBefore;
    await rm(cache, { recursive: true, force: true });
  });

  for (const pass of ["forward", "input_grad", "weight_grad"] as const)
    it(`tries every algorithm that can run ${pass} of a convolution, and takes one that is right`, async () => {
      const tuned = await tuneOperation(device(), conv(2, pass));
      const names = tuned.trials.map(({ algorithm }) => algorithm);
      expect(CONV2D_ALGORITHMS).to.include.members(names);
      expect(names).to.include.members(["direct", "implicit_gemm", tuned.byClass]);
      expect(names).not.to.include("gemm_1x1");
      const timed = tuned.trials.flatMap(({ ms }) => (ms === undefined ? [] : [ms]));
      const chosen = tuned.trials.find(({ algorithm }) => algorithm === tuned.chosen);
      expect(chosen?.ms).to.equal(Math.min(...timed));
      expect(tuned.trials.filter(({ note }) => note?.startsWith("WRONG"))).to.deep.equal([]);
    });

  it("tries the algorithms of a dense layer", async () => {
    const sizes = { n: 4, inC: 20, outC: 12 };
    for (const pass of ["forward", "input_grad", "weight_grad"] as const) {
      const { trials } = await tuneOperation(device(), { op: "dense", pass, sizes });
      expect(trials.map(({ algorithm }) => algorithm)).to.include.members(["direct", "tiled"]);
      expect(trials.filter(({ note }) => note?.startsWith("WRONG"))).to.deep.equal([]);
    }
  });

  it("tries the algorithms of float16 with tensors of that type", async function () {
    skipWithoutFloat16(this, device());
    const dtype = "float16";
    const sizes = { n: 4, inC: 20, outC: 12 };
    for (const pass of ["forward", "weight_grad"] as const) {
      const { trials } = await tuneOperation(device(), { op: "dense", pass, sizes, dtype });
      expect(trials.filter(({ ms }) => ms !== undefined)).not.to.be.empty;
      expect(trials.filter(({ note }) => note?.startsWith("WRONG"))).to.deep.equal([]);
    }
  });

  it("remembers its choices in a file of this adapter, and a model takes them", async () => {
    const model = await new Sequential(TINY).build(device(), {
      seed: 1,
      batchSize: 4,
      tune: "off",
    });
    const operations = model.operations(4);
    expect(operations.map(({ op, pass }) => `${op} ${pass}`)).to.include.members([
      "conv2d forward",
      "conv2d weight_grad",
      "dense forward",
      "dense input_grad",
    ]);
    model.destroy();
    const direct = operations.map((operation): TunedOperation => ({
      operation,
      byClass: "",
      chosen: "direct",
      trials: [],
    }));
    const path = await saveChoices(device(), direct);
    expect(path).to.equal(choicesFile(device()));
    expect(await readFile(path, "utf8")).to.contain(operationKey(operations[0]!));
    const tuned = await new Sequential(TINY).build(device(), {
      seed: 1,
      batchSize: 4,
      tune: "cached",
    });
    const shaders = new Set<string>();
    const program = await device().record("forward", (ctx) => {
      const x = ctx.scratch([4, ...tuned.input], "float32", "x");
      tuned.forward(ctx, x, { training: false, seed: 0 });
    });
    for (const { shader } of program.dispatches) shaders.add(shader);
    expect(shaders.has("conv2d") && shaders.has("dense")).to.equal(true);
    program.destroy();
    tuned.destroy();
  });

  it("ignores a file that is broken or of another adapter, says so, and writes it anew", async () => {
    const path = choicesFile(device());
    await makeFolder(join(path, ".."));
    const broken: [string, RegExp][] = [
      ['{"identity": ', /are not used: .*JSON/],
      ['{"identity": "another", "choices": {}}', /are not used: it belongs to another adapter/],
    ];
    for (const [text, message] of broken) {
      await writeFile(path, text);
      const problems: string[] = [];
      const choices = await loadChoices(device(), (problem) => problems.push(problem));
      expect(choices.entries()).to.deep.equal([]);
      expect(problems.join()).to.match(message);
    }
    await saveChoices(device(), [{ operation: conv(2), chosen: "direct" }]);
    expect((await loadChoices(device())).algorithmFor(conv(2))).to.equal("direct");
  });

  it("says that its file cannot be written, before it measures anything", async () => {
    process.env["TUNINGFORK_CACHE"] = join("/proc", "nowhere");
    let measured = 0;
    const failed = await tuneOperations(device(), [conv(1)], () => measured++).catch(
      (error: unknown) => error,
    );
    process.env["TUNINGFORK_CACHE"] = cache;
    expect(String(failed)).to.match(/tuner's choices .*cannot be written: .*TUNINGFORK_CACHE/);
    expect(measured).to.equal(0);
  });

  it("is not misled by an algorithm that this version does not have", async () => {
    const model = await new Sequential(TINY).build(device(), {
      seed: 1,
      batchSize: 4,
      tune: "off",
    });
    model.useChoices(
      new Choices(model.operations(4).map((o) => [operationKey(o), "of the future"] as const)),
    );
    expect(model.stepMemory(4).plannedBytes).to.be.above(0);
    model.destroy();
  });
});
