import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { ShaderError } from "../../src/gpu/errors.ts";
import { useDevice } from "../support/device.ts";
import { errorOf } from "../support/errors.ts";

describe("Device: shaders that do not compile", () => {
  const folder = mkdtempSync(join(tmpdir(), "tuningfork-shaders-"));
  const device = useDevice({ shaderFolder: pathToFileURL(folder + sep) });
  after(() => {
    rmSync(folder, { recursive: true });
  });
  const write = (name: string, ...lines: string[]) => {
    writeFileSync(join(folder, `${name}.wgsl`), lines.join("\n"));
  };
  const compile = async (name: string, constants = {}) => {
    const error = await errorOf(() => device().pipeline(name, constants));
    if (error instanceof ShaderError) return error;
    throw error;
  };
  const MAIN = "@compute @workgroup_size(1) fn main() {";
  const BINDING = "@group(0) @binding(0) var<storage, read_write> y: array<f32>;";

  it("name file, line and column on disk, and the constants in force", async () => {
    write(
      "broken",
      BINDING,
      "override SCALE: f32 = 1;",
      MAIN,
      "  #unroll i ROWS",
      "  y[$i] = SCALE;",
      "  #end",
      "  y[0] = tile_k;",
      "}",
    );
    const error = await compile("broken", { ROWS: 2, SCALE: 0.5 });
    expect(error.message).to.equal(
      "broken.wgsl:7:10 unresolved value 'tile_k' (constants ROWS=2 SCALE=0.5)",
    );
    expect(error.file).to.equal("broken.wgsl");
    expect(error.constants).to.deep.equal({ ROWS: 2, SCALE: 0.5 });
    expect(error.messages).to.deep.equal([
      { type: "error", line: 7, column: 10, text: "unresolved value 'tile_k'" },
    ]);
    expect(error.cause).to.be.instanceOf(Error);
  });

  it("name the snippet where it is in that", async () => {
    write(
      "snippet",
      "// lib: index, reduce",
      BINDING,
      MAIN,
      "  y[0] = workgroup_sum(1.0, 0);",
      "}",
    );
    const error = await compile("snippet");
    expect(error.message).to.match(/^lib\/reduce\.wgsl:3:42 unresolved value 'WG_SIZE'/);
    expect(error.message).to.match(/\(constants none\)$/);
  });

  it("say what the pipeline refuses", async () => {
    write(
      "large",
      BINDING,
      "var<workgroup> tile: array<f32, SIZE>;",
      MAIN,
      "  tile[0] = 1; y[0] = tile[1];",
      "}",
    );
    const error = await compile("large", { SIZE: 60_000 });
    expect(error.message).to.match(/^large\.wgsl .*workgroup.*\(constants SIZE=60000\)$/is);
  });

  it("leave nothing behind: the device works on, and gives the same answer again", async () => {
    write("again", MAIN, "  nonsense", "}");
    const first = await compile("again");
    expect((await compile("again")).message).to.equal(first.message);
    await device().finish();
  });

  it("are compiled once for the same constants in any order", async () => {
    write(
      "fine",
      BINDING,
      "override A: f32 = 1;",
      "override B: f32 = 1;",
      MAIN,
      "  y[0] = A + B;",
      "}",
    );
    const one = await device().pipeline("fine", { A: 1, B: 2 });
    expect(await device().pipeline("fine", { B: 2, A: 1 })).to.equal(one);
    expect(await device().pipeline("fine", { A: 2, B: 1 })).to.not.equal(one);
  });
});
