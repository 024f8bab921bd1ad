/** train, evaluate, predict and inspect as a user calls them, above all wrongly. */
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync } from "node:fs";
import path from "node:path";
import { expect } from "chai";
import sharp from "sharp";
import { evaluate } from "../../src/cli/evaluate.ts";
import { inspect } from "../../src/cli/inspect.ts";
import { predictImages } from "../../src/cli/predict.ts";
import { train } from "../../src/cli/train.ts";
import { swiftShaderDir } from "../../src/gpu/adapter.ts";
import { writeImage } from "../data/fixtures.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder, write } from "../support/files.ts";
import { useDevice } from "../support/device.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const NETWORK = {
  input: [8, 8, 3],
  layers: [
    { type: "Flatten", name: "flatten" },
    { type: "Dense", name: "dense1", units: 2 },
    { type: "Softmax", name: "softmax" },
  ],
};

/** Runs a command in this process; what it printed, and its exit code. */
async function run(
  command: () => Promise<number>,
): Promise<{ code: number; out: string; err: string }> {
  const [out, err]: [string[], string[]] = [[], []];
  const { log, error } = console;
  console.log = (line: string) => void out.push(line);
  console.error = (line: string) => void err.push(line);
  try {
    return { code: await command(), out: out.join("\n"), err: err.join("\n") };
  } finally {
    console.log = log;
    console.error = error;
  }
}

describe("cli with a model", function () {
  useDevice();
  this.timeout(30_000);
  const folder = temporaryFolder();
  const at = (...names: string[]): string => path.join(folder(), ...names);
  const model = () => at("out", "model.safetensors");
  const cacheBefore = process.env["TUNINGFORK_CACHE"];

  beforeEach(async () => {
    // A cache of its own, in which an adapter that was unpacked into the user's is found all the same.
    const adapter = swiftShaderDir();
    mkdirSync(at("cache"));
    symlinkSync(adapter, at("cache", path.basename(adapter)));
    process.env["TUNINGFORK_CACHE"] = at("cache");
    write(at("network.json"), JSON.stringify(NETWORK));
    for (const [i, name] of ["dark", "bright"].entries())
      for (let image = 0; image < 3; image++)
        await writeImage(at(`set/${name}/${image}.png`), 16, { r: 200 * i + image, g: 50, b: 0 });
  });
  afterEach(() => {
    if (cacheBefore === undefined) delete process.env["TUNINGFORK_CACHE"];
    else process.env["TUNINGFORK_CACHE"] = cacheBefore;
  });

  const trainOptions = (more: object = {}) => ({
    ...{ network: at("network.json"), dataSet: at("set"), out: at("out"), freeze: [] },
    ...{
      epochs: 2,
      batchSize: 4,
      accumulateSteps: 1,
      seed: 1,
      validation: 0,
      augment: false,
      best: false,
    },
    ...{ resume: false, ...more },
  });

  it("says what is trained, that there was nothing to resume, and how much memory it took", async () => {
    const { code, out, err } = await run(() => train(trainOptions({ resume: true })));
    expect(code).to.equal(0);
    expect(err).to.contain("dense1");
    expect(err).to.contain("holds no run to resume; this one starts from the beginning");
    expect(out).to.match(/model\.safetensors: loss .* after 2 epochs; peak memory [\d.]+ \w+$/);
  });

  it("refuses a layer to freeze that is not there, and the weights of another network", async () => {
    expect(await rejection(train(trainOptions({ freeze: ["conv9"] })))).to.contain(
      'no layer "conv9"; it has flatten, dense1, softmax',
    );
    await run(() => train(trainOptions()));
    const wider = { ...NETWORK, input: [10, 10, 3] };
    write(at("wider.json"), JSON.stringify(wider));
    const other = { network: at("wider.json"), init: model(), out: at("other") };
    expect(await rejection(train(trainOptions(other)))).to.contain(
      "dense1.weight: expected F32 [300,2], got F32 [192,2]; these weights belong to another network",
    );
  });

  it("evaluates images of one's own with the crop of the training", async () => {
    // A frame that training does not see.
    for (const name of ["dark", "bright"]) {
      const file = at(`set/${name}/0.png`);
      const frame = { top: 8, bottom: 8, left: 8, right: 8, background: "white" };
      write(file, await sharp(readFileSync(file)).extend(frame).png().toBuffer());
    }
    await run(() => train(trainOptions({ crop: 0.5 })));
    const loss = async (crop?: number) => {
      const { out } = await run(() =>
        evaluate({
          ...{ model: model(), dataSet: at("set"), part: "test", batchSize: 4, json: true },
          ...(crop !== undefined && { crop }),
        }),
      );
      return (JSON.parse(out) as { loss: number }).loss;
    };
    expect(await loss()).to.equal(await loss(0.5));
    expect(await loss()).not.to.equal(await loss(1));
  });

  it("classifies what is an image, reports what is none, and ends with 1", async () => {
    await run(() => train(trainOptions()));
    const broken = write(at("broken.jpg"), "no image");
    const images = [at("set/dark/0.png"), broken, at("missing.png"), at("set")];
    const { code, out, err } = await run(() =>
      predictImages({ model: model(), images, batchSize: 4, json: true }),
    );
    expect(code).to.equal(1);
    const line = JSON.parse(out) as { path: string; probabilities: Record<string, number> };
    expect(line.path).to.equal(images[0]);
    expect(Object.keys(line.probabilities)).to.deep.equal(["bright", "dark"]);
    expect(err).to.contain(`${broken}: not a readable image`);
    expect(err).to.contain("missing.png: not a readable image: no such file or folder");
    expect(err).to.contain(`${at("set")}: not a readable image: it is a folder`);
    expect(err).to.contain("3 of 4 files could not be classified");
  });

  it("names the layers where inspect is asked for one that is not there", async () => {
    await run(() => train(trainOptions()));
    const options = { model: model(), image: at("set/dark/0.png"), layers: ["conv9"] };
    expect(await rejection(inspect({ ...options, out: at("maps") }))).to.contain(
      'no layer "conv9"; it has flatten, dense1, softmax',
    );
  });
});

describe("Ctrl-C", () => {
  it("asks for an end, and a second one ends at once", async () => {
    const script = `
      import { onInterrupt } from "./src/cli/train.ts";
      onInterrupt();
      setInterval(() => {}, 1000);
      console.log("ready");`;
    const child = spawn(
      process.execPath,
      ["--import", "tsx", "--input-type=module", "-e", script],
      { cwd: ROOT },
    );
    let said = "";
    child.stdout.on("data", () => child.kill("SIGINT"));
    child.stderr.on("data", (text: Buffer) => {
      said += text.toString();
      // Later than a terminal and npm would pass the same Ctrl-C on twice.
      setTimeout(() => child.kill("SIGINT"), 700);
    });
    const signal = await new Promise((resolve) => {
      child.on("close", (_code, name) => {
        resolve(name);
      });
    });
    expect(said).to.contain("ending after the current step");
    expect(signal).to.equal("SIGINT");
  }).timeout(20_000);
});
