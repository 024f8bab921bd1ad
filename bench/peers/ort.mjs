/**
 * onnxruntime-node with its WebGPU provider, which brings a Dawn of its own: forward passes only.
 * Models are written with channels last on both ends, so that the provider's own order needs no transposing; inputs
 * stay on the device. Every run waits: it fetches one element, all else stays where it is.
 */
import { createRequire } from "node:module";
import { onnxModel } from "./onnx.mjs";
import {
  SEEDS,
  batch,
  conv2dShapes,
  layersOf,
  randomValues,
  serve,
  transpose,
  unsupported,
} from "./peer.mjs";

const NCHW = [0, 3, 1, 2];
const CHANNELS_LAST = [0, 2, 3, 1];
const OIHW = [3, 2, 0, 1];
const size = (shape) => shape.reduce((a, b) => a * b, 1);

await serve(async () => {
  const ort = createRequire(import.meta.url)("onnxruntime-node");
  const open = (model, more) =>
    ort.InferenceSession.create(model, {
      executionProviders: ["webgpu"],
      logSeverityLevel: 3,
      ...more,
    });

  /** A tensor on the device: a model that returns its input leaves it there. */
  async function upload(values, shape) {
    const model = onnxModel({
      nodes: [{ op: "Identity", inputs: ["x"], output: "y" }],
      initializers: [],
      inputs: [{ name: "x", shape }],
      outputs: [{ name: "y", shape }],
    });
    const session = await open(model, { preferredOutputLocation: "gpu-buffer" });
    return { session, tensor: (await session.run({ x: new ort.Tensor(values, shape) })).y };
  }

  /** A job that runs nodes from `x` to `y`. */
  async function job({ values, shape }, nodes, initializers, outputShape) {
    const rank = outputShape.length;
    const indices = (value) => new BigInt64Array(rank).fill(value);
    const probe = { op: "Slice", inputs: ["y", "zeros", "ones"], output: "probe" };
    const model = onnxModel({
      nodes: [...nodes, probe],
      initializers: [
        ...initializers,
        { name: "zeros", shape: [rank], values: indices(0n) },
        { name: "ones", shape: [rank], values: indices(1n) },
      ],
      inputs: [{ name: "x", shape }],
      outputs: [
        { name: "y", shape: outputShape },
        { name: "probe", shape: outputShape.map(() => 1) },
      ],
    });
    const input = await upload(values, shape);
    const session = await open(model);
    const x = input.tensor;
    return {
      run: () => session.run({ x }, ["probe"]),
      wait: () => undefined,
      async values(at) {
        const { y } = await session.run({ x }, ["y"]);
        return at.map((i) => y.data[i]);
      },
      async close() {
        x.dispose();
        await session.release();
        await input.session.release();
      },
    };
  }

  const pads = ([[top, bottom], [left, right]]) => [top, left, bottom, right];
  const filter = (name, values, shape) => ({
    name,
    values: transpose(values, shape, OIHW),
    shape: OIHW.map((axis) => shape[axis]),
  });

  function conv2d({ work }) {
    const { kH, kW, stride, dilation, padding } = work;
    const { x, w, y } = conv2dShapes(work);
    const attributes = { kernel_shape: [kH, kW], strides: stride, dilations: dilation };
    const nodes = [
      { op: "Transpose", inputs: ["x"], output: "x1", perm: NCHW },
      { op: "Conv", inputs: ["x1", "w"], output: "y1", ...attributes, pads: pads(padding) },
      { op: "Transpose", inputs: ["y1"], output: "y", perm: CHANNELS_LAST },
    ];
    const weight = filter("w", randomValues(size(w), SEEDS.w), w);
    return job({ values: randomValues(size(x), SEEDS.x), shape: x }, nodes, [weight], y);
  }

  function dense({ work: { n, inC, outC } }) {
    const nodes = [{ op: "MatMul", inputs: ["x", "w"], output: "y" }];
    const weight = { name: "w", shape: [inC, outC], values: randomValues(inC * outC, SEEDS.w) };
    return job(
      { values: randomValues(n * inC, SEEDS.x), shape: [n, inC] },
      nodes,
      [weight],
      [n, outC],
    );
  }

  function inference({ work }) {
    const layers = layersOf(work.network);
    const classes = layers.at(-1).out[0];
    const initializers = [];
    const nodes = [{ op: "Transpose", inputs: ["x"], output: "images", perm: NCHW }];
    let from = "images";
    const add = (op, output, more = [], attributes = {}) => {
      nodes.push({ op, inputs: [from, ...more], output, ...attributes });
      from = output;
    };
    for (const layer of layers) {
      const { name, strides } = layer;
      const parameters = [`${name}.weight`, `${name}.bias`];
      if (layer.weight) {
        const { shape, values } = layer.weight;
        const [weight, bias] = parameters;
        if (shape.length === 4) initializers.push(filter(weight, values, shape));
        else initializers.push({ name: weight, shape, values });
        const units = shape.at(-1);
        initializers.push({ name: bias, shape: [units], values: new Float32Array(units) });
      }
      switch (layer.type) {
        case "Conv2D": {
          const { kernelSize: kernel_shape, dilations, padding } = layer;
          add("Conv", name, parameters, { kernel_shape, strides, dilations, pads: pads(padding) });
          break;
        }
        case "MaxPool2D":
          add("MaxPool", name, [], {
            kernel_shape: layer.size,
            strides,
            pads: pads(layer.padding),
          });
          break;
        case "LeakyReLU":
          add("LeakyRelu", name, [], { alpha: { float: layer.slope } });
          break;
        case "Flatten":
          if (layer.in.length === 3) add("Transpose", `${name}.nhwc`, [], { perm: CHANNELS_LAST });
          add("Flatten", name, [], { axis: 1 });
          break;
        case "Dense":
          add("Gemm", name, parameters);
          break;
      }
    }
    add("Softmax", "y", [], { axis: 1 });
    const { x: values } = batch(work, classes);
    const shape = [work.n, ...work.network.input];
    return job({ values, shape }, nodes, initializers, [work.n, classes]);
  }

  return {
    engine: "onnxruntime-webgpu",
    version: ort.env.versions.node ?? ort.env.versions.common,
    adapter: "as its own Dawn chooses",
    prepare(task) {
      const { work, pass, precision } = task;
      if (pass !== "forward") throw new Error("onnxruntime computes forward passes only");
      if (precision !== "float32") throw unsupported(task);
      if (work.op === "conv2d") return conv2d(task);
      if (work.op === "dense") return dense(task);
      if (work.op === "inference") return inference(task);
      throw unsupported(task);
    },
  };
});
