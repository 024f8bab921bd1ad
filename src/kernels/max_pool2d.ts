/**
 * Max pooling, NHWC. Padding never wins; of equal elements the first of the window (row-major) gets the gradient.
 */
import { pool2dGeometry, type Pool2dGeometry, type Pool2dSizes } from "../geometry.ts";
import { ceilDiv, itemsPerInvocation, valueType, type Context } from "../gpu/context.ts";
import type { Constants } from "../gpu/shader.ts";
import { expectShape, type Tensor } from "../tensor.ts";
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
  forEachWindow(ctx.device, [x, y], (tensors, { count }) => {
    ctx.dispatch({
      label: `maxPool2d ${y.label}`,
      shader: "max_pool2d",
      constants: constants(g),
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
  forEachWindow(ctx.device, [x, dy, dx], (tensors, { count }) => {
    ctx.dispatch({
      label: `maxPool2dGrad ${dx.label}`,
      shader: "max_pool2d_grad",
      constants: constants(g),
      tensors,
      params: params(g, count),
      workgroups: grid(ctx, (g.inW * g.c) / valueType(g.c).lanes, g.inH, count),
    });
  });
}

function constants(g: Pool2dGeometry): Constants {
  return {
    ...{
      WG_SIZE,
      Value: valueType(g.c).Value,
      SIZE_H: g.kH,
      SIZE_W: g.kW,
      STRIDE_H: g.strideH,
      STRIDE_W: g.strideW,
    },
    HAS_PADDING: g.padTop + g.padBottom + g.padLeft + g.padRight > 0,
  };
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
