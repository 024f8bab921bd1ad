/**
 * Inverted dropout whose mask is a function of seed, step, layer and element: never stored, the same in forward and
 * backward, on every adapter, for any workgroup size.
 */
import { ceilDiv, expectFloats, storedType, chunkGrid, type Context } from "../gpu/context.ts";
import { seedWords } from "../random.ts";
import { expectShape, type Tensor } from "../tensor.ts";
import { flat, forEachWindow } from "./windows.ts";

const WG_SIZE = 64;

/** Which elements are dropped; the same in forward and backward. */
export interface DropoutOptions {
  /** Fraction of elements that are set to 0, from 0 to 1 - 2^-32. */
  readonly rate: number;
  /** Any integer from 0 to 2^53 - 1. */
  readonly seed: number;
  /** Number of the layer, so that layers of one step differ. */
  readonly layer: number;
}

/**
 * y = x / (1 - rate) where the element is kept, else 0.  x, y: any shape, equal, float32 or float16.  step: uint32 [4], see stepState.
 * Shader: dropout.wgsl.  Writes y (=).
 */
export function dropout(
  ctx: Context,
  { x, step }: { x: Tensor; step: Tensor },
  options: DropoutOptions,
  y: Tensor,
): void {
  expectShape("dropout", "y", y, x.shape);
  mask(ctx, "dropout", x, step, options, y);
}

/**
 * dx = dy / (1 - rate) where dropout kept the element, else 0.  dy, dx as x, y in dropout.  step as in dropout.
 * Shader: dropout.wgsl.  Writes dx (=).
 */
export function dropoutGrad(
  ctx: Context,
  { dy, step }: { dy: Tensor; step: Tensor },
  options: DropoutOptions,
  dx: Tensor,
): void {
  expectShape("dropoutGrad", "dx", dx, dy.shape);
  mask(ctx, "dropoutGrad", dy, step, options, dx);
}

function mask(
  ctx: Context,
  op: string,
  from: Tensor,
  step: Tensor,
  { rate, seed, layer }: DropoutOptions,
  to: Tensor,
): void {
  expectFloats(op, from, to);
  expectShape(op, "step", step, [4]);
  const threshold = dropoutThreshold(rate);
  const [seed_low, seed_high] = seedWords(seed);
  forEachWindow(ctx.device, flat(from, to), ([x = from, y = to], { start, count }) => {
    ctx.dispatch({
      label: `${op} ${to.label}`,
      shader: "dropout",
      constants: { WG_SIZE, Stored: storedType(from) },
      tensors: [x, step, y],
      params: {
        count,
        // A window starts at an aligned offset, hence at a multiple of four elements.
        first_block: start / 4,
        threshold,
        scale: 1 / (1 - rate),
        seed_low,
        seed_high,
        layer,
      },
      workgroups: chunkGrid(ctx.device, ceilDiv(count, 4), WG_SIZE),
    });
  });
}

/** The smallest random word that keeps an element: word / 2^32 >= rate. @throws RangeError for a rate that keeps none */
export function dropoutThreshold(rate: number): number {
  const threshold = Math.ceil(rate * 2 ** 32); // exact: the product only moves the exponent
  if (!(rate >= 0 && threshold < 2 ** 32))
    throw new RangeError(`dropout: rate: expected 0 <= rate <= 1 - 2^-32, got ${rate}`);
  return threshold;
}
