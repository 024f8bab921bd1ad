/** Addition in float64; mirrors shaders/add.wgsl. */
import { elementwise, type Reference } from "./reference.ts";

/** y + x. */
export function add(x: Float64Array, y: Float64Array): Reference {
  return elementwise(y.map((value, i) => value + x[i]!));
}
