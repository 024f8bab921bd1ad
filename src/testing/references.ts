/**
 * The float64 references of the engine's own layers, and what one for a layer of one's own looks like.
 */
import { conv2dGeometry, pool2dGeometry, type Pool2dSizes } from "../geometry.ts";
import { Conv2D } from "../nn/conv2d.ts";
import { Dense } from "../nn/dense.ts";
import { Dropout } from "../nn/dropout.ts";
import { Flatten } from "../nn/flatten.ts";
import type { Layer } from "../nn/layer.ts";
import { LeakyReLU } from "../nn/leaky_relu.ts";
import { MaxPool2D } from "../nn/max_pool2d.ts";
import { Softmax } from "../nn/softmax.ts";
import { biasGrad } from "../reference/bias_grad.ts";
import * as conv from "../reference/conv2d.ts";
import * as fullyConnected from "../reference/dense.ts";
import { dropout } from "../reference/dropout.ts";
import { leakyRelu, leakyReluGrad } from "../reference/leaky_relu.ts";
import { maxPool2d, maxPool2dGrad } from "../reference/max_pool2d.ts";
import { elementwise, type Reference } from "../reference/reference.ts";
import { softmax } from "../reference/softmax.ts";
import { elementCount, type Shape } from "../tensor.ts";

/** Values of the parameters by name, without the layer's: `{ weight, bias }`. */
export type Values = Readonly<Record<string, Float64Array>>;

/** A layer's function in plain loops and float64. */
export interface LayerReference {
  /**
   * y for x, both [n, ...] in memory order. Plain values are compared with a factor of 8 on the bound of one rounded
   * expression; a `Reference` says itself how long its sums are.
   */
  forward(x: Float64Array, parameters: Values): Float64Array | Reference;
  /** Gradients by name, `x` and those of the parameters. Without it they are found by differences of `forward`. */
  backward?(
    x: Float64Array,
    parameters: Values,
    dy: Float64Array,
  ): Readonly<Record<string, Reference>>;
}

/** The pass that a reference is for: dropout draws by it. */
export interface ReferencePass {
  readonly training: boolean;
  readonly seed: number;
  readonly step: number;
  readonly index: number;
}

/** The reference of a layer of the engine for an input [n, ...]; undefined for other layers. */
export function referenceOf(
  layer: Layer,
  shape: Shape,
  { training, seed, step, index }: ReferencePass,
): LayerReference | undefined {
  if (layer instanceof Conv2D) return conv2dReference(layer, shape);
  if (layer instanceof Dense) return denseReference(layer, shape);
  if (layer instanceof MaxPool2D) {
    const g = pool2dGeometry(shape, layer.config() as unknown as Pool2dSizes);
    return {
      forward: (x) => maxPool2d(x, g),
      backward: (x, _, dy) => ({ x: maxPool2dGrad(x, dy, g) }),
    };
  }
  if (layer instanceof LeakyReLU)
    return {
      forward: (x) => leakyRelu(x, layer.slope),
      backward: (x, _, dy) => ({ x: leakyReluGrad(x, dy, layer.slope) }),
    };
  if (layer instanceof Dropout) {
    const draw = { rate: training ? layer.rate : 0, seed, layer: index, step };
    return {
      forward: (x) => dropout(x, draw),
      backward: (_x, _, dy) => ({ x: dropout(dy, draw) }),
    };
  }
  if (layer instanceof Flatten)
    return { forward: (x) => elementwise(x), backward: (_x, _, dy) => ({ x: elementwise(dy) }) };
  if (layer instanceof Softmax) {
    // Eightfold for exp and division, as docs/numerics.md has it.
    return {
      forward: (x) => {
        const y = softmax(x, elementCount(shape.slice(1)));
        return { ...y, absSum: y.absSum.map((sum) => 8 * sum) };
      },
    };
  }
  return undefined;
}

function conv2dReference(layer: Conv2D, shape: Shape): LayerReference {
  const [n = 0, ...input] = shape;
  const weight = layer.parameterSpecs(input)[0]?.shape ?? [];
  const g = conv2dGeometry([n, ...input], weight, layer.config());
  return {
    forward: (x, { weight: w = x, bias }) => conv.conv2d(x, w, bias, g),
    backward: (x, { weight: w = x, bias }, dy) => ({
      x: conv.conv2dInputGrad(dy, w, g),
      weight: conv.conv2dWeightGrad(x, dy, g),
      ...(bias && { bias: biasGrad(dy, g.outC) }),
    }),
  };
}

function denseReference(layer: Dense, shape: Shape): LayerReference {
  const [n = 0, inC = 0] = shape;
  const sizes = { n, inC, outC: layer.units };
  return {
    forward: (x, { weight: w = x, bias }) => fullyConnected.dense(x, w, bias, sizes),
    backward: (x, { weight: w = x, bias }, dy) => ({
      x: fullyConnected.denseInputGrad(dy, w, sizes),
      weight: fullyConnected.denseWeightGrad(x, dy, sizes),
      ...(bias && { bias: biasGrad(dy, sizes.outC) }),
    }),
  };
}
