/** Inverted dropout in float64; mirrors shaders/dropout.wgsl. */
import { philox4x32, seedWords } from "../random.ts";
import { elementwise, type Reference } from "./reference.ts";

export interface DropoutDraw {
  readonly rate: number;
  readonly seed: number;
  readonly layer: number;
  readonly step: number;
}

/** y = x / (1 - rate) where the element is kept, else 0; with dy for x it gives dx. */
export function dropout(x: Float64Array, draw: DropoutDraw): Reference {
  const kept = dropoutMask(x.length, draw);
  return elementwise(x.map((value, i) => (kept[i] ? value / (1 - draw.rate) : 0)));
}

/** Which of `count` elements are kept. */
export function dropoutMask(count: number, { rate, seed, layer, step }: DropoutDraw): boolean[] {
  const key = seedWords(seed);
  return Array.from({ length: count }, (_, element) => {
    const words = philox4x32([Math.floor(element / 4), step, layer, 0], key);
    return words[element % 4]! / 2 ** 32 >= rate;
  });
}
