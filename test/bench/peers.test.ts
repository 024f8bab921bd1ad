import { expect } from "chai";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { randomValues, type Conv2dWork, type NetworkWork, type Task } from "../../bench/engine.ts";
import { verifyTraining } from "../../bench/network.ts";
import { openPeers, Peer, peerSummary, PEERS } from "../../bench/peers.ts";
import type { BenchRow } from "../../bench/results.ts";
import type { AdapterDetails } from "../../src/gpu/adapter.ts";
import { Sequential } from "../../src/nn/model.ts";
import { useDevice } from "../support/device.ts";
import { skipUnless } from "../support/skip.ts";

const EFFORT = { seconds: 0.05, samples: 3 };
const auto = { algorithm: "auto", precision: "float32" } as const;
const dense: Task = { work: { op: "dense", n: 3, inC: 50, outC: 7 }, pass: "forward", ...auto };
const fakeScript = fileURLToPath(new URL("fake_peer.mjs", import.meta.url));
const options = {
  adapter: { class: "hardware", description: "none" } as AdapterDetails,
  losses: () => undefined,
};

function fakePeer(how: string): Peer {
  const kind = { command: process.execPath, script: fakeScript, environment: { FAKE: how } };
  return new Peer("fake", kind, options);
}

describe("peers", () => {
  describe("a peer's process", () => {
    let peer: Peer | undefined;
    afterEach(() => peer?.close());
    const timed = async (how: string, task: Task = dense) => {
      peer = fakePeer(how);
      return peer.time(task, EFFORT);
    };

    it("times a right answer, whatever its libraries print", async () => {
      const { samplesMs, error } = await timed("works");
      expect(error).to.equal(undefined);
      expect(samplesMs).to.have.length.of.at.least(3);
      for (const ms of samplesMs) expect(ms).to.be.above(0).and.below(100);
    });

    it("gives a wrong answer no time, and says where it is wrong", async () => {
      const { samplesMs, error } = await timed("errs");
      expect(samplesMs).to.deep.equal([]);
      expect(error).to.match(/^wrong at \[0,0\]: expected -?[\d.]+ \+- \S+, got /);
    });

    it("hands on why the engine refuses", async () => {
      expect((await timed("refuses")).error).to.equal("no dense layers here");
    });

    it("says how a process ended, and starts another one for the next task", async () => {
      expect((await timed("crashes")).error).to.equal("ended with exit code 3: out of everything");
      expect((await peer?.time(dense, EFFORT))?.error).to.match(/^ended with exit code 3/);
    });

    it("is not asked for what is ours alone", () => {
      peer = fakePeer("works");
      expect(peer.takes(dense)).to.equal(true);
      expect(peer.takes({ ...dense, algorithm: "tiled" })).to.equal(false);
      const work = { op: "leaky_relu", count: 10 } as const;
      expect(peer.takes({ work, pass: "forward", ...auto })).to.equal(false);
    });

    it("is ended by Ctrl-C", async () => {
      const stop = new AbortController();
      const kind = {
        command: process.execPath,
        script: fakeScript,
        environment: { FAKE: "hangs" },
      };
      peer = new Peer("fake", kind, { ...options, signal: stop.signal });
      await peer.start();
      const answer = peer.time(dense, EFFORT);
      stop.abort();
      expect((await answer).error).to.match(/^ended with SIGKILL/);
    });

    it("is refused on another adapter than ours", async () => {
      const kind = { command: process.execPath, script: fakeScript, ourDawn: true };
      const adapter = { class: "hardware", description: "a graphics card" } as AdapterDetails;
      peer = new Peer("fake", kind, { ...options, adapter });
      const message = await peer.start().catch((error: unknown) => String(error));
      expect(message).to.contain(
        "fake runs on another adapter: expected a graphics card, got none",
      );
    });

    it("that cannot be started is said so", async () => {
      peer = new Peer("fake", { command: "no-such-program", script: fakeScript }, options);
      expect((await peer.time(dense, EFFORT)).error).to.equal("no-such-program cannot be started");
    });
  });

  it("refuses an unknown engine before anything is started", async () => {
    const message = await openPeers(["tfjs", "caffe"], options).catch((error: unknown) => error);
    expect(message)
      .to.be.an("error")
      .with.property("message")
      .that.equals(
        'bench --peers: unknown engine: expected some of tfjs, tfjs-split, jax, jax-split, ort, torch, got "caffe"',
      );
  });

  describe("what they share", () => {
    interface Shared {
      randomValues: (count: number, seed: number) => Float32Array;
      conv2dShapes: (work: Conv2dWork) => Record<"x" | "w" | "y", number[]>;
      namedPadding: (...args: unknown[]) => unknown;
      layersOf: (network: unknown) => { out: number[] }[];
      columnBlocks: (
        values: Float32Array,
        shape: [number, number],
        limit: number,
      ) => { values: Float32Array; shape: number[] }[];
    }
    const file = new URL("../../bench/peers/peer.mjs", import.meta.url).href;
    let shared: Shared;
    before(async () => {
      shared = (await import(file)) as Shared;
    });

    it("draws the numbers that we draw", () => {
      for (const [count, seed] of [
        [10, 0],
        [70000, 203],
      ] as const)
        expect(shared.randomValues(count, seed)).to.deep.equal(randomValues(count, seed));
    });

    it("names paddings as the frameworks do", () => {
      const name = (padding: unknown) =>
        shared.namedPadding([96, 96], [6, 2], [1, 1], [1, 1], padding);
      expect(name([[2, 3], [0, 1]])).to.equal("same"); // prettier-ignore
      expect(name([[3, 2], [0, 1]])).to.deep.equal([[3, 2], [0, 1]]); // prettier-ignore
      expect(name([[0, 0], [0, 0]])).to.equal("valid"); // prettier-ignore
    });

    it("finds the shapes of a network's layers", () => {
      const model = new Sequential(NETWORK);
      const zero = [[0, 0], [0, 0]]; // prettier-ignore
      const layers = model
        .config()
        .layers.map((layer) => ("padding" in layer ? { ...layer, padding: zero } : layer));
      const valid = new Sequential({
        input: NETWORK.input,
        layers: layers.map((layer) =>
          "padding" in layer ? { ...layer, padding: "valid" } : layer,
        ),
      });
      const shapes = shared.layersOf({ input: NETWORK.input, layers }).map(({ out }) => out);
      expect(shapes).to.deep.equal(valid.shapes().slice(1));
    });

    it("splits a dense weight into columns only when asked to", () => {
      const w = Float32Array.of(1, 2, 3, 4, 5, 6);
      expect(shared.columnBlocks(w, [2, 3], 16)).to.have.length(1);
      process.env["SPLIT_DENSE"] = "1";
      try {
        const blocks = shared.columnBlocks(w, [2, 3], 16);
        expect(blocks.map(({ values }) => [...values])).to.deep.equal([[1, 2, 4, 5], [3, 6]]); // prettier-ignore
      } finally {
        delete process.env["SPLIT_DENSE"];
      }
    });
  });

  it("are summed up as parts of our time, with why one failed", () => {
    const row = (engine: string, pass: string, ratio?: number, error?: string) =>
      ({
        ...{ engine, suite: "paper", name: "conv1", op: "conv2d", pass },
        ...{ ms: error ? null : 10, algorithm: "auto", precision: "float32" },
        ...(ratio !== undefined && { ratio }),
        ...(error && { error }),
      }) as BenchRow;
    const rows = [
      ...[row("tuningfork", "forward"), row("jax", "forward", 4), row("torch", "forward", 0.5)],
      row("tfjs", "forward", undefined, "wrong at [0]"),
      ...[row("tuningfork", "inputGrad"), row("jax", "inputGrad", 9), row("tfjs", "inputGrad", 3)],
      row("tuningfork", "weightGrad"),
    ];
    expect(peerSummary(rows)).to.deep.equal([
      "jax: 6.00x our time, geometric mean of 2; least 4.00x, conv1 forward",
      "torch: 0.50x our time, geometric mean of 1; least 0.50x, conv1 forward",
      "tfjs: 3.00x our time, geometric mean of 1; least 3.00x, conv1 inputGrad",
      "fastest of jax, tfjs: 3.46x our time, geometric mean of 2; least 3.00x, conv1 inputGrad",
      "tfjs: FAILED conv1 forward: wrong at [0]",
    ]);
  });
});

