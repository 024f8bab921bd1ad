/**
 * The three passes of a convolution on the GPU and in the reference, for tables of cases.
 */
import type { Capabilities, Context } from "../../src/gpu/context.ts";
import type { Device } from "../../src/gpu/device.ts";
import { roundToFloat16, toFloat16 } from "../../src/float16.ts";
import { conv2dGeometry, type Conv2dSizes } from "../../src/geometry.ts";
import {
  conv2d,
  conv2dInputGrad,
  conv2dUnsupported,
  conv2dWeightGrad,
  type Conv2dAlgorithm,
  type Conv2dOptions,
} from "../../src/kernels/conv2d.ts";
import type { Conv2dPass } from "../../src/kernels/conv2d_algorithm.ts";
import * as reference from "../../src/reference/conv2d.ts";
import type { Reference } from "../../src/reference/reference.ts";
import type { Shape, Tensor } from "../../src/tensor.ts";
import { expectClose } from "../../src/testing/close.ts";
import { expectLeaky, leakyReference } from "./leaky.ts";
import { skip, skipWithoutFloat16 } from "./skip.ts";
import { randomFloats, toFloat64 } from "../../src/testing/inputs.ts";
import { expectLinearAndRepeatable, runKernel } from "../../src/testing/kernel.ts";

/** Of the leaky ReLU in the convolution's own kernel. */
const SLOPE = 0.3;

export interface Conv2dCase extends Conv2dSizes {
  readonly x: Shape;
  readonly w: Shape;
  /** Default true. */
  readonly bias?: boolean;
}

/** `x=[2,5,7,3] w=[3,3,3,4] s=2 p=same` */
export function nameOf({
  x,
  w,
  strides = 1,
  dilations = 1,
  padding = "valid",
  bias,
}: Conv2dCase): string {
  const parts = [`x=[${x.join(",")}] w=[${w.join(",")}] s=${strides.toString()}`];
  if (dilations !== 1) parts.push(`d=${dilations.toString()}`);
  parts.push(`p=${typeof padding === "string" ? padding : JSON.stringify(padding)}`);
  if (bias === false) parts.push("no bias");
  return parts.join(" ");
}

/** Inputs of a case, always the same, with the shapes that belong to them. With float16 their values are such. */
export function prepare(test: Conv2dCase, dtype: "float32" | "float16" = "float32") {
  const { x: xShape, w: wShape } = test;
  const sizes: Conv2dSizes = {
    strides: test.strides ?? 1,
    dilations: test.dilations ?? 1,
    padding: test.padding ?? "valid",
  };
  const g = conv2dGeometry(xShape, wShape, sizes);
  const yShape = [g.n, g.outH, g.outW, g.outC];
  const stored = dtype === "float16" ? roundToFloat16 : (values: Float32Array) => values;
  return {
    ...{ xShape, wShape, yShape, g, sizes, dtype },
    x: stored(randomFloats(xShape, 1, "x")),
    w: stored(randomFloats(wShape, 2, "w")),
    b: test.bias === false ? undefined : randomFloats([g.outC], 3, "b"),
    dy: stored(randomFloats(yShape, 4, "dy")),
  };
}

export type Prepared = ReturnType<typeof prepare>;

/** A case and what the reference says of it, computed when the first of several tests asks for it. */
export function preparedOnce(
  test: Conv2dCase,
  reference: (p: Prepared) => Reference,
): () => { readonly p: Prepared; readonly want: Reference } {
  let known: { p: Prepared; want: Reference } | undefined;
  return () => {
    if (!known) {
      const p = prepare(test);
      known = { p, want: reference(p) };
    }
    return known;
  };
}

/** Uploads what is given, biases as float32 and all else as the case says, runs, releases. */
async function withTensors(
  device: Device,
  { dtype }: Prepared,
  values: readonly (readonly [Float32Array, Shape, string])[],
  run: (...tensors: Tensor[]) => Promise<Float32Array>,
): Promise<Float32Array> {
  const tensors = values.map(([data, shape, label]) =>
    device.upload(dtype === "float16" && label !== "b" ? toFloat16(data) : data, shape, label),
  );
  try {
    return await run(...tensors);
  } finally {
    device.release(...tensors);
  }
}

const asItIs = (ctx: Context): Context => ctx;

/** One pass on the GPU, and what the reference says of it. `dy` stands in for the case's own. */
interface Pass {
  readonly run: (
    device: Device,
    p: Prepared,
    options: Conv2dOptions,
    dy: Float32Array,
    on?: (ctx: Context) => Context,
  ) => Promise<Float32Array>;
  readonly want: (p: Prepared) => Reference;
  readonly shape: (p: Prepared) => Shape;
  /** What the result is stored as. */
  readonly stored: (p: Prepared) => "float32" | "float16";
}

