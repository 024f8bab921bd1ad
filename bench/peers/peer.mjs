/**
 * What the peers in JavaScript share: the protocol of bench/engine.ts, its inputs, Dawn's adapter and the sampling.
 * Plain JavaScript without the project's own modules: a peer's process holds nothing but the engine that it times.
 */
import { performance } from "node:perf_hooks";
import { setImmediate } from "node:timers/promises";
import { createInterface } from "node:readline";

/** Long enough that waiting for the device, a fraction of a millisecond, does not show in a sample. */
const SAMPLE_MS = 20;
const MOST_RUNS = 64;
const LEAST_SAMPLES = 3;
/** Outputs of runs that are not waited for yet may hold so much. */
const MOST_PENDING_BYTES = 2 ** 30;

/**
 * Answers requests until stdin ends.
 * @param open starts the engine: { engine, version, adapter, prepare(task) }. `prepare` uploads the inputs and resolves
 *   with a job { values(at), run(), wait(), close(), outputBytes }: the elements that verify the answer, one run, which
 *   may only queue, the wait for all runs, the release of its memory, and what a run holds until it is waited for.
 */
export async function serve(open) {
  const answer = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
  // Libraries print what they like to stdout, which belongs to the protocol.
  for (const method of ["log", "info", "debug", "warn"]) console[method] = console.error;
  process.on("SIGINT", () => undefined); // the parent ends its peers
  let engine;
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    try {
      engine ??= await open();
      const { engine: name, version, adapter } = engine;
      if (request.kind === "hello") answer({ kind: "hello", engine: name, version, adapter });
      else answer(await time(engine, request));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      answer({ kind: "error", id: request.id ?? -1, error: message.trim().slice(0, 500) });
    }
  }
  process.exit(0); // some engines keep Dawn's instance or threads for ever
}

async function time(engine, { id, task, effort, at }) {
  const job = await engine.prepare(task);
  try {
    const values = Array.from(await job.values(at));
    return { kind: "time", id, samplesMs: await sample(job, effort), values };
  } finally {
    await job.close();
  }
}

/** Milliseconds of one run, for each sample. The runs of a sample double until it is long enough, which warms up. */
async function sample({ run, wait, outputBytes = 0 }, { seconds, samples }) {
  const most = Math.min(MOST_RUNS, Math.floor(MOST_PENDING_BYTES / Math.max(outputBytes, 1)));
  let runs = 1;
  const take = async () => {
    const started = performance.now();
    for (let i = 0; i < runs; i++) await run();
    await wait();
    return performance.now() - started;
  };
  let ms = await take();
  if (ms < 1000 * seconds) ms = await take(); // the first may have compiled
  if (ms > 1000 * seconds) return [ms];
  while (ms < SAMPLE_MS && 2 * runs <= most) {
    runs *= 2;
    ms = await take();
  }
  const times = [];
  const started = performance.now();
  const late = () => performance.now() - started > 1000 * seconds;
  while (times.length < LEAST_SAMPLES || (times.length < samples && !late()))
    times.push((await take()) / runs);
  return times;
}

/**
 * Puts Dawn where a browser has it, for engines written for browsers, on the adapter that the parent names.
 * While a promise of Dawn's is pending, its Node bindings poll without a pause, which takes a core from a software
 * adapter. tuningfork stops the thread between the polls (src/gpu/wait.ts); the waits of these engines get the same,
 * unless PEER_PAUSES=off asks for them as they come.
 */
export async function openDawn() {
  const { create, globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  const name = process.env.PEER_ADAPTER;
  const gpu = create([
    "disable-dawn-features=timestamp_quantization",
    ...(name ? [`adapter=${name}`] : []),
  ]);
  Object.defineProperty(globalThis, "navigator", {
    value: { gpu, userAgent: "node", hardwareConcurrency: 1 },
    configurable: true,
  });
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error(`Dawn has no adapter ${name ?? ""}`);
  if (adapter.info.isFallbackAdapter && process.env.PEER_PAUSES !== "off")
    for (const [type, method] of [
      [globalThis.GPUBuffer, "mapAsync"],
      [globalThis.GPUQueue, "onSubmittedWorkDone"],
    ]) {
      const native = type.prototype[method];
      type.prototype[method] = function (...args) {
        return waitWithPauses(native.apply(this, args));
      };
    }
  return adapter.info.description;
}

/** Waits for a promise of Dawn's, as src/gpu/wait.ts does. */
async function waitWithPauses(promise) {
  const unchanging = new Int32Array(new SharedArrayBuffer(4));
  let settled = false;
  const settle = () => (settled = true);
  promise.then(settle, settle);
  const started = performance.now();
  await setImmediate();
  while (!settled) {
    Atomics.wait(unchanging, 0, 0, Math.min(2, 0.02 * (performance.now() - started)));
    await setImmediate();
  }
  return promise;
}

/** Collects a device's errors, which WebGPU only reports; an engine that goes on regardless answers garbage. */
export function watchErrors(device) {
  const errors = [];
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    errors.push(event.error.message);
  });
  /** Throws what was reported since it was last called. */
  return () => {
    const [first] = errors;
    const { length } = errors.splice(0);
    if (first) throw new Error(`${length} GPU errors, the first: ${first.split("\n")[0]}`);
  };
}

// The inputs, as bench/engine.ts has them.

export const SEEDS = { x: 0, w: 100, dy: 200 };
export const ADAMAX = { learningRate: 3e-7, beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };

