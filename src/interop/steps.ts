/** A network as a list of plain steps, from which the writers of every format make their own description. */
import { conv2dGeometry, pool2dGeometry } from "../geometry.ts";
import type { Conv2dGeometry, Padding, Pool2dGeometry } from "../geometry.ts";
import type { Conv2DConfig } from "../nn/conv2d.ts";
import type { Layer } from "../nn/layer.ts";
import type { MaxPool2DConfig } from "../nn/max_pool2d.ts";
import type { Sequential } from "../nn/model.ts";
import type { Shape } from "../tensor.ts";
import { InteropError } from "./files.ts";

interface Place {
  readonly name: string;
  readonly trainable: boolean;
  /** Shapes of one image: no batch axis. */
  readonly input: Shape;
  readonly output: Shape;
}

/** One layer, with everything that follows from its input. */
export type Step = Place &
  (
    | {
        readonly type: "Conv2D";
        readonly geometry: Conv2dGeometry;
        readonly padding: Padding;
        readonly useBias: boolean;
      }
    | { readonly type: "LeakyReLU"; readonly slope: number }
    | { readonly type: "MaxPool2D"; readonly geometry: Pool2dGeometry; readonly padding: Padding }
    | { readonly type: "Dropout"; readonly rate: number }
    | { readonly type: "Flatten" }
    | {
        readonly type: "Dense";
        readonly units: number;
        readonly useBias: boolean;
        /** What Flatten took apart before this layer, [h, w, c]: the order of its inputs depends on it. */
        readonly image: Shape | undefined;
      }
    | { readonly type: "Softmax" }
  );

/**
 * The steps of a model.
 * @param format for the message, e.g. `ONNX`
 * @throws InteropError for a layer type of one's own, and for a network that is no classifier
 */
export function stepsOf(model: Sequential, format: string): Step[] {
  const shapes = model.shapes();
  const last = shapes.at(-1) ?? [];
  if (last.length !== 1)
    throw new InteropError(
      `export: expected a classifier, which ends in a vector, got a network that ends in images [${last.join(",")}]; add Flatten and Dense`,
    );
  let image: Shape | undefined;
  return model.layers.map((layer, index) => {
    const input = shapes[index] ?? [];
    const output = shapes[index + 1] ?? [];
    const step = {
      ...{ name: layer.name, trainable: layer.trainable, input, output },
      ...operation(layer, input, image, format),
    };
    if (step.type === "Flatten") image = input;
    if (step.type === "Dense") image = undefined;
    return step;
  });
}

type Operation = Step extends infer Each ? (Each extends Place ? Omit<Each, keyof Place> : 0) : 0;

function operation(
  layer: Layer,
  input: Shape,
  image: Shape | undefined,
  format: string,
): Operation {
  const config = layer.config();
  switch (layer.type) {
    case "Conv2D": {
      const conv = config as unknown as Conv2DConfig;
      const weight = layer.parameterSpecs(input)[0]?.shape ?? [];
      const geometry = conv2dGeometry([1, ...input], weight, conv);
      const { padding = "valid", useBias = true } = conv;
      return { type: "Conv2D", geometry, padding, useBias };
    }
    case "MaxPool2D": {
      const pool = config as unknown as MaxPool2DConfig;
      const geometry = pool2dGeometry([1, ...input], pool);
      return { type: "MaxPool2D", geometry, padding: pool.padding ?? "valid" };
    }
    case "LeakyReLU":
      return { type: "LeakyReLU", slope: config["slope"] as number };
    case "Dropout":
      return { type: "Dropout", rate: config["rate"] as number };
    case "Dense": {
      const useBias = layer.parameterSpecs(input).length > 1;
      return { type: "Dense", units: config["units"] as number, useBias, image };
    }
    case "Flatten":
    case "Softmax":
      return { type: layer.type };
    default:
      throw new InteropError(
        `export: layer "${layer.name}" is of type ${layer.type}, which has no counterpart in ${format}; replace it by layers that have`,
      );
  }
}
