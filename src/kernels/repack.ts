/**
 * Copies between layouts for the shaders that read and write four channels at a time: padding with zeros to a multiple
 * of four, transposing filters, cutting the padding off again.
 */
import { ceilDiv, grid1d, storedType, type Context } from "../gpu/context.ts";
import { sizeBytes, type Tensor } from "../tensor.ts";

const WG_SIZE = 64;

/** Where a block of [blocks, rows, columns] elements lies in a tensor, in elements. */
export interface Layout {
  /** Default 0. */
  readonly offset?: number;
  /** Elements from one block to the next. Default: blocks without gaps. */
  readonly block?: number;
  /** Elements from one row to the next. */
  readonly row: number;
  /** Elements from one column to the next. Default 1. */
  readonly column?: number;
  readonly rows: number;
  readonly columns: number;
}

export interface RepackOptions {
  readonly blocks: number;
  /** What x holds; beyond its rows and columns y gets zeros. */
  readonly from: Layout;
  /** What is written; the columns of y lie next to each other. */
  readonly to: Omit<Layout, "column">;
  /** Add to what y holds (+=) instead of writing it (=). Default false. */
  readonly accumulate?: boolean;
  /** A leaky ReLU with this slope follows. Default: none. */
  readonly leakySlope?: number | undefined;
}

/**
 * Copies [blocks, rows, columns] from one layout to another; x and y may each be float32 or float16.
 * Shader: repack.wgsl.  Writes y (=), or (+=) on request.
 */
export function repack(
  ctx: Context,
  x: Tensor,
  { blocks, from, to, accumulate = false, leakySlope = 1 }: RepackOptions,
  y: Tensor,
): void {
  const { rows, columns } = to;
  ctx.dispatch({
    label: `repack ${x.label}`,
    shader: "repack",
    constants: {
      ...{ WG_SIZE, XStored: storedType(x), Stored: storedType(y) },
      ...{ ACCUMULATE: accumulate, LEAKY_SLOPE: leakySlope },
    },
    tensors: [x, y],
    params: {
      ...{ blocks, rows, columns },
      xOffset: from.offset ?? 0,
      xBlock: from.block ?? from.rows * from.columns,
      xRow: from.row,
      xColumn: from.column ?? 1,
      xRows: from.rows,
      xColumns: from.columns,
      yOffset: to.offset ?? 0,
      yBlock: to.block ?? rows * columns,
      yRow: to.row,
    },
    workgroups: grid1d(ctx.device, ceilDiv(blocks * rows * columns, WG_SIZE)),
  });
}

/**
 * What to bind as an array of elements of `bytes` each, of which WebGPU wants one at least: the tensor, or where it is
 * smaller an unread one.
 */
export function bindableAs(ctx: Context, tensor: Tensor, bytes: number): Tensor {
  return sizeBytes(tensor) >= bytes ? tensor : ctx.scratch([4], "float32", "unread");
}

/** The next multiple of four. */
export function roundUp4(size: number): number {
  return ceilDiv(size, 4) * 4;
}
