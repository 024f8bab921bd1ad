/**
 * The example as its reader has it: its own tests against these sources, then as a package of its own against what is built.
 */
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import { anyNewer } from "../../scripts/setup.mjs";
import { useDevice } from "../support/device.ts";
import { skipUnless } from "../support/skip.ts";
import "../../examples/swish/swish.test.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const run = promisify(execFile);

describe("examples/swish as a package of its own", () => {
  useDevice(); // skips without an adapter
  let folder = "";
  before(async function () {
    const built = statSync(join(ROOT, "dist/.built"), { throwIfNoEntry: false });
    const current = built && !anyNewer([join(ROOT, "src")], built.mtimeMs);
    skipUnless(this, current, "dist/ is older than src/; npm test builds it first");
    folder = await mkdtemp(join(tmpdir(), "tuningfork-example-"));
    cpSync(join(ROOT, "examples/swish"), folder, {
      recursive: true,
      filter: (path) => !path.includes("node_modules"),
    });
    mkdirSync(join(folder, "node_modules"));
    symlinkSync(ROOT, join(folder, "node_modules/tuningfork"));
    for (const name of ["chai", "mocha", "tsx"])
      symlinkSync(join(ROOT, "node_modules", name), join(folder, "node_modules", name));
  });
  after(async () => {
    if (folder !== "") await rm(folder, { recursive: true, force: true });
  });

  const node = async (...args: string[]): Promise<string> =>
    (await run(process.execPath, args, { cwd: folder })).stdout;

  it("passes its tests", async () => {
    expect(await node("node_modules/mocha/bin/mocha.js", "--import=tsx", "swish.test.ts")).to.match(
      /6 passing/,
    );
  });

  it("compiles with no types but the package's own, each declaration checked", async () => {
    const flags = ["--noEmit", "--strict", "--allowImportingTsExtensions", "--module", "nodenext"];
    const types = ["--target", "es2023", "--types", "node"];
    const roots = ["--typeRoots", join(ROOT, "node_modules/@types")];
    const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
    const compiled = node(tsc, ...flags, ...types, ...roots, "swish.ts", "wrong_swish.ts");
    const errors = await compiled.catch((error: unknown) => (error as { stdout: string }).stdout);
    expect(errors).to.equal("");
  });

  it("trains, freezes, saves and loads", async () => {
    const lines = (await node("--import=tsx", "train.ts")).split("\n");
    const losses = lines[0]!.split(" ").slice(1).map(Number);
    expect(losses).to.have.length(5);
    expect(losses[4]).to.be.lessThan(0.9 * losses[0]!);
    expect(lines[1]).to.match(/^beta, from 1: (\d\.\d{3} ?){4}$/);
    expect(lines.slice(2, 4)).to.deep.equal([
      "frozen, beta stays",
      "saved and loaded, the same predictions: true",
    ]);
  });

  it("is a layer type for the commands too", async () => {
    const network = join(folder, "network.json");
    const command = join(ROOT, "dist/src/cli/main.js");
    const args = [
      "--import=tsx",
      "--import=./swish.ts",
      command,
      "gradcheck",
      "--network",
      network,
    ];
    expect(await node(...args)).to.match(/swish1 .*ok[^]*every gradient is right/);
  });
});

describe("the package's exports", () => {
  it("name files that the build makes from sources that are there", () => {
    const { exports } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
      exports: Record<string, { types: string; default: string }>;
    };
    expect(Object.keys(exports)).to.include.members([".", "./testing"]);
    for (const { types, default: file } of Object.values(exports)) {
      expect(types).to.equal(file.replace(/\.js$/, ".d.ts"));
      const source = file.replace(/^\.\/dist\//, ROOT).replace(/\.js$/, ".ts");
      expect(statSync(source).isFile(), source).to.equal(true);
    }
  });
});
