/** Training as a process: interrupted, killed, out of disk, under garbage collection. Every child must end by itself. */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
} from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { expect } from "chai";
import { PNG } from "pngjs";
import { train } from "../../src/cli/train.ts";
import { swiftShaderDir } from "../../src/gpu/adapter.ts";
import { messageOf } from "../../src/system_errors.ts";
import { readSafetensors } from "../../src/safetensors.ts";
import type { EpochRecord } from "../../src/train/history.ts";
import { useDevice } from "../support/device.ts";
import { skip } from "../support/skip.ts";
import { stripes } from "../support/tiny.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const TIMEOUT_MS = 100_000;
/** Wide, so that a checkpoint (weights and two moments) has 19 MB, long enough in writing to be caught at it. */
const NETWORK = {
  input: [16, 16, 3],
  layers: [
    { type: "Conv2D", name: "conv1", filters: 4, kernelSize: [2, 2], padding: "same" },
    { type: "LeakyReLU", name: "relu1", slope: 0.3 },
    { type: "Dropout", name: "drop1", rate: 0.25 },
    { type: "Flatten", name: "flatten" },
    { type: "Dense", name: "dense1", units: 1500 },
    { type: "Dense", name: "dense2", units: 3 },
    { type: "Softmax", name: "softmax" },
  ],
};
const CHECKPOINT_BYTES = 12 * (16 * 16 * 4 * 1500 + 1500 * 3);

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

