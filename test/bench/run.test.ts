import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { CpuReference } from "../../bench/cpu.ts";
import type { Engine, Work } from "../../bench/engine.ts";
import { Tuningfork } from "../../bench/harness.ts";
import { readResults } from "../../bench/results.ts";
import { bench, tasksOf, timeInTurn, type BenchHooks, type BenchOptions } from "../../bench/run.ts";
import { suiteCases, SUITES } from "../../bench/suites.ts";
import { algorithmsOf, costOf, OPS, PASSES_OF, type SuiteTask } from "../../bench/work.ts";
import { openDevice, type Device } from "../../src/gpu/device.ts";
import { useDevice } from "../support/device.ts";
import { skipWithoutFloat16 } from "../support/skip.ts";

const OPTIONS: BenchOptions = {
  ...{ algorithm: "auto", precision: "float32", seconds: 0.05, list: false, threshold: 1.25 },
};
const EFFORT = { seconds: 0.05, samples: 20 };

/** Hooks that keep what is said. */
function hooks(onProgress: (done: number) => void = () => undefined) {
  const printed: string[] = [];
  const notes: string[] = [];
  const abort = new AbortController();
  const kept: BenchHooks = {
    print: (line) => printed.push(line),
    note: (line) => notes.push(line),
    progress: onProgress,
    signal: abort.signal,
  };
  return { kept, printed, notes, abort };
}

function taskOf(work: Work, changes: Partial<SuiteTask> = {}): SuiteTask {
  const [pass = "forward"] = PASSES_OF[work.op];
  return {
    ...{ suite: "s", name: "n", work, pass, algorithm: "auto", precision: "float32" },
    ...changes,
  };
}

const CONV: Work = {
  ...{ op: "conv2d", n: 2, inH: 9, inW: 8, inC: 3, kH: 3, kW: 3, outC: 5 },
  ...{ stride: [2, 1], dilation: [1, 1] },
  padding: [
    [1, 0],
    [1, 1],
  ],
};
const RELU: Work = { op: "leaky_relu", count: 1000 };

describe("bench/suites", () => {
  for (const suite of SUITES)
    it(`${suite}: names differ, shapes are possible, every pass costs something`, () => {
      const cases = suiteCases(suite);
      expect(new Set(cases.map(({ name }) => name)).size).to.equal(cases.length);
      for (const { work } of cases)
        for (const pass of PASSES_OF[work.op]) {
          const { flops, bytes } = costOf(work, pass);
          expect(Math.min(flops, bytes)).to.be.above(0);
        }
    });

  it("paper has each layer, its training and its prediction, with the paper's operations", () => {
    const cases = suiteCases("paper");
    const step = cases.find(({ work }) => work.op === "training_step")!;
    expect(costOf(step.work, "step").flops / 1e9).to.be.closeTo(139.7, 0.05);
    expect(cases.map(({ name }) => name)).to.include.members([
      ...["conv1", "conv2", "conv3", "conv4", "dense1", "dense2", "pool1", "pool2", "relu1"],
      ...["drop1", "softmax", "loss", "adamax", "step", "network"],
    ]);
  });

  it("conv2 of the paper costs what its formula says, for all passes alike", () => {
    const { work } = suiteCases("paper").find(({ name }) => name === "conv2")!;
    for (const pass of PASSES_OF[work.op])
      expect(costOf(work, pass).flops).to.equal(2 * 32 * 96 * 96 * 64 * 5 * 5 * 32);
    const [activations, weights] = [32 * 96 * 96 * (32 + 64), 5 * 5 * 32 * 64];
    expect(costOf(work, "forward").bytes).to.equal(4 * (activations + weights));
    expect(costOf(work, "forward", "mixed").bytes).to.equal(2 * (activations + weights));
    expect(costOf(work, "weightGrad", "mixed").bytes).to.equal(2 * activations + 4 * weights);
  });

  it("deepbench has the shapes of its list, e.g. DeepSpeech's first layer", () => {
    const { work } = suiteCases("deepbench").find(({ name }) => name === "speech1.n32")!;
    expect(work).to.deep.include({ n: 32, inH: 161, inW: 700, inC: 1, kH: 5, kW: 20, outC: 32 });
  });
});