export function randomValues(count, seed) {
  const PERIOD = 65521;
  let state = seed + 1;
  const period = Float32Array.from({ length: Math.min(count, PERIOD) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  });
  const values = new Float32Array(count);
  for (let start = 0; start < count; start += PERIOD)
    values.set(period.subarray(0, Math.min(PERIOD, count - start)), start);
  return values;
}

const product = (sizes) => sizes.reduce((a, b) => a * b, 1);

/** The shapes of a convolution in our layouts. */
export function conv2dShapes({ n, inH, inW, inC, kH, kW, outC, stride, dilation, padding }) {
  const out = (size, k, axis) => {
    const [before, after] = padding[axis];
    return Math.floor((before + size + after - (k - 1) * dilation[axis] - 1) / stride[axis]) + 1;
  };
  const x = [n, inH, inW, inC];
  const w = [kH, kW, inC, outC];
  return { x, w, y: [n, out(inH, kH, 0), out(inW, kW, 1), outC] };
}

/** "same" or "valid" where the numbers are those: engines have short cuts for them. */
export function namedPadding(sizes, kernel, stride, dilation, padding) {
  if (padding.flat().every((p) => p === 0)) return "valid";
  const same = padding.every(([before, after], axis) => {
    const extent = (kernel[axis] - 1) * dilation[axis] + 1;
    const out = Math.ceil(sizes[axis] / stride[axis]);
    const total = Math.max((out - 1) * stride[axis] + extent - sizes[axis], 0);
    return before === Math.floor(total / 2) && after === total - before;
  });
  return same ? "same" : padding;
}

/** The images [n,h,w,c], as floats, and their labels. */
export function batch({ n, network }, classes) {
  const values = randomValues(n * product(network.input), SEEDS.x);
  return {
    x: values.map((v) => Math.floor((v + 0.5) * 256) / 255),
    labels: Int32Array.from({ length: n }, (_, i) => i % classes),
  };
}

/**
 * The layers with `in` and `out`, the shapes of one image before and behind, and the initial weights. The parent has
 * filled in every key and made paddings numbers.
 */
export function layersOf(network) {
  let shape = network.input;
  let seed = SEEDS.w;
  return network.layers.map((layer) => {
    const before = shape;
    const [h, w, c] = before;
    let weight;
    const weighted = (shape, fanIn) => {
      const scale = Math.sqrt(24 / fanIn);
      const values = randomValues(product(shape), seed++).map((v) => v * scale);
      return { shape, values };
    };
    const slide = ([kH, kW], dilation) => {
      const { strides: stride, padding } = layer;
      const sizes = { n: 1, inH: h, inW: w, inC: c, kH, kW, outC: 1, stride, dilation, padding };
      return conv2dShapes(sizes).y.slice(1, 3);
    };
    switch (layer.type) {
      case "Conv2D": {
        const [kH, kW] = layer.kernelSize;
        weight = weighted([kH, kW, c, layer.filters], kH * kW * c);
        shape = [...slide(layer.kernelSize, layer.dilations), layer.filters];
        break;
      }
      case "MaxPool2D":
        shape = [...slide(layer.size, [1, 1]), c];
        break;
      case "Flatten":
        shape = [product(before)];
        break;
      case "Dense":
        weight = weighted([before[0], layer.units], before[0]);
        shape = [layer.units];
        break;
      case "LeakyReLU":
      case "Dropout":
      case "Softmax":
        break;
      default:
        throw new Error(`no ${layer.type} in the comparison`);
    }
    return { ...layer, in: before, out: shape, ...(weight && { weight }) };
  });
}

/** For tasks that the comparison does not know. */
export function unsupported({ work, pass, precision }) {
  return new Error(`no ${work.op} ${pass} in ${precision} in the comparison`);
}

/** The values of a tensor of four axes in another order of axes: [0, 3, 1, 2] makes NCHW of NHWC. */
export function transpose(values, shape, order) {
  const strides = shape.map((_, axis) => product(shape.slice(axis + 1)));
  const sizes = order.map((axis) => shape[axis]);
  const [s0, s1, s2, s3] = order.map((axis) => strides[axis]);
  const result = new Float32Array(values.length);
  let at = 0;
  for (let a = 0; a < sizes[0]; a++)
    for (let b = 0; b < sizes[1]; b++)
      for (let c = 0; c < sizes[2]; c++)
        for (let d = 0; d < sizes[3]; d++) result[at++] = values[a * s0 + b * s1 + c * s2 + d * s3];
  return result;
}

/**
 * A dense layer's weight as column blocks { values, shape } of which each can be bound, where SPLIT_DENSE asks for that:
 * what a user of an engine without such blocks would have to do by hand.
 */
export function columnBlocks(values, [rows, units], maxBindingBytes) {
  const blocks = process.env.SPLIT_DENSE ? Math.ceil((4 * rows * units) / maxBindingBytes) : 1;
  if (blocks === 1) return [{ values, shape: [rows, units] }];
  return Array.from({ length: blocks }, (_, k) => {
    const first = Math.ceil((k * units) / blocks);
    const width = Math.ceil(((k + 1) * units) / blocks) - first;
    const block = new Float32Array(rows * width);
    for (let r = 0; r < rows; r++)
      block.set(values.subarray(r * units + first, r * units + first + width), r * width);
    return { values: block, shape: [rows, width] };
  });
}
