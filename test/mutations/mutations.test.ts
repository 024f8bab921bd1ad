import { existsSync, readFileSync } from "node:fs";
import { expect } from "chai";
import { MUTATIONS } from "./mutations.ts";

const ROOT = new URL("../../", import.meta.url);

describe("mutations", () => {
  it("are twenty or more, each with a fault and a reason of its own", () => {
    expect(MUTATIONS.length).to.be.at.least(20);
    const faults = MUTATIONS.map(({ fault, file }) => `${file}: ${fault}`);
    expect(new Set(faults).size).to.equal(faults.length);
    expect(MUTATIONS.every(({ why }) => why.length > 10)).to.equal(true);
  });

  for (const { fault, file, find, replace, test } of MUTATIONS)
    it(`${file}: ${fault}, still applies`, () => {
      const parts = readFileSync(new URL(file, ROOT), "utf8").split(find);
      expect(parts.length - 1, `times that the text is there: ${find}`).to.equal(1);
      expect(replace).not.to.equal(find);
      expect(existsSync(new URL(test, ROOT)), test).to.equal(true);
    });
});
