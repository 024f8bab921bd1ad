import { mkdirSync } from "node:fs";
import path from "node:path";
import { expect } from "chai";
import { loadDataSet } from "../../src/data/load.ts";
import { writeImage } from "./fixtures.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder, write } from "../support/files.ts";

describe("labelled", () => {
  const folder = temporaryFolder();
  const at = (...names: string[]): string => path.join(folder(), ...names);
  const load = (name: string) => loadDataSet(name, { size: 8, cache: false });

  it("takes sub-folders for classes", async () => {
    for (const name of ["b/2.jpg", "a/1.png", "b/sub/3.jpeg", "loose.png"])
      await writeImage(at(name));
    write(at("a/notes.txt"), "not an image, and not meant to be one");
    const { set, warnings } = await load(folder());
    expect(set.classes).to.deep.equal(["a", "b"]);
    expect(set.ids).to.deep.equal(["a/1.png", "b/2.jpg", "b/sub/3.jpeg"]);
    expect([...set.labels]).to.deep.equal([0, 1, 1]);
    expect(set.name).to.equal(path.basename(folder()));
    expect(warnings.join()).to.match(/1 image without a label \(loose\.png\)/);
  });

  it("names the class whose folder is empty", async () => {
    await writeImage(at("a/1.png"));
    mkdirSync(at("dwarf"));
    expect(await rejection(load(folder()))).to.match(/no image of class "dwarf"/);
  });

  it("refuses a folder without classes, and one that does not exist", async () => {
    expect(await rejection(load(folder()))).to.match(/sub-folder for each .*; got no sub-folders/);
    await writeImage(at("only/1.png"));
    expect(await rejection(load(folder()))).to.match(/got only only/);
    expect(await rejection(load(at("nowhere")))).to.match(
      /neither one of fashion-mnist, .* nor a folder that exists/,
    );
  });

  it("takes a table of paths and labels", async () => {
    for (const name of ["images/1.png", "images/2.png", "images/3.png", "images/extra.png"])
      await writeImage(at(name));
    const rows = ["images/1.png,S", 'images/2.png,"E"', "images/3.png,", "images/gone.png,S"];
    write(at("labels.csv"), `path,label\n${rows.join("\n")}\n`);
    for (const name of [folder(), at("labels.csv")]) {
      const { set, warnings } = await load(name);
      expect(set.classes).to.deep.equal(["E", "S"]);
      expect(set.ids).to.deep.equal(["images/1.png", "images/2.png"]);
      expect([...set.labels]).to.deep.equal([1, 0]);
      expect(warnings).to.have.length(2);
      expect(warnings[0]).to.match(/1 label without an image \(images\/gone\.png\), left out/);
      expect(warnings[1]).to.match(
        /2 images without a label \(images\/3\.png, images\/extra\.png\), left out/,
      );
    }
  });

  it("says which column a table lacks", async () => {
    write(at("labels.csv"), "path,kind\na.png,S\n");
    expect(await rejection(load(folder()))).to.match(/no column for the label: .* got path, kind/);
    write(at("labels.csv"), "\n# nothing\n");
    expect(await rejection(load(folder()))).to.match(/expected a table with a header line/);
    const image = await writeImage(at("image.jpg"));
    expect(await rejection(load(image))).to.match(/image\.jpg: expected a table .* binary file/);
  });
});
