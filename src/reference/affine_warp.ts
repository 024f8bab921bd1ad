/** Bilinear resampling in float64; mirrors shaders/affine_warp.wgsl. */
import type { Reference } from "./reference.ts";

type Shape4 = readonly [number, number, number, number];

/**
 * y[b, i, j, :] = images[indices[b]] at matrices[b] * (j + .5, i + .5, 1), bilinear, / 255; the edge repeats.
 * images: [count, inH, inW, inC], matrices: [n, 2, 3]. `absSum` adds to the value what an error of the position can
 * change: the size of its terms, times the steepest slope there is, 1 a pixel.
 */
export function affineWarp(
  images: Uint8Array,
  [, inH, inW, inC]: Shape4,
  indices: ArrayLike<number>,
  matrices: ArrayLike<number>,
  [n, outH, outW, outC]: Shape4,
): Reference {
  const values = new Float64Array(n * outH * outW * outC);
  const absSum = new Float64Array(values.length);
  let o = 0;
  for (let b = 0; b < n; b++)
    for (let i = 0; i < outH; i++)
      for (let j = 0; j < outW; j++) {
        const along = (row: number, size: number) => {
          const m = b * 6 + row * 3;
          const terms = [matrices[m]! * (j + 0.5), matrices[m + 1]! * (i + 0.5), matrices[m + 2]!];
          const position = terms.reduce((sum, term) => sum + term, -0.5);
          const clamped = Math.min(Math.max(position, 0), size - 1);
          const near = Math.floor(clamped);
          const magnitude = terms.reduce((sum, term) => sum + Math.abs(term), 0.5);
          return { near, far: Math.min(near + 1, size - 1), weight: clamped - near, magnitude };
        };
        const x = along(0, inW);
        const y = along(1, inH);
        for (let c = 0; c < outC; c++, o++) {
          const pixel = (h: number, w: number) =>
            images[((indices[b]! * inH + h) * inW + w) * inC + Math.min(c, inC - 1)]! / 255;
          const above = (1 - x.weight) * pixel(y.near, x.near) + x.weight * pixel(y.near, x.far);
          const below = (1 - x.weight) * pixel(y.far, x.near) + x.weight * pixel(y.far, x.far);
          values[o] = (1 - y.weight) * above + y.weight * below;
          absSum[o] = values[o]! + x.magnitude + y.magnitude;
        }
      }
  return { values, absSum, reduction: 4 };
}
