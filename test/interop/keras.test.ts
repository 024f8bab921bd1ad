/**
 * Files that Keras 3 saved (scripts/keras_reference.py), and models that go through TensorFlow.js and Keras and back. Where
 * `python3` has Keras, it runs them; else those tests skip.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import * as tfl from "@tensorflow/tfjs-layers";
import { expect } from "chai";
import { zipSync, unzipSync } from "fflate";
import type { Group } from "h5wasm/node";
import { importKeras } from "../../src/interop/keras.ts";
import { networkOfKeras } from "../../src/interop/keras_config.ts";
import { exportKeras } from "../../src/interop/keras_h5.ts";
import { exportTfjs } from "../../src/interop/tfjs.ts";
import type { ImageSet } from "../../src/data/dataset.ts";
import type { NetworkConfig } from "../../src/nn/network.ts";
import { readSafetensors } from "../../src/safetensors.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder } from "../support/files.ts";
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
const info = INFO;

interface Outputs {
  readonly images: number[];
  readonly sequential: number[][];
  readonly functional: number[][];
}

/** What Keras made of the images of its fixtures. */
function kerasOutputs(): Outputs & { readonly set: ImageSet } {
  const outputs = JSON.parse(readFileSync(fixture("keras_outputs.json"), "utf8")) as Outputs;
  const count = outputs.sequential.length;
  const set = { ...randomImages(count, [9, 8, 3]), images: Uint8Array.from(outputs.images) };
  return { ...outputs, set };
}

/** The network of the fixtures, as the `.keras` file describes it. */
function fixtureNetwork(): NetworkConfig {
  const { "config.json": config } = unzipSync(readFileSync(fixture("keras.keras")));
  return networkOfKeras(JSON.parse(Buffer.from(config!).toString()), "test").network;
}

