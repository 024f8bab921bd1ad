import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { OP_NAMES, parseAttributes, runOp } from "../../src/cli/op.ts";
import { CONV2D_ALGORITHMS } from "../../src/kernels/conv2d.ts";
import { conv2dGeometry, pool2dGeometry } from "../../src/geometry.ts";
import { LeakyReLU } from "../../src/nn/leaky_relu.ts";
import { adamax } from "../../src/reference/adamax.ts";
import { affineWarp } from "../../src/reference/affine_warp.ts";
import { biasGrad } from "../../src/reference/bias_grad.ts";
import { conv2d, conv2dInputGrad, conv2dWeightGrad } from "../../src/reference/conv2d.ts";
import { dense, denseInputGrad, denseWeightGrad } from "../../src/reference/dense.ts";
import { dropout } from "../../src/reference/dropout.ts";
import { leakyRelu, leakyReluGrad } from "../../src/reference/leaky_relu.ts";
import { maxPool2d, maxPool2dGrad } from "../../src/reference/max_pool2d.ts";
import type { Reference } from "../../src/reference/reference.ts";
import { softmax } from "../../src/reference/softmax.ts";
import { softmaxCrossEntropy } from "../../src/reference/softmax_cross_entropy.ts";
import { readSafetensors, writeSafetensors, type FileDType } from "../../src/safetensors.ts";
import type { Shape, TypedArray } from "../../src/tensor.ts";
import { expectClose, type Tolerance } from "../../src/testing/close.ts";
import { useDevice } from "../support/device.ts";
import { awayFromZero, distinctFloats, randomFloats, toFloat64 } from "../../src/testing/inputs.ts";

type Tensors = Record<string, [TypedArray | Float64Array, Shape, FileDType?]>;

interface Case {
  readonly op: string;
  readonly attributes?: Record<string, unknown>;
  readonly tensors: Tensors;
  /** The tensors of the written file. */
  readonly want: Record<string, [Reference, Shape]>;
  readonly tolerance?: Tolerance;
}

const random = (name: string, ...shape: number[]): [Float32Array, Shape] => [
  randomFloats(shape, 1, name),
  shape,
];
const f64 = ([values]: [Float32Array, Shape]) => toFloat64(values);

function conv2dCases(): Case[] {
  const sizes = { strides: [2, 1], dilations: [1, 2], padding: "same" } as const;
  const [x, w, b] = [random("x", 2, 7, 6, 3), random("w", 3, 2, 3, 5), random("b", 5)];
  const g = conv2dGeometry(x[1], w[1], sizes);
  const dy = random("dy", g.n, g.outH, g.outW, g.outC);
  const dx = conv2dInputGrad(f64(dy), f64(w), g);
  const dw = conv2dWeightGrad(f64(x), f64(dy), g);
  const attributes = { ...sizes };
  return [
    {
      op: "conv2d",
      attributes,
      tensors: { x, w, b },
      want: { y: [conv2d(f64(x), f64(w), f64(b), g), dy[1]] },
    },
    {
      op: "conv2d",
      attributes: { ...attributes, algorithm: "direct" },
      tensors: { x, w },
      want: { y: [conv2d(f64(x), f64(w), undefined, g), dy[1]] },
    },
    {
      op: "conv2d_input_grad",
      attributes: { ...attributes, inputShape: [2, 7, 6, 3] },
      tensors: { dy, w },
      want: { dx: [dx, x[1]] },
    },
    {
      op: "conv2d_input_grad",
      attributes: { ...attributes, inputShape: [7, 6] },
      tensors: { dy, w },
      want: { dx: [dx, x[1]] },
    },
    {
      op: "conv2d_weight_grad",
      attributes: { ...attributes, kernelShape: [3, 2, 3, 5] },
      tensors: { x, dy },
      want: { dw: [dw, w[1]] },
    },
    {
      op: "conv2d_weight_grad",
      attributes: { ...attributes, kernelShape: [3, 2] },
      tensors: { x, dy },
      want: { dw: [dw, w[1]] },
    },
    {
      op: "conv2d_bias_grad",
      attributes,
      tensors: { dy },
      want: { db: [biasGrad(f64(dy), 5), [5]] },
    },
  ];
}

