/**
 * `npm run mutate [-- TEXT ...]`: applies each mutation (those whose file or fault contains a TEXT) to a copy of the tree
 * and runs the tests that should notice. Prints a table; exit code 1 if one survives, no longer applies, or if the tests
 * fail without it.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { table } from "../../src/text_table.ts";
import { MUTATIONS, type Mutation } from "./mutations.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** What mocha's JSON reporter writes, as far as it is read. */
interface MochaResult {
  readonly stats: { readonly passes: number; readonly failures: number };
  readonly failures: readonly { readonly fullTitle: string }[];
}

const wanted = process.argv.slice(2);
const chosen = MUTATIONS.filter(
  ({ file, fault }) =>
    wanted.length === 0 || wanted.some((text) => `${file} ${fault}`.includes(text)),
);
if (chosen.length === 0) {
  console.error(`error: mutate: no mutation has ${wanted.join(" or ")} in its file or fault`);
  process.exit(1);
}

const copy = mkdtempSync(join(tmpdir(), "tuningfork-mutate-"));
// An interruption runs no finally.
process.on("exit", () => {
  rmSync(copy, { recursive: true, force: true });
});
process.on("SIGINT", () => process.exit(130));

copyTree();
const controls = new Map<string, string>();
const rows: string[][] = [];
let survivors = 0;
for (const mutation of chosen) {
  const begun = performance.now();
  const { outcome, ok } = tryMutation(mutation);
  if (!ok) survivors++;
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  console.error(
    `${ok ? "caught  " : "NOT CAUGHT"} ${mutation.file}: ${mutation.fault} (${seconds} s)`,
  );
  rows.push([mutation.file, mutation.fault, outcome, seconds]);
}
console.log(
  table([["file", "fault", "caught by", "s"], ...rows], [false, false, false, true]).join("\n"),
);
console.log(`\n${chosen.length - survivors} of ${chosen.length} faults were caught`);
process.exitCode = survivors === 0 ? 0 : 1;

/** The files that git knows or would add, as they are now; packages by a link. */
function copyTree(): void {
  const args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const files = execFileSync("git", args, { cwd: ROOT, encoding: "utf8", maxBuffer: 2 ** 26 });
  const needed = /^(src|test|shaders|networks|scripts|examples)\/|^[^/]*\.json$|^\.mocharc/;
  for (const file of new Set(files.split("\0")))
    if (needed.test(file)) {
      try {
        cpSync(join(ROOT, file), join(copy, file), { recursive: true });
      } catch (error) {
        // Deleted, but not yet in git's eyes.
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
    }
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
}

function tryMutation(mutation: Mutation): { outcome: string; ok: boolean } {
  const { file, find, replace, test, grep } = mutation;
  const path = join(copy, file);
  const source = readFileSync(path, "utf8");
  const times = source.split(find).length - 1;
  if (times !== 1)
    return { outcome: `DOES NOT APPLY: its text is there ${times} times`, ok: false };
  const control = controlOf(mutation);
  if (control !== "") return { outcome: control, ok: false };
  writeFileSync(
    path,
    source.replace(find, () => replace),
  );
  try {
    const result = runTests(test, grep, true);
    if (typeof result === "string") return { outcome: result, ok: false };
    const [failure] = result.failures;
    if (!failure) return { outcome: `SURVIVES ${result.stats.passes} tests`, ok: false };
    return { outcome: `${test.replace("test/", "")}: ${failure.fullTitle}`, ok: true };
  } finally {
    writeFileSync(path, source);
  }
}

/** The same tests without a fault, once: they must run, and pass. */
function controlOf({ test, grep }: Mutation): string {
  const key = `${test} ${grep ?? ""}`;
  const known = controls.get(key);
  if (known !== undefined) return known;
  const result = runTests(test, grep, false);
  const outcome =
    typeof result === "string"
      ? result
      : result.stats.failures > 0
        ? `CONTROL FAILS without any fault: ${result.failures[0]?.fullTitle ?? ""}`
        : result.stats.passes === 0
          ? "CONTROL RUNS NO TEST: they skip on this adapter, or --grep finds none"
          : "";
  controls.set(key, outcome);
  return outcome;
}

/** @param bail ends at the first failure; one is enough */
function runTests(test: string, grep: string | undefined, bail: boolean): MochaResult | string {
  const output = join(copy, "result.json");
  rmSync(output, { force: true });
  const args = [
    join(dirname(fileURLToPath(import.meta.resolve("mocha/package.json"))), "bin/mocha.js"),
    ...["--reporter", "json", "--reporter-option", `output=${output}`],
    ...(bail ? ["--bail"] : []),
    ...(grep === undefined ? [] : ["--grep", grep]),
    test,
  ];
  // A fault may make a kernel run for ever; a test that takes ten minutes has noticed nothing.
  const run = spawnSync(process.execPath, args, {
    cwd: copy,
    encoding: "utf8",
    timeout: 600_000,
    maxBuffer: 2 ** 26,
  });
  try {
    return JSON.parse(readFileSync(output, "utf8")) as MochaResult;
  } catch {
    const last = run.stderr.trim().split("\n").at(-1) ?? "";
    return `NO RESULT: mocha ended with ${run.status ?? run.signal ?? "?"}: ${last}`;
  }
}
