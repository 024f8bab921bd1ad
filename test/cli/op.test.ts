import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { OP_NAMES, parseAttributes, runOp } from "../../src/cli/op.ts";
import { CONV2D_ALGORITHMS } from "../../src/kernels/conv2d.ts";
import { LeakyReLU } from "../../src/nn/leaky_relu.ts";
import { readSafetensors, writeSafetensors, type FileDType } from "../../src/safetensors.ts";
import type { TypedArray } from "../../src/tensor.ts";
import { expectClose } from "../../src/testing/close.ts";
import { useDevice } from "../support/device.ts";
import { cases, random, type Tensors } from "../support/op_cases.ts";

const dtypeOf = (values: TypedArray | Float64Array): FileDType => {
  if (values instanceof Int32Array) return "I32";
  return values instanceof Uint8Array ? "U8" : "F32";
};

describe("tuningfork op", () => {
  let folder = "";
  let from = "";
  let to = "";
  let printed: string[] = [];
  const console_ = { log: console.log, error: console.error };
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "tuningfork-op-"));
    from = join(folder, "in.safetensors");
    to = join(folder, "out.safetensors");
    printed = [];
    console.log = console.error = (line: string) => printed.push(line);
  });
  afterEach(() => {
    Object.assign(console, console_);
    rmSync(folder, { recursive: true });
  });

  const write = (tensors: Tensors) =>
    writeSafetensors(from, {
      tensors: Object.entries(tensors).map(([name, [values, shape, dtype]]) => ({
        name,
        dtype: dtype ?? dtypeOf(values),
        shape,
        bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
      })),
      metadata: {},
    });

  describe("runs", () => {
    useDevice(); // skips without an adapter

    it("every operation there is (the table of cases is whole)", () => {
      const tested = new Set(cases().map(({ op }) => op));
      expect([...OP_NAMES].sort()).to.deep.equal([...tested].sort());
    });

    for (const { op, attributes = {}, tensors, want, tolerance } of cases())
      it(`${op} ${Object.keys(tensors).join(" ")} ${JSON.stringify(attributes)}`, async () => {
        await write(tensors);
        const attrs = JSON.stringify(attributes);
        expect(await runOp({ name: op, in: from, out: to, attrs })).to.equal(0);
        const written = await readSafetensors(to);
        expect([...written.tensors.keys()].sort()).to.deep.equal(Object.keys(want).sort());
        for (const [name, [reference, shape]] of Object.entries(want)) {
          const tensor = written.tensors.get(name);
          expect(tensor?.shape, name).to.deep.equal(shape);
          expectClose(tensor!.values as Float32Array, reference, shape, tolerance);
        }
        expect(written.metadata["op"]).to.equal(op);
        expect(printed[0]).to.contain(`${op}: `);
      });

    it("says which tensors it ignores", async () => {
      await write({ x: random("x", 2), bias: random("bias", 2), dy: random("dy", 2) });
      await runOp({ name: "leaky_relu", in: from, out: to, attrs: '{"slope":0}' });
      expect(printed[0]).to.equal("op leaky_relu: ignoring bias; it takes x");
    });
  });

  describe("refuses", () => {
    const failure = async (
      op: string,
      tensors: Tensors,
      attributes: Record<string, unknown> = {},
    ): Promise<string> => {
      await write(tensors);
      const attrs = JSON.stringify(attributes);
      const error: unknown = await runOp({ name: op, in: from, out: to, attrs }).catch(
        (reason: unknown) => reason,
      );
      expect(error).to.be.instanceOf(Error);
      return (error as Error).message;
    };
    const x = random("x", 2, 3);
    const labels = (...values: number[]): Tensors[string] => [
      Int32Array.from(values),
      [values.length],
    ];

    it("an unknown operation", async () => {
      expect(await failure("conv3d", { x })).to.match(
        /^op: unknown operation: expected conv2d, .*, affine_warp, got "conv3d"$/,
      );
      expect(await failure("toString", { x })).to.contain('got "toString"');
    });
    it("a missing tensor, by name", async () => {
      expect(await failure("dense", { x })).to.equal(
        `op dense: ${from} has no tensor w (float32, [inC,outC]); it has x`,
      );
    });
    it("a tensor of another type", async () => {
      const wrong: Tensors[string] = [Float32Array.of(0, 1), [2]];
      expect(await failure("softmax_cross_entropy", { x, labels: wrong })).to.equal(
        "op softmax_cross_entropy: labels: expected int32 (I32), got F32; save it as int32",
      );
      const long: Tensors[string] = [new Float64Array(2), [2], "I64"];
      expect(await failure("softmax_cross_entropy", { x, labels: long })).to.contain("got I64");
      expect(
        await failure("affine_warp", { x: random("x", 1, 2, 2, 3) }, { outSize: 2 }),
      ).to.contain("x: expected uint8 (U8), got F32");
    });
    it("a tensor of another rank", async () => {
      expect(await failure("conv2d", { x, w: random("w", 1, 1, 3, 2) })).to.equal(
        "op conv2d: x: expected [n,h,w,c], got [2,3]",
      );
    });
    it("a tensor without elements", async () => {
      expect(await failure("softmax", { x: random("x", 0, 3) })).to.equal(
        "op softmax: x: [0,3] has no elements",
      );
    });
    it("a label that is no class", async () => {
      expect(await failure("softmax_cross_entropy", { x, labels: labels(0, 3) })).to.equal(
        "op softmax_cross_entropy: labels[1]: expected 0 to 2 for 3 classes, got 3",
      );
    });
    it("matrices for another number of images", async () => {
      const images: Tensors[string] = [new Uint8Array(12), [1, 2, 2, 3]];
      const tensors = { x: images, matrix: random("m", 2, 2, 3) };
      expect(await failure("affine_warp", tensors, { outSize: 2 })).to.contain(
        "affine_warp: matrix: expected [1,2,3] for x [1,2,2,3], got [2,2,3]",
      );
    });
    it("to write over the file that it reads", async () => {
      await write({ x });
      const error: unknown = await runOp({ name: "softmax", in: from, out: from }).catch(
        (reason: unknown) => reason,
      );
      expect(String(error)).to.contain("it would be written over the file that it is made of");
    });
    it("a file that is not there", async () => {
      const error: unknown = await runOp({ name: "softmax", in: from, out: to }).catch(
        (reason: unknown) => reason,
      );
      expect(String(error)).to.contain("cannot be read: no such file or folder");
    });
  });

  it("is listed whole by --help", () => {
    const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
    const args = ["--import", "tsx", main, "op", "--help"];
    const help = execFileSync(process.execPath, args, { encoding: "utf8" });
    const words = help.match(/\w+/g);
    expect(words).to.include.members([...OP_NAMES]);
  });

  describe("parseAttributes", () => {
    const REFUSALS: [string, string, string][] = [
      ["conv2d", "{bad", "op conv2d: --attrs is no JSON: "],
      ["conv2d", "[1]", "op conv2d: --attrs: expected a JSON object, got [1]"],
      [
        "conv2d",
        '{"stride":2}',
        "op conv2d: unknown attribute stride: expected strides, dilations, padding, algorithm",
      ],
      [
        "softmax",
        '{"axis":1}',
        "op softmax: unknown attribute axis: expected none, this operation has no attributes",
      ],
      [
        "conv2d",
        '{"strides":[1,2,3]}',
        "attribute strides: expected an integer from 1 or a list of two, [height,width], got [1,2,3]",
      ],
      ["conv2d", '{"strides":0}', "attribute strides: expected an integer from 1"],
      ["conv2d", '{"dilations":"2"}', "attribute dilations: expected an integer from 1"],
      [
        "conv2d",
        '{"padding":"SAME"}',
        'attribute padding: expected "same", "valid" or [[top,bottom],[left,right]], got "SAME"',
      ],
      ["conv2d", '{"padding":[[1,1],[1]]}', "attribute padding: expected"],
      [
        "conv2d",
        '{"algorithm":"fast"}',
        `attribute algorithm: expected "${CONV2D_ALGORITHMS.join('", "')}", got "fast"`,
      ],
      [
        "conv2d_input_grad",
        "{}",
        `op conv2d_input_grad: missing attribute inputShape; give it, e.g. --attrs '{"inputShape":[1,28,28,3]}'`,
      ],
      ["conv2d_weight_grad", '{"kernelShape":[3]}', "attribute kernelShape: expected an integer"],
      ["max_pool2d", "{}", "missing attribute size"],
      [
        "leaky_relu",
        '{"slope":null}',
        "attribute slope: expected a number from -1e38 to 1e38, got",
      ],
      [
        "leaky_relu",
        '{"slope":1e39}',
        "attribute slope: expected a number from -1e38 to 1e38, got",
      ],
      ["adamax", '{"learningRate":1e39}', "attribute learningRate: expected a number from 0 to"],
      ["dropout", '{"rate":1}', "attribute rate: expected a number from 0 to below 1, got 1"],
      ["dropout", '{"rate":0.5,"step":-1}', "attribute step: expected an integer from 0 to"],
      ["adamax", '{"t":0}', "attribute t: expected an integer from 1 to 4294967296, got 0"],
      ["adamax", '{"beta1":1}', "attribute beta1: expected a number from 0 to below 1, got 1"],
      ["affine_warp", "{}", "missing attribute outSize"],
    ];
    for (const [name, text, message] of REFUSALS)
      it(`refuses ${name} ${text}`, () => {
        expect(() => parseAttributes(name, text)).to.throw(message);
      });

    it("takes a number or a list where a size is meant, and leaves absent what was left out", () => {
      expect(parseAttributes("conv2d", '{"strides":2,"dilations":[1,2]}')).to.deep.equal({
        strides: 2,
        dilations: [1, 2],
      });
      expect(parseAttributes("conv2d", '{"padding":[[0,1],[2,3]]}')).to.deep.equal({
        padding: [
          [0, 1],
          [2, 3],
        ],
      });
      expect(parseAttributes("conv2d_weight_grad", '{"kernelShape":3}')).to.deep.equal({
        kernelShape: [3, 3],
      });
    });

    it("takes one set of attributes for a layer's forward pass and its gradients", () => {
      const convolution = '{"strides":2,"padding":"same","algorithm":"direct"}';
      expect(parseAttributes("conv2d_bias_grad", convolution)).to.deep.equal(
        parseAttributes("conv2d", convolution),
      );
      const algorithm = '{"algorithm":"tiled"}';
      expect(parseAttributes("dense_bias_grad", algorithm)).to.deep.equal(
        parseAttributes("dense", algorithm),
      );
    });

    it("has the layer's slope for leaky_relu", () => {
      const { slope } = new LeakyReLU("leaky");
      expect(parseAttributes("leaky_relu", "{}")).to.deep.equal({ slope });
      expect(parseAttributes("leaky_relu_grad", "{}")).to.deep.equal({ slope });
    });

    it("has Keras' defaults for adamax", () => {
      expect(parseAttributes("adamax", "{}")).to.deep.equal({
        learningRate: 0.002,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-7,
        t: 1,
      });
    });
  });
});
