/**
 * Convolution with a 2x2, 3x3 or 5x5 kernel and its gradients by Winograd's algorithm in float64; mirrors
 * shaders/conv2d_winograd_*.wgsl. The values are those of conv2d.ts. `absSum` is the sum of |terms| that this algorithm adds,
 * since these are what it rounds: each element is computed from whole tiles and filters, also where its own sum has few or
 * small terms. docs/numerics.md says how much more than the plain sum of |terms| that is. A tile of y has `outTile` rows.
 */
import type { Conv2dGeometry } from "../geometry.ts";
import type { Reference } from "./reference.ts";

type Matrix = readonly (readonly number[])[];

const transpose = (m: Matrix): Matrix => m[0]!.map((_, column) => m.map((row) => row[column]!));

/** Where the polynomials are evaluated, by their number; the last is infinity. */
const POINTS: Readonly<Record<number, readonly number[]>> = {
  4: [0, 1, -1],
  6: [0, 1, -1, 2, -0.5],
  8: [0, 1, -1, 2, -2, 0.5, -0.5],
};

/** Coefficients of the product of all (t - point), lowest power first. */
function withRoots(points: readonly number[]): number[] {
  return points.reduce(
    (c, point) => [...c, 0].map((_, power) => (c[power - 1] ?? 0) - point * (c[power] ?? 0)),
    [1],
  );
}

/**
 * Toom and Cook's matrices for tiles of `outTile` pixels of y and filters of `kernel` taps: of input tiles (B^T), filters (G) and
 * output tiles (A^T), and their transposes for the weight gradient. A row of B^T is Lagrange's polynomial for its point, of
 * which G takes the denominator.
 */
function transforms(outTile: number, kernel: number, of: (value: number) => number) {
  const points = POINTS[outTile + kernel - 1]!;
  const others = (point: number) => points.filter((other) => other !== point);
  const denominator = (point: number) =>
    others(point).reduce((product, other) => product * (point - other), 1);
  const last = (count: number) => Array.from({ length: count }, (_, i) => (i < count - 1 ? 0 : 1));
  const powers = (count: number, divisor: (point: number) => number): Matrix => [
    ...points.map((point) =>
      Array.from({ length: count }, (_, power) => point ** power / divisor(point)),
    ),
    last(count),
  ];
  const sign = (point: number) => Math.sign(denominator(point));
  const bT = [
    ...points.map((point) => [...withRoots(others(point)).map((c) => sign(point) * c), 0]),
    withRoots(points),
  ];
  const g = powers(kernel, (point) => Math.abs(denominator(point)));
  const a = powers(outTile, () => 1);
  const map = (m: Matrix): Matrix => m.map((row) => row.map(of));
  return { bT: map(bT), g: map(g), aT: map(transpose(a)), a: map(a), gT: map(transpose(g)) };
}

/** Once with the numbers as they are, for the values, and once with magnitudes, for the sum of |terms|. */
function both(reduction: number, run: (of: (value: number) => number) => Float64Array): Reference {
  return { values: run((value) => value), absSum: run(Math.abs), reduction };
}

/** m d m^T. */
function sandwich(m: Matrix, d: Matrix): Matrix {
  const product = (a: Matrix, b: Matrix): Matrix =>
    a.map((row) => b[0]!.map((_, j) => row.reduce((sum, value, q) => sum + value * b[q]![j]!, 0)));
  return product(product(m, d), transpose(m));
}

/** sum += a . b, point by point. */
function addProduct(sum: number[][], a: Matrix, b: Matrix): void {
  sum.forEach((row, r) => {
    for (let s = 0; s < row.length; s++) row[s]! += a[r]![s]! * b[r]![s]!;
  });
}

const square = (size: number, at: (r: number, s: number) => number): number[][] =>
  Array.from({ length: size }, (_, r) => Array.from({ length: size }, (__, s) => at(r, s)));

/** A tensor [n,h,w,c] NHWC of which tiles are taken and written. */
interface Image {
  readonly values: Float64Array;
  readonly h: number;
  readonly w: number;
  readonly c: number;
}

const indexIn = ({ h, w, c }: Image, n: number, ih: number, iw: number, channel: number): number =>
  ih < 0 || ih >= h || iw < 0 || iw >= w ? -1 : ((n * h + ih) * w + iw) * c + channel;

/** The tiles of `size` x `size` pixels from (row, column) on, one for each channel; 0 outside. */
function tilesAt(image: Image, n: number, row: number, column: number, size: number): Matrix[] {
  return Array.from({ length: image.c }, (_, channel) =>
    square(size, (r, s) => {
      const i = indexIn(image, n, row + r, column + s, channel);
      return i < 0 ? 0 : image.values[i]!;
    }),
  );
}

/** Visits the tiles of `size` x `size` pixels that cover [n,h,w] by their first pixels. */
function forEachTile(
  n: number,
  size: number,
  { h, w }: Image,
  visit: (n: number, row: number, column: number) => void,
): void {
  for (let image = 0; image < n; image++)
    for (let row = 0; row < h; row += size)
      for (let column = 0; column < w; column += size) visit(image, row, column);
}

