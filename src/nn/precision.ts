/**
 * Mixed precision (Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740): activations, their gradients and the
 * weights as kernels read them are stored in float16; sums, parameters and their gradients stay float32. What a pass
 * stores follows its input: given float16, it records all of this, given float32 nothing of it.
 */
import type { Context } from "../gpu/context.ts";
import type { Device } from "../gpu/device.ts";
import { DeviceError } from "../gpu/errors.ts";
import { cast } from "../kernels/cast.ts";
import { reshape, sameMemory, type Tensor } from "../tensor.ts";
import type { Layer, LayerPass } from "./layer.ts";

export const PRECISIONS = ["float32", "mixed"] as const;
/** What activations and their gradients are stored in: float32, or float16 (`mixed`). */
export type Precision = (typeof PRECISIONS)[number];

/** What was asked for, else TUNINGFORK_PRECISION of the environment, else float32. */
export function precisionOf(asked: Precision | undefined): Precision {
  if (asked) return asked;
  const named = process.env["TUNINGFORK_PRECISION"] || "float32";
  const precision = PRECISIONS.find((name) => name === named);
  if (!precision)
    throw new Error(`TUNINGFORK_PRECISION: expected ${PRECISIONS.join(" or ")}, got "${named}"`);
  return precision;
}

/** @throws DeviceError where the device cannot store float16 */
export function expectPrecision(device: Device, precision: Precision): void {
  if (precision === "float32" || device.hasFloat16) return;
  const { description, device: name } = device.summary;
  throw new DeviceError(
    `precision "mixed": expected an adapter with the feature shader-f16, got ${name || description} without it; ` +
      `use "float32", or choose another adapter (tuningfork doctor lists what they have)`,
    "validation",
  );
}

/** A scratch tensor with the values of x in another type. */
export function castTo(ctx: Context, x: Tensor, dtype: "float32" | "float16"): Tensor {
  const y = ctx.scratch(x.shape, dtype, `${x.label} as ${dtype}`);
  cast(ctx, { x }, y);
  return y;
}

/**
 * The layer's weight as its kernels read it beside a float16 x. Made anew in every pass, so that it is never older than
 * the weight. Undefined where the layer takes its parameters as they are.
 */
export function weightCopy(ctx: Context, layer: Layer, x: Tensor): Tensor | undefined {
  if (x.dtype !== "float16" || !layer.storesFloat16) return undefined;
  const weight = layer.parameters.find(({ name }) => name === `${layer.name}.weight`);
  return weight && castTo(ctx, weight.value, "float16");
}

/** `layer.forward`, with casts around it where x is float16 and the layer computes in float32 only. */
export function forwardLayer(ctx: Context, layer: Layer, x: Tensor, pass: LayerPass): Tensor {
  if (x.dtype !== "float16" || layer.storesFloat16) return layer.forward(ctx, x, pass);
  const wideX = castTo(ctx, x, "float32");
  const wideY = layer.forward(ctx, wideX, pass);
  const isX = sameMemory(wideX, wideY);
  const y = isX ? reshape(x, wideY.shape) : castTo(ctx, wideY, "float16");
  ctx.free(wideX);
  if (!isX) ctx.free(wideY);
  return y;
}

/** `layer.backward`, with casts around it where dy is float16 and the layer computes in float32 only. */
export function backwardLayer(
  ctx: Context,
  layer: Layer,
  { x, y, dy }: { readonly x: Tensor; readonly y: Tensor; readonly dy: Tensor },
  needsDx: boolean,
  pass: LayerPass,
): Tensor | undefined {
  if (dy.dtype !== "float16" || layer.storesFloat16)
    return layer.backward(ctx, { x, y, dy }, needsDx, pass);
  const reads = layer.backwardReads(pass);
  const wideX = reads.x ? castTo(ctx, x, "float32") : undefined;
  const wideY = reads.y ? castTo(ctx, y, "float32") : undefined;
  const wideDy = castTo(ctx, dy, "float32");
  const wide = { x: wideX ?? x, y: wideY ?? y, dy: wideDy };
  const wideDx = layer.backward(ctx, wide, needsDx, pass);
  const isDy = wideDx !== undefined && sameMemory(wideDx, wideDy);
  const dx = wideDx && (isDy ? reshape(dy, wideDx.shape) : castTo(ctx, wideDx, "float16"));
  for (const tensor of [wideX, wideY, wideDy, isDy ? undefined : wideDx])
    if (tensor) ctx.free(tensor);
  return dx;
}
