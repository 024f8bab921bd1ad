/** Small helpers that layers share. */
import { ShapeError, type Shape, type Tensor } from "../tensor.ts";
import type { Layer, Parameter } from "./layer.ts";

/** `[h, w, c]`, or an error that says what would make it one. */
export function imageShape(layer: Layer, input: Shape): [number, number, number] {
  const [h, w, c, ...more] = input;
  if (h === undefined || w === undefined || c === undefined || more.length > 0)
    throw new ShapeError(
      layerLabel(layer),
      `expected images [n,h,w,c], got [n,${input.join(",")}]; put it before Flatten`,
      { input },
    );
  return [h, w, c];
}

/** `[units]`, or an error that says what would make it one. */
export function vectorShape(layer: Layer, input: Shape): number {
  const [units, ...more] = input;
  if (units === undefined || more.length > 0)
    throw new ShapeError(
      layerLabel(layer),
      `expected vectors [n,units], got [n,${input.join(",")}]; add Flatten before it`,
      { input },
    );
  return units;
}

/** `Conv2D "conv1"`, as errors name layers. */
export function layerLabel(layer: Layer): string {
  return `${layer.type} "${layer.name}"`;
}

/** Records a parameter's gradient when there is a tensor for it; frozen parameters have none. */
export function withGrad(parameter: Parameter, record: (grad: Tensor) => void): void {
  if (parameter.grad) record(parameter.grad);
}
