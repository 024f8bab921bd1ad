import { cpSync, mkdirSync } from "node:fs";
import path from "node:path";
import { expect } from "chai";
import {
  type DataSetReport,
  dataFetch,
  dataList,
  dataVerify,
  describeDataSets,
} from "../../src/cli/data.ts";
import { realDataSet, writeImage } from "../data/fixtures.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder, write } from "../support/files.ts";

/** Runs a command and gives its exit code and what it printed to stdout. */
async function run(command: () => Promise<number>): Promise<{ code: number; out: string }> {
  const lines: string[] = [];
  const { log, error } = console;
  console.log = (line: string) => void lines.push(line);
  console.error = () => undefined;
  try {
    return { code: await command(), out: lines.join("\n") };
  } finally {
    console.log = log;
    console.error = error;
  }
}

describe("cli data", () => {
  const folder = temporaryFolder();
  const at = (...names: string[]): string => path.join(folder(), ...names);

  beforeEach(async () => {
    for (const name of ["elliptical/1", "spiral/2", "barred_spiral/3", "edge_view_spiral/4"])
      await writeImage(at(`gz2/images/${name}.jpg`));
  });

  it("lists what is here: counts, what is missing, home and licence", async () => {
    const { code, out } = await run(() => dataList({ data: folder(), json: true }));
    expect(code).to.equal(0);
    const { data_sets: reports } = JSON.parse(out) as { data_sets: DataSetReport[] };
    const gz2 = reports.find((report) => report.name === "gz2");
    expect(gz2).to.include({ folder: at("gz2"), found_by: "--data", images: 4 });
    expect(gz2?.classes).to.deep.equal({ "Early type": 1, "Edge-on disc": 1, Spiral: 2 });
    expect(gz2?.missing).to.deep.equal(["1513 of 1517 images of images/"]);
    for (const report of reports)
      expect([report.home, report.licence, report.how_to_get].every(Boolean)).to.equal(true);
  });

  it("prints the same for people", async () => {
    const { out } = await run(() => dataList({ data: folder() }));
    expect(out).to.match(/gz2: Galaxy Zoo 2/);
    expect(out).to.match(/images {3}4: Early type 1, Edge-on disc 1, Spiral 2/);
    expect(out).to.match(/tuningfork data fetch gz2/);
    expect(out).to.match(/licence {2}/);
  });

  it("says of a damaged data set what is wrong, and goes on", async () => {
    write(at("gz1/smallCSV_class.csv"), "nothing,useful\n1,2\n");
    const gz1 = (await describeDataSets({ data: folder() })).find(({ name }) => name === "gz1");
    expect(gz1?.missing.join()).to.match(/no column for the object's id: expected one of OBJID/);
  });

  it("verifies: exit code 1 and the name of what differs", async () => {
    const { code, out } = await run(() => dataVerify({ data: folder(), names: ["gz2"] }));
    expect(code).to.equal(1);
    expect(out).to.match(/mismatch +gz2\/images: manifest expected 68391e96\w+, got \w{64}/);
  });

  it("verifies: exit code 0 for whole data", async function () {
    cpSync(realDataSet(this, "na10"), at("na10"), { recursive: true });
    const whole = await run(() => dataVerify({ data: folder(), names: ["na10"], json: true }));
    expect(whole.code).to.equal(0);
    expect(JSON.parse(whole.out)).to.deep.include({ ok: true, absent: [] });
  });

  it("refuses names that are none, and data that is not there", async () => {
    expect(await rejection(dataVerify({ names: ["gz3"] }))).to.match(
      /data set gz3: not known; expected one of fashion-mnist, gz1/,
    );
    expect(await rejection(dataFetch("gz3"))).to.match(/gz3: not known/);
    expect(await rejection(dataList({ data: at("nowhere") }))).to.match(/does not exist/);
  });

  it("fetches nothing that is there", async () => {
    mkdirSync(at("elsewhere"));
    const { code, out } = await run(() => dataFetch("gz2", { data: folder() }));
    expect(code).to.equal(0);
    expect(out).to.include(`gz2: already in ${at("gz2")}`);
  });
});
