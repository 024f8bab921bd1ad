/**
 * The autotuner: times the algorithms that an operation may take on this adapter, with the real shapes, verifies the
 * winner against float64 and remembers it (choices_file.ts).
 */
import { float16Rounding, roundToFloat16, toFloat16 } from "../float16.ts";
import type { Conv2dGeometry } from "../geometry.ts";
import type { Context } from "../gpu/context.ts";
import type { Device } from "../gpu/device.ts";
import type { Operation } from "../kernels/choices.ts";
import {
  chooseConv2dAlgorithm,
  conv2d,
  CONV2D_ALGORITHMS,
  conv2dInputGrad,
  conv2dUnsupported,
  conv2dWeightGrad,
  roundingFactor,
  type Conv2dAlgorithm,
} from "../kernels/conv2d.ts";
import {
  chooseDenseAlgorithm,
  dense,
  DENSE_ALGORITHMS,
  denseInputGrad,
  denseUnsupported,
  denseWeightGrad,
  type DenseAlgorithm,
} from "../kernels/dense.ts";
import type { Program } from "../gpu/program.ts";
import { Random } from "../random.ts";
import {
  conv2dInputGradTerms,
  conv2dTerms,
  conv2dWeightGradTerms,
  denseInputGradTerms,
  denseTerms,
  denseWeightGradTerms,
  boundOf,
  sumOfProducts,
  type Terms,
} from "../reference/samples.ts";
import { elementCount, type DType, type Shape, type Tensor } from "../tensor.ts";
import { saveChoices } from "./choices_file.ts";

/** How one algorithm did. */
export interface Trial {
  readonly algorithm: string;
  /** Median of one run; undefined where it was much slower on a part of the batch already, or wrong. */
  readonly ms?: number;
  /** Why it has no time. */
  readonly note?: string;
}

export interface TunedOperation {
  readonly operation: Operation;
  /** What the adapter's class alone would have chosen. */
  readonly byClass: string;
  readonly chosen: string;
  readonly trials: readonly Trial[];
}

/** Milliseconds spent on timing one candidate, and the least samples taken. */
const BUDGET_MS = 150;
const LEAST_SAMPLES = 5;
/** A candidate this many times slower than the best on a part of the batch is not timed on the whole. */
const HOPELESS = 2.5;
const CHECKED_ELEMENTS = 32;

/** Times the algorithms for one operation and picks the fastest that is right. */
export async function tuneOperation(device: Device, operation: Operation): Promise<TunedOperation> {
  const byClass = chosenByClass(device, operation);
  const candidates = [
    byClass,
    ...algorithmsOf(device, operation).filter((algorithm) => algorithm !== byClass),
  ];
  const part = partOf(operation);
  const quick = new Map<string, number>();
  let best = Infinity;
  for (const algorithm of candidates) {
    const ms = await timeOf(device, part, algorithm, 1);
    quick.set(algorithm, ms);
    best = Math.min(best, ms);
  }
  const trials: Trial[] = [];
  for (const algorithm of candidates) {
    const slower = (quick.get(algorithm) ?? best) / best;
    if (slower > HOPELESS)
      trials.push({
        algorithm,
        note: `${slower.toFixed(1)}x slower on ${part.sizes["n"] ?? 1} images`,
      });
    else trials.push({ algorithm, ms: await timeOf(device, operation, algorithm, LEAST_SAMPLES) });
  }
  const ranked = trials
    .filter((trial): trial is Trial & { ms: number } => trial.ms !== undefined)
    .sort((a, b) => a.ms - b.ms);
  for (const { algorithm } of ranked) {
    const fault = await faultOf(device, part, algorithm);
    if (fault === undefined) return { operation, byClass, chosen: algorithm, trials };
    trials.splice(
      trials.findIndex((trial) => trial.algorithm === algorithm),
      1,
      { algorithm, note: `WRONG: ${fault}` },
    );
  }
  return { operation, byClass, chosen: byClass, trials };
}

/** The operation on a sixteenth of its batch. */
function partOf(operation: Operation): Operation {
  const { n = 1 } = operation.sizes;
  return { ...operation, sizes: { ...operation.sizes, n: Math.ceil(n / 16) } };
}

function algorithmsOf(device: Device, { op, pass, sizes, dtype }: Operation): string[] {
  if (op === "dense")
    return DENSE_ALGORITHMS.filter((name) => denseUnsupported(device, name) === undefined);
  const g = sizes as unknown as Conv2dGeometry;
  return CONV2D_ALGORITHMS.filter(
    (name) => conv2dUnsupported(device, g, pass, name, dtype) === undefined,
  );
}