describe("importKeras", () => {
  const device = useDevice();
  const folder = temporaryFolder();
  const at = (name: string) => path.join(folder(), name);
  const model = () => at("model.safetensors");

  const files: [string, "sequential" | "functional", boolean][] = [
    ["keras.keras", "sequential", false],
    ["keras.h5", "sequential", false],
    ["keras.weights.h5", "sequential", true],
    ["keras_functional.keras", "functional", false],
  ];
  for (const [name, kind, needsNetwork] of files)
    it(`${name}: our probabilities are those of Keras`, async () => {
      const outputs = kerasOutputs();
      const network = needsNetwork ? fixtureNetwork() : undefined;
      await importKeras(fixture(name), model(), { info, network });
      const ours = await ourProbabilities(device(), model(), outputs.set);
      expect(largestDifference(ours, outputs[kind].flat())).to.be.below(1e-5);
    });

  it("says whether the file scales pixels itself", async () => {
    expect(await importKeras(fixture("keras.h5"), model(), { info })).to.contain({
      rescales: true,
    });
    const plain = await importKeras(fixture("keras_functional.keras"), model(), { info });
    expect(plain).to.contain({ rescales: false });
  });

  it("finds the layers of early Keras 3, which have numbers and no names", async () => {
    const h5wasm = await import("h5wasm/node");
    await h5wasm.ready;
    copyFileSync(fixture("keras.weights.h5"), at("numbered.weights.h5"));
    const file = new h5wasm.File(at("numbered.weights.h5"), "a");
    for (const key of ["conv2d", "conv2d_1", "conv2d_2", "dense", "dense_1"])
      (file.get(`layers/${key}/vars`) as Group).delete_attribute("name");
    file.close();
    await importKeras(at("numbered.weights.h5"), model(), { info, network: fixtureNetwork() });
    await importKeras(fixture("keras.h5"), at("named.safetensors"), {
      info,
      network: fixtureNetwork(),
    });
    expect(readFileSync(model()).equals(readFileSync(at("named.safetensors")))).to.be.true;
  });

  describe("of TensorFlow.js", () => {
    before(async () => {
      await tf.setBackend("cpu");
    });

    /** Keeps what TensorFlow.js would save as files. */
    async function saveTfjs(theirs: tfl.Sequential, shardBytes: number): Promise<string> {
      await theirs.save(
        tf.io.withSaveHandler((artifacts) => {
          const data = Buffer.from(artifacts.weightData as ArrayBuffer);
          const paths: string[] = [];
          for (let start = 0; start < data.length; start += shardBytes) {
            paths.push(`group1-shard${paths.length + 1}.bin`);
            writeFileSync(at(paths.at(-1)!), data.subarray(start, start + shardBytes));
          }
          const { modelTopology, weightSpecs: weights } = artifacts;
          const json = {
            format: "layers-model",
            modelTopology,
            weightsManifest: [{ paths, weights }],
          };
          writeFileSync(at("model.json"), JSON.stringify(json));
          const date = new Date();
          return Promise.resolve({
            modelArtifactsInfo: { dateSaved: date, modelTopologyType: "JSON" },
          });
        }),
      );
      return at("model.json");
    }

    const theirModel = () =>
      tfl.sequential({
        layers: [
          tfl.layers.conv2d({
            ...{
              inputShape: [9, 8, 3],
              filters: 4,
              kernelSize: [4, 6],
              padding: "same",
              name: "c1",
            },
            biasInitializer: tfl.initializers.randomUniform({ minval: -0.5, maxval: 0.5, seed: 4 }),
            kernelInitializer: tfl.initializers.glorotUniform({ seed: 1 }),
          }),
          tfl.layers.leakyReLU({ alpha: 0.2 }),
          tfl.layers.maxPooling2d({ poolSize: [2, 2], strides: [1, 2] }),
          tfl.layers.dropout({ rate: 0.4 }),
          tfl.layers.flatten(),
          tfl.layers.dense({
            ...{ units: 3, activation: "softmax", name: "out" },
            kernelInitializer: tfl.initializers.glorotUniform({ seed: 2 }),
          }),
        ],
      });

    it("gives its probabilities, from several files of weights", async () => {
      const theirs = theirModel();
      const images = randomImages(4, [9, 8, 3]);
      const wanted = theirs.predict(tf.tensor4d(scaled(images), [4, 9, 8, 3])) as tf.Tensor;
      await importKeras(await saveTfjs(theirs, 300), model(), { info });
      const ours = await ourProbabilities(device(), model(), images);
      expect(largestDifference(ours, await wanted.data())).to.be.below(1e-5);
    });

    it("refuses files of weights that are short, missing or quantized, and graph models", async () => {
      const json = await saveTfjs(theirModel(), 300);
      const refusal = () => rejection(importKeras(json, model(), { info }));
      truncateSync(at("group1-shard1.bin"), 299);
      expect(await refusal()).to.match(/expected \d+ bytes in group1-shard1.bin,.*got \d+; copy/);
      const text = readFileSync(json, "utf8");
      writeFileSync(json, text.replace('"group1-shard1.bin"', '"gone.bin"'));
      expect(await refusal()).to.match(/gone\.bin cannot be read: no such file or folder/);
      const quantized = JSON.parse(text) as { weightsManifest: [{ weights: object[] }] };
      Object.assign(quantized.weightsManifest[0].weights[0]!, { quantization: {}, dtype: "uint8" });
      writeFileSync(json, JSON.stringify(quantized));
      expect(await refusal()).to.contain("expected float32, got quantized weights");
      writeFileSync(json, text.replace("layers-model", "graph-model"));
      expect(await refusal()).to.contain("expected a layers model, got a graph model");
      writeFileSync(json, text.slice(0, 100));
      expect(await refusal()).to.contain("no JSON");
    });
  });

  describe("with files that do not fit", () => {
    const network = fixtureNetwork();
    const changed = (layers: NetworkConfig["layers"]): NetworkConfig => ({ ...network, layers });
    const refusal = (file: string, own?: NetworkConfig) =>
      rejection(importKeras(file, model(), { info, network: own }));

    it("names layers that are missing and surplus", async () => {
      const renamed = changed(
        network.layers.map((layer) => (layer.name === "head" ? { ...layer, name: "top" } : layer)),
      );
      expect(await refusal(fixture("keras.h5"), renamed)).to.contain(
        "layers differ: the file lacks the weights of top, and the network has no layers head",
      );
      const shorter = changed(network.layers.slice(0, 2).concat({ type: "Flatten", name: "f" }));
      expect(await refusal(fixture("keras.weights.h5"), shorter)).to.match(
        /the network has no layers conv2d, conv2d_1, dense, head; name the layers/,
      );
    });

    it("names a weight of another shape, and a bias too many", async () => {
      const other = (change: object) =>
        changed(network.layers.map((l) => (l.name === "head" ? { ...l, ...change } : l)));
      expect(await refusal(fixture("keras.h5"), other({ units: 4 }))).to.match(
        /layer "head": expected head.weight \[7,4\], got .*head\/kernel \[7,3\]; the network is another/,
      );
      expect(await refusal(fixture("keras.h5"), other({ useBias: false }))).to.match(
        /layer "head": expected 1 weights, got .*kernel, .*bias; see useBias/,
      );
    });

    it("refuses a truncated file, another format, and weights without a network", async () => {
      for (const name of ["keras.h5", "keras.keras"]) {
        copyFileSync(fixture(name), at(name));
        truncateSync(at(name), 30000);
      }
      expect(await refusal(at("keras.h5"))).to.equal(
        `import ${at("keras.h5")}: truncated; copy or save it again`,
      );
      expect(await refusal(at("keras.keras"))).to.contain("no whole zip file");
      copyFileSync(fixture("keras_outputs.json"), at("text.h5"));
      expect(await refusal(at("text.h5"))).to.contain("no HDF5 file");
      writeFileSync(at("empty.keras"), zipSync({ "config.json": Buffer.from("{}") }));
      expect(await refusal(at("empty.keras"))).to.contain("got config.json");
      expect(await refusal(at("none.h5"))).to.contain("no such file or folder");
      expect(await refusal(fixture("keras.weights.h5"))).to.contain(
        "give the network with --network",
      );
    });
  });
});

