import { existsSync, unlinkSync } from "node:fs";
import path from "node:path";
import { expect } from "chai";
import { GALAXY_ZOO_CLASSES } from "../../src/data/catalogue.ts";
import { countPerClass } from "../../src/data/dataset.ts";
import {
  listGz1,
  listGz2,
  listGz2Apply,
  loadGalaxyProperties,
  readSchawinski2010,
} from "../../src/data/galaxy_zoo.ts";
import { loadDataSet } from "../../src/data/load.ts";
import { countPerLabel } from "../../src/data/dataset.ts";
import { realDataSet, writeImage } from "./fixtures.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder, write } from "../support/files.ts";
import { skipUnless } from "../support/skip.ts";

describe("galaxy_zoo", () => {
  const folder = temporaryFolder();
  const at = (...names: string[]): string => path.join(folder(), ...names);
  const load = (name: string, more = {}) =>
    loadDataSet(name, { size: 8, data: folder(), cache: false, ...more });

  /** A gz1 of eight labels, as the public table has them: with CRLF, and a last line without an end. */
  async function makeGz1(size = 231): Promise<void> {
    const rows = ["10,0", "11,1", "12,2", "13,3", "14,4", "15,5", "16,0", "17,0"];
    write(at("gz1/smallCSV_class.csv"), ["OBJID,CLASS", ...rows].join("\r\n"));
    write(
      at("gz1/duplicates.csv"),
      "gz1_objid,gz1_class,other_set,other_path\n16,0,gz2,a.jpg\n17,0,gz2-apply,b.jpg\n",
    );
    for (let id = 10; id <= 17; id++) await writeImage(at(`gz1/images/${id}.jpeg`), size);
  }

  describe("gz1", () => {
    beforeEach(() => makeGz1());

    it("makes three classes, and leaves out classes 4 and 5 and the duplicates", async () => {
      const { set, warnings } = await load("gz1");
      expect(set.classes).to.deep.equal(GALAXY_ZOO_CLASSES);
      expect(set.ids).to.deep.equal(["10", "11", "12", "13"]);
      expect([...set.labels]).to.deep.equal([0, 2, 2, 1]);
      expect(set.crop).to.equal(1);
      expect(warnings).to.have.length(2);
      expect(warnings[0]).to.match(/left out 2 images \(14, 15\) of class 4 .* 5/);
      expect(warnings[1]).to.match(/left out 2 images \(16, 17\) that gz2 or gz2-apply shows too/);
    });

    it("leaves out the duplicates of the sets that are named", async () => {
      const ids = async (sets: ("gz2" | "gz2-apply")[]): Promise<string> =>
        (await listGz1(at("gz1"), { withoutDuplicatesOf: sets })).files.map((f) => f.id).join();
      expect(await ids(["gz2"])).to.equal("10,11,12,13,17");
      expect(await ids(["gz2-apply"])).to.equal("10,11,12,13,16");
      expect(await ids([])).to.equal("10,11,12,13,16,17");
    });

    it("counts a label without image and an image without label, and goes on", async () => {
      unlinkSync(at("gz1/images/16.jpeg"));
      unlinkSync(at("gz1/images/17.jpeg"));
      await writeImage(at("gz1/images/99.jpeg"));
      const { set, warnings } = await load("gz1");
      expect(set.count).to.equal(4);
      expect(warnings[0]).to.equal("gz1: 2 labels without an image (16, 17), left out");
      expect(warnings[1]).to.equal("gz1: 1 image without a label (99), left out");
    });

    it("leaves a broken JPEG out, and goes on", async () => {
      write(at("gz1/images/10.jpeg"), "no image");
      write(at("gz1/images/12.jpeg"), "no image");
      await writeImage(at("gz1/images/10.png"));
      unlinkSync(at("gz1/images/10.jpeg"));
      const { set, warnings } = await load("gz1");
      expect(set.ids).to.deep.equal(["10", "11", "13"]);
      expect(warnings.at(-1)).to.match(/left out 1 broken image \(.*12\.jpeg\)/);
    });

    it("names the class that has no member, unless that is allowed", async () => {
      unlinkSync(at("gz1/images/13.jpeg"));
      expect(await rejection(load("gz1"))).to.match(/gz1: no image of class "Edge-on disc"/);
      const { set } = await load("gz1", { allowEmptyClasses: true });
      expect(countPerClass(set)).to.deep.equal([1, 0, 2]);
    });

    it("crops the public originals of 423x423 so that the scale is the same", async () => {
      await makeGz1(423);
      const { set, warnings } = await load("gz1");
      expect(set.crop).to.be.closeTo(231 / 423, 1e-12);
      expect(warnings.at(-1)).to.match(/423x423 originals; only the central 231x231/);
      expect((await load("gz1", { crop: 0.25 })).set.crop).to.equal(0.25);
    });
  });

  describe("gz2", () => {
    beforeEach(async () => {
      for (const [name, count] of [
        ["elliptical", 2],
        ["spiral", 1],
        ["barred_spiral", 1],
        ["edge_view_spiral", 1],
      ] as const)
        for (let i = 0; i < count; i++) await writeImage(at(`gz2/images/${name}/${i}.jpg`), 30);
    });

    it("counts barred as spiral and crops to 163/299", async () => {
      const { set, folder: where } = await load("gz2");
      expect(countPerClass(set)).to.deep.equal([2, 1, 2]);
      expect(set.crop).to.equal(163 / 299);
      expect(where).to.equal(at("gz2"));
    });

    it("leaves gz2-apply without labels", async () => {
      await writeImage(at("gz2-apply/train/spirals/5.jpg"));
      await writeImage(at("gz2-apply/validation/non_spirals/3.jpg"));
      const { set } = await load("gz2-apply");
      expect([...set.labels]).to.deep.equal([-1, -1]);
      expect(set.ids).to.deep.equal(["5", "3"]);
    });
  });

  it("lists the real sets with their published counts", async function () {
    const counts = async (listing: ReturnType<typeof listGz2>): Promise<number[]> => {
      const { files, classes } = await listing;
      return Object.values(
        countPerLabel(
          files.map((f) => f.label),
          classes,
        ),
      );
    };
    const gz1 = realDataSet(this, "gz1");
    expect(await counts(listGz1(gz1, { withoutDuplicatesOf: [] }))).to.deep.equal([4645, 998, 850]);
    expect(await counts(listGz1(gz1))).to.deep.equal([4642, 997, 848]);
    const gz2 = await counts(listGz2(realDataSet(this, "gz2")));
    // The collection's 1,367 images, or the public 1,517.
    expect(gz2.join()).to.be.oneOf(["734,168,465", "815,186,516"]);
    const apply = await listGz2Apply(realDataSet(this, "gz2-apply"));
    expect(apply.files.every((f) => f.label === -1)).to.equal(true);
    expect(apply.files.length).to.be.oneOf([1997, 2000]);
  });

  describe("properties", () => {
    const HEADER =
      "OBJID,CLASS,RA,DEC,REDSHIFT,GZ1_MORPHOLOGY,BPT_CLASS,U,G,R,I,Z,SIGMA,SIGMA_ERR,LOG_MSTELLAR,L_O3\n";

    it("reads the rows of schawinski2010_match.csv, 0 for sigma as not measured", async () => {
      await makeGz1();
      write(
        at("gz1/schawinski2010_match.csv"),
        HEADER +
          "10,0,1,2,0.033009,1,0,1,1,1,1,1,34.515,0.000,10.0667,1.2e+38\n" +
          "14,4,1,2,0.04,1,0,1,1,1,1,1,0.000,0.000,9.5,1.2e+38\n",
      );
      expect(await loadGalaxyProperties({ data: folder() })).to.deep.equal([
        { id: "10", label: 0, redshift: 0.033009, logMass: 10.0667, sigma: 34.515 },
        { id: "14", label: -1, redshift: 0.04, logMass: 9.5, sigma: null },
      ]);
    });

    it("reads the whole catalogue, one row of vector columns", async function () {
      const tables = realDataSet(this, "gz-tables");
      const rows = await readSchawinski2010(
        path.join(tables, "schawinski_GZ_2010_catalogue.fits.gz"),
      );
      expect(rows).to.have.length(47675);
      const of = (morphology: number): number =>
        rows.filter((row) => row.morphology === morphology).length;
      expect([0, 1, 3, 4, 5, 6].map(of)).to.deep.equal([21617, 8928, 866, 16246, 6, 12]);
      expect(rows.filter((row) => row.sigma !== null)).to.have.length(47498);
      for (const { id, redshift } of rows.slice(0, 1000)) {
        expect(id).to.match(/^\d{18}$/);
        expect(redshift).to.be.within(0.02, 0.05);
      }
    });

    it("gives the same by joining the catalogue as the derived table has", async function () {
      const match = path.join(realDataSet(this, "gz1"), "schawinski2010_match.csv");
      const tables = realDataSet(this, "gz-tables");
      skipUnless(this, existsSync(match), "this gz1 has no derived table schawinski2010_match.csv");
      const derived = await loadGalaxyProperties();
      expect(derived).not.to.be.empty;
      const rows = await readSchawinski2010(
        path.join(tables, "schawinski_GZ_2010_catalogue.fits.gz"),
      );
      const byId = new Map(rows.map((row) => [row.id, row]));
      for (const { id, redshift, logMass, sigma } of derived) {
        const row = byId.get(id);
        expect(row?.redshift).to.be.closeTo(redshift, 1e-6);
        expect(row?.logMass).to.be.closeTo(logMass, 1e-4);
        expect(row?.sigma ?? 0).to.be.closeTo(sigma ?? 0, 1e-3);
      }
    });
  });
});