describe("bench/run: options", () => {
  it("chooses operations, passes, names and algorithms", () => {
    const tasks = tasksOf({
      ...{ ...OPTIONS, suite: ["paper"], op: ["conv2d", "max_pool2d"], pass: ["forward"] },
      ...{ name: "2", algorithm: "all" },
    });
    expect(new Set(tasks.map(({ name }) => name))).to.have.all.keys("conv2", "pool2");
    const conv = tasks.filter(({ name }) => name === "conv2").map(({ algorithm }) => algorithm);
    expect(conv).to.deep.equal([...algorithmsOf("conv2d")]);
  });

  for (const [what, options, message] of [
    ["suite", { suite: ["papr"] }, /--suite: expected paper, .*got "papr"/],
    ["operation", { op: ["conv"] }, /--op: expected conv2d, .*got "conv"/],
    ["pass", { pass: ["backward"] }, /--pass: expected forward, inputGrad, .*got "backward"/],
    ["algorithm", { algorithm: "fft" }, /--algorithm: expected auto, all, direct, .*got "fft"/],
    ["precision", { precision: "float64" }, /--precision: expected float32, mixed, got "float64"/],
    ["choice that leaves nothing", { op: ["adamax"], pass: ["forward"] }, /no case is left/],
  ] as const)
    it(`refuses an unknown ${what}`, () => {
      expect(() => tasksOf({ ...OPTIONS, ...options })).to.throw(message);
    });

  it("--list prints a line a row and opens no device", async () => {
    const { kept, printed } = hooks();
    expect(await bench({ ...OPTIONS, list: true, suite: ["elementwise"] }, kept)).to.equal("well");
    expect(printed[0]).to.match(
      /^elementwise\/leaky_relu\.64k 65536 {2}leaky_relu forward auto float32$/,
    );
  });

  it("--against needs --compare", async () => {
    const failure = await bench({ ...OPTIONS, against: "new.json" }, hooks().kept).catch(String);
    expect(failure).to.match(/expected --compare OLD\.json/);
  });
});

describe("bench/harness", () => {
  const device = useDevice();

  const works: Record<string, Work> = {
    conv2d: CONV,
    dense: { op: "dense", n: 3, inC: 33, outC: 9 },
    max_pool2d: {
      ...{ op: "max_pool2d", n: 2, inH: 9, inW: 9, c: 3, kH: 3, kW: 3, stride: [2, 2] },
      padding: [
        [1, 1],
        [1, 1],
      ],
    },
    leaky_relu: RELU,
    dropout: { op: "dropout", count: 1001 },
    adamax: { op: "adamax", count: 1001 },
    softmax: { op: "softmax", n: 5, classes: 7 },
    softmax_cross_entropy: { op: "softmax_cross_entropy", n: 5, classes: 7 },
  };
  const network = JSON.parse(readFileSync("networks/quick.json", "utf8")) as never;
  for (const op of ["training_step", "inference"] as const) works[op] = { op, n: 3, network };

  it("has a case of every operation here", () => {
    expect(Object.keys(works)).to.have.members(OPS);
  });

  for (const [op, work] of Object.entries(works))
    for (const pass of PASSES_OF[work.op])
      it(`${op} ${pass}: verified, then timed`, async () => {
        const before = device().memory().liveBytes;
        const ours = new Tuningfork(device());
        expect(ours.problem(taskOf(work, { pass }))).to.equal(undefined);
        const { samplesMs, error } = await ours.time(taskOf(work, { pass }), EFFORT);
        expect(error).to.equal(undefined);
        expect(samplesMs).to.have.length.within(1, 20);
        for (const ms of samplesMs) expect(ms).to.be.above(0);
        expect(device().memory().liveBytes).to.equal(before);
      });

  for (const [op, work] of Object.entries(works))
    it(`${op}: verified under mixed precision`, async function () {
      skipWithoutFloat16(this, device());
      const pass = PASSES_OF[work.op].at(-1)!;
      const ours = new Tuningfork(device());
      const { error } = await ours.time(taskOf(work, { pass, precision: "mixed" }), EFFORT);
      expect(error).to.equal(undefined);
    });

  for (const [op, work] of Object.entries(works))
    it(`${op}: the float64 reference is timed too, or says that it has none`, async () => {
      for (const pass of PASSES_OF[work.op]) {
        const { samplesMs, error } = await new CpuReference().time(taskOf(work, { pass }));
        if (op === "training_step" || op === "inference")
          expect(error).to.equal("no reference of whole networks");
        else expect(samplesMs[0]).to.be.above(0);
      }
    });

  it("takes 20 samples where there is time for them, and one where one takes longer than that", async () => {
    const ours = new Tuningfork(device());
    const many = await ours.time(taskOf(RELU), { seconds: 60, samples: 20 });
    expect(many.samplesMs).to.have.length(20);
    const one = await ours.time(taskOf(RELU), { seconds: 1e-9, samples: 20 });
    expect(one.samplesMs).to.have.length(1);
  });

  it("forces an algorithm, and names the one that auto takes", async () => {
    const ours = new Tuningfork(device());
    const forced = await ours.time(taskOf(CONV, { algorithm: "direct" }), EFFORT);
    expect(forced.chosen).to.equal("direct");
    const chosen = await ours.time(taskOf(CONV), EFFORT);
    expect(algorithmsOf("conv2d")).to.include(chosen.chosen);
  });

  it("says which algorithm cannot run here, before anything runs", () => {
    const ours = new Tuningfork(device());
    expect(ours.problem(taskOf(CONV, { algorithm: "gemm_1x1" }))).to.match(/3x3/);
  });

  it("says that an adapter has no float16, before anything runs", () => {
    const mock = device() as { hasFloat16: boolean };
    const has = mock.hasFloat16;
    mock.hasFloat16 = false;
    const problems = [CONV, works["inference"]!].map((work) =>
      new Tuningfork(device()).problem(taskOf(work, { precision: "mixed" })),
    );
    mock.hasFloat16 = has;
    for (const problem of problems) expect(problem).to.match(/needs shader-f16/);
  });

  it("says which shape is too large, before anything runs", () => {
    const ours = new Tuningfork(device());
    const huge: Work = { op: "leaky_relu", count: 2 ** 38 };
    expect(ours.problem(taskOf(huge))).to.match(
      /needs a buffer of 1\.1 TB, and this adapter makes/,
    );
    const filter: Work = { ...CONV, inC: 8192, outC: 8192 };
    expect(ours.problem(taskOf(filter))).to.match(/exceeds one binding|one binding holds/);
  });

  it("without GPU timestamps times whole programs by the clock", async () => {
    const { handle } = device();
    const own = Object.getOwnPropertyDescriptor(handle, "features");
    const features = new Set([...handle.features].filter((name) => name !== "timestamp-query"));
    Object.defineProperty(handle, "features", { value: features, configurable: true });
    try {
      const { samplesMs, error } = await new Tuningfork(device()).time(taskOf(RELU), EFFORT);
      expect(error).to.equal(undefined);
      expect(samplesMs).to.have.length.above(0);
    } finally {
      if (own) Object.defineProperty(handle, "features", own);
      else Reflect.deleteProperty(handle, "features");
    }
  });
});

