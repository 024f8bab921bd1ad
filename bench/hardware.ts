/**
 * Everything that is to be measured on a GPU, in one go: `node dist/bench/hardware.js`. Runs the commands of STEPS one after
 * another, keeps what each leaves as JSON, and when it is started again goes on with those that left nothing.
 * Needs Node, Dawn and the build, nothing of npm; PyTorch, where a Python has it.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { pythonWithTorch } from "./peers.ts";
import { messageOf } from "../src/system_errors.ts";

const HELP = `node dist/bench/hardware.js [options]

  --out FOLDER     where the results go, one file a step (default bench/results)
  --network FILE   what is tuned (default networks/paper.json of the build)
  --suite NAMES    what is timed (default paper,resnet50)
  --seconds N      of each row (default 2)
  --study PRESET   quick, paper or none (default paper)
  --only NAMES     steps, of doctor, tune, tune_mixed, bench_SUITE, bench_SUITE_mixed, study
  --list           print the commands and run none`;

/** One command of `tuningfork`, and what of it is kept. */
interface Step {
  readonly name: string;
  readonly args: readonly string[];
  /** The file that it writes; else what it prints is kept. */
  readonly file?: string;
}

const { values: options } = parseArgs({
  options: {
    out: { type: "string", default: "bench/results" },
    network: { type: "string", default: path("../networks/paper.json") },
    suite: { type: "string", default: "paper,resnet50" },
    seconds: { type: "string", default: "2" },
    study: { type: "string", default: "paper" },
    only: { type: "string" },
    list: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

/** Beside this file of the build. */
function path(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url));
}

function steps(out: string): Step[] {
  const { network, seconds, study } = options;
  const tune = ["tune", "--network", network, "--json"];
  const peers = torchPeer();
  const timed = options.suite.split(",").flatMap((suite): Step[] => {
    const name = `bench_${suite.replace(/^.*\/|\.json$/g, "")}`;
    const bench = (partial: string): string[] => [
      ...["bench", "--suite", suite, "--op", "conv2d,training_step,inference"],
      ...["--seconds", seconds, "--json", partial],
    ];
    const [float32, mixed] = [name, `${name}_mixed`].map((step) => join(out, `${step}.partial`));
    return [
      { name, args: [...bench(float32 ?? ""), ...peers], file: float32 ?? "" },
      {
        name: `${name}_mixed`,
        args: [...bench(mixed ?? ""), "--precision", "mixed"],
        file: mixed ?? "",
      },
    ];
  });
  const folder = join(out, "study");
  const resume = existsSync(folder) ? ["--resume"] : [];
  return [
    { name: "doctor", args: ["doctor", "--json"] },
    { name: "tune", args: tune },
    { name: "tune_mixed", args: [...tune, "--precision", "mixed"] },
    ...timed,
    ...(study === "none"
      ? []
      : [
          {
            name: "study",
            args: [
              ...["study", "--preset", study, "--data-set", "simulated", "--out", folder],
              ...resume,
            ],
            file: join(folder, "results.json"),
          },
        ]),
  ];
}

/** PyTorch, where there is one: what to compare with may be missing, our own numbers may not. */
function torchPeer(): string[] {
  try {
    pythonWithTorch();
    return ["--peers", "torch"];
  } catch (error) {
    console.error(`without PyTorch: ${messageOf(error)}`);
    return [];
  }
}

function main(): number {
  if (options.help) {
    console.log(HELP);
    return 0;
  }
  const out = resolve(options.out);
  const only = options.only?.split(",");
  const wanted = steps(out).filter(({ name }) => only?.includes(name) ?? true);
  const cli = path("../src/cli/main.js");
  mkdirSync(out, { recursive: true });
  // Shapes that `tune` did not see are measured before their first row, as those of a suite without a network are.
  const env = { ...process.env, TUNINGFORK_TUNE: "full" };
  let failed = 0;
  for (const { name, args, file } of wanted) {
    const result = join(out, `${name}.json`);
    if (existsSync(result)) {
      console.error(`${name}: there already, in ${result}`);
      continue;
    }
    console.error(`${name}: tuningfork ${args.join(" ")}`);
    if (options.list) continue;
    const stdout = file === undefined ? ("pipe" as const) : ("inherit" as const);
    const run = spawnSync(process.execPath, [cli, ...args], {
      ...{ env, encoding: "utf8", maxBuffer: 2 ** 28 },
      stdio: ["ignore", stdout, "inherit"],
    });
    if (run.status === 130 || run.signal !== null) {
      console.error(`${name}: interrupted; the same command goes on from here`);
      return 130;
    }
    // A row of a benchmark that failed is a result too.
    if (file === undefined && run.status === 0) writeFileSync(result, run.stdout);
    else if (file?.endsWith(".partial") && existsSync(file)) renameSync(file, result);
    else if (file !== undefined && run.status === 0) copyFileSync(file, result);
    else console.error(`${name}: left nothing (exit code ${String(run.status)})`);
    if (run.status !== 0) failed++;
  }
  if (failed > 0) console.error(`${failed} of ${wanted.length} steps did not end well`);
  return failed > 0 ? 1 : 0;
}

process.exitCode = main();
