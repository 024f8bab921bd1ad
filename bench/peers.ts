/**
 * Other engines beside ours: each in a process of its own (bench/peers/), asked for the same tasks in turn with ours, and
 * held to the same answers.
 */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";
import { swiftShaderDir, type AdapterDetails } from "../src/gpu/adapter.ts";
import { conv2dGeometry, pool2dGeometry } from "../src/geometry.ts";
import type { Conv2DConfig } from "../src/nn/conv2d.ts";
import type { MaxPool2DConfig } from "../src/nn/max_pool2d.ts";
import { Sequential } from "../src/nn/model.ts";
import { checkNetwork } from "../src/nn/network.ts";
import { messageOf } from "../src/system_errors.ts";
import type { Engine, Measured, NetworkWork, PeerAnswer, PeerRequest, Task } from "./engine.ts";
import { inferenceVerifier } from "./network.ts";
import type { BenchRow } from "./results.ts";
import { isSampled, verifierOf, type Verifier } from "./verify.ts";
import { padsOf } from "./work.ts";

/** How a peer is started. */
export interface PeerKind {
  /** The program, or a function that finds it; it throws where there is none. */
  readonly command: string | (() => string);
  /** In `bench/peers/`, or an absolute path. */
  readonly script: string;
  /** What must be installed beside the scripts. */
  readonly packageName?: string;
  readonly forwardOnly?: boolean;
  /** Runs on the Dawn that we run on, and says on which adapter; it must be ours. */
  readonly ourDawn?: boolean;
  readonly environment?: Readonly<Record<string, string>>;
}

/** Dense weights as blocks that can be bound; without, they fail where they exceed an adapter's largest binding. */
const SPLIT = { SPLIT_DENSE: "1" } as const;
const node = (script: string, packageName: string): PeerKind => ({
  command: process.execPath,
  script,
  packageName,
});
const tfjs = { ...node("tfjs.mjs", "@tensorflow/tfjs-backend-webgpu"), ourDawn: true };
const jax = { ...node("jax.mjs", "@jax-js/jax"), ourDawn: true };

/** The engines that there are, by the names that `--peers` takes. */
export const PEERS: Readonly<Record<string, PeerKind>> = {
  tfjs,
  "tfjs-split": { ...tfjs, environment: SPLIT },
  jax,
  "jax-split": { ...jax, environment: SPLIT },
  ort: { ...node("ort.mjs", "onnxruntime-node"), forwardOnly: true },
  torch: { command: pythonWithTorch, script: "torch_peer.py" },
};

/** A Python that has PyTorch. @throws Error where there is none */
export function pythonWithTorch(): string {
  const named = process.env["TUNINGFORK_PYTHON"];
  const found = (named ? [named] : ["python3", "/usr/bin/python3"]).find(
    (python) => spawnSync(python, ["-c", "import torch"], { stdio: "ignore" }).status === 0,
  );
  if (found) return found;
  throw new Error(
    `bench --peers: ${named ?? "python3"} has no torch; install PyTorch, or name a Python that has it by TUNINGFORK_PYTHON`,
  );
}

/** What peers must answer is known to whoever opens them. */
export interface PeerOptions {
  /** The adapter of our device: WebGPU peers that come up on another one are refused. */
  readonly adapter: AdapterDetails;
  /** Our losses of the first two steps without dropout, once they are verified. */
  readonly losses: (work: NetworkWork) => readonly [number, number] | undefined;
  /** Raised by Ctrl-C: ends what a peer is about. */
  readonly signal?: AbortSignal;
}

/** True for tasks that peers can be asked for: single algorithms and the element-wise operations are ours alone. */
function isComparable({ work, algorithm, precision }: Task): boolean {
  const ops: readonly string[] = ["conv2d", "dense", "training_step", "inference"];
  return ops.includes(work.op) && algorithm === "auto" && precision === "float32";
}

/**
 * Starts peers.
 * @throws Error before anything is measured: an unknown name, a peer that is not installed or does not start
 */
