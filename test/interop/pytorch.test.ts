/**
 * A state dict that PyTorch saved (scripts/pytorch_interop.py), and models that go out to PyTorch. Where `python3` has torch,
 * it runs them; else that one test skips.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect } from "chai";
import { permute } from "../../src/interop/layouts.ts";
import { bytesOf } from "../../src/interop/model_file.ts";
import { exportPytorch, importPytorch, readNameMap } from "../../src/interop/pytorch.ts";
import { checkNetwork, type NetworkConfig } from "../../src/nn/network.ts";
import { readSafetensors, writeSafetensors, type LoadedTensor } from "../../src/safetensors.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder, write } from "../support/files.ts";
import { useDevice } from "../support/device.ts";
import { skipUnless } from "../support/skip.ts";
import {
  EVERY_LAYER,
  INFO,
  largestDifference,
  ourProbabilities,
  randomImages,
  scaled,
  WINDOWS,
  writeRandomModel,
} from "./models.ts";

const fixture = (name: string): string => new URL(`../fixtures/${name}`, import.meta.url).pathname;
const STATE_DICT = fixture("pytorch_model.safetensors");
const SCRIPT = new URL("../../scripts/pytorch_interop.py", import.meta.url).pathname;
const info = INFO;

async function fixtureOutputs() {
  const { metadata, tensors } = await readSafetensors(fixture("pytorch_outputs.safetensors"));
  const images = tensors.get("images")!;
  const set = randomImages(images.shape[0]!, images.shape.slice(1) as [number, number, number]);
  return {
    network: checkNetwork(JSON.parse(metadata["network"]!)),
    set: { ...set, images: images.values as Uint8Array },
    probabilities: tensors.get("probabilities")!.values,
  };
}

describe("importPytorch", () => {
  const device = useDevice();
  const folder = temporaryFolder();
  const at = (name: string) => path.join(folder(), name);
  const model = () => at("model.safetensors");

  /** The fixture with other names or tensors. */
  async function changed(change: (tensors: Map<string, LoadedTensor>) => void): Promise<string> {
    const { metadata, tensors } = await readSafetensors(STATE_DICT);
    const copy = new Map(tensors);
    change(copy);
    const bytes = ({ values }: LoadedTensor) => bytesOf(values as Float32Array);
    const all = [...copy].map(([name, t]) => ({
      name,
      dtype: t.dtype,
      shape: t.shape,
      bytes: bytes(t),
    }));
    await writeSafetensors(at("changed.safetensors"), { tensors: all, metadata });
    return at("changed.safetensors");
  }

  it("our probabilities are those of PyTorch: filters, dense weights, the order of Flatten", async () => {
    const { network, set, probabilities } = await fixtureOutputs();
    const { mapping } = await importPytorch(STATE_DICT, model(), { info, network });
    expect(mapping.map(({ ours, theirs }) => `${ours} ${theirs}`)).to.deep.equal([
      ...["conv1.weight features.0.weight", "conv1.bias features.0.bias"],
      ...["conv2.weight features.2.weight", "conv2.bias features.2.bias"],
      "conv3.weight features.4.weight",
      ...["conv4.weight features.10.weight", "conv4.bias features.10.bias"],
      ...["dense1.weight classifier.2.weight", "dense1.bias classifier.2.bias"],
      ...["dense2.weight classifier.4.weight", "dense2.bias classifier.4.bias"],
    ]);
    const ours = await ourProbabilities(device(), model(), set);
    expect(largestDifference(ours, probabilities)).to.be.below(1e-5);
  });

  it("takes names from a map, of layers and of single parameters", async () => {
    const { network } = await fixtureOutputs();
    await importPytorch(STATE_DICT, model(), { info, network });
    const map = {
      ...{ conv1: "features.0", conv2: "features.2", conv3: "features.4", conv4: "features.10" },
      ...{ "dense1.weight": "classifier.2.weight", "dense1.bias": "classifier.2.bias" },
      dense2: "classifier.4",
    };
    writeFileSync(at("map.json"), JSON.stringify(map));
    const again = at("again.safetensors");
    await importPytorch(STATE_DICT, again, {
      info,
      network,
      map: await readNameMap(at("map.json")),
    });
    expect(readFileSync(again).equals(readFileSync(model()))).to.be.true;
  });

  it("refuses to guess between modules of one shape whose names give no order", async () => {
    const { network } = await fixtureOutputs();
    const file = await changed((tensors) => {
      for (const part of ["weight", "bias"]) {
        tensors.set(`body.${part}`, tensors.get(`features.2.${part}`)!);
        tensors.set(`stem.${part}`, tensors.get(`features.10.${part}`)!);
        tensors.delete(`features.2.${part}`);
        tensors.delete(`features.10.${part}`);
      }
    });
    expect(await rejection(importPytorch(file, model(), { info, network }))).to.contain(
      'body, stem have one shape and no order; say which is "conv2" with --map FILE.json',
    );
    const map = { conv2: "body", conv4: "stem", conv1: "features.0", conv3: "features.4" };
    const all = { ...map, dense1: "classifier.2", dense2: "classifier.4" };
    await importPytorch(file, model(), { info, network, map: all });
  });

  describe("with files that do not fit", () => {
    const refusal = async (file: string, change: object = {}, options: object = {}) => {
      const { network } = await fixtureOutputs();
      const layers = network.layers.map((l) => (l.name === "dense2" ? { ...l, ...change } : l));
      const own: NetworkConfig = { ...network, layers };
      return rejection(importPytorch(file, model(), { info, network: own, ...options }));
    };

    it("names tensors that are missing and surplus", async () => {
      expect(await refusal(STATE_DICT, { units: 4 })).to.contain(
        "tensors differ: the file lacks dense2.weight [4,8], dense2.bias [4], and the network has no place for classifier.4.bias [3], classifier.4.weight [3,8]",
      );
      const file = await changed((tensors) => {
        tensors.set("norm.running_mean", tensors.get("features.0.bias")!);
      });
      expect(await refusal(file)).to.contain(
        "tensors differ: the network has no place for norm.running_mean [4]; check --network",
      );
    });

    it("names a tensor of another shape, and one that is not in PyTorch's order", async () => {
      const map = { conv1: "features.2" };
      expect(await refusal(STATE_DICT, {}, { map })).to.contain("the file lacks conv2.weight");
      const whole = { conv1: "features.2", conv2: "features.0", conv3: "features.4" };
      const rest = { conv4: "features.10", dense1: "classifier.2", dense2: "classifier.4" };
      expect(await refusal(STATE_DICT, {}, { map: { ...whole, ...rest } })).to.contain(
        "features.2.weight: expected [4,3,4,3] for conv1.weight, got [4,4,3,3]; check --network and --map",
      );
      const turned = await changed((tensors) => {
        const weight = tensors.get("classifier.4.weight")!;
        tensors.set("classifier.4.weight", { ...weight, shape: [8, 3] });
      });
      const straight = { ...whole, ...rest, conv1: "features.0", conv2: "features.2" };
      expect(await refusal(turned, {}, { map: straight })).to.contain(
        "got [8,3], which is the order of Keras and tuningfork, not PyTorch's",
      );
    });

    it("refuses a map of other layers, or that is none", async () => {
      expect(await refusal(STATE_DICT, {}, { map: { conv9: "x" } })).to.contain(
        "--map names conv9, which the network does not have; it has conv1.weight,",
      );
      expect(await rejection(readNameMap(write(at("map.json"), "[1]")))).to.contain(
        'map.json: expected {"our layer":"their module",...}, got [1]',
      );
      expect(await rejection(readNameMap(at("none.json")))).to.contain("no such file or folder");
    });

    it("refuses a file without a network, one of ours, and a truncated one", async () => {
      expect(await rejection(importPytorch(STATE_DICT, model(), { info }))).to.contain(
        "does not say how its layers are connected; give the network with --network FILE.json",
      );
      await writeRandomModel(device(), model(), WINDOWS);
      expect(await rejection(importPytorch(model(), at("m.safetensors"), { info }))).to.contain(
        "is a model of tuningfork already",
      );
      truncateSync(model(), 900);
      expect(await rejection(importPytorch(model(), at("m.safetensors"), { info }))).to.match(
        /truncated: .*; copy or save it again/,
      );
    });
  });
});

