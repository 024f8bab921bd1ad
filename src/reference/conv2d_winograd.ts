/**
 * Convolution with a 3x3 kernel and its gradients by Winograd's F(2x2,3x3) in float64; mirrors shaders/conv2d_winograd_*.wgsl.
 * The values are those of conv2d.ts. `absSum` is the sum of |terms| that this algorithm adds, since these are what it
 * rounds: each element is computed from whole tiles and filters, also where its own sum has few or small terms. Where all
 * magnitudes are alike, that is up to 64 / 9 times as much as the plain sum of |terms| (9 times for the weight gradient).
 */
import type { Conv2dGeometry } from "../geometry.ts";
import type { Reference } from "./reference.ts";

type Matrix = readonly (readonly number[])[];

const transpose = (m: Matrix): Matrix => m[0]!.map((_, column) => m.map((row) => row[column]!));

/** The transforms of input tiles (B^T), filters (G) and output tiles (A^T), and their transposes for the weight gradient. */
function transforms(of: (value: number) => number) {
  const bT = [
    [1, 0, -1, 0],
    [0, 1, 1, 0],
    [0, -1, 1, 0],
    [0, 1, 0, -1],
  ];
  const g = [
    [1, 0, 0],
    [0.5, 0.5, 0.5],
    [0.5, -0.5, 0.5],
    [0, 0, 1],
  ];
  const aT = [
    [1, 1, 1, 0],
    [0, 1, -1, -1],
  ];
  const map = (m: Matrix): Matrix => m.map((row) => row.map(of));
  return { bT: map(bT), g: map(g), aT: map(aT), a: map(transpose(aT)), gT: map(transpose(g)) };
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
  for (let r = 0; r < 4; r++) for (let s = 0; s < 4; s++) sum[r]![s]! += a[r]![s]! * b[r]![s]!;
}

const zeros = (): number[][] => Array.from({ length: 4 }, () => [0, 0, 0, 0]);

const square = (size: number, at: (r: number, s: number) => number): Matrix =>
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

/** Visits the tiles of 2x2 pixels that cover [n,h,w] by their first pixels. */
function forEachTile(
  n: number,
  { h, w }: Image,
  visit: (n: number, row: number, column: number) => void,
): void {
  for (let image = 0; image < n; image++)
    for (let row = 0; row < h; row += 2)
      for (let column = 0; column < w; column += 2) visit(image, row, column);
}

/** y += A^T [sum over channels of (G g G^T) . (B^T d B)] A, the tile of y's first pixel starting at `origin` of x. */
function convolve(
  { bT, g: gMatrix, aT }: ReturnType<typeof transforms>,
  n: number,
  x: Image,
  filter: (from: number, to: number, kh: number, kw: number) => number,
  origin: readonly [number, number],
  y: Image,
): void {
  const u = Array.from({ length: x.c }, (_, from) =>
    Array.from({ length: y.c }, (__, to) =>
      sandwich(
        gMatrix,
        square(3, (kh, kw) => filter(from, to, kh, kw)),
      ),
    ),
  );
  forEachTile(n, y, (image, row, column) => {
    const tiles = tilesAt(x, image, row + origin[0], column + origin[1], 4);
    const v = tiles.map((d) => sandwich(bT, d));
    for (let to = 0; to < y.c; to++) {
      const m = zeros();
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
): Reference {
  return both(9 * g.inC + (b ? 1 : 0), (of) => {
    const values = new Float64Array(g.n * g.outH * g.outW * g.outC);
    if (b) for (let i = 0; i < values.length; i++) values[i] = of(b[i % g.outC]!);
    convolve(
      transforms(of),
      g.n,
      { values: x.map(of), h: g.inH, w: g.inW, c: g.inC },
      (ci, co, kh, kw) => of(w[((kh * 3 + kw) * g.inC + ci) * g.outC + co]!),
      [-g.padTop, -g.padLeft],
      { values, h: g.outH, w: g.outW, c: g.outC },
    );
    return values;
  });
}

/** dx[n,ih,iw,ci] = sum over the oh,ow,kh,kw that read ih,iw and over co of dy[n,oh,ow,co] * w[kh,kw,ci,co]. */
export function conv2dInputGradWinograd(
  dy: Float64Array,
  w: Float64Array,
  g: Conv2dGeometry,
): Reference {
  return both(9 * g.outC, (of) => {
    const values = new Float64Array(g.n * g.inH * g.inW * g.inC);
    convolve(
      transforms(of),
      g.n,
      { values: dy.map(of), h: g.outH, w: g.outW, c: g.outC },
      (co, ci, kh, kw) => of(w[(((2 - kh) * 3 + 2 - kw) * g.inC + ci) * g.outC + co]!),
      [g.padTop - 2, g.padLeft - 2],
      { values, h: g.inH, w: g.inW, c: g.inC },
    );
    return values;
  });
}

/** dw[kh,kw,ci,co] = sum over n,oh,ow of x[n,ih,iw,ci] * dy[n,oh,ow,co], as G^T [sum over tiles of V . (A e A^T)] G. */
export function conv2dWeightGradWinograd(
  x: Float64Array,
  dy: Float64Array,
  g: Conv2dGeometry,
): Reference {
  return both(g.n * g.outH * g.outW, (of) => {
    const { bT, a, gT } = transforms(of);
    const input: Image = { values: x.map(of), h: g.inH, w: g.inW, c: g.inC };
    const output: Image = { values: dy.map(of), h: g.outH, w: g.outW, c: g.outC };
    const m = Array.from({ length: g.inC * g.outC }, zeros);
    forEachTile(g.n, output, (image, row, column) => {
      const d = tilesAt(input, image, row - g.padTop, column - g.padLeft, 4);
      const v = d.map((tile) => sandwich(bT, tile));
      const z = tilesAt(output, image, row, column, 2).map((tile) => sandwich(a, tile));
      v.forEach((tile, ci) => {
        z.forEach((e, co) => {
          addProduct(m[ci * g.outC + co]!, tile, e);
        });
      });
    });
    const values = new Float64Array(9 * g.inC * g.outC);
    m.forEach((points, filter) => {
      sandwich(gT, points).forEach((line, kh) => {
        line.forEach((value, kw) => {
          values[(kh * 3 + kw) * g.inC * g.outC + filter] = value;
        });
      });
    });
    return values;
  });
}