export async function openPeers(
  names: readonly string[],
  options: PeerOptions,
): Promise<readonly Engine[]> {
  const unknown = names.find((name) => !Object.hasOwn(PEERS, name));
  if (unknown !== undefined)
    throw new Error(
      `bench --peers: unknown engine: expected some of ${Object.keys(PEERS).join(", ")}, got "${unknown}"`,
    );
  const peers: Peer[] = [];
  try {
    for (const name of new Set(names)) {
      const kind = PEERS[name];
      if (!kind) continue;
      const peer = new Peer(name, kind, options);
      peers.push(peer);
      await peer.start();
    }
    return peers;
  } catch (error) {
    await Promise.all(peers.map((peer) => peer.close()));
    throw error;
  }
}

/** A peer that has not answered by then hangs. */
const PATIENCE_MS = 30 * 60_000;
/** Lines of a peer's stderr that are kept: the last ones say why it ended. */
const KEPT_LINES = 20;

/**
 * The bound of verify.ts times this: which algorithm a peer takes is its own affair, and cuDNN's Winograd and Fourier
 * transforms round more often than a plain sum.
 */
const SLACK = 32;
/** Losses of networks, relative. Measured: 1e-6 between any two engines. */
const LOSS_TOLERANCE = 1e-3;
/** What a step takes off the loss, relative, and a few roundings of the loss itself. Measured: 1e-3. */
const FALL_TOLERANCE = 0.05;

/** One engine in a process of its own. `openPeers` makes those of `PEERS`. */
export class Peer implements Engine {
  readonly name: string;
  readonly #kind: PeerKind;
  readonly #options: PeerOptions;
  #process: { readonly child: ChildProcess; readonly lines: Interface } | undefined;
  #lastLines: string[] = [];
  #requests = 0;

  constructor(name: string, kind: PeerKind, options: PeerOptions) {
    this.name = name;
    this.#kind = kind;
    this.#options = options;
  }

