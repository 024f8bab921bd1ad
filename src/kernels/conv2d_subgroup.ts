/**
 * The convolution for software adapters, which want values shared by subgroupBroadcast rather than workgroup memory.
 */
import type { Context } from "../gpu/context.ts";
import type { Device } from "../gpu/device.ts";
import type { Conv2dGeometry } from "../geometry.ts";
import type { Tensor } from "../tensor.ts";
import type { Conv2dInputs, Conv2dPass } from "./conv2d.ts";

/** Why this adapter or geometry cannot take these shaders; undefined where it can. */
export function conv2dSubgroupUnsupported(
  _device: Device,
  _geometry: Conv2dGeometry,
  _pass: Conv2dPass,
): string | undefined {
  return "not implemented";
}

/** y = x * w + b. */
export function conv2dSubgroup(
  _ctx: Context,
  _inputs: Conv2dInputs,
  _geometry: Conv2dGeometry,
  _y: Tensor,
): void {
  throw new Error("conv2dSubgroup: not implemented");
}

/** dx from dy and w. */
export function conv2dInputGradSubgroup(
  _ctx: Context,
  _inputs: { dy: Tensor; w: Tensor },
  _geometry: Conv2dGeometry,
  _dx: Tensor,
): void {
  throw new Error("conv2dInputGradSubgroup: not implemented");
}

/** How many partial sums `conv2dWeightGradSubgroup` wants to write; the caller may give it fewer. */
export function conv2dWeightGradSubgroupSplits(_device: Device, _geometry: Conv2dGeometry): number {
  throw new Error("conv2dWeightGradSubgroupSplits: not implemented");
}

/** Partial sums of dw, partials [splits,kH,kW,inC,outC], each over a part of the pixels. */
export function conv2dWeightGradSubgroup(
  _ctx: Context,
  _inputs: { x: Tensor; dy: Tensor },
  _geometry: Conv2dGeometry,
  _partials: Tensor,
): void {
  throw new Error("conv2dWeightGradSubgroup: not implemented");
}
