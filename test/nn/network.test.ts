import { expect } from "chai";
import { Sequential } from "../../src/nn/model.ts";
import { checkNetwork, layersOf, readNetwork } from "../../src/nn/network.ts";
import { elementCount } from "../../src/tensor.ts";

const file = (name: string): string =>
  new URL(`../../networks/${name}.json`, import.meta.url).pathname;

const parameterCount = (model: Sequential): number => {
  const shapes = model.shapes();
  return model.layers
    .flatMap((layer, i) => layer.parameterSpecs(shapes[i]!))
    .reduce((sum, { shape }) => sum + elementCount(shape), 0);
};

describe("networks", () => {
  it("ds18.json has the 2,602,849 parameters of Dominguez Sanchez et al. 2018, and summary() prints them", () => {
    const model = new Sequential(readNetwork(file("ds18")));
    expect(parameterCount(model)).to.equal(2602849);
    expect(model.summary()).to.contain("2,602,849");
  });

  it("paper.json is the paper's: 96x96x3, dense1 of 73,728 x 1000 weights, 3 classes", () => {
    const model = new Sequential(readNetwork(file("paper")));
    const shapes = model.shapes();
    const dense1 = model.layers.findIndex(({ name }) => name === "dense1");
    expect(shapes[dense1]).to.deep.equal([73728]);
    expect(model.layers[dense1]!.parameterSpecs(shapes[dense1]!)[0]!.shape).to.deep.equal([
      73728, 1000,
    ]);
    expect(model.classCount).to.equal(3);
  });

  it("round-trips through config()", () => {
    for (const name of ["paper", "ds18", "quick"]) {
      const model = new Sequential(readNetwork(file(name)));
      const again = new Sequential(checkNetwork(JSON.parse(JSON.stringify(model.config()))));
      expect(again.config()).to.deep.equal(model.config());
    }
  });

  it("puts the even 6x6 kernel's extra padding at the end, so that same keeps the size", () => {
    const model = new Sequential(readNetwork(file("paper")));
    expect(model.shapes()[1]).to.deep.equal([96, 96, 32]);
  });

  const conv = { type: "Conv2D", name: "conv1", filters: 4, kernelSize: [3, 3] };
  const build = (layers: unknown[], input: unknown = [8, 8, 3]) =>
    new Sequential(checkNetwork({ input, layers }));
  const REFUSED: [string, () => unknown, string][] = [
    [
      "an unknown key of a layer",
      () => build([{ ...conv, stride: 2 }]),
      'unknown key "stride"; it may have type, name, trainable, filters',
    ],
    [
      "a misspelt key before the one that it leaves out",
      () => build([{ type: "Dense", name: "head", unit: 3 }]),
      'layers[0] (Dense "head"): unknown key "unit"; it may have type, name, trainable, units',
    ],
    [
      "an unknown key of the network",
      () => checkNetwork({ input: [8, 8, 3], layers: [conv], loss: 1 }),
      'unknown key "loss"',
    ],
    [
      "an unknown type",
      () => build([{ type: "Conv3D" }]),
      "type: expected one of Conv2D, LeakyReLU",
    ],
    [
      "a missing size",
      () => build([{ type: "Dense", name: "head" }]),
      'layers[0] (Dense "head"): units: expected an integer above 0, got nothing',
    ],
    [
      "a size that is none",
      () => build([{ ...conv, filters: 2.5 }]),
      "filters: expected an integer above 0, got 2.5",
    ],
    [
      "a padding that is none",
      () => build([{ ...conv, padding: "full" }]),
      'padding: expected "same", "valid" or',
    ],
    ["a name taken twice", () => build([conv, conv]), 'name: "conv1" is taken'],
    [
      "a dropout rate of 1",
      () => build([{ type: "Dropout", rate: 1 }]),
      "rate: expected a number from 0 to below 1, got 1",
    ],
    ["no layers", () => build([]), "layers: expected a list with at least one layer"],
    [
      "an input that is none",
      () => build([conv], [8, 8]),
      "input: expected [height, width, channels] of at most 2147483647 values, got [8,8]",
    ],
    [
      "an input that no array holds",
      () => build([conv], [1e9, 1e9, 3]),
      "input: expected [height, width, channels] of at most 2147483647 values, got [1000000000,1000000000,3]",
    ],
    [
      "Dense on images",
      () => build([{ type: "Dense", name: "head", units: 3 }]),
      'Dense "head": expected vectors [n,units], got [n,8,8,3]; add Flatten before it',
    ],
    [
      "Conv2D on vectors",
      () => build([{ type: "Flatten" }, conv]),
      'Conv2D "conv1": expected images [n,h,w,c], got [n,192]',
    ],
    ["a kernel larger than the image", () => build([{ ...conv, kernelSize: [9, 9] }]), "conv1"],
    [
      "Softmax in the middle",
      () =>
        build([{ type: "Flatten" }, { type: "Softmax", name: "s" }, { type: "Dense", units: 2 }]),
      "only the last layer may be a Softmax",
    ],
  ];
  for (const [what, make, message] of REFUSED)
    it(`refuses ${what}`, () => {
      expect(make).to.throw(message);
    });

  it("accepts the control of those cases", () => {
    expect(
      build([conv, { type: "Flatten" }, { type: "Dense", units: 3 }, { type: "Softmax" }])
        .classCount,
    ).to.equal(3);
  });

  it("names a network file that cannot be read", () => {
    expect(() => readNetwork("nowhere.json")).to.throw(
      "network nowhere.json: cannot be read: no such file or folder",
    );
    expect(layersOf(readNetwork(file("quick"))).length).to.be.greaterThan(5);
  });
});