  /** Starts the process and has it name its engine and adapter. */
  async start(): Promise<void> {
    const { command, script, packageName, environment, ourDawn } = this.#kind;
    const folder = peersFolder(script);
    if (packageName && !existsSync(`${folder}/node_modules/${packageName}`))
      throw new Error(`bench --peers: ${this.name} is not installed; run: npm run peers`);
    const program = typeof command === "string" ? command : command();
    const child = spawn(program, [resolve(folder, script)], {
      env: { ...process.env, ...adapterEnvironment(this.#options.adapter), ...environment },
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.on("error", () => undefined); // told by the stream's end, with `spawnfile`
    child.stdin.on("error", () => undefined);
    createInterface({ input: child.stderr }).on("line", (line) => {
      this.#lastLines = [...this.#lastLines, line].slice(-KEPT_LINES);
    });
    this.#process = { child, lines: createInterface({ input: child.stdout }) };
    const answer = await this.#ask({ kind: "hello" });
    if (answer.kind !== "hello") {
      const why = answer.kind === "error" ? answer.error : "no greeting";
      throw new Error(`bench --peers: ${this.name} does not start: ${why}`);
    }
    const { description } = this.#options.adapter;
    if (ourDawn && answer.adapter !== description)
      throw new Error(
        `bench --peers: ${this.name} runs on another adapter: expected ${description}, got ${answer.adapter}`,
      );
  }

  takes(task: Task): boolean {
    return isComparable(task) && !(this.#kind.forwardOnly && task.pass !== "forward");
  }

  async time(task: Task, effort: Parameters<Engine["time"]>[1]): Promise<Measured> {
    const failed = (error: string): Measured => ({ samplesMs: [], error });
    try {
      const verifier = this.#verifier(task);
      if (!this.#process) await this.start();
      const id = this.#requests++;
      const asked = { ...task, work: explicitWork(task.work) };
      const answer = await this.#ask({ kind: "time", id, task: asked, effort, at: verifier.at });
      if (answer.kind !== "time")
        return failed(answer.kind === "error" ? answer.error : "answered out of turn");
      const wrong = verifier.check(answer.values);
      return wrong === undefined ? { samplesMs: answer.samplesMs } : failed(wrong);
    } catch (error) {
      return failed(messageOf(error));
    }
  }

  #verifier({ work, pass }: Task): Verifier {
    if (work.op === "inference") return inferenceVerifier(work);
    if (work.op === "training_step") {
      const losses = this.#options.losses(work);
      if (losses) return lossVerifier(losses);
      throw new Error("not verifiable: our own step has no verified losses");
    }
    if (isSampled(work)) return verifierOf(work, pass, SLACK);
    throw new Error("not in the comparison");
  }

  /** Sends a request and waits for its answer. A peer that ends or hangs instead is started anew by the next task. */
  async #ask(request: PeerRequest): Promise<PeerAnswer> {
    const running = this.#process;
    if (!running) throw new Error(`${this.name}: not running`);
    const { child, lines } = running;
    child.stdin?.write(`${JSON.stringify(request)}\n`);
    const { signal } = this.#options;
    const kill = () => child.kill("SIGKILL");
    signal?.addEventListener("abort", kill);
    let late = false as boolean; // set by a timer, which the compiler does not see
    const patience = setTimeout(() => {
      late = true;
      kill();
    }, PATIENCE_MS);
    try {
      const line = await new Promise<string | undefined>((settle) => {
        lines.once("line", settle);
        lines.once("close", () => {
          settle(undefined);
        });
      });
      if (line !== undefined) return JSON.parse(line) as PeerAnswer;
      this.#process = undefined;
      if (late) throw new Error(`no answer within ${PATIENCE_MS / 60_000} minutes`);
      throw new Error(await howItEnded(child, this.#lastLines));
    } finally {
      clearTimeout(patience);
      signal?.removeEventListener("abort", kill);
      lines.removeAllListeners();
    }
  }

  /** Ends the process, by force when it is busy. */
  async close(): Promise<void> {
    const child = this.#process?.child;
    this.#process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((settle) => child.once("exit", settle));
    child.stdin?.end();
    const force = setTimeout(() => child.kill("SIGKILL"), 1000);
    await ended;
    clearTimeout(force);
  }
}

/** Beside this file; what a build does not take along (all but PyTorch's script), in the repository two folders up. */
function peersFolder(script: string): string {
  const found = ["./peers/", "../../bench/peers/"]
    .map((path) => resolve(fileURLToPath(new URL(path, import.meta.url)), script))
    .find((path) => existsSync(path));
  if (!found)
    throw new Error(
      "bench --peers: the other engines are not part of the package; clone the repository",
    );
  return dirname(found);
}

/** Leads the Vulkan loader and Dawn of a peer to the adapter that we took. */
function adapterEnvironment(adapter: AdapterDetails): Record<string, string> {
  if (adapter.class === "mesa-software")
    return { PEER_ADAPTER: "llvmpipe", VK_LOADER_DRIVERS_SELECT: "*lvp*" };
  // The driver's file is in our environment by now; its loader lies in the same folder.
  return adapter.class === "swiftshader" ? { LD_LIBRARY_PATH: swiftShaderDir() } : {};
}

async function howItEnded(child: ChildProcess, lastLines: readonly string[]): Promise<string> {
  if (child.exitCode === null && child.signalCode === null && child.pid !== undefined)
    await new Promise((settle) => child.once("exit", settle));
  if (child.pid === undefined) return `${child.spawnfile} cannot be started`;
  const how = child.signalCode ?? `exit code ${String(child.exitCode)}`;
  const why = lastLines.findLast((line) => line.trim() !== "");
  return `ended with ${how}${why ? `: ${why.trim()}` : ""}`;
}

/** A network's work with every key filled in and every padding in numbers: a peer knows no defaults of ours. */
function explicitWork(work: Task["work"]): Task["work"] {
  if (work.op !== "training_step" && work.op !== "inference") return work;
  const model = new Sequential(checkNetwork(work.network));
  const shapes = model.shapes();
  const layers = model.config().layers.map((layer, index) => {
    const input = [work.n, ...(shapes[index] ?? [])];
    const config: unknown = layer;
    if (layer.type === "Conv2D") {
      const { kernelSize, filters, ...options } = config as Conv2DConfig;
      const filter = [...kernelSize, input[3] ?? 0, filters];
      const { padding, strides, dilations } = options;
      const g = conv2dGeometry(input, filter, {
        ...(padding !== undefined && { padding }),
        ...(strides !== undefined && { strides }),
        ...(dilations !== undefined && { dilations }),
      });
      return { ...layer, padding: padsOf(g) };
    }
    if (layer.type !== "MaxPool2D") return layer;
    return { ...layer, padding: padsOf(pool2dGeometry(input, config as MaxPool2DConfig)) };
  });
  return { ...work, network: { input: model.input, layers } };
}

/** The first loss and what one step took off it: a wrong gradient shows in the second. */
function lossVerifier([first, second]: readonly [number, number]): Verifier {
  return {
    at: [],
    check: (values) => {
      const [gotFirst = NaN, gotSecond = NaN] = Array.from(values);
      if (!(Math.abs(gotFirst - first) <= LOSS_TOLERANCE * first))
        return `wrong loss: expected ${first.toPrecision(6)}, got ${gotFirst.toPrecision(6)}`;
      const fall = first - second;
      if (
        !(Math.abs(gotFirst - gotSecond - fall) <= FALL_TOLERANCE * Math.abs(fall) + 1e-6 * first)
      )
        return `wrong step: expected the loss to fall by ${fall.toPrecision(4)}, got ${(gotFirst - gotSecond).toPrecision(4)}`;
      return undefined;
    },
  };
}

/**
 * What a run says of other engines in the end: their times as parts of ours (3x took three times as long), the geometric
 * mean and the least of them; the same of the fastest WebGPU engine of each row; and why an engine has no time.
 */
export function peerSummary(rows: readonly BenchRow[], ours = "tuningfork"): string[] {
  const ratios = rows.flatMap((row) => {
    const own = rows.find((candidate) => candidate.engine === ours && isSameCase(candidate, row));
    if (row.ratio === undefined || !own?.ms) return [];
    return [{ engine: row.engine, what: `${row.name} ${row.pass}`, own, ratio: row.ratio }];
  });
  const peers = [...new Set(ratios.map(({ engine }) => engine))].filter((name) => name !== "cpu");
  const webgpu = peers.filter((name) => name !== "torch" && name !== "unchecked");
  const fastest = [...new Set(ratios.map(({ own }) => own))].flatMap((row) => {
    const [first] = ratios
      .filter(({ own, engine }) => own === row && webgpu.includes(engine))
      .sort((a, b) => a.ratio - b.ratio);
    return first ? [first] : [];
  });
  return [
    ...peers.map((name) => `${name}: ${meanText(ratios.filter(({ engine }) => engine === name))}`),
    ...(webgpu.length > 1 ? [`fastest of ${webgpu.join(", ")}: ${meanText(fastest)}`] : []),
    ...rows
      .filter(({ engine, error }) => engine !== ours && error !== undefined)
      .map(({ engine, name, pass, error }) => `${engine}: FAILED ${name} ${pass}: ${error ?? ""}`),
  ];
}

interface Ratio {
  readonly what: string;
  readonly ratio: number;
}

/** `5.03x our time, geometric mean of 12; least 2.10x, conv1 forward` */
function meanText(ratios: readonly Ratio[]): string {
  const logs = ratios.reduce((sum, { ratio }) => sum + Math.log(ratio), 0);
  const least = ratios.reduce((a, b) => (b.ratio < a.ratio ? b : a));
  const mean = Math.exp(logs / ratios.length).toFixed(2);
  return `${mean}x our time, geometric mean of ${ratios.length}; least ${least.ratio.toFixed(2)}x, ${least.what}`;
}

function isSameCase(a: BenchRow, b: BenchRow): boolean {
  const keys = ["suite", "name", "op", "pass", "algorithm", "precision"] as const;
  return keys.every((key) => a[key] === b[key]);
}
