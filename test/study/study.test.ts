import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { Sequential } from "../../src/nn/model.ts";
import { TEST_IDS, type StudyResults } from "../../src/study/results.ts";
import { freezeFor, InterruptedError, SEVEN_TESTS } from "../../src/study/seven_tests.ts";
import { studySettings, type StudySettings } from "../../src/study/settings.ts";
import { runStudy, statistics, type StudyOptions } from "../../src/study/study.ts";
import { useDevice } from "../support/device.ts";

/** Simulated galaxies of 16x16 pixels and a network to match: every part of a study in seconds. */
const SMALL: StudySettings = {
  ...studySettings("quick", "mesa-software"),
  network: {
    input: [16, 16, 3],
    layers: [
      { type: "Conv2D", name: "conv1", filters: 4, kernelSize: [3, 3], padding: "same" },
      { type: "LeakyReLU", name: "relu1" },
      { type: "Conv2D", name: "conv2", filters: 4, kernelSize: [3, 3], padding: "same" },
      { type: "MaxPool2D", name: "pool1", size: [2, 2] },
      { type: "Conv2D", name: "conv3", filters: 4, kernelSize: [2, 2], padding: "same" },
      { type: "Conv2D", name: "conv4", filters: 4, kernelSize: [3, 3], padding: "same" },
      { type: "Flatten", name: "flatten" },
      { type: "Dense", name: "dense1", units: 8 },
      { type: "LeakyReLU", name: "relu5" },
      { type: "Dense", name: "dense2", units: 3 },
      { type: "Softmax", name: "softmax" },
    ],
  },
  size: 16,
  pretrainEpochs: { dissimilar: 1, similar: 1 },
  epochs: 2,
  dissimilarImages: 64,
  simulated: { similar: 64, target: 60, apply: 20 },
  small: { images: 10, epochs: 2, tested: 40 },
  large: 64,
};

describe("the study", () => {
  const device = useDevice();
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "tuningfork-study-"));
  });
  after(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  const options = (out: string, more: Partial<StudyOptions> = {}): StudyOptions => ({
    preset: "quick",
    settings: SMALL,
    choice: "simulated",
    tests: TEST_IDS,
    seed: 1,
    seeds: 1,
    out: join(folder, out),
    resume: false,
    ...more,
  });
  const withoutTimes = (results: StudyResults): string =>
    JSON.stringify(results, (key, value: unknown) =>
      ["seconds", "images_per_s", "imagesPerSecond", "started"].includes(key) ? undefined : value,
    );

  it("runs the seven tests on one split, shares pre-training, and writes all that it promises", async () => {
    const messages: string[] = [];
    const { results } = await runStudy(
      device(),
      options("whole", { seeds: 2, onMessage: (m) => messages.push(m) }),
    );
    expect(messages.join("\n")).to.contain("SIMULATED");
    expect(messages.filter((m) => m.startsWith("pre-training on the similar"))).to.have.length(2); // one a seed
    const onDisk = JSON.parse(
      await readFile(join(folder, "whole/results.json"), "utf8"),
    ) as StudyResults;
    expect(withoutTimes(onDisk)).to.equal(withoutTimes(results));
    expect(Object.keys(onDisk.tests)).to.deep.equal([...TEST_IDS]);
    for (const id of TEST_IDS) {
      const test = onDisk.tests[id]!;
      expect(test.n_test).to.equal(12);
      expect(test.confusion.flat().reduce((sum, n) => sum + n, 0)).to.equal(12);
      expect(test.n_train).to.equal(SEVEN_TESTS[id].fineTuned === "none" ? 0 : 48);
      expect(test.n_pretrain).to.equal(id === "a" ? 0 : 64);
      expect(existsSync(join(folder, `whole/models/${id}.safetensors`)), `model ${id}`).to.equal(
        true,
      );
      expect(test.accuracy_all === undefined).to.equal(id !== "b" && id !== "e");
    }
    expect(onDisk.tests.e!.n_all).to.equal(60);
    expect(onDisk.seeds!.g!.accuracy.values).to.have.length(2);
    for (const name of ["table3.csv", "table3.md", "report.html", "figures/roc_g.svg"])
      expect(existsSync(join(folder, "whole", name)), name).to.equal(true);
  });

  it("continues an interrupted study to the same figures, and keeps a finished one", async () => {
    const straight = await runStudy(device(), options("straight", { tests: ["a", "g"] }));
    const controller = new AbortController();
    let steps = 0;
    const interrupted = await runStudy(
      device(),
      options("broken", {
        tests: ["a", "g"],
        signal: controller.signal,
        onProgress: () => {
          if (++steps === 2) controller.abort();
        },
      }),
    ).catch((error: unknown) => error);
    expect(interrupted).to.be.instanceOf(InterruptedError);
    const again = await runStudy(device(), options("broken", { tests: ["a", "g"] })).catch(
      (e: unknown) => e,
    );
    expect(String(again)).to.contain("holds an unfinished study; continue it with --resume");
    const resumed = await runStudy(
      device(),
      options("broken", { tests: ["a", "g"], resume: true }),
    );
    expect(withoutTimes(resumed.results)).to.equal(withoutTimes(straight.results));
    const other = await runStudy(device(), options("broken", { seed: 2, resume: true })).catch(
      (e: unknown) => e,
    );
    expect(String(other)).to.contain("holds another study");
  });

  it("refuses a folder that cannot be made", async () => {
    await writeFile(join(folder, "file"), "");
    const failed = await runStudy(device(), options("file/inside")).catch(
      (error: unknown) => error,
    );
    expect(String(failed)).to.contain("cannot be written");
  });

  it("freezes what each test says", () => {
    const trainable = (fineTuned: (typeof SEVEN_TESTS)["a"]["fineTuned"]) => {
      const model = new Sequential(SMALL.network);
      freezeFor(model, fineTuned);
      return model.layers
        .filter((l) => l.trainable && /conv|dense/.test(l.name))
        .map((l) => l.name);
    };
    expect(trainable("all")).to.deep.equal([
      "conv1",
      "conv2",
      "conv3",
      "conv4",
      "dense1",
      "dense2",
    ]);
    expect(trainable("dense")).to.deep.equal(["dense1", "dense2"]);
    expect(trainable("conv3 conv4 + dense")).to.deep.equal(["conv3", "conv4", "dense1", "dense2"]);
  });

  it("gives mean and sample standard deviation", () => {
    expect(statistics([1, 2, 3])).to.deep.equal({ mean: 2, std: 1, values: [1, 2, 3] });
    expect(statistics([0.5]).std).to.equal(0);
  });
});
