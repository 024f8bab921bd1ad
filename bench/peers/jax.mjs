/**
 * jax-js on WebGPU, everything under jit. Its layout is NCHW and OIHW; the host transposes before and after.
 * Waits by `blockUntilReady` of all outputs, which dispatches what is lazy, then by `onSubmittedWorkDone`.
 * It has no Adamax: the one here is written as its users would write it, and fused by jit.
 */
import { readFile } from "node:fs/promises";
import {
  ADAMAX,
  SEEDS,
  batch,
  columnBlocks,
  conv2dShapes,
  layersOf,
  openDawn,
  randomValues,
  serve,
  transpose,
  unsupported,
  watchErrors,
} from "./peer.mjs";

const NCHW = [0, 3, 1, 2];
const OIHW = [3, 2, 0, 1];
const CHANNELS_LAST = [0, 2, 3, 1];
const HWIO = [2, 3, 1, 0];

await serve(async () => {
  const adapter = await openDawn();
  const jax = await import("@jax-js/jax");
  const { lax, nn, numpy: np, random: jaxRandom } = jax;
  if (!(await jax.init("webgpu")).includes("webgpu"))
    throw new Error("the WebGPU backend did not start");
  jax.defaultDevice("webgpu");
  const device = jax.getWebGPUDevice();
  const check = watchErrors(device);

  const put = (values, shape) => np.array(values, { shape, device: "webgpu" });
  const size = (shape) => shape.reduce((a, b) => a * b, 1);
  const random = (shape, seed, order) => {
    const values = randomValues(size(shape), seed);
    if (!order) return put(values, shape);
    return put(
      transpose(values, shape, order),
      order.map((axis) => shape[axis]),
    );
  };

  /** A job of one jitted function of resident arrays; `back` takes its answer to our order of axes. */
  function job(compute, inputs, back) {
    const pending = [];
    const start = () => compute(...inputs.map((x) => x.ref));
    return {
      outputBytes: 0,
      run() {
        pending.push(start());
      },
      async wait() {
        await jax.blockUntilReady(pending);
        await device.queue.onSubmittedWorkDone();
        for (const y of pending.splice(0)) y.dispose();
        check();
      },
      async values(at) {
        const y = start();
        const { shape } = y;
        this.outputBytes = 4 * size(shape);
        const values = await y.data();
        check();
        const ours = back ? transpose(values, shape, back) : values;
        return at.map((i) => ours[i]);
      },
      close() {
        for (const x of inputs) x.dispose();
      },
    };
  }

  function conv2d({ work, pass }) {
    const shapes = conv2dShapes(work);
    const { stride, dilation, padding } = work;
    const conv = (x, w) => lax.convGeneralDilated(x, w, stride, padding, { rhsDilation: dilation });
    const x = random(shapes.x, SEEDS.x, NCHW);
    const w = random(shapes.w, SEEDS.w, OIHW);
    if (pass === "forward") return job(jax.jit(conv), [x, w], CHANNELS_LAST);
    const dy = random(shapes.y, SEEDS.dy, NCHW);
    // jit leaves out the forward pass, whose answer nothing uses.
    const product = (x, w, dy) => np.sum(conv(x, w).mul(dy));
    const argnums = pass === "inputGrad" ? 0 : 1;
    const back = pass === "inputGrad" ? CHANNELS_LAST : HWIO;
    return job(jax.jit(jax.grad(product, { argnums })), [x, w, dy], back);
  }

  function dense({ work: { n, inC, outC }, pass }) {
    const x = () => random([n, inC], SEEDS.x);
    const w = () => random([inC, outC], SEEDS.w);
    const dy = () => random([n, outC], SEEDS.dy);
    if (pass === "forward")
      return job(
        jax.jit((x, w) => np.matmul(x, w)),
        [x(), w()],
      );
    if (pass === "inputGrad")
      return job(
        jax.jit((dy, w) => np.matmul(dy, np.transpose(w))),
        [dy(), w()],
      );
    return job(
      jax.jit((x, dy) => np.matmul(np.transpose(x), dy)),
      [x(), dy()],
    );
  }

  /** Weights and biases by layer. Rows of a dense layer behind a Flatten are put into the order [c,h,w]. */
  function parametersOf(layers) {
    const weighted = layers.filter(({ weight }) => weight);
    return Object.fromEntries(
      weighted.map((layer) => {
        const { shape, values } = layer.weight;
        const bias = put(new Float32Array(shape.at(-1)), [shape.at(-1)]);
        if (layer.type === "Conv2D") {
          const sizes = OIHW.map((axis) => shape[axis]);
          return [layer.name, { weights: [put(transpose(values, shape, OIHW), sizes)], bias }];
        }
        const image = layers.find((l) => l.type === "Flatten" && l.in.length === 3);
        const flattened = image && weighted.find(({ type }) => type === "Dense") === layer;
        const ours = flattened ? transpose(values, [...image.in, shape[1]], [2, 0, 1, 3]) : values;
        const blocks = columnBlocks(ours, shape, device.limits.maxStorageBufferBindingSize);
        const weights = blocks.map((block) => put(block.values, block.shape));
        return [layer.name, { weights, bias }];
      }),
    );
  }

  /**
   * The logits: with `keys`, one for each dropout layer, as in training. Uses its arguments up, as jax-js has it.
   */
  function logits(layers, parameters, x, keys = {}) {
    for (const layer of layers) {
      const { weights, bias } = parameters[layer.name] ?? {};
      if (layer.type === "Conv2D") {
        const { strides, padding, dilations: rhsDilation, filters } = layer;
        const y = lax.convGeneralDilated(x, weights[0], strides, padding, { rhsDilation });
        x = y.add(bias.reshape([1, filters, 1, 1]));
      } else if (layer.type === "Dense") {
        const blocks = weights.map((w, k) => np.matmul(k + 1 < weights.length ? x.ref : x, w));
        x = (blocks.length === 1 ? blocks[0] : np.concatenate(blocks, 1)).add(bias);
      } else if (layer.type === "LeakyReLU") x = nn.leakyRelu(x, layer.slope);
      else if (layer.type === "MaxPool2D") {
        if (layer.padding.flat().some((p) => p > 0))
          throw new Error("jax-js pools without padding");
        x = lax.reduceWindow(x, np.max, layer.size, layer.strides);
      } else if (layer.type === "Flatten") x = x.reshape([x.shape[0], -1]);
      else if (layer.type === "Dropout" && keys[layer.name]) {
        const keep = jaxRandom.bernoulli(keys[layer.name], 1 - layer.rate, x.shape);
        x = np.where(keep, x.mul(1 / (1 - layer.rate)), 0);
      }
    }
    return x;
  }

  function network({ work }) {
    const layers = layersOf(work.network);
    const classes = layers.at(-1).out[0];
    const { x, labels } = batch(work, classes);
    const shape = [work.n, ...work.network.input];
    const images = put(
      transpose(x, shape, NCHW),
      NCHW.map((axis) => shape[axis]),
    );
    const parameters = parametersOf(layers);
    if (work.op === "inference") {
      const infer = jax.jit((parameters, x) => nn.softmax(logits(layers, parameters, x)));
      const inputs = [images, ...jax.tree.leaves(parameters)];
      const tree = jax.tree.structure(parameters);
      const compute = (x, ...leaves) => infer(jax.tree.unflatten(tree, leaves), x);
      return job(compute, inputs);
    }
    const oneHot = new Float32Array(work.n * classes);
    labels.forEach((label, i) => (oneHot[i * classes + label] = 1));
    return training(layers, parameters, images, put(oneHot, [work.n, classes]));
  }

  function training(layers, initial, images, oneHot) {
    const { learningRate, beta1, beta2, epsilon } = ADAMAX;
    const loss = (parameters, x, oneHot, keys) => {
      const probabilities = nn.logSoftmax(logits(layers, parameters, x, keys));
      return np.mean(np.sum(probabilities.mul(oneHot), 1)).mul(-1);
    };
    const update = jax.jit(({ parameters, m, u }, rate, x, oneHot, keys) => {
      const [value, grads] = jax.valueAndGrad(loss)(jax.tree.ref(parameters), x, oneHot, keys);
      const each = (f, ...trees) => jax.tree.map(f, ...trees);
      const scaled = (tree, factor) => each((a) => a.mul(factor), tree);
      const m1 = each(np.add, scaled(m, beta1), scaled(jax.tree.ref(grads), 1 - beta1));
      const u1 = each((u, g) => np.maximum(u.mul(beta2), np.abs(g)), u, grads);
      const change = each(
        (m, u) => m.mul(rate.ref).div(u.add(epsilon)),
        jax.tree.ref(m1),
        jax.tree.ref(u1),
      );
      rate.dispose();
      const after = each((w, d) => w.sub(d), parameters, change);
      return [value, { parameters: after, m: m1, u: u1 }];
    });
    const zeros = (tree) => jax.tree.map((w) => np.zeros(w.shape), jax.tree.ref(tree));
    let state = { parameters: initial, m: zeros(initial), u: zeros(initial) };
    let t = 0;
    const drops = layers.filter(({ type }) => type === "Dropout").map(({ name }) => name);
    const step = (dropout) => {
      t++;
      const keys = Object.fromEntries(
        dropout ? drops.map((name, i) => [name, jaxRandom.key(t * drops.length + i)]) : [],
      );
      const rate = np.array(learningRate / (1 - beta1 ** t));
      let value;
      [value, state] = update(state, rate, images.ref, oneHot.ref, keys);
      return value;
    };
    const wait = async () => {
      await jax.blockUntilReady(state);
      await device.queue.onSubmittedWorkDone();
      check();
    };
    return {
      run: () => step(true).dispose(),
      wait,
      async values() {
        const losses = [];
        for (let i = 0; i < 2; i++) {
          losses.push((await step(false).data())[0]);
          await wait();
        }
        return losses;
      },
      close: () => jax.tree.dispose([state, images, oneHot]),
    };
  }

  return {
    engine: "jax-js",
    version: await version(),
    adapter,
    prepare(task) {
      const { work, pass, precision } = task;
      if (precision !== "float32") throw unsupported(task);
      if (work.op === "conv2d" && pass !== "step") return conv2d(task);
      if (work.op === "dense" && pass !== "step") return dense(task);
      if (work.op === "training_step" || work.op === "inference") return network(task);
      throw unsupported(task);
    },
  };
});

/** The package does not say its version, and does not let its package.json be imported. */
async function version() {
  const file = new URL("../package.json", import.meta.resolve("@jax-js/jax"));
  return JSON.parse(await readFile(file, "utf8")).version;
}
