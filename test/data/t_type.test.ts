import { copyFileSync, mkdirSync } from "node:fs";
import path from "node:path";
import { expect } from "chai";
import { loadDataSet } from "../../src/data/load.ts";
import { listEfigi, listNa10, tTypeClass } from "../../src/data/t_type.ts";
import { countPerLabel } from "../../src/data/dataset.ts";
import { readTable } from "../../src/data/table.ts";
import { realDataSet, writeImage } from "./fixtures.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder, write } from "../support/files.ts";

const SAMPLE = "J000311.00+155754.0";

describe("t_type", () => {
  const folder = temporaryFolder();
  const at = (...names: string[]): string => path.join(folder(), ...names);

  it("sorts T-Types as the paper's table does, and our reading of it", () => {
    const classes: [number, number][] = [
      [-6, 0],
      [-5, 0],
      [-4, 0],
      [-3, 1],
      [-1, 1],
      [0, 1],
      [1, 2],
      [9, 2],
      [10, -1],
      [11, -1],
      [99, -1],
      [NaN, -1],
    ];
    for (const [t, label] of classes) expect(tTypeClass(t), `T ${t}`).to.equal(label);
    const other = { elliptical: [-5, -4], lenticular: [-3, -1], spiral: [0, 10] } as const;
    expect([-6, 0, 10].map((t) => tTypeClass(t, other))).to.deep.equal([-1, 2, 2]);
  });

  it("counts the real EFIGI table as published", async function () {
    const table = await readTable(path.join(realDataSet(this, "efigi"), "EFIGI_attributes.txt"));
    expect(table.rows).to.have.length(4458);
    const labels = table.rows.map((row) => tTypeClass(Number(row[1])));
    expect(countPerLabel(labels, ["E", "L", "S"])).to.deep.equal({ E: 289, L: 733, S: 3119 });
    expect(labels.filter((label) => label < 0)).to.have.length(317);
  });

  it("lists the real EFIGI images by name, with the T-Types of SOURCES", async function () {
    const { files, warnings } = await listEfigi(realDataSet(this, "efigi"));
    const label = new Map(files.map((file) => [file.id, file.label]));
    expect(label.get("PGC0000243")).to.equal(1); // T -2
    expect(label.get("PGC0000218")).to.equal(1); // T 0
    expect(label.get("PGC0000212")).to.equal(2); // T 1
    if (files.length === 15) expect(warnings.join()).to.match(/4443 labels without an image/);
  });

  it("makes a class of every T-Type, and counts those left out", async () => {
    const table =
      "# EFIGI\nPGCname   T  T_inf\nPGC1 -5 0\nPGC2 -2 0\nPGC3 5 0\nPGC4 10 0\nPGC5 11 0\n";
    write(at("efigi/EFIGI_attributes.txt"), table + "PGC6 11 0\nPGC7 3 0\n");
    for (let i = 1; i <= 6; i++) await writeImage(at(`efigi/png/PGC${i}.png`));
    const options = { size: 8, data: folder(), cache: false } as const;
    const { set, warnings } = await loadDataSet("efigi", options);
    expect(set.classes).to.deep.equal(["Elliptical", "Lenticular", "Spiral"]);
    expect([...set.labels]).to.deep.equal([0, 1, 2]);
    expect(warnings).to.deep.equal([
      "efigi: 1 label without an image (PGC7), left out",
      "efigi: left out galaxies whose T-Type is in no class: 1 of T 10, 2 of T 11",
    ]);
    const wide = { elliptical: [-6, -4], lenticular: [-3, 0], spiral: [1, 11] } as const;
    expect((await loadDataSet("efigi", { ...options, tTypes: wide })).set.count).to.equal(6);
  });

  it("names the class without a member", async () => {
    write(at("efigi/EFIGI_attributes.txt"), "PGCname T\nPGC1 -5\nPGC2 4\n");
    for (const i of [1, 2]) await writeImage(at(`efigi/png/PGC${i}.png`));
    expect(
      await rejection(loadDataSet("efigi", { size: 8, data: folder(), cache: false })),
    ).to.match(/no image of class "Lenticular"/);
  });

  describe("na10", () => {
    it("reads its FITS sample with a table in VizieR's form", async function () {
      const fits = path.join(realDataSet(this, "na10"), "fits");
      mkdirSync(at("na10/fits"), { recursive: true });
      for (const letter of ["g", "r", "i"]) {
        const name = `${SAMPLE}-${letter}.fits`;
        copyFileSync(path.join(fits, name), at("na10/fits", name));
      }
      write(
        at("na10/table.tsv"),
        `#RESOURCE=J/ApJS/186/427\n#Table\tJ_ApJS_186_427\nJID\tzph\tTT\n \t\t\n-------------------\t-----\t---\n${SAMPLE}\t0.02\t  3\nJ000001.00+150000.0\t0.03\t -5\n`,
      );
      const { set, warnings } = await loadDataSet("na10", {
        size: 32,
        data: folder(),
        cache: false,
        allowEmptyClasses: true,
      });
      expect([set.count, set.labels[0], set.channels]).to.deep.equal([1, 2, 3]);
      expect(Math.max(...set.images)).to.be.greaterThan(150);
      expect(warnings[0]).to.match(/1 label without an image/);
    });

    const tables: [string, string, string][] = [
      ["comma", "table.csv", `Name,TT\nSDSS ${SAMPLE},-5\nJ0+0,-3\nJ1+1,4\n`],
      ["semicolon", "table.csv", `JID;z;TT\n${SAMPLE};0.1;-5\nJ0+0;;-3\nJ1+1;0.1;4\n`],
      ["white space", "table.txt", `jid tt\n${SAMPLE} -5\nJ0+0 -3\nJ1+1 4\n`],
    ];
    for (const [separator, name, text] of tables) {
      it(`joins pictures to a table separated by ${separator}`, async () => {
        write(at("na10", name), text);
        for (const image of [SAMPLE, "J0+0", "J1+1"])
          await writeImage(at(`na10/images/${image}.jpg`));
        const { files } = await listNa10(at("na10"));
        expect(Object.fromEntries(files.map((f) => [f.id, f.label]))).to.deep.equal({
          "000311.00+155754.0": 0,
          "0+0": 1,
          "1+1": 2,
        });
      });
    }

    it("says what a table must have, and that there is none", async () => {
      mkdirSync(at("na10/fits"), { recursive: true });
      expect(await rejection(listNa10(at("na10")))).to.match(/no table in .*JID and TT.*only fits/);
      write(at("na10/table.csv"), "JID,redshift\na,1\n");
      expect(await rejection(listNa10(at("na10")))).to.match(
        /no column for the T-Type: expected one of TT, .* got JID, redshift/,
      );
    });
  });
});