describe("training as a process", function () {
  // Without an adapter all of it skips.
  useDevice();
  this.timeout(TIMEOUT_MS);
  let folder = "";
  const at = (...names: string[]) => join(folder, ...names);

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "tuningfork-process-"));
    writeFileSync(at("network.json"), JSON.stringify(NETWORK));
    const { images, labels, classes, count } = stripes(24, 3, 16);
    for (let i = 0; i < count; i++) {
      const png = new PNG({ width: 16, height: 16 });
      for (let p = 0; p < 256; p++)
        for (let c = 0; c < 4; c++)
          png.data[4 * p + c] = c < 3 ? images[(i * 256 + p) * 3 + c]! : 255;
      mkdirSync(at("images", classes[labels[i]!]!), { recursive: true });
      writeFileSync(at("images", classes[labels[i]!]!, `${i}.png`), PNG.sync.write(png));
    }
    // A cache of its own, in which an adapter that was unpacked into the user's is found all the same.
    mkdirSync(at("cache"));
    symlinkSync(swiftShaderDir(), at("cache", basename(swiftShaderDir())));
  });
  after(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  /** Runs node; `during` sees the process and what it has written to stderr so far. */
  const run = (
    args: readonly string[],
    during?: (child: ChildProcess, stderr: string) => void,
  ): Promise<Ended> =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, ["--import", "tsx", ...args], {
        cwd: ROOT,
        env: { ...process.env, TUNINGFORK_CACHE: at("cache") },
        timeout: TIMEOUT_MS - 10_000,
      });
      const text = { stdout: "", stderr: "" };
      child.stdout.on("data", (chunk: Buffer) => {
        text.stdout += chunk.toString();
      });
      child.stderr.on("data", (chunk: Buffer) => {
        text.stderr += chunk.toString();
        during?.(child, text.stderr);
      });
      child.on("error", reject);
      child.on("close", (code, signal) => {
        resolve({ code, signal, ...text });
      });
    });

  const trainArgs = (out: string, ...more: string[]): string[] => [
    ...["src/cli/main.ts", "train", "--network", at("network.json"), "--data-set", at("images")],
    ...["--epochs", "8", "--batch-size", "8", "--seed", "3", "--out", out, ...more],
  ];

  const historyOf = async (out: string) =>
    (JSON.parse(await readFile(join(out, "history.json"), "utf8")) as EpochRecord[]).map(
      (record) => ({ ...record, seconds: 0, imagesPerSecond: 0 }),
    );

  const epochsIn = async (checkpoint: string): Promise<number> => {
    const { metadata, tensors } = await readSafetensors(checkpoint);
    for (const { values } of tensors.values())
      expect((values as Float32Array).every(Number.isFinite)).to.equal(true);
    return (JSON.parse(metadata["state"]!) as { epoch: number }).epoch;
  };

  it("Ctrl-C, then kill -9 amid a checkpoint, then on to the weights of a run left alone", async () => {
    const whole = await run(trainArgs(at("whole")));
    expect(whole.code, whole.stderr).to.equal(0);

    const out = at("broken");
    const checkpoint = join(out, "checkpoint.safetensors");
    const interrupted = await run(trainArgs(out), (child, stderr) => {
      if (/^epoch +2 /m.test(stderr) && !stderr.includes("ending")) child.kill("SIGINT");
    });
    expect(interrupted.code, interrupted.stderr).to.equal(130);
    expect(interrupted.stderr).to.contain("ending after the current step");
    expect(interrupted.stderr).to.contain("continue with the same command and --resume");
    expect(existsSync(join(out, "model.safetensors"))).to.equal(false);
    const epochs = await epochsIn(checkpoint);
    expect(epochs).to.be.within(2, 7);

    const refused = await train({
      ...{
        network: at("network.json"),
        dataSet: at("images"),
        freeze: [],
        epochs: 8,
        batchSize: 8,
        accumulateSteps: 1,
      },
      ...{ seed: 3, validation: 0, augment: true, best: false, resume: false, out },
    }).catch(String);
    expect(refused).to.contain("it holds a run already; continue it with --resume");

    const before = await readFile(checkpoint);
    let killed = false;
    const watcher = watch(out);
    const killing = await run(trainArgs(out, "--resume"), (child) => {
      if (watcher.listenerCount("change") > 0) return;
      watcher.on("change", (_event, name) => {
        if (!String(name).includes(".tmp-") || killed) return;
        killed = child.kill("SIGKILL");
      });
    });
    watcher.close();
    expect(killing.signal, killing.stderr).to.equal("SIGKILL");
    const [left] = readdirSync(out).filter((name) => name.includes(".tmp-"));
    expect(left, "what the killed process was writing").to.be.a("string");
    expect(statSync(join(out, left!)).size).to.be.below(before.length);
    expect(before.equals(await readFile(checkpoint)), "the last whole checkpoint").to.equal(true);

    const resumed = await run(trainArgs(out, "--resume"));
    expect(resumed.code, resumed.stderr).to.equal(0);
    expect(resumed.stderr).not.to.match(/^epoch +1 /m);
    expect(readdirSync(out).filter((name) => name.includes(".tmp-"))).to.deep.equal([]);
    const [want, got] = [at("whole"), out].map((dir) => readFile(join(dir, "model.safetensors")));
    expect((await want!).equals(await got!), "model.safetensors, byte for byte").to.equal(true);
    expect(await historyOf(out)).to.deep.equal(await historyOf(at("whole")));
  });

  it("a disk that fills up amid a checkpoint: said, exit code 1, the last one whole", async function () {
    const out = at("small");
    mkdirSync(out);
    try {
      // One checkpoint fits, two beside each other do not.
      const size = Math.round(1.5 * CHECKPOINT_BYTES);
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", out], { stdio: "pipe" });
    } catch (error) {
      skip(this, `needs a small disk, and mounting one needs root: ${messageOf(error)}`);
    }
    try {
      const { code, stderr } = await run(trainArgs(out));
      expect(code, stderr).to.equal(1);
      expect(stderr).to.match(
        /^error: .*checkpoint\.safetensors: cannot be written: the disk is full; /m,
      );
      expect(stderr).not.to.match(/^ +at /m);
      expect(readdirSync(out)).to.deep.equal(["checkpoint.safetensors"]);
      expect(await epochsIn(join(out, "checkpoint.safetensors"))).to.equal(1);
    } finally {
      execFileSync("umount", [out]);
    }
  });

  it("an --out that cannot be written: said before anything else, exit code 1", async () => {
    const { code, stderr } = await run(trainArgs(at("network.json", "out")));
    expect(code).to.equal(1);
    expect(stderr).to.match(/^error: --out .*: cannot be written: .*; choose another folder\n$/);
  });

  it("garbage collected at every step does no harm", async () => {
    const { code, signal, stdout, stderr } = await run([
      "--expose-gc",
      "test/support/train_under_gc.ts",
    ]);
    expect(`${code} ${signal}`, stderr).to.equal("0 null");
    const losses = JSON.parse(stdout) as number[];
    expect(losses).to.have.length(3);
    expect(losses[2]).to.be.below(losses[0]!);
  });
});
