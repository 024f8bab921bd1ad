/**
 * Batches drawn on the GPU: uint8 images that already lie there, each resampled through its own 2x3 matrix.
 */
import {
  ceilDiv,
  expectFloats,
  itemsPerInvocation,
  storedType,
  type Context,
} from "../gpu/context.ts";
import { expectShape, formatShape, ShapeError, type Tensor } from "../tensor.ts";
import { forEachWindow } from "./windows.ts";

const WG_SIZE = 64;

/** What `affineWarp` reads. */
export interface AffineWarpInputs {
  /** uint8 [count, inH, inW, inC]. */
  readonly images: Tensor;
  /** uint32 [n]: which image of the set each row of the batch shows. */
  readonly indices: Tensor;
  /** [n, 2, 3], from output to input pixels, centres of pixels at .5 (see data/augment.ts). */
  readonly matrices: Tensor;
}

/** What `affineWarp` takes beside tensors. */
export interface AffineWarpOptions {
  /** The set's image with which `images` starts. Default 0. */
  readonly firstIndex?: number;
}

/** An image set in several tensors, each of which fits a binding. */
export interface AffineWarpSetInputs extends Omit<AffineWarpInputs, "images"> {
  readonly chunks: readonly { readonly images: Tensor; readonly firstIndex: number }[];
}

/**
 * y = bilinear(images[indices], matrices) / 255; outside an image its edge repeats.  y: [n, outH, outW, outC] with
 * outC = inC, or any outC for grey images, float32 or float16. Rows whose index lies outside [firstIndex, firstIndex + count) are not
 * written: they belong to another chunk of the set, and whoever fills `indices` sees to it that there is one.
 * Shader: affine_warp.wgsl.  Writes y (=).
 */
export function affineWarp(
  ctx: Context,
  { images, indices, matrices }: AffineWarpInputs,
  { firstIndex = 0 }: AffineWarpOptions,
  y: Tensor,
): void {
  const [, inH, inW, inC] = images.shape;
  const [n, outH, outW, outC] = y.shape;
  if (images.dtype !== "uint8" || images.shape.length !== 4 || !inH || !inW || !inC)
    throw new ShapeError(
      "affineWarp",
      `images "${images.label}": expected uint8 [count,h,w,c], got ${images.dtype} ${formatShape(images.shape)}`,
      { images: images.shape },
    );
  if (y.shape.length !== 4 || !n || !outH || !outW || !outC || (inC !== outC && inC !== 1))
    throw new ShapeError(
      "affineWarp",
      `y "${y.label}": expected [n,h,w,${inC === 1 ? "c" : inC}], got ${formatShape(y.shape)}`,
      { y: y.shape },
    );
  expectFloats("affineWarp", y);
  expectShape("affineWarp", "indices", indices, [n]);
  expectShape("affineWarp", "matrices", matrices, [n, 2, 3]);
  const most = ctx.device.limits.maxComputeWorkgroupsPerDimension;
  forEachWindow(ctx.device, [y], ([rows = y], batch) => {
    const rowGroups = ceilDiv(batch.count, itemsPerInvocation(ctx.device));
    forEachWindow(ctx.device, [images], ([part = images], set) => {
      ctx.dispatch({
        label: `affineWarp ${y.label}`,
        shader: "affine_warp",
        constants: { WG_SIZE, Stored: storedType(y) },
        tensors: [part, indices, matrices, rows],
        params: {
          ...{ n: batch.count, first_row: batch.start },
          ...{ first_image: firstIndex + set.start, image_count: set.count },
          ...{ in_h: inH, in_w: inW, in_c: inC, out_h: outH, out_w: outW, out_c: outC },
        },
        workgroups: [ceilDiv(outH * outW, WG_SIZE), Math.min(rowGroups, most)],
      });
    });
  });
}

/** affineWarp out of a set in several chunks, one dispatch for each.  Writes y (=). */
export function affineWarpSet(
  ctx: Context,
  { chunks, indices, matrices }: AffineWarpSetInputs,
  y: Tensor,
): void {
  for (const { images, firstIndex } of chunks)
    affineWarp(ctx, { images, indices, matrices }, { firstIndex }, y);
}
