import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { rooflinePlot, writeReport } from "../../bench/report.ts";
import {
  compareRuns,
  csvText,
  isWide,
  jsonText,
  readResults,
  regressions,
  rowOf,
  shareOf,
  type BenchContext,
  type BenchRow,
} from "../../bench/results.ts";
import { comparisonLines, Table } from "../../bench/table.ts";
import type { SuiteTask } from "../../bench/work.ts";

const CEILINGS = { gflops: 50, gbps: 10 };
const CONTEXT: BenchContext = {
  ...{ adapter: "Test GPU", vendor: "v", architecture: "a", driver: "1.0", backend: "vulkan" },
  ...{ software: true, timestamps: true, subgroupSize: 8, date: "2026-01-01T00:00:00.000Z" },
  ...{ tuningfork: "0.1.0", webgpu: "0.6.2", node: "v20", os: "Linux", cpu: "c", cpus: 2 },
  ceilings: CEILINGS,
};
const TASK: SuiteTask = {
  ...{ suite: "mine", name: "conv", pass: "forward", algorithm: "auto", precision: "float32" },
  work: {
    ...{ op: "conv2d", n: 2, inH: 8, inW: 8, inC: 4, kH: 3, kW: 3, outC: 8 },
    ...{ stride: [1, 1], dilation: [1, 1] },
    padding: [
      [1, 1],
      [1, 1],
    ],
  },
};

function row(samplesMs: number[], name = "conv", error?: string): BenchRow {
  const measured = { samplesMs, chosen: "direct", ...(error !== undefined && { error }) };
  return rowOf("tuningfork", { ...TASK, name }, measured, CEILINGS);
}

