import { spawnSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect } from "chai";
import { adapterSteps, anyNewer, packagesAreCurrent, setupMode } from "../../scripts/setup.mjs";

/** A Debian with a root shell and no adapter. */
const BARE_DEBIAN = {
  mode: "all" as const,
  present: undefined,
  wanted: undefined,
  platform: "linux",
  arch: "x64",
  root: true,
  apt: true,
};

describe("scripts/setup", () => {
  let folder: string;
  beforeEach(() => (folder = mkdtempSync(path.join(tmpdir(), "tuningfork-setup-"))));
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  describe("TUNINGFORK_SETUP", () => {
    it("unset and empty allow all; npm and none are known", () => {
      expect([undefined, "", "npm", "none"].map(setupMode)).to.deep.equal([
        "all",
        "all",
        "npm",
        "none",
      ]);
    });

    it("refuses another value by name", () => {
      expect(() => setupMode("apt")).to.throw(
        'TUNINGFORK_SETUP: unknown value: expected npm, none or unset, got "apt"',
      );
    });
  });

  describe("adapterSteps", () => {
    const cases: [string, Partial<Parameters<typeof adapterSteps>[0]>, string[]][] = [
      ["bare Debian, root: apt, else SwiftShader", {}, ["apt", "swiftshader"]],
      ["hardware is there", { present: "hardware" }, []],
      ["Mesa's adapter is there", { present: "mesa-software" }, []],
      ["only our SwiftShader, root: Mesa's is faster", { present: "swiftshader" }, ["apt"]],
      ["only our SwiftShader, no root", { present: "swiftshader", root: false }, []],
      ["ordinary user", { root: false }, ["swiftshader"]],
      ["no apt", { apt: false }, ["swiftshader"]],
      ["mode npm, root", { mode: "npm" }, ["swiftshader"]],
      ["mode none", { mode: "none" }, []],
      ["arm64: no SwiftShader for it", { arch: "arm64" }, ["apt"]],
      ["macOS", { platform: "darwin", apt: false }, []],
      ["Windows", { platform: "win32", apt: false, root: false }, []],
      ["TUNINGFORK_ADAPTER=hardware", { wanted: "hardware" }, []],
      ["TUNINGFORK_ADAPTER=nonsense", { wanted: "nonsense" }, []],
      ["TUNINGFORK_ADAPTER=mesa", { wanted: "mesa" }, ["apt"]],
      ["TUNINGFORK_ADAPTER=swiftshader", { wanted: "swiftshader" }, ["swiftshader"]],
      [
        "TUNINGFORK_ADAPTER=swiftshader, there",
        { wanted: "swiftshader", present: "swiftshader" },
        [],
      ],
    ];
    for (const [name, facts, steps] of cases) {
      it(name, () => {
        expect(adapterSteps({ ...BARE_DEBIAN, ...facts })).to.deep.equal(steps);
      });
    }
  });

  describe("packagesAreCurrent", () => {
    const lock = {
      packages: {
        "": { version: "0.1.0" },
        "node_modules/chai": { version: "6.3.0" },
        "node_modules/fsevents": { version: "2.3.3", optional: true },
      },
    };
    it("the same versions, other platforms' packages absent", () => {
      expect(packagesAreCurrent(lock, { packages: { "node_modules/chai": { version: "6.3.0" } } }))
        .to.be.true;
    });
    it("a package missing", () => {
      expect(packagesAreCurrent(lock, { packages: {} })).to.be.false;
      expect(packagesAreCurrent(lock, {})).to.be.false;
    });
    it("another version", () => {
      expect(packagesAreCurrent(lock, { packages: { "node_modules/chai": { version: "6.2.0" } } }))
        .to.be.false;
    });
  });

  describe("anyNewer", () => {
    it("sees an edited file deep down, and a file that came or went", () => {
      const inner = path.join(folder, "a", "b");
      mkdirSync(inner, { recursive: true });
      const file = path.join(inner, "c.ts");
      writeFileSync(file, "");
      const touch = (seconds: number, ...paths: string[]) => {
        for (const each of paths) utimesSync(each, seconds, seconds);
      };
      touch(1000, file, inner, path.dirname(inner), folder);
      expect(anyNewer([folder], 1_001_000)).to.be.false;
      touch(2000, file);
      expect(anyNewer([folder], 1_001_000)).to.be.true;
      touch(1000, file);
      touch(2000, inner);
      expect(anyNewer([folder], 1_001_000)).to.be.true;
    });

    it("takes a path that is not there for unchanged", () => {
      expect(anyNewer([path.join(folder, "missing")], 0)).to.be.false;
    });
  });

  describe("the script, in a clone without packages", () => {
    const run = (mode: string) => {
      cpSync("scripts", path.join(folder, "scripts"), { recursive: true });
      cpSync("package-lock.json", path.join(folder, "package-lock.json"));
      return spawnSync(process.execPath, [path.join(folder, "scripts", "setup.mjs"), "--quiet"], {
        encoding: "utf8",
        env: { ...process.env, TUNINGFORK_SETUP: mode, XDG_CACHE_HOME: path.join(folder, "cache") },
      });
    };

    it("TUNINGFORK_SETUP=none installs nothing and names the command", () => {
      const { status, stdout, stderr } = run("none");
      expect(status).to.equal(1);
      expect(stdout).to.equal("");
      expect(stderr).to.equal(
        "setup: the npm packages are missing or not those of package-lock.json, and TUNINGFORK_SETUP=none " +
          "forbids installing; run: npm ci && npm run build\n",
      );
      expect(readdirSync(folder).sort()).to.deep.equal(["package-lock.json", "scripts"]);
    });

    it("an unknown value ends it before anything is done", () => {
      const { status, stderr } = run("yes");
      expect(status).to.equal(1);
      expect(stderr).to.contain(
        'TUNINGFORK_SETUP: unknown value: expected npm, none or unset, got "yes"',
      );
      expect(readdirSync(folder).sort()).to.deep.equal(["package-lock.json", "scripts"]);
    });
  });
});
