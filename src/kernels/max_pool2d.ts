/**
 * Max pooling, NHWC, float32 or float16 (all tensors but argmax alike). Padding never wins; of equal elements the first of the window (row-major) gets the gradient.
 */
import { pool2dGeometry, type Pool2dGeometry, type Pool2dSizes } from "../geometry.ts";
import {
  ceilDiv,
  expectFloats,
  itemsPerInvocation,
  valueType,
  type Context,
} from "../gpu/context.ts";
import type { Constants } from "../gpu/shader.ts";
import { expectShape, ShapeError, type DType, type Shape, type Tensor } from "../tensor.ts";
import { forEachWindow } from "./windows.ts";

const WG_SIZE = 64;

/**
 * The largest element of each window.  x: [n,inH,inW,c], y: [n,outH,outW,c] (see pool2dGeometry).
 * Shader: max_pool2d.wgsl.  Writes y (=).
 */
export function maxPool2d(
  ctx: Context,
  { x }: { x: Tensor },
  options: Pool2dSizes,
  y: Tensor,
): void {
  const g = pool2dGeometry(x.shape, options);
  expectShape("maxPool2d", "y", y, [g.n, g.outH, g.outW, g.c]);
  expectFloats("maxPool2d", x, y);
  forEachWindow(ctx.device, [x, y], (tensors, { count }) => {
    ctx.dispatch({
      label: `maxPool2d ${y.label}`,
      shader: "max_pool2d",
      constants: constants(g, x.dtype),
      tensors,
      params: params(g, count),
      workgroups: grid(ctx, (g.outW * g.c) / valueType(g.c).lanes, g.outH, count),
    });
  });
}

/**
 * dx = sum of dy over the windows whose first maximum the element is.  x, dx: [n,inH,inW,c], dy: [n,outH,outW,c].
 * Shader: max_pool2d_grad.wgsl.  Writes dx (=).
 */
export function maxPool2dGrad(
  ctx: Context,
  { x, dy }: { x: Tensor; dy: Tensor },
  options: Pool2dSizes,
  dx: Tensor,
): void {
  const g = pool2dGeometry(x.shape, options, "maxPool2dGrad");
  expectShape("maxPool2dGrad", "dy", dy, [g.n, g.outH, g.outW, g.c]);
  expectShape("maxPool2dGrad", "dx", dx, x.shape);
  expectFloats("maxPool2dGrad", x, dy, dx);
  forEachWindow(ctx.device, [x, dy, dx], (tensors, { count }) => {
    ctx.dispatch({
      label: `maxPool2dGrad ${dx.label}`,
      shader: "max_pool2d_grad",
      constants: constants(g, x.dtype),
      tensors,
      params: params(g, count),
      workgroups: grid(ctx, (g.inW * g.c) / valueType(g.c).lanes, g.inH, count),
    });
  });
}

/** Whether `maxPool2dArgmax` takes these sizes: channels in fours, places within a window that fit a byte. */
export function maxPool2dKeepsArgmax(shape: Shape, options: Pool2dSizes): boolean {
  const g = pool2dGeometry(shape, options);
  return g.c % 4 === 0 && g.kH * g.kW <= 256;
}

/**
 * `maxPool2d` that keeps where each maximum was, so that backward reads a byte for each window and not x again.
 * x: [n,inH,inW,c], y: [n,outH,outW,c], argmax: the shape of y, uint8: kh * kernel width + kw within the window.
 * Shader: max_pool2d_argmax.wgsl.  Writes y and argmax (=).
 */
