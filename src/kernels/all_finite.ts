/**
 * Watches for NaN and infinity without a read-back.
 */
import { ceilDiv, chunkGrid, expectDType, valueType, type Context } from "../gpu/context.ts";
import { expectShape, type Tensor } from "../tensor.ts";
import { flat, forEachWindow } from "./windows.ts";

const WG_SIZE = 64;
/** Elements for each invocation at least: enough to make its share of the launch small. */
const ELEMENTS = 16;

/**
 * Raises `status` (uint32 [4], see clearStatus) when an element of x is NaN or infinite: word 0 = 1, word 1 = the
 * smallest step number at which that happened.  x: any shape, float32.  step: uint32 [4], see stepState.
 * Shader: all_finite.wgsl.  Updates status.
 */
export function allFinite(
  ctx: Context,
  { x, step }: { x: Tensor; step: Tensor },
  status: Tensor,
): void {
  expectDType("allFinite", "float32", x);
  expectShape("allFinite", "step", step, [4]);
  expectShape("allFinite", "status", status, [4]);
  forEachWindow(ctx.device, flat(x), (tensors, { count }) => {
    const { lanes } = valueType(count);
    ctx.dispatch({
      label: `allFinite ${x.label}`,
      shader: "all_finite",
      constants: { WG_SIZE, Bits: lanes === 4 ? "vec4u" : "u32" },
      tensors: [...tensors, step, status],
      params: { count: count / lanes },
      workgroups: chunkGrid(ctx.device, ceilDiv(count, ELEMENTS), WG_SIZE),
    });
  });
}
