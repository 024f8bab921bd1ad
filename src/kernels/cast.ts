/**
 * The same values as float16 or as float32.
 */
import { chunkGrid, valueType, type Context } from "../gpu/context.ts";
import { expectShape, ShapeError, type Tensor } from "../tensor.ts";
import { flat, forEachWindow } from "./windows.ts";

const WG_SIZE = 64;

/** y = x.  x, y: any shape, equal; float32 or float16.  Shader: cast.wgsl.  Writes y (=). */
export function cast(ctx: Context, { x }: { x: Tensor }, y: Tensor): void {
  expectShape("cast", "y", y, x.shape);
  for (const { label, dtype } of [x, y])
    if (dtype !== "float32" && dtype !== "float16")
      throw new ShapeError("cast", `"${label}": expected float32 or float16, got ${dtype}`);
  forEachWindow(ctx.device, flat(x, y), (tensors, { count }) => {
    const { Stored: XStored, lanes } = valueType(count, x.dtype);
    const { Stored } = valueType(count, y.dtype);
    ctx.dispatch({
      label: `cast ${x.label} to ${y.dtype}`,
      shader: "cast",
      constants: { WG_SIZE, XStored, Stored },
      tensors,
      params: { count: count / lanes },
      workgroups: chunkGrid(ctx.device, count / lanes, WG_SIZE),
    });
  });
}
