/**
 * Which algorithm an operation of a given shape takes, where that was found out by measuring (src/nn/tune.ts) or stands
 * in a checkpoint. What is not listed is chosen by `chooseConv2dAlgorithm` and `chooseDenseAlgorithm`.
 */

import type { DType } from "../tensor.ts";

/** An operation as a choice sees it. */
export interface Operation {
  readonly op: "conv2d" | "dense";
  readonly pass: "forward" | "input_grad" | "weight_grad";
  /** n, inH, ..., as `Conv2dGeometry` has them; n, inC, outC of a dense layer. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Of the activations and the weights that are read; default float32. */
  readonly dtype?: DType;
}

/** `conv2d forward inH=96 ... n=32`, with another type than float32 `conv2d forward float16 ...`: the same for equal operations. */
export function operationKey({ op, pass, sizes, dtype = "float32" }: Operation): string {
  const { n = 1, ...rest } = sizes;
  const type = dtype === "float32" ? [] : [dtype];
  const parts = Object.entries(rest).map(([name, size]) => `${name}=${size}`);
  return [op, pass, ...type, ...parts, `n=${n}`].join(" ");
}

/** A list of algorithms by operation, which remembers what it was asked for. */
export class Choices {
  readonly #algorithms: Map<string, string>;
  readonly #asked = new Map<string, Operation>();

  /** @param algorithms by `operationKey` */
  constructor(algorithms: Iterable<readonly [string, string]> = []) {
    this.#algorithms = new Map(algorithms);
  }

  /**
   * The algorithm for an operation, if one is listed for its shape: for its batch size or the nearest one, so that the
   * last few images of a set go the way of the others. It may be one that this version no longer has.
   */
  algorithmFor(operation: Operation): string | undefined {
    const key = operationKey(operation);
    this.#asked.set(key, operation);
    const exact = this.#algorithms.get(key);
    if (exact !== undefined) return exact;
    const [shape, n] = splitKey(key);
    let nearest: { algorithm: string; distance: number } | undefined;
    for (const [other, algorithm] of this.#algorithms) {
      const [otherShape, otherN] = splitKey(other);
      const distance = Math.abs(Math.log(otherN / n));
      if (otherShape === shape && distance < (nearest?.distance ?? Infinity))
        nearest = { algorithm, distance };
    }
    return nearest?.algorithm;
  }

  set(operation: Operation, algorithm: string): void {
    this.#algorithms.set(operationKey(operation), algorithm);
  }

  /** Every operation that was asked for. */
  get asked(): readonly Operation[] {
    return [...this.#asked.values()];
  }

  /** All that is listed, by `operationKey`. */
  entries(): readonly (readonly [string, string])[] {
    return [...this.#algorithms];
  }
}

/** A key without its batch size, and that. */
function splitKey(key: string): [string, number] {
  const at = key.lastIndexOf(" n=");
  return [key.slice(0, at), Number(key.slice(at + 3))];
}