const SCRIPT = new URL("../../scripts/keras_reference.py", import.meta.url).pathname;
/** Asked without importing it, which takes seconds. */
const FIND_KERAS = "import importlib.util as u, sys; sys.exit(u.find_spec('keras') is None)";

describe("exportKeras and exportTfjs", () => {
  const hasKeras = spawnSync("python3", ["-c", FIND_KERAS]).status === 0;
  const device = useDevice();
  const folder = temporaryFolder();
  const at = (name: string) => path.join(folder(), name);

  for (const [name, network] of Object.entries({ EVERY_LAYER, WINDOWS })) {
    it(`TensorFlow.js gives our probabilities: ${name}`, async () => {
      await tf.setBackend("cpu");
      await writeRandomModel(device(), at("model.safetensors"), network);
      await exportTfjs(at("model.safetensors"), at("web"));
      const bytes = readFileSync(at("web/weights.bin"));
      const json = JSON.parse(readFileSync(at("web/model.json"), "utf8")) as {
        modelTopology: object;
        weightsManifest: { weights: tf.io.WeightsManifestEntry[] }[];
      };
      const theirs = await tfl.loadLayersModel(
        tf.io.fromMemory({
          modelTopology: json.modelTopology,
          weightSpecs: json.weightsManifest[0]!.weights,
          weightData: new Uint8Array(bytes).buffer,
        }),
      );
      const images = randomImages(3, network.input);
      const [h, w, c] = network.input;
      let wanted = theirs.predict(tf.tensor4d(scaled(images), [3, h, w, c])) as tf.Tensor;
      if (network === WINDOWS) wanted = tf.softmax(wanted); // it ends in logits
      const ours = await ourProbabilities(device(), at("model.safetensors"), images);
      expect(largestDifference(ours, await wanted.data())).to.be.below(1e-5);
    });

    it(`Keras gives our probabilities: ${name}`, async function () {
      skipUnless(this, hasKeras, "needs a python3 with keras: pip install keras jax h5py");
      await writeRandomModel(device(), at("model.safetensors"), network);
      const images = randomImages(3, network.input);
      const ours = await ourProbabilities(device(), at("model.safetensors"), images);
      const pixels = tf.tensor4d(scaled(images), [3, ...network.input]).arraySync();
      writeFileSync(at("images.json"), JSON.stringify(pixels));
      const files = [at("model.keras"), at("model.h5")];
      for (const file of files) await exportKeras(at("model.safetensors"), file);
      const env = { KERAS_BACKEND: "jax", ...process.env };
      const ran = spawnSync("python3", ["-B", SCRIPT, at("images.json"), ...files], { env });
      expect(ran.status, ran.stderr.toString()).to.equal(0);
      for (const rows of JSON.parse(ran.stdout.toString()) as number[][][]) {
        const theirs = tf.tensor2d(rows);
        const wanted = network === WINDOWS ? tf.softmax(theirs) : theirs; // it ends in logits
        expect(largestDifference(ours, wanted.dataSync())).to.be.below(1e-5);
      }
    });

    it(`comes back the same: ${name}`, async () => {
      await writeRandomModel(device(), at("model.safetensors"), network);
      await exportKeras(at("model.safetensors"), at("model.h5"));
      await exportKeras(at("model.safetensors"), at("model.keras"));
      await exportTfjs(at("model.safetensors"), at("web"));
      const first = await readSafetensors(at("model.safetensors"));
      for (const file of ["model.h5", "model.keras", "web/model.json"]) {
        await importKeras(at(file), at("again.safetensors"), { info });
        const again = await readSafetensors(at("again.safetensors"));
        expect(again).to.deep.equal(first);
      }
    });
  }

  it("refuses what Keras does not have, and a place that cannot be written", async () => {
    const pool = {
      type: "MaxPool2D",
      name: "pool",
      size: 2,
      padding: [
        [1, 0],
        [0, 1],
      ],
    };
    const layers = [pool, { type: "Flatten" }, { type: "Dense", units: 3 }];
    await writeRandomModel(device(), at("model.safetensors"), { input: [4, 4, 3], layers });
    expect(await rejection(exportKeras(at("model.safetensors"), at("m.h5")))).to.contain(
      'MaxPool2D "pool": Keras pools with padding "same" or "valid" alone',
    );
    await writeRandomModel(device(), at("model.safetensors"), WINDOWS);
    mkdirSync(at("folder.h5"));
    expect(await rejection(exportKeras(at("model.safetensors"), at("none/m.h5")))).to.equal(
      `export ${at("none/m.h5")}: cannot be written: no such file or folder`,
    );
    expect(await rejection(exportKeras(at("model.safetensors"), at("folder.h5")))).to.contain(
      "cannot be written",
    );
    expect(await rejection(exportTfjs(at("model.safetensors"), "/proc/web"))).to.contain(
      "export /proc/web: cannot be written",
    );
  });
});

