import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { expect } from "chai";
import envPaths from "env-paths";
import { create } from "tar";
import {
  cacheDir,
  swiftShaderDir,
  tarFiles,
  unpackSwiftShader,
} from "../../scripts/swiftshader.mjs";
import { swiftShaderDir as engineSwiftShaderDir } from "../../src/gpu/adapter.ts";

const DRIVER = Buffer.alloc(1500, "driver "); // three blocks, the last one partly filled
const LOADER = Buffer.from("loader");

describe("scripts/swiftshader", () => {
  let folder: string;
  beforeEach(() => (folder = mkdtempSync(path.join(tmpdir(), "tuningfork-swiftshader-"))));
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  /** A tar archive of files, as the package `tar` writes it. */
  async function tarOf(files: Record<string, Buffer>): Promise<Buffer> {
    const source = mkdtempSync(path.join(folder, "source-"));
    for (const [name, bytes] of Object.entries(files)) {
      mkdirSync(path.dirname(path.join(source, name)), { recursive: true });
      writeFileSync(path.join(source, name), bytes);
    }
    const file = path.join(source, "..", `${path.basename(source)}.tar`);
    await create({ file, cwd: source, portable: true }, Object.keys(files));
    return readFileSync(file);
  }

  async function packageOf(files: Record<string, Buffer>): Promise<Buffer> {
    const inner = brotliCompressSync(await tarOf(files));
    return gzipSync(
      await tarOf({ "package/package.json": LOADER, "package/bin/swiftshader.tar.br": inner }),
    );
  }

  it("unpacks the three files it needs, byte for byte, and no other", async () => {
    const archive = await packageOf({
      "libEGL.so": LOADER,
      "libvk_swiftshader.so": DRIVER,
      "libvulkan.so.1": LOADER,
      "vk_swiftshader_icd.json": Buffer.from("{}"),
    });
    const target = mkdtempSync(path.join(folder, "target-"));
    unpackSwiftShader(archive, target);
    expect(readdirSync(target).sort()).to.deep.equal([
      "libvk_swiftshader.so",
      "libvulkan.so.1",
      "vk_swiftshader_icd.json",
    ]);
    expect(readFileSync(path.join(target, "libvk_swiftshader.so")).equals(DRIVER)).to.be.true;
    expect(readFileSync(path.join(target, "libvulkan.so.1")).equals(LOADER)).to.be.true;
  });

  it("says which file a package lacks", async () => {
    const archive = await packageOf({ "libvulkan.so.1": LOADER });
    expect(() => {
      unpackSwiftShader(archive, folder);
    }).to.throw("bin/swiftshader.tar.br has no libvk_swiftshader.so");
    const empty = gzipSync(await tarOf({ "package/package.json": LOADER }));
    expect(() => {
      unpackSwiftShader(empty, folder);
    }).to.throw("has no bin/swiftshader.tar.br");
  });

  it("refuses an archive that breaks off", async () => {
    const tar = await tarOf({ "libvk_swiftshader.so": DRIVER });
    expect(tarFiles(tar).get("libvk_swiftshader.so")?.length).to.equal(1500);
    expect(() => tarFiles(tar.subarray(0, 1024))).to.throw("ends in the middle of a file");
  });

  it("joins a long name from its two header fields", async () => {
    const name = `${"folder/".repeat(20)}file`;
    expect([...tarFiles(await tarOf({ [name]: LOADER })).keys()]).to.deep.equal([name]);
  });

  describe("the cache folder", () => {
    const before = process.env["TUNINGFORK_CACHE"];
    afterEach(() => {
      if (before === undefined) delete process.env["TUNINGFORK_CACHE"];
      else process.env["TUNINGFORK_CACHE"] = before;
    });

    it("is the engine's, though the script cannot import env-paths", () => {
      delete process.env["TUNINGFORK_CACHE"];
      expect(cacheDir()).to.equal(envPaths("tuningfork", { suffix: "" }).cache);
      expect(swiftShaderDir()).to.equal(engineSwiftShaderDir());
    });

    it("is TUNINGFORK_CACHE for both", () => {
      process.env["TUNINGFORK_CACHE"] = folder;
      expect(swiftShaderDir()).to.equal(path.join(folder, "swiftshader-147"));
      expect(engineSwiftShaderDir()).to.equal(swiftShaderDir());
    });
  });
});
