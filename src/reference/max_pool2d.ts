/** Max pooling in float64; mirrors shaders/max_pool2d.wgsl and max_pool2d_grad.wgsl. */
import type { Pool2dGeometry } from "../geometry.ts";
import { elementwise, type Reference } from "./reference.ts";

/** y[b, i, j, c] = max of x over the window at (i, j). */
export function maxPool2d(x: Float64Array, g: Pool2dGeometry): Reference {
  return elementwise(Float64Array.from(firstMaxima(x, g), (i) => x[i]!));
}

/** dx = sum of dy over the windows whose first maximum the element is. */
export function maxPool2dGrad(x: Float64Array, dy: Float64Array, g: Pool2dGeometry): Reference {
  const values = new Float64Array(x.length);
  const absSum = new Float64Array(x.length);
  firstMaxima(x, g).forEach((i, o) => {
    values[i]! += dy[o]!;
    absSum[i]! += Math.abs(dy[o]!);
  });
  return { values, absSum, reduction: Math.ceil(g.kH / g.strideH) * Math.ceil(g.kW / g.strideW) };
}

/** For each element of y the index in x of its window's first maximum. */
function firstMaxima(x: Float64Array, g: Pool2dGeometry): number[] {
  const found: number[] = [];
  for (let b = 0; b < g.n; b++)
    for (let i = 0; i < g.outH; i++)
      for (let j = 0; j < g.outW; j++)
        for (let c = 0; c < g.c; c++) {
          let first = -1;
          for (let kh = 0; kh < g.kH; kh++)
            for (let kw = 0; kw < g.kW; kw++) {
              const h = i * g.strideH + kh - g.padTop;
              const w = j * g.strideW + kw - g.padLeft;
              if (h < 0 || h >= g.inH || w < 0 || w >= g.inW) continue;
              const index = ((b * g.inH + h) * g.inW + w) * g.c + c;
              if (first < 0 || x[index]! > x[first]!) first = index;
            }
          found.push(first);
        }
  return found;
}