describe("bench/results", () => {
  it("a row: median, p10 and p90, rates, and the ceiling that it lies under", () => {
    const made = row([3, 1, 2, 5, 4, 6, 7, 8, 9, 10, 11]);
    expect([made.p10, made.ms, made.p90, made.samples]).to.deep.equal([2, 6, 10, 11]);
    // 2 * 2 images * 64 pixels * 8 channels * 3*3*4 terms; x, w and y once each.
    expect([made.flops, made.bytes]).to.deep.equal([73728, 4 * (512 + 288 + 1024)]);
    expect(made.gflops).to.equal(73728 / 6e6);
    expect(made).to.include({ bound: "compute", ceiling: 50, verified: true, chosen: "direct" });
    expect(shareOf(made)).to.be.closeTo((100 * made.gflops!) / 50, 1e-12);
    expect(isWide(made)).to.equal(true);
    expect(isWide(row([10, 10, 11]))).to.equal(false);
  });

  it("a failed row has a reason and no time", () => {
    expect(row([], "conv", "wrong at [0]")).to.include({
      ...{ ms: null, p10: null, gflops: null, verified: false, error: "wrong at [0]", samples: 0 },
    });
  });

  it("the table lines up, marks what is not to be trusted, and says FAILED", () => {
    const table = new Table([TASK], ["implicit_gemm"], ["cpu"]);
    const cpu = rowOf("cpu", TASK, { samplesMs: [600], besideMs: [5, 6, 6] }, CEILINGS);
    const lines = [table.head, table.row(TASK, row([5, 6, 7]), [cpu])];
    expect(lines[0]?.length).to.equal(lines[1]?.length);
    expect(lines[1]).to.match(/forward +direct +~6\.000 +5\.000 +7\.000 +3\* .* 100x$/);
    expect(table.row(TASK, row([], "conv", "wrong at [0]"), [cpu])).to.match(
      /direct +FAILED wrong at \[0\]$/,
    );
    expect(table.notes(CONTEXT).join("\n"))
      .to.match(/^~ p10/m)
      .and.to.match(/^\* fewer than 20/m);
  });

  it("two runs: matches rows, finds what is slower, lost its time, or is in one alone", () => {
    const before = {
      context: CONTEXT,
      benchmarks: [row([10], "a"), row([10], "b"), row([10], "c"), row([1], "old")],
    };
    const after = {
      context: { ...CONTEXT, adapter: "Other GPU" },
      benchmarks: [row([12], "a"), row([14], "b"), row([], "c", "wrong"), row([1], "new")],
    };
    const comparison = compareRuns(before, after);
    expect(comparison.changes.map(({ ratio }) => ratio)).to.deep.equal([1.2, 1.4, Infinity]);
    expect(regressions(comparison, 1.25).map(({ after: { name } }) => name)).to.deep.equal([
      "b",
      "c",
    ]);
    expect([comparison.onlyBefore, comparison.onlyAfter]).to.deep.equal([1, 1]);
    expect(comparison.warnings).to.deep.equal([
      "measured on other adapters: Test GPU before, Other GPU now",
    ]);
    expect(comparisonLines(comparison, 1.25).join("\n"))
      .to.match(/mine\/b .* 1\.40x {2}slower$/m)
      .and.to.match(/not compared: 1 only in the old run, 1 only in the new one$/);
  });

  describe("files", () => {
    let folder = "";
    before(() => {
      folder = mkdtempSync(join(tmpdir(), "tuningfork-bench-"));
    });
    after(() => {
      rmSync(folder, { recursive: true });
    });

    it("JSON comes back as it was written", () => {
      const file = { context: CONTEXT, benchmarks: [row([1, 2, 3]), row([], "bad", "why")] };
      const path = join(folder, "run.json");
      writeFileSync(path, jsonText(file));
      expect(readResults(path)).to.deep.equal(file);
    });

    for (const [what, content, message] of [
      ["no JSON", "{", /^compare .*: cannot be read/],
      ["other JSON", "[]", /no results of bench: expected \{"context"/],
      [
        "a row without a time",
        '{"context":{"adapter":"x"},"benchmarks":[{"name":"a","pass":"p","shape":{}}]}',
        /benchmarks\[0\]: expected a name/,
      ],
    ] as const)
      it(`refuses ${what}`, () => {
        const path = join(folder, "broken.json");
        writeFileSync(path, content);
        expect(() => readResults(path)).to.throw(message);
      });

    it("CSV has a line a row", () => {
      const lines = csvText([row([1]), row([], "bad", "a, b")])
        .trim()
        .split("\n");
      expect(lines).to.have.length(3);
      expect(lines[0]).to.match(
        /^engine,suite,name,op,pass,algorithm,chosen,precision,shape,flops,/,
      );
      expect(lines[2]).to.match(/,false,"a, b"$/);
    });

    it("the report is one page without addresses of the network, with its plots beside it", async () => {
      const scaling = { ...row([4]), suite: "scaling", name: "batch.2" };
      const more = { ...scaling, name: "batch.4", flops: 2 * scaling.flops };
      const file = {
        context: CONTEXT,
        benchmarks: [row([1, 2, 3]), row([], "bad", "<why>"), scaling, more],
      };
      const written = await writeReport(folder, file, compareRuns(file, file));
      expect(written).to.have.members([
        ...["roofline.svg", "roofline.png", "scaling.svg", "scaling.png", "report.html"],
      ]);
      const page = readFileSync(join(folder, "report.html"), "utf8");
      expect(page).to.contain("FAILED: &lt;why&gt;").and.to.contain("Compared with an older run");
      expect(page).not.to.match(/(src|href)="(https?:|\/\/|(?!data:|#)[\w./]+")/);
      const plot = readFileSync(join(folder, "roofline.svg"), "utf8");
      expect(plot).to.contain("50.0 GFLOP/s").and.not.to.contain("mixed");
    });

    it("the roofline shows the roof of mixed rows where it is another", async () => {
      const mixed = { ...row([1, 2, 3]), precision: "mixed" };
      const plot = (mixedGflops: number) => rooflinePlot([mixed], { ...CEILINGS, mixedGflops });
      expect(await plot(400))
        .to.contain(">400 GFLOP/s mixed<")
        .and.to.contain(">50.0 GFLOP/s<");
      expect(await plot(50))
        .to.contain(">50.0 GFLOP/s<")
        .and.not.to.contain("mixed");
    });
  });
});