export const PASSES: Readonly<Record<Conv2dPass, Pass>> = {
  forward: {
    run: (device, p, options, _, on = asItIs) =>
      withTensors(
        device,
        p,
        [
          [p.x, p.xShape, "x"],
          [p.w, p.wShape, "w"],
          ...(p.b ? ([[p.b, [p.g.outC], "b"]] as const) : []),
        ],
        (x, w, b) =>
          runKernel(
            device,
            p.yShape,
            (ctx, y) => {
              conv2d(on(ctx), { x: x, w: w, b }, options, y);
            },
            p.dtype,
          ),
      ),
    want: (p) => reference.conv2d(toFloat64(p.x), toFloat64(p.w), p.b && toFloat64(p.b), p.g),
    shape: (p) => p.yShape,
    stored: (p) => p.dtype,
  },
  input_grad: {
    run: (device, p, options, dy, on = asItIs) =>
      withTensors(
        device,
        p,
        [
          [dy, p.yShape, "dy"],
          [p.w, p.wShape, "w"],
        ],
        (dyTensor, w) =>
          runKernel(
            device,
            p.xShape,
            (ctx, dx) => {
              conv2dInputGrad(on(ctx), { dy: dyTensor, w: w }, options, dx);
            },
            p.dtype,
          ),
      ),
    want: (p) => reference.conv2dInputGrad(toFloat64(p.dy), toFloat64(p.w), p.g),
    shape: (p) => p.xShape,
    stored: (p) => p.dtype,
  },
  weight_grad: {
    run: (device, p, options, dy, on = asItIs) =>
      withTensors(
        device,
        p,
        [
          [p.x, p.xShape, "x"],
          [dy, p.yShape, "dy"],
        ],
        (x, dyTensor) =>
          runKernel(device, p.wShape, (ctx, dw) => {
            conv2dWeightGrad(on(ctx), { x: x, dy: dyTensor }, options, dw);
          }),
      ),
    want: (p) => reference.conv2dWeightGrad(toFloat64(p.x), toFloat64(p.dy), p.g),
    shape: (p) => p.wShape,
    stored: () => "float32",
  },
};

export interface PassOptions {
  readonly algorithm: Conv2dAlgorithm;
  /** Makes of the context of a recording another one, e.g. one that pretends to be of another adapter. */
  readonly on?: (ctx: Context) => Context;
}

/**
 * One pass against `want`; then, forward, with a leaky ReLU in the same kernel, which also shows that two runs give the
 * same bits, and backward linearity. A result that is rounded to float16 shows neither by its bits: it is compared once,
 * forward with the leaky ReLU.
 */
export async function expectPass(
  device: Device,
  pass: Conv2dPass,
  p: Prepared,
  want: Reference,
  { algorithm, on }: PassOptions,
): Promise<void> {
  const { run, shape } = PASSES[pass];
  const options: Conv2dOptions = { ...p.sizes, algorithm };
  const fused: Conv2dOptions = { ...options, leakySlope: SLOPE };
  if (PASSES[pass].stored(p) === "float16") {
    const forward = pass === "forward";
    const got = await run(device, p, forward ? fused : options, p.dy, on);
    const expected = forward ? leakyReference(want, SLOPE) : want;
    expectClose(got, expected, shape(p), { stored: "float16" });
    return;
  }
  const got = await run(device, p, options, p.dy, on);
  expectClose(got, want, shape(p));
  if (pass === "forward") expectLeaky(await run(device, p, fused, p.dy, on), got, SLOPE);
  else await expectLinearAndRepeatable(p.dy, (dy) => run(device, p, options, dy, on));
}

/** Skips the running test where this adapter cannot compute the pass so. */
export function skipUnsupported(
  context: Mocha.Context,
  device: Device,
  { g, dtype }: Prepared,
  pass: Conv2dPass,
  algorithm: Conv2dAlgorithm,
): void {
  if (dtype === "float16") skipWithoutFloat16(context, device);
  const reason = conv2dUnsupported(device, g, pass, algorithm, dtype);
  if (reason !== undefined) skip(context, reason);
}

/** A context that records for a GPU, whatever the adapter: the algorithms then choose their shaders for one. */
export function asHardware(ctx: Context): Context {
  return {
    device: pretend(ctx.device, { software: false, subgroupSize: 32 }),
    dispatch: (dispatch) => {
      ctx.dispatch(dispatch);
    },
    copy: (from, to) => {
      ctx.copy(from, to);
    },
    scratch: (shape, dtype, label) => ctx.scratch(shape, dtype, label),
    free: (tensor) => {
      ctx.free(tensor);
    },
  };
}

/** The adapter at hand, as if it were another. */
export function pretend(
  device: Capabilities,
  { software, subgroupSize }: { software: boolean; subgroupSize: number },
): Capabilities {
  const adapter: Capabilities["summary"] = {
    ...device.summary,
    software,
    class: software ? "mesa-software" : "hardware",
  };
  return Object.create(device, {
    summary: { value: adapter },
    subgroupSize: { value: subgroupSize },
  }) as Capabilities;
}
