/** What a saved Keras or TensorFlow.js model holds, whichever of their formats it is in. */
import type { Shape } from "../tensor.ts";

export interface KerasTensor {
  /** As the file has it, for messages: `conv1/kernel:0`. */
  readonly name: string;
  readonly shape: Shape;
  readonly read: () => Promise<Float32Array>;
}

/** An open model of theirs. `close` it. */
export interface KerasFile {
  /** `{"class_name":"Sequential",...}`; undefined where the file holds weights alone. */
  readonly config: unknown;
  /** By layer, kernel before bias. Layers without weights may be missing. */
  readonly weights: ReadonlyMap<string, readonly KerasTensor[]>;
  /** True for files of early Keras 3, which call layers by type and number: conv2d, conv2d_1, dense. */
  readonly numbered: boolean;
  readonly close: () => Promise<void>;
}