export function maxPool2dArgmax(
  ctx: Context,
  { x }: { x: Tensor },
  options: Pool2dSizes,
  { y, argmax }: { y: Tensor; argmax: Tensor },
): void {
  const g = argmaxGeometry("maxPool2dArgmax", x.shape, options);
  expectShape("maxPool2dArgmax", "y", y, [g.n, g.outH, g.outW, g.c]);
  expectShape("maxPool2dArgmax", "argmax", argmax, y.shape);
  expectFloats("maxPool2dArgmax", x, y);
  forEachWindow(ctx.device, [x, y, argmax], (tensors, { count }) => {
    ctx.dispatch({
      label: `maxPool2d ${y.label}`,
      shader: "max_pool2d_argmax",
      constants: {
        ...windowConstants(g),
        HAS_PADDING: hasPadding(g),
        Stored: valueType(g.c, x.dtype).Stored,
      },
      tensors,
      params: params(g, count),
      workgroups: grid(ctx, (g.outW * g.c) / 4, g.outH, count),
    });
  });
}

/**
 * dx = sum of dy over the windows whose maximum, by `argmax`, the element is.
 * argmax as `maxPool2dArgmax` writes it, dy: [n,outH,outW,c], dx: [n,inH,inW,c].
 * Shader: max_pool2d_argmax_grad.wgsl.  Writes dx (=).
 */
export function maxPool2dArgmaxGrad(
  ctx: Context,
  { argmax, dy }: { argmax: Tensor; dy: Tensor },
  options: Pool2dSizes,
  dx: Tensor,
): void {
  const g = argmaxGeometry("maxPool2dArgmaxGrad", dx.shape, options);
  expectShape("maxPool2dArgmaxGrad", "dy", dy, [g.n, g.outH, g.outW, g.c]);
  expectShape("maxPool2dArgmaxGrad", "argmax", argmax, dy.shape);
  expectFloats("maxPool2dArgmaxGrad", dy, dx);
  forEachWindow(ctx.device, [argmax, dy, dx], (tensors, { count }) => {
    ctx.dispatch({
      label: `maxPool2dGrad ${dx.label}`,
      shader: "max_pool2d_argmax_grad",
      constants: { ...windowConstants(g), Stored: valueType(g.c, dy.dtype).Stored },
      tensors,
      params: params(g, count),
      workgroups: grid(ctx, (g.inW * g.c) / 4, g.inH, count),
    });
  });
}

function argmaxGeometry(op: string, shape: Shape, options: Pool2dSizes): Pool2dGeometry {
  const g = pool2dGeometry(shape, options, op);
  if (maxPool2dKeepsArgmax(shape, options)) return g;
  throw new ShapeError(
    op,
    `expected channels in fours and windows of at most 256 elements, got ${g.c} channels and ${g.kH}x${g.kW}; use maxPool2d`,
  );
}

function constants(g: Pool2dGeometry, dtype: DType): Constants {
  const { Value, Stored } = valueType(g.c, dtype);
  return { ...windowConstants(g), HAS_PADDING: hasPadding(g), Value, Stored };
}

function windowConstants(g: Pool2dGeometry): Constants {
  return { WG_SIZE, SIZE_H: g.kH, SIZE_W: g.kW, STRIDE_H: g.strideH, STRIDE_W: g.strideW };
}

function hasPadding(g: Pool2dGeometry): boolean {
  return g.padTop + g.padBottom + g.padLeft + g.padRight > 0;
}

function params(g: Pool2dGeometry, images: number): Record<string, number> {
  return {
    ...{
      n: images,
      in_h: g.inH,
      in_w: g.inW,
      c: g.c / valueType(g.c).lanes,
      out_h: g.outH,
      out_w: g.outW,
    },
    ...{ pad_top: g.padTop, pad_left: g.padLeft },
  };
}

/** Workgroups along a row of values, over rows and over images; the shaders loop over the rows and images beyond. */
function grid(
  { device }: Context,
  rowSize: number,
  rows: number,
  images: number,
): [number, number, number] {
  const most = device.limits.maxComputeWorkgroupsPerDimension;
  const imageGroups = ceilDiv(images, itemsPerInvocation(device));
  return [ceilDiv(rowSize, WG_SIZE), Math.min(rows, most), Math.min(imageGroups, most)];
}