describe("bench/harness: a wrong kernel", () => {
  useDevice(); // skips these tests where there is no adapter
  let folder = "";
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "tuningfork-shaders-"));
    cpSync("shaders", folder, { recursive: true });
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  for (const [what, from, to, message] of [
    [
      "a wrong value",
      "select(params.slope * value",
      "select(1.01 * params.slope * value",
      /^wrong at \[\d+\]: expected/,
    ],
    [
      "an element left out",
      "y[i] = ",
      "if (i != 77) { y[i] = ",
      /^element \d+ of 1000 is NaN or not written/,
    ],
  ] as const)
    it(`${what}: FAILED, no time`, async () => {
      const path = join(folder, "leaky_relu.wgsl");
      const good = readFileSync("shaders/leaky_relu.wgsl", "utf8");
      const changed = good.replace(from, to).replace(/(if \(i != 77\).*;)/, "$1 }");
      expect(changed).not.to.equal(good);
      writeFileSync(path, changed);
      const device = await openDevice({ shaderFolder: pathToFileURL(`${folder}/`) });
      try {
        const { samplesMs, error } = await new Tuningfork(device).time(taskOf(RELU), EFFORT);
        expect(samplesMs).to.deep.equal([]);
        expect(error).to.match(message);
      } finally {
        device.destroy();
      }
    });
});

