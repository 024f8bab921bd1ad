import { expect } from "chai";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { analyseProfile, type Profile } from "../../src/profile/analyse.ts";
import { compareProfiles, formatDiff, readProfile } from "../../src/profile/diff.ts";
import { RECORDING } from "./fixture.ts";

const CONTEXT = { adapter: "a", network: "n", mode: "train", batch: 32 };
const before = analyseProfile(RECORDING, { phase: "steps", context: CONTEXT });

/** The same, with one layer's time multiplied and its steps all alike. */
const changed = (name: string, factor: number): Profile => ({
  ...before,
  layers: before.layers.map((row) =>
    row.name === name
      ? { ...row, medianMs: row.medianMs * factor, p10Ms: row.ms, p90Ms: row.ms }
      : row,
  ),
});

describe("compareProfiles", () => {
  const verdicts = (after: Profile) =>
    Object.fromEntries(compareProfiles(before, after).layers.map((r) => [r.name, r.verdict]));

  it("finds nothing between a profile and itself", () => {
    const diff = compareProfiles(before, before);
    for (const row of [...diff.totals, ...diff.layers, ...diff.kernels])
      expect(row).to.include({ changeMs: 0, verdict: "same" });
    expect(diff.warnings).to.deep.equal([]);
  });

  it("names what became slower and faster, the largest change first", () => {
    expect(verdicts(changed("head forward", 1.5))).to.include({ "head forward": "slower" });
    expect(verdicts(changed("head forward", 0.5))).to.include({ "head forward": "faster" });
    expect(compareProfiles(before, changed("relu forward", 9)).layers[0]).to.include({
      name: "relu forward",
      changeMs: 24, // from 3 to 27, the larger of the two steps
    });
  });

  it("takes a change below 2 %, or below the spread of the steps, for none", () => {
    expect(verdicts(changed("head forward", 1.01))).to.include({ "head forward": "same" });
    // relu forward takes 2 ms in one step, 3 ms in the other.
    expect(verdicts(changed("relu forward", 1.3))).to.include({ "relu forward": "same" });
    expect(verdicts(changed("relu forward", 1.5))).to.include({ "relu forward": "slower" });
  });

  it("names layers that only one of the two has", () => {
    const fewer = { ...before, layers: before.layers.slice(1) };
    expect(compareProfiles(before, fewer).layers[0]).to.include({ verdict: "gone", changeMs: -5 });
    expect(compareProfiles(fewer, before).layers[0]).to.include({ verdict: "new", changeMs: 5 });
  });

  it("warns where the conditions differ", () => {
    const other = { ...before, context: { ...CONTEXT, adapter: "b", batch: 8 } };
    expect(compareProfiles(before, other).warnings).to.deep.equal([
      "the adapter differs: a before, b after",
      "the batch size differs: 32 before, 8 after",
    ]);
    expect(formatDiff(compareProfiles(before, other))).to.match(/^warning: the adapter differs/);
  });
});

describe("readProfile", () => {
  const folder = mkdtempSync(join(tmpdir(), "profile-"));
  after(() => {
    rmSync(folder, { recursive: true });
  });
  const write = (text: string) => {
    writeFileSync(join(folder, "profile.json"), text);
  };

  it("reads what was written", () => {
    write(JSON.stringify(before));
    expect(readProfile(folder)).to.deep.equal(before);
  });

  it("refuses a folder without one, a broken file and another version, saying so", () => {
    expect(() => readProfile(join(folder, "none"))).to.throw(
      /^profile .*profile\.json: cannot be read: no such file or folder; give a folder/,
    );
    write("{");
    expect(() => readProfile(folder)).to.throw(/cannot be read: it is no JSON; give a folder/);
    write(JSON.stringify({ ...before, version: 2 }));
    expect(() => readProfile(folder)).to.throw(
      /expected a profile of version 1, got version 2; take it again with this version$/,
    );
    write("[]");
    expect(() => readProfile(folder)).to.throw(/got something else/);
  });
});