/** y += A^T [sum over channels of (G g G^T) . (B^T d B)] A, the tile of y's first pixel starting at `origin` of x. */
function convolve(
  { bT, g, aT }: ReturnType<typeof transforms>,
  n: number,
  x: Image,
  filter: (from: number, to: number, kh: number, kw: number) => number,
  origin: readonly [number, number],
  y: Image,
): void {
  const [inTile, outTile, kernel] = [bT.length, aT.length, g[0]!.length];
  const u = Array.from({ length: x.c }, (_, from) =>
    Array.from({ length: y.c }, (__, to) =>
      sandwich(
        g,
        square(kernel, (kh, kw) => filter(from, to, kh, kw)),
      ),
    ),
  );
  forEachTile(n, outTile, y, (image, row, column) => {
    const tiles = tilesAt(x, image, row + origin[0], column + origin[1], inTile);
    const v = tiles.map((d) => sandwich(bT, d));
    for (let to = 0; to < y.c; to++) {
      const m = square(inTile, () => 0);
      for (let from = 0; from < x.c; from++) addProduct(m, u[from]![to]!, v[from]!);
      sandwich(aT, m).forEach((line, r) => {
        line.forEach((value, s) => {
          const i = indexIn(y, image, row + r, column + s, to);
          if (i >= 0) y.values[i]! += value;
        });
      });
    }
  });
}

/** y[n,oh,ow,co] = b[co] + sum over kh,kw,ci of x[n,ih,iw,ci] * w[kh,kw,ci,co]. */
export function conv2dWinograd(
  x: Float64Array,
  w: Float64Array,
  b: Float64Array | undefined,
  g: Conv2dGeometry,
  outTile: number,
): Reference {
  const { n, kH, kW, inC, outC } = g;
  return both(kH * kW * inC + (b ? 1 : 0), (of) => {
    const values = new Float64Array(n * g.outH * g.outW * outC);
    if (b) for (let i = 0; i < values.length; i++) values[i] = of(b[i % outC]!);
    convolve(
      transforms(outTile, kH, of),
      n,
      { values: x.map(of), h: g.inH, w: g.inW, c: inC },
      (ci, co, kh, kw) => of(w[((kh * kW + kw) * inC + ci) * outC + co]!),
      [-g.padTop, -g.padLeft],
      { values, h: g.outH, w: g.outW, c: outC },
    );
    return values;
  });
}

/** dx[n,ih,iw,ci] = sum over the oh,ow,kh,kw that read ih,iw and over co of dy[n,oh,ow,co] * w[kh,kw,ci,co]. */
export function conv2dInputGradWinograd(
  dy: Float64Array,
  w: Float64Array,
  g: Conv2dGeometry,
  outTile: number,
): Reference {
  const { n, kH, kW, inC, outC } = g;
  return both(kH * kW * outC, (of) => {
    const values = new Float64Array(n * g.inH * g.inW * inC);
    convolve(
      transforms(outTile, kH, of),
      n,
      { values: dy.map(of), h: g.outH, w: g.outW, c: outC },
      (co, ci, kh, kw) => of(w[(((kH - 1 - kh) * kW + kW - 1 - kw) * inC + ci) * outC + co]!),
      [g.padTop - (kH - 1), g.padLeft - (kW - 1)],
      { values, h: g.inH, w: g.inW, c: inC },
    );
    return values;
  });
}

/** dw[kh,kw,ci,co] = sum over n,oh,ow of x[n,ih,iw,ci] * dy[n,oh,ow,co], as G^T [sum over tiles of V . (A e A^T)] G. */
export function conv2dWeightGradWinograd(
  x: Float64Array,
  dy: Float64Array,
  g: Conv2dGeometry,
  outTile: number,
): Reference {
  const { n, kH, kW, inC, outC } = g;
  return both(n * g.outH * g.outW, (of) => {
    const { bT, a, gT } = transforms(outTile, kH, of);
    const inTile = bT.length;
    const input: Image = { values: x.map(of), h: g.inH, w: g.inW, c: inC };
    const output: Image = { values: dy.map(of), h: g.outH, w: g.outW, c: outC };
    const m = Array.from({ length: inC * outC }, () => square(inTile, () => 0));
    forEachTile(n, outTile, output, (image, row, column) => {
      const d = tilesAt(input, image, row - g.padTop, column - g.padLeft, inTile);
      const v = d.map((tile) => sandwich(bT, tile));
      const z = tilesAt(output, image, row, column, outTile).map((tile) => sandwich(a, tile));
      v.forEach((tile, ci) => {
        z.forEach((e, co) => {
          addProduct(m[ci * outC + co]!, tile, e);
        });
      });
    });
    const values = new Float64Array(kH * kW * inC * outC);
    m.forEach((points, filter) => {
      sandwich(gT, points).forEach((line, kh) => {
        line.forEach((value, kw) => {
          values[(kh * kW + kw) * inC * outC + filter] = value;
        });
      });
    });
    return values;
  });
}
