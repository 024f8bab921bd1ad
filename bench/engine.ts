/**
 * What is measured, by whom, and what comes back: the seam between the suites, our kernels and other engines.
 * No imports: a peer in another language mirrors this file.
 */

/**
 * The passes of an operation, with what they compute. Convolutions and dense layers have no bias here, so that every
 * engine computes the same thing.
 *   forward     y = f(x, w)
 *   inputGrad   dx from dy and w (conv2d, dense), or from dy and x
 *   weightGrad  dw from x and dy
 *   step        an update of parameters: adamax, training_step
 */
export const PASSES = ["forward", "inputGrad", "weightGrad", "step"] as const;
export type PassName = (typeof PASSES)[number];

/** [height, width] */
export type Pair = readonly [number, number];
/** [[top, bottom], [left, right]]: suites may say "same" or "valid", a case always has the numbers. */
export type Pads = readonly [Pair, Pair];

/** x [n,inH,inW,inC] NHWC, w [kH,kW,inC,outC] HWIO, y [n,outH,outW,outC]. */
export interface Conv2dWork {
  readonly op: "conv2d";
  readonly n: number;
  readonly inH: number;
  readonly inW: number;
  readonly inC: number;
  readonly kH: number;
  readonly kW: number;
  readonly outC: number;
  readonly stride: Pair;
  readonly dilation: Pair;
  readonly padding: Pads;
}

/** x [n,inC], w [inC,outC], y [n,outC]. */
export interface DenseWork {
  readonly op: "dense";
  readonly n: number;
  readonly inC: number;
  readonly outC: number;
}

/** Max pooling of x [n,inH,inW,c] by windows of kH x kW. */
export interface MaxPool2dWork {
  readonly op: "max_pool2d";
  readonly n: number;
  readonly inH: number;
  readonly inW: number;
  readonly c: number;
  readonly kH: number;
  readonly kW: number;
  readonly stride: Pair;
  readonly padding: Pads;
}

/** Element by element over `count` floats: leaky ReLU, dropout, an optimizer's update. */
export interface ElementwiseWork {
  readonly op: "leaky_relu" | "dropout" | "adamax";
  readonly count: number;
}

/** Softmax, or softmax with cross-entropy and its gradient, of x [n,classes]. */
export interface SoftmaxWork {
  readonly op: "softmax" | "softmax_cross_entropy";
  readonly n: number;
  readonly classes: number;
}

/**
 * A whole network on a batch of `n` images: `training_step` (pass `step`) is forward with dropout, softmax
 * cross-entropy, backward and Adamax; `inference` (pass `forward`) ends with the probabilities. The batch is resident.
 */
export interface NetworkWork {
  readonly op: "training_step" | "inference";
  readonly n: number;
  /** As a network file of `networks/` has it: {"input":[h,w,c],"layers":[...]}. */
  readonly network: {
    readonly input: readonly [number, number, number];
    readonly layers: readonly (Readonly<Record<string, unknown>> & { readonly type: string })[];
  };
}

export type Work =
  Conv2dWork | DenseWork | MaxPool2dWork | ElementwiseWork | SoftmaxWork | NetworkWork;

export const PRECISIONS = ["float32", "mixed"] as const;
export type Precision = (typeof PRECISIONS)[number];

/** One thing to be timed. */
export interface Task {
  readonly work: Work;
  readonly pass: PassName;
  /** `auto` or one of the operation's own; engines other than ours know only `auto`. */
  readonly algorithm: string;
  readonly precision: Precision;
}

/** How long to sample. */
export interface Effort {
  /** End after so many seconds of sampling. Three samples may take three times as long; one is always taken. */
  readonly seconds: number;
  /** End after so many samples. */
  readonly samples: number;
}

/** The outcome of one task. Without `error` the answer was verified before anything was timed. */
export interface Measured {
  /** Milliseconds of one run, a number for each sample, in the order in which they were taken. */
  readonly samplesMs: readonly number[];
  /** The algorithm that `auto` took, where the engine tells. */
  readonly chosen?: string;
  /** Of an engine beside ours: our samples right before and right after. */
  readonly besideMs?: readonly number[];
  /** Why there is no time: the engine failed, has no such pass or answered wrongly. */
  readonly error?: string;
  /** Failed since the engine's device was lost, or is lost still. */
  readonly lost?: true;
}

/** An engine on this machine: ours, or a peer in a process of its own. */
export interface Engine {
  readonly name: string;
  /** False for tasks that it is not asked for; an engine without it takes all. */
  takes?(task: Task): boolean;
  /** Verifies one task, then times it. Resolves with `error` rather than rejecting, so that a run goes on. */
  time(task: Task, effort: Effort): Promise<Measured>;
  /** Frees the device or ends the process. */
  close(): Promise<void>;
}

// What every engine is fed with, so that answers can be compared.

/**
 * Operands of single operations: `randomValues` with these seeds. The images, weights and labels of networks:
 *   images  byte(v) = floor((v + 0.5) * 256) of randomValues(n*h*w*c, SEEDS.x); the network sees byte / 255, NHWC
 *   weights parameter i, counted over the layers with weights from 0: randomValues(count, SEEDS.w + i) * sqrt(24 / fanIn),
 *           fanIn = kH*kW*inC or inC, layout HWIO or [inC,outC], channels last when flattened; every bias is 0
 *   labels  image i has the class i mod classes
 */
export const SEEDS = { x: 0, w: 100, dy: 200 } as const;

/**
 * Adamax of every training step. The rate is so small that a step takes a good part off the loss of a batch and does not
 * overshoot: the paper's network falls from 1.44 to 1.32 with it, and rises to 7.9 with 1e-5.
 */
export const ADAMAX = { learningRate: 3e-7, beta1: 0.9, beta2: 0.999, epsilon: 1e-7 } as const;

/**
 * Float32 numbers in -0.5 to 0.5: a generator's (Numerical Recipes' state = state * 1664525 + 1013904223 mod 2^32, from
 * seed + 1, value = state / 2^32 - 0.5), repeated with a prime period, since millions drawn singly take seconds.
 */
export function randomValues(count: number, seed: number): Float32Array<ArrayBuffer> {
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

// The protocol of engines in processes of their own: one JSON object a line, requests on stdin, answers on stdout, one
// answer a request, in order. All else that such a process prints goes to stderr. It ends when stdin does.

export type PeerRequest =
  | { readonly kind: "hello" }
  | {
      readonly kind: "time";
      readonly id: number;
      readonly task: Task;
      readonly effort: Effort;
      /**
       * Which elements of the answer to send back: of y, dx or dw as flat indices in our layouts (NHWC, HWIO). Of an
       * inference, of the probabilities [n,classes]. Of a training step it is empty: see `values`.
       */
      readonly at: readonly number[];
    };

export type PeerAnswer =
  | {
      readonly kind: "hello";
      readonly engine: string;
      readonly version: string;
      /** The adapter as the engine names it, or the processor. */
      readonly adapter: string;
    }
  | {
      readonly kind: "time";
      readonly id: number;
      readonly samplesMs: readonly number[];
      /**
       * The elements asked for, in order. Of a training step: the mean loss of the first two steps on the same batch,
       * from the weights above with dropout left out; only then is it timed, with dropout.
       */
      readonly values: readonly number[];
    }
  | { readonly kind: "error"; readonly id: number; readonly error: string };
