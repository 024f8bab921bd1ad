/**
 * Adamax (Kingma & Ba 2014) as Keras has it: w -= rate / (1 - beta1^t) * m / (u + epsilon).
 */
import { expectDType, chunkGrid, valueType, type Context } from "../gpu/context.ts";
import { expectShape, type Tensor } from "../tensor.ts";
import { flat, forEachWindow } from "./windows.ts";

const WG_SIZE = 64;

export interface AdamaxOptions {
  readonly beta1: number;
  readonly beta2: number;
  /** Added to u. PyTorch adds its own to |dw| instead. */
  readonly epsilon: number;
}

/** What `adamax` reads. */
export interface AdamaxInputs {
  /** Gradient, the shape of w. */
  readonly dw: Tensor;
  /** uint32 [4], see stepState, which holds the corrected learning rate. */
  readonly step: Tensor;
  /** uint32 [4], see clearStatus; nothing changes while its word 0 is not 0. */
  readonly status: Tensor;
  /** [4], see updateLossScale: dw is that of the loss times its scale. 1 when left out. */
  readonly lossScale?: Tensor | undefined;
}

/** What `adamax` updates: float32, the shape of w. */
export interface AdamaxState {
  readonly w: Tensor;
  /** First moment, 0 before the first step. */
  readonly m: Tensor;
  /** Infinity norm, 0 before the first step. */
  readonly u: Tensor;
}

/** One step.  dw, w, m, u: float32, any shape, equal.  Shader: adamax.wgsl.  Updates w, m and u in place. */
export function adamax(
  ctx: Context,
  { dw, step, status, lossScale }: AdamaxInputs,
  { beta1, beta2, epsilon }: AdamaxOptions,
  { w, m, u }: AdamaxState,
): void {
  expectShape("adamax", "dw", dw, w.shape);
  expectShape("adamax", "m", m, w.shape);
  expectShape("adamax", "u", u, w.shape);
  expectShape("adamax", "step", step, [4]);
  expectShape("adamax", "status", status, [4]);
  if (lossScale) expectShape("adamax", "lossScale", lossScale, [4]);
  expectDType("adamax", "float32", dw, w, m, u);
  forEachWindow(ctx.device, flat(dw, w, m, u), ([gradient, ...state], { count }) => {
    const { Value, lanes } = valueType(count);
    ctx.dispatch({
      label: `adamax ${w.label}`,
      shader: "adamax",
      constants: { WG_SIZE, HAS_SCALE: lossScale !== undefined, Value },
      // A binding needs a buffer: step stands in where there is no scale.
      tensors: [gradient ?? dw, step, status, lossScale ?? step, ...state],
      params: { count: count / lanes, beta1, one_minus_beta1: 1 - beta1, beta2, epsilon },
      workgroups: chunkGrid(ctx.device, count / lanes, WG_SIZE),
    });
  });
}