function conv2dDefaults(): Case {
  const [x, w] = [random("x", 1, 5, 5, 2), random("w", 3, 3, 2, 3)];
  const g = conv2dGeometry(x[1], w[1]);
  expect([g.outH, g.strideH, g.dilationH, g.padTop], "valid, 1, 1").to.deep.equal([3, 1, 1, 0]);
  const y: [Reference, Shape] = [conv2d(f64(x), f64(w), undefined, g), [1, 3, 3, 3]];
  return { op: "conv2d", tensors: { x, w }, want: { y } };
}

function maxPool2dCases(): Case[] {
  const shape = [2, 7, 5, 3];
  const x: [Float32Array, Shape] = [distinctFloats(shape, 1, "x"), shape];
  const explicit = { size: [3, 2], strides: 2, padding: "same" } as const;
  const g = pool2dGeometry(shape, explicit);
  const plain = pool2dGeometry(shape, { size: 2 });
  const dy = random("dy", 2, g.outH, g.outW, 3);
  return [
    {
      op: "max_pool2d",
      attributes: { size: 2 },
      tensors: { x },
      want: { y: [maxPool2d(f64(x), plain), [2, 3, 2, 3]] },
    },
    {
      op: "max_pool2d_grad",
      attributes: explicit,
      tensors: { x, dy },
      want: { dx: [maxPool2dGrad(f64(x), f64(dy), g), shape] },
    },
  ];
}

function denseCases(): Case[] {
  const sizes = { n: 3, inC: 7, outC: 5 };
  const [x, w] = [random("x", 3, 7), random("w", 7, 5)];
  const [b, dy] = [random("b", 5), random("dy", 3, 5)];
  return [
    {
      op: "dense",
      attributes: { algorithm: "tiled" },
      tensors: { x, w, b },
      want: { y: [dense(f64(x), f64(w), f64(b), sizes), [3, 5]] },
    },
    {
      op: "dense",
      tensors: { x, w },
      want: { y: [dense(f64(x), f64(w), undefined, sizes), [3, 5]] },
    },
    {
      op: "dense_input_grad",
      tensors: { dy, w },
      want: { dx: [denseInputGrad(f64(dy), f64(w), sizes), [3, 7]] },
    },
    {
      op: "dense_weight_grad",
      tensors: { x, dy },
      want: { dw: [denseWeightGrad(f64(x), f64(dy), sizes), [7, 5]] },
    },
    {
      op: "dense_bias_grad",
      tensors: { dy },
      want: { db: [biasGrad(f64(dy), 5), [5]] },
    },
  ];
}

function softmaxCases(): Case[] {
  const x = random("x", 4, 3);
  const labels: [Int32Array, Shape] = [Int32Array.of(2, 0, 1, 2), [4]];
  const classWeights: [Float32Array, Shape] = [Float32Array.of(0.5, 2, 1), [3]];
  const crossEntropy = (weights?: Float32Array): Case["want"] => {
    const { rowLoss, dx } = softmaxCrossEntropy(f64(x), labels[0], weights, 3);
    const mean = (values: Float64Array) => Float64Array.of(values.reduce((a, b) => a + b) / 4);
    const loss = { values: mean(rowLoss.values), absSum: mean(rowLoss.absSum), reduction: 4 };
    return { loss: [loss, []], dx: [dx, [4, 3]] };
  };
  // exp, log and division have several ULP each: the bound of the kernels' own tests.
  const tolerance = { factor: 8 };
  return [
    { op: "softmax", tensors: { x }, want: { y: [softmax(f64(x), 3), [4, 3]] }, tolerance },
    { op: "softmax_cross_entropy", tensors: { x, labels }, want: crossEntropy(), tolerance },
    {
      op: "softmax_cross_entropy",
      tensors: { x, labels, classWeights },
      want: crossEntropy(classWeights[0]),
      tolerance,
    },
  ];
}

