import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect } from "chai";
import { loadDataSet } from "../../src/data/load.ts";
import {
  cacheFolder,
  DataSetNotFoundError,
  findDataSet,
  userDataFolder,
} from "../../src/data/locate.ts";
import { writeImage } from "./fixtures.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder, write } from "../support/files.ts";

/** Runs each test in an empty working directory, with a home and an environment of its own. */
function isolated(folder: () => string): void {
  const keep = ["TUNINGFORK_DATA", "TUNINGFORK_CACHE", "XDG_DATA_HOME", "XDG_CACHE_HOME"];
  let before: Record<string, string | undefined> = {};
  let cwd = "";
  beforeEach(() => {
    before = Object.fromEntries(keep.map((name) => [name, process.env[name]]));
    for (const name of keep) Reflect.deleteProperty(process.env, name);
    process.env["XDG_DATA_HOME"] = path.join(folder(), "home");
    cwd = process.cwd();
    mkdirSync(path.join(folder(), "project"));
    process.chdir(path.join(folder(), "project"));
  });
  afterEach(() => {
    process.chdir(cwd);
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  });
}

describe("locate", () => {
  const folder = temporaryFolder();
  isolated(folder);
  const at = (...names: string[]): string => path.join(folder(), ...names);
  const addGz1 = (root: string): string =>
    path.dirname(write(path.join(root, "gz1/smallCSV_class.csv"), "OBJID,CLASS\n1,0\n"));

  it("searches --data, TUNINGFORK_DATA, data/, the user's directory, ../shared/data, in this order", () => {
    const home = process.platform === "linux" ? at("home/tuningfork") : userDataFolder();
    const places = [at("given"), at("env"), at("project/data"), home, at("shared/data")];
    process.env["TUNINGFORK_DATA"] = at("env");
    mkdirSync(at("given"));
    mkdirSync(at("env"));
    // From the last to the first: each is preferred to all that were there before.
    for (const place of places.reverse()) {
      if (process.platform !== "linux" && place === home) continue;
      const expected = addGz1(place);
      expect(findDataSet("gz1", { data: at("given") })).to.equal(expected);
    }
  });

  it("does not take a folder without the data set's files for the data set", () => {
    mkdirSync(at("given/gz1"), { recursive: true });
    const expected = addGz1(at("project/data"));
    expect(findDataSet("gz1", { data: at("given") })).to.equal(expected);
  });

  it("says where it looked and how to get it", () => {
    mkdirSync(at("given/gz1"), { recursive: true });
    let message = "";
    try {
      findDataSet("gz1", { data: at("given") });
    } catch (cause) {
      expect(cause).to.be.instanceOf(DataSetNotFoundError);
      message = (cause as Error).message;
    }
    expect(message).to.include("data set gz1: not found");
    expect(message).to.include("tuningfork data fetch gz1");
    expect(message).to.include(`${at("given/gz1")} (--data): without smallCSV_class.csv`);
    expect(message).to.include(`${at("project/data/gz1")} (data/)`);
    expect(message).to.include(`${at("shared/data/gz1")} (../shared/data)`);
  });

  it("says where to get what cannot be fetched", () => {
    expect(() => findDataSet("na10")).to.throw("VizieR's J/ApJS/186/427");
  });

  it("refuses a folder that was named and is none", () => {
    addGz1(at("project/data"));
    writeFileSync(at("a.csv"), "");
    expect(() => findDataSet("gz1", { data: at("a.csv") })).to.throw(
      `--data names a file: ${at("a.csv")}; give a folder`,
    );
    expect(() => findDataSet("gz1", { data: at("nowhere") })).to.throw(
      `--data names a folder that does not exist: ${at("nowhere")}`,
    );
    process.env["TUNINGFORK_DATA"] = at("nowhere");
    expect(() => findDataSet("gz1")).to.throw("TUNINGFORK_DATA names a folder");
  });

  it("tells somebody who named a folder that the data came from another", async () => {
    mkdirSync(at("given"));
    for (const name of ["elliptical", "edge_view_spiral", "spiral"])
      await writeImage(at(`project/data/gz2/images/${name}/1.jpg`));
    const { warnings } = await loadDataSet("gz2", { size: 8, data: at("given"), cache: false });
    expect(warnings).to.have.members([
      "gz2: the folder images/barred_spiral is missing",
      `gz2: not in ${at("given")} (given with --data); taken from ${at("project/data/gz2")}`,
    ]);
  });

  it("fails to load when there is no data at all", async () => {
    // Not fashion-mnist: Debian's package may be installed.
    for (const name of ["gz1", "gz2", "gz2-apply", "efigi", "na10"]) {
      expect(await rejection(loadDataSet(name, { size: 8 }))).to.match(
        new RegExp(`^data set ${name}: not found`),
      );
    }
  });

  it("caches where TUNINGFORK_CACHE says", () => {
    process.env["TUNINGFORK_CACHE"] = at("cache");
    expect(cacheFolder()).to.equal(at("cache"));
  });
});
