/** TensorFlow.js on its WebGPU backend. Waits by `onSubmittedWorkDone`, after flushing what tfjs still holds back. */
import { createRequire } from "node:module";
import {
  ADAMAX,
  SEEDS,
  batch,
  columnBlocks,
  conv2dShapes,
  layersOf,
  namedPadding,
  openDawn,
  randomValues,
  serve,
  unsupported,
  watchErrors,
} from "./peer.mjs";

const require = createRequire(import.meta.url);

await serve(async () => {
  const adapter = await openDawn();
  const tf = require("@tensorflow/tfjs");
  require("@tensorflow/tfjs-backend-webgpu");
  if (!(await tf.setBackend("webgpu"))) throw new Error("the WebGPU backend did not start");
  const { device } = tf.backend();
  const check = watchErrors(device);
  const wait = async () => {
    const backend = tf.backend();
    backend.endComputePassEncoder();
    if (backend.commandEncoder) backend.submitQueue(); // throws when nothing is held back
    await device.queue.onSubmittedWorkDone();
    check();
  };

  /** A job whose run computes one tensor from resident ones. */
  const job = (inputs, compute) => ({
    run: () => compute().dispose(),
    wait,
    async values(at) {
      const y = compute();
      const values = await y.data();
      y.dispose();
      await wait();
      return at.map((i) => values[i]);
    },
    close: () => tf.dispose(inputs),
  });
  const random = (shape, seed) =>
    tf.tensor(randomValues(tf.util.sizeFromShape(shape), seed), shape);

  function conv2d({ work, pass }) {
    const { inH, inW, kH, kW, stride: strides, dilation: dilations, padding } = work;
    const shapes = conv2dShapes(work);
    const pad = tfPadding(namedPadding([inH, inW], [kH, kW], strides, dilations, padding));
    const attributes = { strides, pad, dataFormat: "NHWC", dimRoundingMode: null };
    const kernel = (name, x, more) => {
      if (dilations.some((d) => d > 1)) throw new Error("tfjs has no gradient with dilation");
      return tf.engine().runKernel(name, x, { ...attributes, ...more });
    };
    const x = pass === "inputGrad" ? undefined : random(shapes.x, SEEDS.x);
    const filter = pass === "weightGrad" ? undefined : random(shapes.w, SEEDS.w);
    const dy = pass === "forward" ? undefined : random(shapes.y, SEEDS.dy);
    const compute = {
      forward: () => tf.conv2d(x, filter, strides, pad, "NHWC", dilations),
      inputGrad: () => kernel("Conv2DBackpropInput", { dy, filter }, { inputShape: shapes.x }),
      weightGrad: () => kernel("Conv2DBackpropFilter", { x, dy }, { filterShape: shapes.w }),
    };
    return job([x, filter, dy], compute[pass]);
  }

  function dense({ work: { n, inC, outC }, pass }) {
    const x = random([n, inC], SEEDS.x);
    const w = random([inC, outC], SEEDS.w);
    const dy = random([n, outC], SEEDS.dy);
    const compute = {
      forward: () => tf.matMul(x, w),
      inputGrad: () => tf.matMul(dy, w, false, true),
      weightGrad: () => tf.matMul(x, dy, true, false),
    };
    return job([x, w, dy], compute[pass]);
  }

  /** A layer's weight and bias as variables; of a dense layer in column blocks, see columnBlocks. */
  function blocksOf({ values, shape }) {
    const { maxStorageBufferBindingSize } = device.limits;
    const blocks =
      shape.length === 2
        ? columnBlocks(values, shape, maxStorageBufferBindingSize)
        : [{ values, shape }];
    return blocks.map((block) => ({
      filter: tf.variable(tf.tensor(block.values, block.shape)),
      bias: tf.variable(tf.zeros([block.shape.at(-1)])),
    }));
  }

  /** `forward(x, training)` as tf.layers has it: bias fused, and the activation too where no gradient is wanted. */
  function networkOf(layers) {
    const steps = layers.map((layer, index) => {
      const { weight } = layer;
      const following = layers[index + 1];
      const activation =
        weight && following?.type === "LeakyReLU"
          ? { activation: "leakyrelu", leakyreluAlpha: following.slope }
          : {};
      const blocks = weight ? blocksOf(weight) : [];
      const variables = blocks.flatMap(({ filter, bias }) => [filter, bias]);
      const forward = {
        Conv2D(x) {
          const { strides, dilations, kernelSize, padding } = layer;
          const sizes = layer.in.slice(0, 2);
          const pad = tfPadding(namedPadding(sizes, kernelSize, strides, dilations, padding));
          return tf.fused.conv2d({ x, ...blocks[0], strides, dilations, pad, ...activation });
        },
        Dense(a) {
          const parts = blocks.map(({ filter: b, bias }) =>
            tf.fused.matMul({ a, b, bias, ...activation }),
          );
          return parts.length === 1 ? parts[0] : tf.concat(parts, 1);
        },
        // Fused into the layer before, if that has weights.
        LeakyReLU: (x) => (layers[index - 1]?.weight ? x : tf.leakyRelu(x, layer.slope)),
        MaxPool2D(x) {
          const { size, strides, padding } = layer;
          const pad = namedPadding(layer.in.slice(0, 2), size, strides, [1, 1], padding);
          return tf.maxPool(x, size, strides, tfPadding(pad));
        },
        Dropout: (x, training) => (training ? tf.dropout(x, layer.rate) : x),
        Flatten: (x) => tf.reshape(x, [x.shape[0], -1]),
        Softmax: (x, training) => (training === undefined ? tf.softmax(x) : x),
      }[layer.type];
      return { forward, variables };
    });
    return {
      variables: steps.flatMap(({ variables }) => variables),
      /** training: true with dropout, false without, both to the logits; undefined to the probabilities. */
      forward: (x, training) => steps.reduce((y, step) => step.forward(y, training), x),
    };
  }

  function network({ work }) {
    const layers = layersOf(work.network);
    const classes = layers.at(-1).out[0];
    const { variables, forward } = networkOf(layers);
    const { x, labels } = batch(work, classes);
    const images = tf.tensor(x, [work.n, ...work.network.input]);
    if (work.op === "inference")
      return job([images, ...variables], () => tf.tidy(() => forward(images)));
    const { learningRate, beta1, beta2, epsilon } = ADAMAX;
    const oneHot = tf.cast(tf.oneHot(tf.tensor1d(labels, "int32"), classes), "float32");
    const optimizer = tf.train.adamax(learningRate, beta1, beta2, epsilon);
    const step = (dropout) => {
      const loss = () => tf.losses.softmaxCrossEntropy(oneHot, forward(images, dropout));
      return optimizer.minimize(loss, true, variables);
    };
    return {
      run: () => step(true).dispose(),
      wait,
      async values() {
        const losses = [];
        for (let i = 0; i < 2; i++) {
          const loss = step(false);
          losses.push((await loss.data())[0]);
          loss.dispose();
          await wait();
        }
        return losses;
      },
      close() {
        optimizer.dispose();
        tf.dispose([images, oneHot, ...variables]);
      },
    };
  }

  return {
    engine: "tfjs-webgpu",
    version: tf.version.tfjs,
    adapter,
    prepare(task) {
      if (task.precision !== "float32") throw unsupported(task);
      const { work, pass } = task;
      if (work.op === "conv2d" && pass !== "step") return conv2d(task);
      if (work.op === "dense" && pass !== "step") return dense(task);
      if (work.op === "training_step" || work.op === "inference") return network(task);
      throw unsupported(task);
    },
  };
});

/** Explicit paddings have four axes in tfjs. */
function tfPadding(padding) {
  return typeof padding === "string" ? padding : [[0, 0], ...padding, [0, 0]];
}
