/** export and import as a user calls them, above all wrongly. */
import path from "node:path";
import { expect } from "chai";
import { exportModel } from "../../src/cli/export.ts";
import { importModel } from "../../src/cli/import.ts";
import { openSafetensors } from "../../src/safetensors.ts";
import { rejection } from "../support/errors.ts";
import { temporaryFolder, write } from "../support/files.ts";

const fixture = (name: string): string => new URL(`../fixtures/${name}`, import.meta.url).pathname;

/** What a command printed. */
async function run(command: () => Promise<number>): Promise<{ out: string[]; err: string[] }> {
  const [out, err]: [string[], string[]] = [[], []];
  const { log, error } = console;
  console.log = (line: string) => void out.push(line);
  console.error = (line: string) => void err.push(line);
  try {
    expect(await command()).to.equal(0);
    return { out, err };
  } finally {
    console.log = log;
    console.error = error;
  }
}

describe("cli import and export", () => {
  const folder = temporaryFolder();
  const at = (name: string) => path.join(folder(), name);
  const from = (name: string, more: object = {}) => ({
    ...{ from: fixture(name), out: at("model.safetensors"), ...more },
  });

  it("takes a Keras model in, says what became what, and gives it out in every format", async () => {
    const classes = ["elliptical", "spiral", "other"];
    const taken = await run(() => importModel(from("keras.keras", { classes, crop: 0.6 })));
    expect(taken.out[0]).to.equal("first.weight <- conv2d/vars/0");
    expect(taken.out.at(-1)).to.match(/model\.safetensors: 13 layers from .*keras\.keras$/);
    expect(taken.err.join()).to.contain("its Rescaling by 1/255 was left out");
    const file = await openSafetensors(at("model.safetensors"));
    await file.close();
    expect(file.metadata).to.include({ classes: JSON.stringify(classes), crop: "0.6" });
    const given = await run(() =>
      exportModel({
        ...{ model: at("model.safetensors"), layout: "nhwc", onnx: at("m.onnx") },
        ...{ keras: at("m.h5"), tfjs: at("web"), pytorch: at("t.safetensors") },
      }),
    );
    const files = ["m.onnx", "m.h5", "web/weights.bin", "web/model.json", "t.safetensors", "t.py"];
    expect(given.out.map((line) => line.split(" ")[0])).to.deep.equal(files.map(at));
    expect(given.out[0]).to.contain(
      'input "image" [batch, height, width, channels] in [0, 1], output "probabilities"',
    );
  });

  it("numbers classes without names, and warns where a file says nothing of pixels", async () => {
    const { err } = await run(() => importModel(from("keras_functional.keras")));
    expect(err.join()).to.contain("tuningfork feeds RGB pixels / 255");
    const file = await openSafetensors(at("model.safetensors"));
    await file.close();
    expect(file.metadata).to.include({ classes: '["0","1","2"]', crop: "1" });
  });

  const refusals: [string, string, object, string][] = [
    [
      "too few classes",
      "keras.h5",
      { classes: ["a"] },
      "expected 3 names of classes, as many as the model has outputs, got 1: a",
    ],
    ["a map for Keras", "keras.h5", { map: "m.json" }, "--map is for PyTorch's .safetensors"],
    [
      "a state dict without a network",
      "pytorch_model.safetensors",
      {},
      "give the network with --network FILE.json",
    ],
    ["a pickle of PyTorch", "model.pt", {}, 'got ".pt"; in Python: safetensors.torch.save_file'],
    [
      "another file",
      "model.txt",
      {},
      "expected .h5, .keras, a model.json of TensorFlow.js, or PyTorch's .safetensors",
    ],
    [
      "a file that is not there",
      "none.keras",
      {},
      "none.keras: cannot be read: no such file or folder",
    ],
  ];
  for (const [name, file, more, message] of refusals)
    it(`refuses ${name}`, async () => {
      expect(await rejection(importModel(from(file, more)))).to.contain(message);
    });

  it("refuses a network of a newer version", async () => {
    write(at("new.json"), JSON.stringify({ version: 2, input: [9, 8, 3], layers: [] }));
    const options = from("keras.h5", { network: at("new.json") });
    expect(await rejection(importModel(options))).to.equal(
      `network ${at("new.json")}: version: expected 1, got 2; use the tuningfork that wrote it, or a newer one`,
    );
  });

  it("refuses classes of one name, a map that is a list, and to write over what it reads", async () => {
    const refuse = async (file: string, more: object, message: string) => {
      expect(await rejection(importModel(from(file, more)))).to.contain(message);
    };
    await refuse(
      "keras.keras",
      { classes: ["a", "a", "b"] },
      "expected names of classes that differ",
    );
    write(at("list.json"), "[]");
    write(at("state.safetensors"), "");
    const state = at("state.safetensors");
    await refuse("", { from: state, map: at("list.json") }, 'expected {"our layer":"their module"');
    await refuse("", { from: state, out: state }, "it would be written over the file that it is");
    const own = { model: state, layout: "nhwc" as const };
    expect(await rejection(exportModel({ ...own, pytorch: state }))).to.contain("written over");
    expect(await rejection(exportModel({ ...own, pytorch: at("m.pt") }))).to.contain(
      "expected a name that ends in .safetensors",
    );
  });

  it("refuses to export nothing", async () => {
    const refusal = await rejection(exportModel({ model: "m.safetensors", layout: "nhwc" }));
    expect(refusal).to.contain("no format; give --onnx M.onnx, --keras M.keras,");
  });
});
