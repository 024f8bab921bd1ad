/**
 * The geometry of convolution and pooling: the one place that knows padding arithmetic. Layers, kernels, references,
 * tests and benchmarks all take their sizes from here. Host arithmetic only.
 */
import { ShapeError } from "./tensor.ts";

/** A height and a width; one number means both. */
export type Size2d = number | readonly [number, number];

/**
 * "valid": no padding. "same": out = ceil(in / stride), with the odd row or column of padding at the bottom and right,
 * as Keras and TensorFlow have it. Explicit: [[top, bottom], [left, right]].
 */
export type Padding =
  "same" | "valid" | readonly [readonly [number, number], readonly [number, number]];

export interface Conv2dSizes {
  /** Default 1. */
  readonly strides?: Size2d;
  /** Default 1. */
  readonly dilations?: Size2d;
  /** Default "valid". */
  readonly padding?: Padding;
}

/** Sizes of y [n,outH,outW,outC] = x [n,inH,inW,inC] * w [kH,kW,inC,outC]. */
export interface Conv2dGeometry {
  readonly n: number;
  readonly inH: number;
  readonly inW: number;
  readonly inC: number;
  readonly kH: number;
  readonly kW: number;
  readonly outC: number;
  readonly outH: number;
  readonly outW: number;
  readonly strideH: number;
  readonly strideW: number;
  readonly dilationH: number;
  readonly dilationW: number;
  readonly padTop: number;
  readonly padLeft: number;
  readonly padBottom: number;
  readonly padRight: number;
}

export interface Pool2dSizes {
  /** The window. */
  readonly size: Size2d;
  /** Default: the window's size. */
  readonly strides?: Size2d;
  /** Default "valid". */
  readonly padding?: Padding;
}

/** Sizes of pooling x [n,inH,inW,c] to y [n,outH,outW,c] by windows of kH x kW. */
export interface Pool2dGeometry {
  readonly n: number;
  readonly inH: number;
  readonly inW: number;
  readonly c: number;
  readonly kH: number;
  readonly kW: number;
  readonly outH: number;
  readonly outW: number;
  readonly strideH: number;
  readonly strideW: number;
  readonly padTop: number;
  readonly padLeft: number;
  readonly padBottom: number;
  readonly padRight: number;
}

/**
 * Sizes of a convolution of x [n,inH,inW,inC] NHWC with w [kH,kW,inC,outC] HWIO.
 * @param op names the operation in errors
 * @throws ShapeError for ranks, channels, strides, dilations or padding that make no convolution
 */
export function conv2dGeometry(
  xShape: readonly number[],
  wShape: readonly number[],
  options: Conv2dSizes = {},
  op = "conv2d",
): Conv2dGeometry {
  const [n, inH, inW, inC] = sizes4(op, "x", xShape, "[n,h,w,c] NHWC");
  const [kH, kW, wInC, outC] = sizes4(op, "w", wShape, "[kH,kW,inC,outC] HWIO");
  if (inC !== wInC)
    throw new ShapeError(
      op,
      `input channels differ: x [${xShape.join(",")}] NHWC has ${inC}, w [${wShape.join(",")}] HWIO expects ${wInC}`,
      { x: xShape, w: wShape },
    );
  const [strideH, strideW] = pair(op, "strides", options.strides ?? 1);
  const [dilationH, dilationW] = pair(op, "dilations", options.dilations ?? 1);
  const padding = checkedPadding(op, options.padding ?? "valid");
  const h = outputAxis(op, "height", inH, kH, strideH, dilationH, axisPadding(padding, 0));
  const w = outputAxis(op, "width", inW, kW, strideW, dilationW, axisPadding(padding, 1));
  return {
    ...{ n, inH, inW, inC, kH, kW, outC, outH: h.out, outW: w.out },
    ...{ strideH, strideW, dilationH, dilationW },
    ...{ padTop: h.before, padLeft: w.before, padBottom: h.after, padRight: w.after },
  };
}

/** The geometry as `struct Params` of the convolution shaders has it; they need no padding at the bottom and right. */
export function conv2dParams(geometry: Conv2dGeometry): Record<string, number> {
  const params: Record<string, number> = { ...geometry };
  delete params["padBottom"];
  delete params["padRight"];
  return params;
}

/**
 * After how many taps, along the height and the width, it repeats which of them read an input pixel: with strides, a
 * pixel is read through every so many only.
 */