function chosenByClass(device: Device, { op, pass, sizes, dtype = "float32" }: Operation): string {
  if (op === "dense") return chooseDenseAlgorithm(device);
  return chooseConv2dAlgorithm(device, sizes as unknown as Conv2dGeometry, pass, { dtype });
}

/** An operation's operands and result, and how to compute it with an algorithm. */
interface Setting {
  readonly a: Shape;
  readonly b: Shape;
  readonly y: Shape;
  readonly record: (ctx: Context, a: Tensor, b: Tensor, y: Tensor, algorithm: string) => void;
  readonly terms: (index: number) => Terms;
}

function settingOf({ op, pass, sizes }: Operation): Setting {
  return op === "dense"
    ? denseSetting(pass, sizes as unknown as { n: number; inC: number; outC: number })
    : conv2dSetting(pass, sizes as unknown as Conv2dGeometry);
}

function conv2dSetting(pass: Operation["pass"], g: Conv2dGeometry): Setting {
  const x = [g.n, g.inH, g.inW, g.inC];
  const w = [g.kH, g.kW, g.inC, g.outC];
  const y = [g.n, g.outH, g.outW, g.outC];
  const options = (algorithm: string) => ({
    strides: [g.strideH, g.strideW] as const,
    dilations: [g.dilationH, g.dilationW] as const,
    padding: [
      [g.padTop, g.padBottom],
      [g.padLeft, g.padRight],
    ] as const,
    algorithm: algorithm as Conv2dAlgorithm,
  });
  switch (pass) {
    case "forward":
      return {
        ...{ a: x, b: w, y },
        record: (ctx, a, b, out, algorithm) => {
          conv2d(ctx, { x: a, w: b }, options(algorithm), out);
        },
        terms: (index) => conv2dTerms(g, index),
      };
    case "input_grad":
      return {
        ...{ a: y, b: w, y: x },
        record: (ctx, a, b, out, algorithm) => {
          conv2dInputGrad(ctx, { dy: a, w: b }, options(algorithm), out);
        },
        terms: (index) => conv2dInputGradTerms(g, index),
      };
    case "weight_grad":
      return {
        ...{ a: x, b: y, y: w },
        record: (ctx, a, b, out, algorithm) => {
          conv2dWeightGrad(ctx, { x: a, dy: b }, options(algorithm), out);
        },
        terms: (index) => conv2dWeightGradTerms(g, index),
      };
  }
}

function denseSetting(
  pass: Operation["pass"],
  sizes: { n: number; inC: number; outC: number },
): Setting {
  const { n, inC, outC } = sizes;
  const [x, w, y] = [
    [n, inC],
    [inC, outC],
    [n, outC],
  ] as const;
  const options = (algorithm: string) => ({ algorithm: algorithm as DenseAlgorithm });
  switch (pass) {
    case "forward":
      return {
        ...{ a: x, b: w, y },
        record: (ctx, a, b, out, algorithm) => {
          dense(ctx, { x: a, w: b }, options(algorithm), out);
        },
        terms: (index) => denseTerms(sizes, index),
      };
    case "input_grad":
      return {
        ...{ a: y, b: w, y: x },
        record: (ctx, a, b, out, algorithm) => {
          denseInputGrad(ctx, { dy: a, w: b }, options(algorithm), out);
        },
        terms: (index) => denseInputGradTerms(sizes, index),
      };
    case "weight_grad":
      return {
        ...{ a: x, b: y, y: w },
        record: (ctx, a, b, out, algorithm) => {
          denseWeightGrad(ctx, { x: a, dy: b }, options(algorithm), out);
        },
        terms: (index) => denseWeightGradTerms(sizes, index),
      };
  }
}

/** What an operation writes its result as: gradients of weights stay float32. */
function resultType({ pass, dtype = "float32" }: Operation): DType {
  return pass === "weight_grad" ? "float32" : dtype;
}

/** Runs `work` with the operation recorded, its operands random. */
async function withOperation<T>(
  device: Device,
  operation: Operation,
  algorithm: string,
  work: (setting: Setting, tensors: { a: Tensor; b: Tensor; y: Tensor }, run: Runner) => Promise<T>,
): Promise<T> {
  const setting = settingOf(operation);
  const upload = (shape: Shape, name: string): Tensor => {
    const values = operand(shape, name);
    const halves = operation.dtype === "float16";
    return device.upload(halves ? toFloat16(values) : values, shape, `tune.${name}`);
  };
  const a = upload(setting.a, "a");
  const b = upload(setting.b, "b");
  const y = device.tensor(setting.y, resultType(operation), "tune.y");
  try {
    const program = await device.record("tune", (ctx) => {
      setting.record(ctx, a, b, y, algorithm);
    });
    try {
      return await work(setting, { a, b, y }, () => runMs(device, program));
    } finally {
      program.destroy();
    }
  } finally {
    device.release(a, b, y);
    device.trim();
  }
}

