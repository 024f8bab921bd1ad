import { parse } from "csv-parse/sync";
import { expect } from "chai";
import { TEST_IDS } from "../../src/study/results.ts";
import { PAPER_TABLE3, table3Csv, table3Markdown } from "../../src/study/table3.ts";
import { fakeStudy } from "../support/fake_study.ts";

describe("table3Csv", () => {
  const { results } = fakeStudy({ seeds: 3, imageSize: 8, optionalParts: false });

  it("parses back to the numbers, one row a test", () => {
    const rows = readCsv(table3Csv(results));
    expect(rows.map((row) => row["test"])).to.deep.equal([...TEST_IDS]);
    for (const row of rows) {
      const id = row["test"] as "a";
      const test = results.tests[id]!;
      expect(Number(row["accuracy"])).to.equal(test.accuracy);
      expect(Number(row["loss"])).to.equal(test.loss);
      expect(Number(row["auc Spiral"])).to.equal(test.auc["Spiral"]);
      expect(Number(row["accuracy_std"])).to.equal(results.seeds![id]!.accuracy.std);
      expect(row["collapsed"]).to.equal(String(test.collapsed));
      expect(Number(row["paper_accuracy"])).to.equal(PAPER_TABLE3[id].accuracy);
    }
    expect(rows[0]!["pretrained_on"]).to.equal("");
    expect(rows[1]!["n_all"]).to.equal("1367");
  });

  it("quotes a name with a comma and a quote", () => {
    const test = { ...results.tests.a!, trained_on: 'gz2, "clean"' };
    const rows = readCsv(table3Csv({ ...results, tests: { a: test } }));
    expect(rows[0]!["trained_on"]).to.equal('gz2, "clean"');
  });
});

describe("table3Markdown", () => {
  it("aligns its columns, and names collapse, spread and the whole set", () => {
    const { results } = fakeStudy({ seeds: 3, imageSize: 8, optionalParts: false });
    const lines = table3Markdown(results).trimEnd().split("\n");
    expect(lines).to.have.lengthOf(2 + 7);
    expect(new Set(lines.map((line) => line.length)).size).to.equal(1);
    expect(lines[4]).to.match(/^\| c .*collapsed to one class *\|$/);
    expect(lines[3]).to.match(/on all 1367/);
    expect(lines[8]).to.match(/\d\.\d{3} ± \d\.\d{3} \(3 seeds\).* 0\.936 \| +0\.223 \|/);
  });

  it("keeps a bar in a name from becoming a column", () => {
    const { results } = fakeStudy({ tests: ["a"], imageSize: 8, optionalParts: false });
    const test = { ...results.tests.a!, trained_on: "a|b" };
    expect(table3Markdown({ ...results, tests: { a: test } })).to.include("a\\|b");
  });
});

describe("PAPER_TABLE3", () => {
  it("has the paper's best test, and the collapsed pair with equal figures", () => {
    expect(PAPER_TABLE3.g).to.include({ accuracy: 0.936, loss: 0.223, nPretrain: 10956 });
    expect([PAPER_TABLE3.c.accuracy, PAPER_TABLE3.c.loss]).to.deep.equal([
      PAPER_TABLE3.d.accuracy,
      PAPER_TABLE3.d.loss,
    ]);
  });
});

function readCsv(text: string): Record<string, string>[] {
  return parse(text, { columns: true });
}