function elementwiseCases(): Case[] {
  const shape = [2, 3, 5];
  const x: [Float32Array, Shape] = [awayFromZero(shape, 1, "x"), shape];
  const dy = random("dy", ...shape);
  const draw = { rate: 0.25, seed: 2 ** 40 + 7, step: 3, layer: 2 };
  const plain = { rate: 0.5, seed: 0, step: 0, layer: 0 };
  return [
    {
      op: "leaky_relu",
      attributes: { slope: 0.3 },
      tensors: { x },
      want: { y: [leakyRelu(f64(x), 0.3), shape] },
    },
    {
      op: "leaky_relu_grad",
      attributes: { slope: 0 },
      tensors: { x, dy },
      want: { dx: [leakyReluGrad(f64(x), f64(dy), 0), shape] },
    },
    {
      op: "dropout",
      attributes: { ...draw },
      tensors: { x },
      want: { y: [dropout(f64(x), draw), shape] },
    },
    {
      op: "dropout_grad",
      attributes: { rate: 0.5 },
      tensors: { dy },
      want: { dx: [dropout(f64(dy), plain), shape] },
    },
  ];
}

function adamaxCases(): Case[] {
  const shape = [3, 5];
  const [w, dw, m] = [random("w", ...shape), random("dw", ...shape), random("m", ...shape)];
  const u: [Float32Array, Shape] = [random("u", ...shape)[0].map(Math.abs), shape];
  const state = { w: f64(w), m: f64(m), u: f64(u) };
  const step = (learningRate: number, t: number, beta1: number, beta2: number, epsilon: number) => {
    const rate = learningRate / (1 - beta1 ** t);
    const next = adamax(f64(dw), { rate, beta1, beta2, epsilon }, state);
    const want: Case["want"] = { w: [next.w, shape], m: [next.m, shape], u: [next.u, shape] };
    return want;
  };
  const tensors = { w, dw, m, u };
  // As in the kernel's own test: rate and betas are rounded to float32, a division errs by up to 2.5 ULP.
  const tolerance = { factor: 4 };
  return [
    { op: "adamax", tensors, want: step(0.002, 1, 0.9, 0.999, 1e-7), tolerance },
    {
      op: "adamax",
      attributes: { learningRate: 0.01, beta1: 0.8, beta2: 0.99, epsilon: 1e-3, t: 5 },
      tensors,
      want: step(0.01, 5, 0.8, 0.99, 1e-3),
      tolerance,
    },
  ];
}

function affineWarpCase(): Case {
  const x = Uint8Array.from(randomFloats([2 * 5 * 4 * 3], 1, "x"), (value) => 128 + 127 * value);
  const matrix = Float32Array.of(1, 0, 0, 0, 1, 0, 0.9, -0.4, 1.3, 0.4, 0.9, -0.7);
  const want = affineWarp(x, [2, 5, 4, 3], [0, 1], matrix, [2, 3, 6, 3]);
  return {
    op: "affine_warp",
    attributes: { outSize: [3, 6] },
    tensors: { x: [x, [2, 5, 4, 3]], matrix: [matrix, [2, 2, 3]] },
    want: { y: [want, [2, 3, 6, 3]] },
  };
}

/** Every operation once at least; `tensors` of float64 are converted. */
function cases(): Case[] {
  const x = random("x", 2, 3);
  const asDouble: Case = {
    op: "leaky_relu",
    attributes: { slope: 0.5 },
    tensors: { x: [f64(x), [2, 3], "F64"] },
    want: { y: [leakyRelu(f64(x), 0.5), [2, 3]] },
  };
  return [
    ...conv2dCases(),
    conv2dDefaults(),
    ...elementwiseCases(),
    asDouble,
    ...maxPool2dCases(),
    ...denseCases(),
    ...softmaxCases(),
    ...adamaxCases(),
    affineWarpCase(),
  ];
}

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
