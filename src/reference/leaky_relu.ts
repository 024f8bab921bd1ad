/** Leaky ReLU in float64; mirrors shaders/leaky_relu.wgsl and leaky_relu_grad.wgsl. */
import { elementwise, type Reference } from "./reference.ts";

/** y = x where x > 0, else slope * x. */
export function leakyRelu(x: Float64Array, slope: number): Reference {
  return elementwise(x.map((value) => (value > 0 ? value : slope * value)));
}

/** dx = dy where x > 0, else slope * dy. */
export function leakyReluGrad(x: Float64Array, dy: Float64Array, slope: number): Reference {
  return elementwise(dy.map((value, i) => value * (x[i]! > 0 ? 1 : slope)));
}