describe("bench/run", () => {
  const device = useDevice();
  let folder = "";
  const { kept, printed, notes } = hooks();
  const json = () => join(folder, "run.json");
  let outcome: string;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "tuningfork-bench-"));
    const cases = [
      { op: "dense", name: "head", n: 3, inC: 5, outC: 7 },
      { op: "leaky_relu", name: "relu", count: 1000 },
    ];
    writeFileSync(join(folder, "mine.json"), JSON.stringify({ cases }));
    outcome = await bench(
      {
        ...{ ...OPTIONS, suite: [join(folder, "mine.json")], reference: "cpu", json: json() },
        ...{ csv: join(folder, "run.csv"), out: join(folder, "out") },
      },
      kept,
    );
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  it("prints a table and leaves JSON, CSV and a report; the same run compares well with itself", async () => {
    expect(outcome).to.equal("well");
    expect(printed.slice(1).map((line) => line.split(" ")[0])).to.deep.equal([
      ...Array<string>(3).fill("mine/head"),
      ...Array<string>(2).fill("mine/relu"),
    ]);
    expect(notes.join("\n")).to.match(/^ceilings: .* GFLOP\/s multiply-adds, .* GB\/s copy$/m);
    const { context, benchmarks } = readResults(json());
    expect(context.ceilings).to.have.all.keys("gflops", "gbps");
    expect(benchmarks.filter(({ engine }) => engine === "tuningfork")).to.have.length(5);
    for (const row of benchmarks) {
      expect(row).to.include.keys(
        ...["engine", "suite", "name", "op", "pass", "algorithm", "precision", "shape", "flops"],
        ...["bytes", "ms", "p10", "p90", "gflops", "gbps", "bound", "ceiling", "verified"],
      );
      expect(row.verified).to.equal(true);
    }
    expect(readFileSync(join(folder, "run.csv"), "utf8").trim().split("\n")).to.have.length(11);
    expect(existsSync(join(folder, "out", "roofline.png"))).to.equal(true);
    const compared = await bench({ ...OPTIONS, compare: json(), against: json() }, hooks().kept);
    expect(compared).to.equal("well");
  });

  it("ends with exit code 1 where a row became slower than the threshold", async () => {
    const old = readResults(json());
    const path = join(folder, "fast.json");
    const benchmarks = old.benchmarks.map((row) => ({ ...row, ms: row.ms! / 2 }));
    writeFileSync(path, JSON.stringify({ ...old, benchmarks }));
    const options = { ...OPTIONS, compare: path, against: json() };
    expect(await bench(options, hooks().kept)).to.equal("failed");
    expect(await bench({ ...options, threshold: 2.1 }, hooks().kept)).to.equal("well");
  });

  it("mixed rows have their ceiling named, and in the JSON", async function () {
    skipWithoutFloat16(this, device());
    const { kept, notes } = hooks();
    const json = join(folder, "mixed.json");
    const options = { ...OPTIONS, shape: "count=9", op: ["leaky_relu"], precision: "mixed", json };
    expect(await bench(options, kept)).to.equal("well");
    expect(notes.join("\n")).to.match(/^ceilings: .* multiply-adds, .* mixed rows .* copy$/m);
    const { context, benchmarks } = readResults(json);
    expect(context.ceilings.mixedGflops).to.be.at.least(context.ceilings.gflops);
    expect(benchmarks.map(({ precision }) => precision)).to.deep.equal(["mixed", "mixed"]);
  });

  it("Ctrl-C leaves the JSON of what was measured", async () => {
    const { kept, notes, abort } = hooks((done) => {
      if (done === 1) abort.abort();
    });
    const json = join(folder, "part.json");
    const suite = [join(folder, "mine.json")];
    expect(await bench({ ...OPTIONS, suite, json }, kept)).to.equal("interrupted");
    expect(readResults(json).benchmarks).to.have.length(2);
    expect(notes.at(-1)).to.match(/^interrupted: 2 rows/);
  });

  it("leaves out what is too large, and fails where nothing is left", async () => {
    const shape = `count=${2 ** 38}`;
    const failure = await bench({ ...OPTIONS, shape, op: ["leaky_relu"] }, hooks().kept).catch(
      String,
    );
    expect(failure).to.match(/nothing to run: needs a buffer of 1\.1 TB/);
  });

  it("refuses a JSON file that cannot be written before it measures", async () => {
    const json = join(folder, "no", "such", "run.json");
    const { kept, printed } = hooks();
    const failure = await bench(
      { ...OPTIONS, shape: "count=9", op: ["leaky_relu"], json },
      kept,
    ).catch(String);
    expect(failure).to.match(/--json .*run\.json: cannot be written: no such file or folder/);
    expect(printed).to.deep.equal([]);
  });
});

