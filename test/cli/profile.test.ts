import { expect } from "chai";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { profile, type ProfileOptions } from "../../src/cli/profile.ts";
import { useDevice } from "../support/device.ts";
import { TINY } from "../support/tiny.ts";

describe("cli/profile", () => {
  const folder = mkdtempSync(join(tmpdir(), "profile-cli-"));
  const network = join(folder, "tiny.json");
  writeFileSync(network, JSON.stringify(TINY));
  after(() => {
    rmSync(folder, { recursive: true });
  });
  const defaults = { batch: 4, steps: 2, train: false, infer: false, seed: 1, ceilings: false };

  /** What it prints, and its exit code or its error. */
  const run = async (options: Partial<ProfileOptions>) => {
    const lines: string[] = [];
    const write = console.log;
    console.log = (text: string) => lines.push(text);
    try {
      const code = await profile({ ...defaults, ...options });
      return { code, printed: lines.join("\n"), error: "" };
    } catch (error) {
      return { code: 1, printed: lines.join("\n"), error: (error as Error).message };
    } finally {
      console.log = write;
    }
  };

  describe("refuses", () => {
    const cases: [string, Partial<ProfileOptions>, RegExp][] = [
      [
        "neither network nor folders",
        {},
        /expected --network FILE\.json and --out FOLDER, or --diff A B; /,
      ],
      ["no --out", { network }, /expected --network FILE\.json and --out FOLDER/],
      [
        "both modes",
        { network, out: folder, train: true, infer: true },
        /expected --train or --infer, got both; leave one out$/,
      ],
      [
        "a network that is not there",
        { network: "none.json", out: folder },
        /^network none\.json: /,
      ],
      ["one folder to compare", { diff: ["a"] }, /expected two folders, got 1; /],
      ["three folders to compare", { diff: ["a", "b", "c"] }, /expected two folders, got 3; /],
      [
        "a folder without a profile",
        { diff: [folder, folder] },
        /profile\.json: cannot be read: no such file/,
      ],
    ];
    for (const [name, options, message] of cases)
      it(name, async () => {
        const { code, error } = await run(options);
        expect(error).to.match(message);
        expect(code).to.equal(1);
      });
  });

  describe("with an adapter", () => {
    useDevice();

    it("profiles training and inference, measures the overhead, compares the two", async () => {
      const [train, infer] = [join(folder, "train"), join(folder, "infer")];
      const trained = await run({ network, out: train, overhead: 1 });
      expect(trained.error).to.equal("");
      expect(trained.printed).to.match(
        /^.*tiny\.json: training with a batch of 4, on .+\n\nwall time/,
      );
      expect(trained.printed).to.match(/^conv1 backward +\d/m);
      expect(trained.printed).to.match(
        /A step took [\d.]+ ms without the profiler, [\d.]+ ms with it/,
      );
      for (const file of ["profile.json", "trace.json", "report.html"])
        expect(existsSync(join(train, file)), file).to.be.true;
      const inferred = await run({ network, out: infer, infer: true });
      expect(inferred.printed)
        .to.include("inference with a batch of 4")
        .and.not.include("backward");
      const diff = await run({ diff: [train, infer] });
      expect(diff.code).to.equal(0);
      expect(diff.printed).to.match(/^warning: the mode differs: train before, infer after$/m);
      expect(diff.printed).to.match(/^conv1 backward .* gone$/m);
    });
  });
});
