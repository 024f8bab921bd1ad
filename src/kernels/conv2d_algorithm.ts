/**
 * What an algorithm for convolution is: the direct one in conv2d.ts, which chooses among them, and those of the files
 * conv2d_*.ts.
 */
import type { Conv2dGeometry } from "../geometry.ts";
import type { Context, Capabilities } from "../gpu/context.ts";
import type { DType, Tensor } from "../tensor.ts";
import type { WindowCopy } from "./windows.ts";

/** What a convolution computes: y, dx or dw. */
export type Conv2dPass = "forward" | "input_grad" | "weight_grad";

/** The operands of the forward pass; float32, or x and w float16. */
export interface Conv2dInputs {
  /** [n,inH,inW,inC] */
  readonly x: Tensor;
  /** [kH,kW,inC,outC] */
  readonly w: Tensor;
  /** [outC] */
  readonly b?: Tensor | undefined;
}

/** What the forward pass of an algorithm takes. */
export interface Conv2dForward extends Conv2dInputs {
  readonly leakySlope?: number | undefined;
}

/** What an algorithm does within one window, whose batch size the geometry holds; all tensors fit in one binding. */
export interface Conv2dImplementation {
  /** Why it cannot run, as the end of an error; undefined where it can. */
  readonly unsupported: (
    device: Capabilities,
    geometry: Conv2dGeometry,
    pass: Conv2dPass,
    dtype: DType,
  ) => string | undefined;
  /** What it makes of a window's images beside its operands. */
  readonly copies?: (geometry: Conv2dGeometry, pass: Conv2dPass, dtype: DType) => WindowCopy[];
  readonly forward: (
    ctx: Context,
    inputs: Conv2dForward,
    geometry: Conv2dGeometry,
    y: Tensor,
  ) => void;
  readonly inputGrad: (
    ctx: Context,
    inputs: { dy: Tensor; w: Tensor },
    geometry: Conv2dGeometry,
    dx: Tensor,
  ) => void;
  /** How many partial sums the weight gradient wants; it may get fewer. */
  readonly weightGradSplits: (device: Capabilities, geometry: Conv2dGeometry) => number;
  /** partials [splits,kH,kW,inC,outC]: every split is written (=), zeros where it has no pixels. */
  readonly weightGrad: (
    ctx: Context,
    inputs: { x: Tensor; dy: Tensor },
    geometry: Conv2dGeometry,
    partials: Tensor,
  ) => void;
}
