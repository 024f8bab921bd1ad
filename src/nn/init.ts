/** Initial values of parameters. */
import type { Random } from "../random.ts";
import { elementCount, type Shape } from "../tensor.ts";
import type { Initializer } from "./layer.ts";

/**
 * Uniform in +-sqrt(6 / (fanIn + fanOut)) (Glorot & Bengio 2010; Keras' default). Weights are [..., in, out], and a
 * convolution's receptive field counts into both fans, as in Keras.
 */
export const glorotUniform: Initializer = (values: Float32Array, shape: Shape, random: Random) => {
  const [outputs = 1, inputs = 1] = [...shape].reverse();
  const field = elementCount(shape) / (inputs * outputs);
  const limit = Math.sqrt(6 / (field * (inputs + outputs)));
  for (let i = 0; i < values.length; i++)
    values[i] = limit * (random.uint32() * (2 / 4294967296) - 1);
};

/** All zeros, as biases begin. */
export const zeros: Initializer = (values: Float32Array) => {
  values.fill(0);
};
