/**
 * Adding one tensor to another, in place.
 */
import { chunkGrid, valueType, type Context } from "../gpu/context.ts";
import { expectShape, type Tensor } from "../tensor.ts";
import { flat, forEachWindow } from "./windows.ts";

const WG_SIZE = 64;

/** y += x.  x, y: any shape, equal.  Shader: add.wgsl.  Updates y (+=). */
export function add(ctx: Context, { x }: { x: Tensor }, y: Tensor): void {
  expectShape("add", "x", x, y.shape);
  forEachWindow(ctx.device, flat(x, y), (tensors, { count }) => {
    const { Value, lanes } = valueType(count);
    ctx.dispatch({
      label: `add ${x.label} to ${y.label}`,
      shader: "add",
      constants: { WG_SIZE, Value },
      tensors,
      params: { count: count / lanes },
      workgroups: chunkGrid(ctx.device, count / lanes, WG_SIZE),
    });
  });
}
