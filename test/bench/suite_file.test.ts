import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { readSuite, rerunOptions, shapeCase } from "../../bench/suite_file.ts";

describe("bench/suite_file", () => {
  let folder = "";
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "tuningfork-suite-"));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  const CONV = { op: "conv2d", n: 2, inH: 9, inW: 9, inC: 3, kH: 3, kW: 3, outC: 4 };

  function suite(content: unknown): string {
    const path = join(folder, "mine.json");
    writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
    return path;
  }

  it("reads cases with their defaults, padding in numbers", () => {
    const cases = readSuite(
      suite({
        cases: [
          { ...CONV, stride: 2, padding: "same" },
          { op: "dense", n: 3, inC: 5, outC: 7, name: "head" },
        ],
      }),
    );
    expect(cases).to.deep.equal([
      {
        suite: "mine",
        name: "conv2d1",
        work: {
          ...CONV,
          stride: [2, 2],
          dilation: [1, 1],
          padding: [
            [1, 1],
            [1, 1],
          ],
        },
      },
      { suite: "mine", name: "head", work: { op: "dense", n: 3, inC: 5, outC: 7 } },
    ]);
  });

  for (const [what, content, message] of [
    ["no JSON", "{", /^suite .*mine\.json: cannot be read: /],
    ["no cases", { cases: [] }, /expected \{"cases":\[\.\.\.\]\} with at least one case/],
    [
      "a key beside cases",
      { cases: [CONV], batch: 3 },
      /unknown key "batch"; expected cases alone/,
    ],
    [
      "an unknown operation",
      { cases: [{ op: "conv3d" }] },
      /cases\[0\]: op: expected conv2d, .*got "conv3d"/,
    ],
    [
      "an unknown key",
      { cases: [{ ...CONV, kernel: 3 }] },
      /cases\[0\]: unknown key "kernel"; conv2d takes n, inH/,
    ],
    ["a missing key", { cases: [{ ...CONV, kW: undefined }] }, /cases\[0\]: kW is missing/],
    [
      "no count",
      { cases: [{ ...CONV, n: 0 }] },
      /cases\[0\]: n: expected an integer from 1, got 0/,
    ],
    [
      "a stride of 0",
      { cases: [{ ...CONV, stride: 0 }] },
      /stride: expected an integer from 1 or two, got 0/,
    ],
    [
      "no padding",
      { cases: [{ ...CONV, padding: "full" }] },
      /padding: expected same, valid, .*got "full"/,
    ],
    [
      "an impossible shape",
      { cases: [CONV, { ...CONV, kH: 10 }] },
      /cases\[1\]: conv2d: kernel exceeds the input in height/,
    ],
    [
      "two cases of one name",
      {
        cases: [
          { ...CONV, name: "a" },
          { ...CONV, name: "a" },
        ],
      },
      /cases\[1\]: name: .*no two alike/,
    ],
    [
      "no such network",
      { cases: [{ op: "inference", n: 1, network: "none.json" }] },
      /network .*none\.json: cannot be read/,
    ],
  ] as const)
    it(`refuses ${what}`, () => {
      expect(() => readSuite(suite(content))).to.throw(message);
    });

  it("refuses a file that is not there", () => {
    expect(() => readSuite(join(folder, "nowhere.json"))).to.throw(
      /nowhere\.json: cannot be read: no such file/,
    );
  });

  it("takes a shape from the command line, and gives the options that repeat it", () => {
    const text = "n=32,inH=56,inW=56,inC=64,kH=3,kW=5,outC=64,stride=1x2,padding=same";
    const { work } = shapeCase("conv2d", text);
    expect(work).to.deep.include({ n: 32, kW: 5, stride: [1, 2] });
    const repeated =
      /^--op conv2d --shape (\S+)$/.exec(rerunOptions(work, "conv2d", []))?.[1] ?? "";
    expect(shapeCase("conv2d", repeated).work).to.deep.equal(work);
  });

  for (const [text, message] of [
    ["n=1,inH", /expected key=value, with commas between, got "inH"/],
    ["n=1,n=2", /n is given twice/],
    ["n=1,inC=2,outC=3,k=4", /unknown key "k"; dense takes n, inC, outC/],
    ["n=1.5,inC=2,outC=3", /n: expected an integer from 1, got "1.5"/],
  ] as const)
    it(`refuses --shape ${text}`, () => {
      expect(() => shapeCase("dense", text)).to.throw(message);
    });
});