describe("bench/run: a lost device", () => {
  useDevice(); // skips these tests where there is no adapter
  let folder = "";
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "tuningfork-bench-"));
    const cases = ["a", "b", "c"].map((name) => ({ op: "leaky_relu", name, count: 1000 }));
    writeFileSync(join(folder, "three.json"), JSON.stringify({ cases }));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  /** Runs three cases; the device is lost amid those that `loses` says, and no more than `most` open. */
  async function run(name: string, loses: (row: number) => boolean, most = Infinity) {
    const devices: Device[] = [];
    let now = 0;
    const loseSoon = () => {
      const { handle } = devices.at(-1)!;
      if (loses(now))
        setTimeout(() => {
          handle.destroy();
        }, 20); // a row warms up for longer
    };
    const { kept, printed, notes } = hooks((row) => {
      now = row;
      loseSoon();
    });
    const [json, csv, out] = ["json", "csv", "out"].map((kind) => join(folder, `${name}.${kind}`));
    const options = {
      ...{ ...OPTIONS, suite: [join(folder, "three.json")], pass: ["forward"] },
      ...{ json: json!, csv: csv!, out: out! },
    };
    const outcome = await bench(options, kept, async () => {
      if (devices.length === most) throw new Error("none left");
      const device = await openDevice();
      devices.push(device);
      if (devices.length > 1) loseSoon();
      return device;
    });
    const rows = readResults(json!).benchmarks;
    expect(readFileSync(csv!, "utf8").trim().split("\n")).to.have.length(1 + rows.length);
    expect(existsSync(join(out!, "report.html"))).to.equal(true);
    for (const { handle } of devices) await handle.lost; // none is left open
    return { outcome, rows, printed, notes, opened: devices.length };
  }
  const LOST = /^device lost: .*[^.]; use a smaller n or another --algorithm$/;

  it("fails the row during which it is lost, and the run goes on with another", async () => {
    const { outcome, rows, printed, opened } = await run("once", (row) => row === 1);
    expect(outcome).to.equal("failed");
    expect(opened).to.equal(2);
    expect(rows.map(({ ms }) => ms !== null)).to.deep.equal([true, false, true]);
    expect(rows[1]!.error).to.match(LOST);
    expect(printed[2]).to.contain("three/b").and.to.contain("FAILED device lost: ");
  });

  it("ends the run with its files where the next row loses it too", async () => {
    const { outcome, rows, notes, opened } = await run("always", () => true);
    expect(outcome).to.equal("failed");
    expect(opened).to.equal(2);
    expect(rows).to.have.length(2);
    for (const { error } of rows) expect(error).to.match(LOST);
    expect(notes.at(-1)).to.match(/^ended after 2 of 3 rows: the device was lost/);
  });

  it("ends the run with its files where no other opens", async () => {
    const { outcome, rows, notes } = await run("no_other", (row) => row === 0, 1);
    expect(outcome).to.equal("failed");
    expect(rows.map(({ error }) => error)[1]).to.equal(
      "device lost before, and no other opens: none left",
    );
    expect(rows).to.have.length(2);
    expect(notes.at(-1)).to.match(/^ended after 2 of 3 rows/);
  });
});

describe("timeInTurn", () => {
  const task = taskOf({ op: "leaky_relu", count: 9 });
  const signal = new AbortController().signal;
  /** Engines that note their turns; each sample is the number of the turn. */
  function engines(failing = "") {
    const turns: string[] = [];
    const engine = (name: string, takes = true): Engine => ({
      name,
      takes: () => takes,
      time: () => {
        const turn = turns.push(name);
        const failed = { samplesMs: [], error: "wrong" };
        return Promise.resolve(name === failing ? failed : { samplesMs: [turn], chosen: "c" });
      },
      close: () => Promise.resolve(),
    });
    const others = [engine("a"), engine("b", false), engine("c")];
    return { turns, run: () => timeInTurn(engine("ours"), others, task, EFFORT, signal) };
  }

  it("times ours before, between and after the others, which count once", async () => {
    const { turns, run } = engines();
    expect(await run()).to.deep.equal([
      ["ours", { samplesMs: [1, 3, 5], chosen: "c" }],
      ["a", { samplesMs: [2], chosen: "c", besideMs: [1, 3] }],
      ["c", { samplesMs: [4], chosen: "c", besideMs: [3, 5] }],
    ]);
    expect(turns).to.deep.equal(["ours", "a", "ours", "c", "ours"]);
  });

  it("asks ours no more where it failed", async () => {
    const { turns, run } = engines("ours");
    expect((await run())[0]).to.deep.equal(["ours", { samplesMs: [], error: "wrong" }]);
    expect(turns).to.deep.equal(["ours", "a", "c"]);
  });
});