const NETWORK = {
  input: [12, 12, 3],
  layers: [
    { type: "Conv2D", name: "conv1", filters: 8, kernelSize: [4, 3], padding: "same" },
    { type: "LeakyReLU", name: "relu1", slope: 0.3 },
    { type: "MaxPool2D", name: "pool1", size: [2, 2] },
    { type: "Dropout", name: "drop1", rate: 0.25 },
    { type: "Flatten", name: "flatten" },
    { type: "Dense", name: "dense1", units: 10 },
    { type: "LeakyReLU", name: "relu2", slope: 0.1 },
    { type: "Dense", name: "dense2", units: 3 },
    { type: "Softmax", name: "softmax" },
  ],
} as const;

/** Installed by `npm run peers`, which the tests do not do. */
describe("engines that are installed", function () {
  this.timeout(300_000);
  const device = useDevice();
  const folder = fileURLToPath(new URL("../../bench/peers/node_modules/", import.meta.url));
  const conv: Conv2dWork = {
    ...{ op: "conv2d", n: 2, inH: 7, inW: 6, inC: 3, kH: 3, kW: 2, outC: 5 },
    ...{ stride: [1, 1], dilation: [1, 1], padding: [[1, 1], [0, 1]] }, // prettier-ignore
  };
  const network = (op: NetworkWork["op"]): NetworkWork => ({ op, n: 4, network: NETWORK });
  const tasks: Task[] = [
    ...(["forward", "inputGrad", "weightGrad"] as const).flatMap((pass) => [
      { work: conv, pass, ...auto },
      { ...dense, pass },
    ]),
    { work: network("inference"), pass: "forward", ...auto },
    { work: network("training_step"), pass: "step", ...auto },
  ];

  for (const name of ["tfjs", "jax", "ort", "torch"])
    it(`${name} answers rightly`, async function () {
      const kind = PEERS[name];
      const there =
        name === "torch"
          ? ["python3", "/usr/bin/python3"].some(
              (python) => spawnSync(python, ["-c", "import torch"]).status === 0,
            )
          : existsSync(folder + String(kind?.packageName));
      const source = name === "torch" ? "a python3 with torch" : `${name}: npm run peers`;
      skipUnless(this, there, `needs ${source}`);
      const { losses: ours } = await verifyTraining(device(), network("training_step"));
      const losses = () => ours;
      const [peer] = await openPeers([name], { adapter: device().summary, losses });
      try {
        const taken = tasks.filter((task) => peer?.takes?.(task));
        expect(taken.map(({ pass }) => pass)).to.include("forward");
        for (const task of taken) {
          const answer = await peer?.time(task, EFFORT);
          expect(answer?.error, `${task.work.op} ${task.pass}`).to.equal(undefined);
        }
      } finally {
        await peer?.close();
      }
    });
});
