import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect } from "chai";

const ROOT = join(import.meta.dirname, "..");

/** The files that each file of `src` and `bench` imports, types included, as paths from the project's folder. */
function importsOf(folders: readonly string[]): Map<string, string[]> {
  const files = folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts") && !file.includes("node_modules"))
      .map((file) => join(folder, file)),
  );
  return new Map(
    files.map((file) => {
      const text = readFileSync(join(ROOT, file), "utf8");
      const paths = [...text.matchAll(/(?:from|import\()\s*"(\.[^"]+\.ts)"/g)];
      return [file, paths.map(([, path = ""]) => join(dirname(file), path))];
    }),
  );
}

/** The first file that imports itself through others, and the way round; undefined where there is none. */
function circleIn(imports: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const walk = (file: string, way: readonly string[]): string[] | undefined => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const next of imports.get(file) ?? []) {
      const circle = walk(next, [...way, file]);
      if (circle) return circle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of imports.keys()) {
    const circle = walk(file, []);
    if (circle) return circle;
  }
  return undefined;
}

describe("imports", () => {
  it("run in no circle, not even for types", () => {
    const imports = importsOf(["src", "bench"]);
    expect(imports.get(relative(ROOT, join(ROOT, "src/gpu/device.ts")))).to.include(
      join("src", "gpu", "device_core.ts"),
    );
    expect(circleIn(imports)?.join(" -> ")).to.equal(undefined);
  });

  it("in a circle are found", () => {
    const imports = new Map([
      ["a", ["b", "c"]],
      ["b", []],
      ["c", ["d"]],
      ["d", ["b", "c"]],
    ]);
    expect(circleIn(imports)).to.deep.equal(["c", "d", "c"]);
  });
});