/** One run in milliseconds: the GPU's where it has timestamps, else the clock's around it. */
async function runMs(device: Device, program: Program): Promise<number> {
  if (device.handle.features.has("timestamp-query")) {
    const times = await program.time();
    return times.reduce((sum, { ms }) => sum + ms, 0);
  }
  const started = performance.now();
  device.submit(program);
  await device.finish();
  return performance.now() - started;
}

/** Runs once and returns the milliseconds that it took. */
type Runner = () => Promise<number>;

function timeOf(
  device: Device,
  operation: Operation,
  algorithm: string,
  samples: number,
): Promise<number> {
  return withOperation(device, operation, algorithm, async (_setting, _tensors, run) => {
    await run(); // the first one compiles on some adapters
    const times: number[] = [];
    const started = performance.now();
    while (times.length < samples || (samples > 1 && performance.now() - started < BUDGET_MS)) {
      const ms = await run();
      // 0 where the GPU's clock has wrapped.
      if (ms > 0) times.push(ms);
      // Seconds each: three say enough. None by then: this clock stands still.
      const enough = times.length >= 3 || times.length === 0;
      if (enough && performance.now() - started > 20 * BUDGET_MS) break;
    }
    return times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? Infinity;
  });
}

/** What is wrong with an algorithm's answer; undefined where sampled elements agree with float64. */
function faultOf(
  device: Device,
  operation: Operation,
  algorithm: string,
): Promise<string | undefined> {
  return withOperation(device, operation, algorithm, async (setting, { y }, run) => {
    await run();
    const got = await device.readFloats(y);
    const exact = operation.dtype === "float16" ? roundToFloat16 : (values: Float32Array) => values;
    const [a, b] = [exact(operand(setting.a, "a")), exact(operand(setting.b, "b"))];
    const random = new Random(1, "tuner's checks");
    for (let i = 0; i < CHECKED_ELEMENTS; i++) {
      const index = i < 2 ? i * (got.length - 1) : random.below(got.length);
      const want = sumOfProducts(a, b, setting.terms(index));
      const error = Math.abs((got[index] ?? NaN) - want.value);
      const rounding = resultType(operation) === "float16" ? float16Rounding(want.value) : 0;
      if (!(error <= roundingFactor(algorithm) * boundOf(want) + rounding))
        return `element ${index}: expected ${want.value}, got ${got[index] ?? NaN}`;
    }
    return undefined;
  });
}

/** Random numbers in -0.5 to 0.5, of a prime period: millions drawn singly would take seconds. */
function operand(shape: Shape, name: string): Float32Array {
  const random = new Random(1, `tune ${name}`);
  const period = Float32Array.from({ length: 8191 }, () => random.between(-0.5, 0.5));
  return Float32Array.from({ length: elementCount(shape) }, (_, i) => period[i % 8191] ?? 0);
}

/**
 * Tunes operations one after another and remembers each at once, so that nothing is lost by Ctrl-C.
 * @throws Error before anything is measured, when the file of choices cannot be written
 */
export async function tuneOperations(
  device: Device,
  operations: readonly Operation[],
  onTuned: (tuned: TunedOperation, done: number) => void = () => undefined,
): Promise<TunedOperation[]> {
  await saveChoices(device, []);
  const all: TunedOperation[] = [];
  for (const operation of operations) {
    const tuned = await tuneOperation(device, operation);
    all.push(tuned);
    await saveChoices(device, [tuned]);
    onTuned(tuned, all.length);
  }
  return all;
}

/** `conv2d forward 96x96x32 5x5 -> 64, n=32`: an operation as tables show it, with its type where that is not float32. */
export function describeOperation(operation: Operation): string {
  const { op, pass, sizes: s, dtype = "float32" } = operation;
  const type = dtype === "float32" ? "" : `, ${dtype}`;
  const size = (name: string) => s[name] ?? 0;
  const passName = pass.replace("_", " ").replace("grad", "gradient");
  return op === "dense"
    ? `dense ${passName} ${size("inC")} -> ${size("outC")}, n=${size("n")}${type}`
    : `conv2d ${passName} ${size("inH")}x${size("inW")}x${size("inC")} ${size("kH")}x${size("kW")} -> ${size("outC")}, n=${size("n")}${type}`;
}
