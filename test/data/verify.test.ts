import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync } from "node:fs";
import path from "node:path";
import { expect } from "chai";
import { folderManifest, sha256File, verifyDataSet } from "../../src/data/verify.ts";
import { messageOf } from "../../src/system_errors.ts";
import { realDataSet, writeImage } from "./fixtures.ts";
import { temporaryFolder, write } from "../support/files.ts";
import { skip } from "../support/skip.ts";

describe("verify", () => {
  const folder = temporaryFolder();
  const at = (...names: string[]): string => path.join(folder(), ...names);

  it("gives the SHA-256 of a file", async () => {
    write(at("a"), "abc");
    expect(await sha256File(at("a"))).to.equal(
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", // FIPS 180-2, appendix B.1
    );
  });

  it("gives the sum of a folder as find, sort and sha256sum do", async function () {
    // Names whose order differs between LC_ALL=C and most other orders.
    for (const name of ["b.jpg", "B.jpg", "a-1.jpg", "a/1.jpg", "a.jpg", "10.jpg", "9.jpg"])
      write(at("set/images", name), `content of ${name}`);
    let expected: string;
    try {
      const command =
        "find set/images -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1";
      expected = execFileSync("sh", ["-c", command], { cwd: folder(), encoding: "utf8" }).trim();
    } catch (error) {
      skip(this, `needs sh, find, sort and sha256sum: ${messageOf(error)}`);
    }
    const seen: number[] = [];
    const sum = await folderManifest(at("set/images"), "set/images", (done, total) => {
      expect(total).to.equal(7);
      seen.push(done);
    });
    expect(sum).to.equal(expected);
    expect(seen).to.deep.equal([1, 2, 3, 4, 5, 6, 7]);
  });

  it("finds the real samples whole", async function () {
    for (const name of ["efigi", "na10", "gz-tables"] as const)
      for (const item of await verifyDataSet(name, realDataSet(this, name)))
        expect(item.status, item.path).to.be.oneOf(["ok", "unknown"]);
  });

  it("finds one changed file, and one that is missing", async function () {
    const real = realDataSet(this, "efigi");
    cpSync(real, at("efigi"), { recursive: true });
    write(at("efigi/png/PGC0000212.png"), "changed");
    write(at("efigi/EFIGI_attributes.txt"), "changed");
    const items = await verifyDataSet("efigi", at("efigi"));
    const status = Object.fromEntries(items.map((item) => [item.path, item.status]));
    expect(status["efigi/EFIGI_attributes.txt"]).to.equal("mismatch");
    expect(status["efigi/png"]).to.equal("mismatch");
    expect(items.find((item) => item.path === "efigi/EFIGI_attributes.txt")?.detail).to.match(
      /SHA-256 expected ad13daaa\w+, got \w{64}/,
    );
  });

  it("says what is missing", async () => {
    mkdirSync(at("gz1"));
    write(at("gz1/smallCSV_class.csv"), "OBJID,CLASS\n");
    const items = await verifyDataSet("gz1", at("gz1"));
    const status = Object.fromEntries(items.map((item) => [item.path, item.status]));
    expect(status).to.deep.equal({
      "gz1/smallCSV_class.csv": "mismatch",
      "gz1/README.txt": "unknown",
      "gz1/schawinski2010_match.csv": "unknown",
      "gz1/duplicates.csv": "missing",
      "gz1/images": "missing",
    });
  });

  it("does not call a public copy damaged for having no published sum", async () => {
    // 1,517 files is what the public gz2 has.
    for (let i = 0; i < 1517; i++) write(at(`gz2/images/spiral/${i}.jpg`), "x");
    const [item] = await verifyDataSet("gz2", at("gz2"));
    expect(item?.status).to.equal("unknown");
    expect(item?.detail).to.match(/1,517 images/);
    await writeImage(at("gz2/images/spiral/extra.jpg"));
    expect((await verifyDataSet("gz2", at("gz2")))[0]?.status).to.equal("mismatch");
  });
});