describe("exportPytorch", () => {
  const device = useDevice();
  const folder = temporaryFolder();
  const at = (name: string) => path.join(folder(), name);
  const python = ["/usr/bin/python3", "python3"].find(
    (command) => spawnSync(command, ["-c", "import torch"]).status === 0,
  );

  for (const [name, network] of Object.entries({ EVERY_LAYER, WINDOWS })) {
    it(`PyTorch gives our probabilities: ${name}`, async function () {
      skipUnless(this, python, "needs a python3 with torch; on Debian: apt install python3-torch");
      await writeRandomModel(device(), at("model.safetensors"), network);
      const file = await exportPytorch(at("model.safetensors"), at("torch.safetensors"));
      expect(file).to.equal(at("torch.py"));
      const images = randomImages(3, network.input);
      const [height, width, channels] = network.input;
      const x = permute(scaled(images), [3, height, width, channels], [0, 3, 1, 2]);
      const shape = [3, channels, height, width];
      const tensors = [{ name: "x", dtype: "F32" as const, shape, bytes: bytesOf(x) }];
      await writeSafetensors(at("x.safetensors"), { tensors, metadata: {} });
      const run = spawnSync(python, ["-B", SCRIPT, at("torch.safetensors"), at("x.safetensors")]);
      expect(run.stderr.toString()).to.equal("");
      let theirs = (JSON.parse(run.stdout.toString()) as number[][]).flat();
      if (network === WINDOWS) theirs = softmaxRows(theirs, 3); // it ends in logits
      const ours = await ourProbabilities(device(), at("model.safetensors"), images);
      expect(largestDifference(ours, theirs)).to.be.below(1e-5);
    });

    it(`comes back the same, with network and classes: ${name}`, async () => {
      await writeRandomModel(device(), at("model.safetensors"), network);
      await exportPytorch(at("model.safetensors"), at("torch.safetensors"));
      await importPytorch(at("torch.safetensors"), at("again.safetensors"));
      const first = await readSafetensors(at("model.safetensors"));
      expect(await readSafetensors(at("again.safetensors"))).to.deep.equal(first);
    });
  }

  it("gives back the state dict that came in", async () => {
    const { network } = await fixtureOutputs();
    const { mapping } = await importPytorch(STATE_DICT, at("m.safetensors"), { info, network });
    await exportPytorch(at("m.safetensors"), at("torch.safetensors"));
    const before = await readSafetensors(STATE_DICT);
    const after = await readSafetensors(at("torch.safetensors"));
    for (const { ours, theirs } of mapping)
      expect(after.tensors.get(ours)).to.deep.equal(before.tensors.get(theirs));
  });

  it("refuses a place that cannot be written", async () => {
    await writeRandomModel(device(), at("model.safetensors"), WINDOWS);
    mkdirSync(at("t.py"));
    expect(await rejection(exportPytorch(at("model.safetensors"), at("t.safetensors")))).to.contain(
      `export ${at("t.py")}: cannot be written`,
    );
  });
});

function softmaxRows(logits: readonly number[], classes: number): number[] {
  return logits.map((value, i) => {
    const start = i - (i % classes);
    const row = logits.slice(start, start + classes);
    return Math.exp(value) / row.reduce((sum, other) => sum + Math.exp(other), 0);
  });
}