export function tapSteps(g: Conv2dGeometry): { tapStepH: number; tapStepW: number } {
  return {
    tapStepH: g.strideH / gcd(g.strideH, g.dilationH),
    tapStepW: g.strideW / gcd(g.strideW, g.dilationW),
  };
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/**
 * Sizes of pooling x [n,inH,inW,c] NHWC.
 * @param op names the operation in errors
 * @throws ShapeError for a rank, size, stride or padding that makes no pooling
 */
export function pool2dGeometry(
  xShape: readonly number[],
  options: Pool2dSizes,
  op = "maxPool2d",
): Pool2dGeometry {
  const [n, inH, inW, c] = sizes4(op, "x", xShape, "[n,h,w,c] NHWC");
  const [kH, kW] = pair(op, "size", options.size);
  const [strideH, strideW] = pair(op, "strides", options.strides ?? options.size);
  const padding = checkedPadding(op, options.padding ?? "valid");
  const h = outputAxis(op, "height", inH, kH, strideH, 1, axisPadding(padding, 0));
  const w = outputAxis(op, "width", inW, kW, strideW, 1, axisPadding(padding, 1));
  // A window that lies wholly in the padding has no largest element.
  if (Math.max(h.before, h.after) >= kH || Math.max(w.before, w.after) >= kW)
    throw new ShapeError(
      op,
      `padding reaches the window's size: expected each below size [${kH},${kW}], ` +
        `got [[${h.before},${h.after}],[${w.before},${w.after}]]`,
      { x: xShape },
    );
  return {
    ...{ n, inH, inW, c, kH, kW, outH: h.out, outW: w.out, strideH, strideW },
    ...{ padTop: h.before, padLeft: w.before, padBottom: h.after, padRight: w.after },
  };
}

type AxisPadding = "same" | "valid" | readonly [number, number];

function axisPadding(padding: Padding, axis: 0 | 1): AxisPadding {
  return typeof padding === "string" ? padding : padding[axis];
}

/** Shaders count rows and columns in int32, and add two of these at most. */
const MAX_SPAN = 2 ** 30;

/** Output size and padding of one axis. */
function outputAxis(
  op: string,
  axis: "height" | "width",
  size: number,
  kernel: number,
  stride: number,
  dilation: number,
  padding: AxisPadding,
): { out: number; before: number; after: number } {
  const extent = (kernel - 1) * dilation + 1;
  const [before, after] = typeof padding === "string" ? [0, 0] : padding;
  const span = Math.max(stride, extent, before + size + after);
  if (span > MAX_SPAN)
    throw new ShapeError(
      op,
      `sizes out of range in ${axis}: expected stride, kernel with dilation and padded input of at most ${MAX_SPAN}, got ${span}`,
    );
  if (padding === "same") {
    // https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    const out = Math.ceil(size / stride);
    const total = Math.max((out - 1) * stride + extent - size, 0);
    const half = Math.floor(total / 2);
    return { out, before: half, after: total - half };
  }
  const padded = before + size + after;
  if (extent > padded)
    throw new ShapeError(
      op,
      `kernel exceeds the input in ${axis}: kernel ${kernel} with dilation ${dilation} spans ${extent}, ` +
        `input ${size} with padding [${before},${after}] has ${padded}; use padding "same" or a smaller kernel`,
    );
  return { out: Math.floor((padded - extent) / stride) + 1, before, after };
}

function sizes4(
  op: string,
  name: string,
  shape: readonly number[],
  layout: string,
): [number, number, number, number] {
  const [a, b, c, d] = shape;
  if (
    shape.length !== 4 ||
    !shape.every(isPositiveInteger) ||
    a === undefined ||
    b === undefined ||
    c === undefined ||
    d === undefined
  )
    throw new ShapeError(
      op,
      `${name} has the wrong rank or an empty axis: expected ${layout} with sizes of at least 1, got [${shape.join(",")}]`,
      { [name]: shape },
    );
  return [a, b, c, d];
}

function pair(op: string, name: string, value: unknown): [number, number] {
  const [h, w, ...rest] = Array.isArray(value) ? (value as unknown[]) : [value, value];
  if (!isPositiveInteger(h) || !isPositiveInteger(w) || rest.length > 0)
    throw new ShapeError(
      op,
      `${name}: expected an integer of at least 1 or a list of two, got ${JSON.stringify(value)}`,
    );
  return [h, w];
}

/** Options may come from JSON, so that the type alone proves nothing. */
function checkedPadding(op: string, padding: unknown): Padding {
  if (padding === "same" || padding === "valid") return padding;
  const rows: unknown[] = Array.isArray(padding) ? padding : [];
  const isSide = (row: unknown): boolean =>
    Array.isArray(row) &&
    row.length === 2 &&
    row.every((size) => Number.isInteger(size) && Number(size) >= 0);
  if (rows.length !== 2 || !rows.every(isSide))
    throw new ShapeError(
      op,
      `padding: expected "same", "valid" or [[top,bottom],[left,right]] of integers from 0, got ${JSON.stringify(padding)}`,
    );
  return padding as Padding;
}

function isPositiveInteger(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 1;
}