describe("networkOfKeras", () => {
  const input = { class_name: "InputLayer", config: { batch_shape: [null, 8, 8, 3], name: "in" } };
  const read = (...layers: object[]) =>
    networkOfKeras({ class_name: "Sequential", config: { layers: [input, ...layers] } }, "m.h5");
  const conv = (more: object) => ({
    class_name: "Conv2D",
    config: { name: "c", filters: 4, kernel_size: [3, 3], ...more },
  });

  it("takes a model that is right", () => {
    expect(read(conv({})).network.layers).to.have.lengthOf(1);
  });

  const refusals: [string, object[], string][] = [
    [
      "a type without a counterpart",
      [{ class_name: "LSTM", config: { name: "l" } }],
      'LSTM "l": this type of layer has no counterpart here; it may be Conv2D',
    ],
    ["groups", [conv({ groups: 2 })], 'Conv2D "c": groups: expected 1, got 2'],
    [
      "channels first",
      [conv({ data_format: "channels_first" })],
      'data_format: expected "channels_last", got "channels_first"',
    ],
    [
      "an activation",
      [conv({ activation: "gelu" })],
      'activation: expected linear, relu, leaky_relu or softmax, got "gelu"',
    ],
    [
      "causal padding",
      [conv({ padding: "causal" })],
      'padding: expected "same" or "valid", got "causal"',
    ],
    [
      "a ReLU with a ceiling",
      [{ class_name: "ReLU", config: { max_value: 6 } }],
      "expected neither max_value nor threshold",
    ],
    [
      "other scaling of pixels",
      [{ class_name: "Rescaling", config: { scale: 1 / 127.5, offset: -1 } }],
      "expected scale 1/255 and offset 0",
    ],
    [
      "a softmax over another axis",
      [{ class_name: "Softmax", config: { axis: 2 } }],
      "axis: expected -1, got 2",
    ],
    [
      "padding before another layer",
      [
        { class_name: "ZeroPadding2D", config: { padding: 1 } },
        { class_name: "Flatten", config: {} },
      ],
      "a ZeroPadding2D stands before it; expected a Conv2D there",
    ],
    [
      "a branch",
      [{ ...conv({}), inbound_nodes: [[["elsewhere", 0, 0, {}]]] }],
      'expected its input from the layer before, "in", got it from elsewhere',
    ],
  ];
  for (const [name, layers, message] of refusals)
    it(`refuses ${name}`, () => {
      expect(() => read(...layers)).to.throw(message);
    });

  it("refuses an input of no fixed size, and what is no model", () => {
    const open = { class_name: "InputLayer", config: { batch_shape: [null, null, null, 3] } };
    const model = { class_name: "Sequential", config: { layers: [open] } };
    expect(() => networkOfKeras(model, "m.h5")).to.throw("of fixed size, got [null,null,null,3]");
    expect(() => networkOfKeras({ class_name: "Bert" }, "m.h5")).to.throw(
      'expected a Sequential or Functional model, got "Bert"',
    );
  });
});
