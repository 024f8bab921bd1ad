/**
 * From surface brightness to the picture: neighbours and stars, the point-spread function, noise, and the colour
 * stretch of the SDSS. Sources: docs/simulation.md.
 */
import { Random } from "../random.ts";
import { bandsOfColour, sersicProfile, type Bands } from "./simulate_light.ts";

/** What one survey's camera and sky do to a galaxy. Lengths are fractions of the image's side. */
export interface Camera {
  /** Median full width at half maximum of the point-spread function, and its scatter in dex. */
  readonly seeing: number;
  readonly seeingScatter: number;
  /** Standard deviation of the sky in g, r, i, in a pixel of a 256-pixel image. */
  readonly skyNoise: readonly [number, number, number];
  /** Surface brightness of the sky: where a galaxy is as bright, photon noise has doubled the variance. */
  readonly sky: number;
  /** Mean numbers of stars and of background galaxies in a frame. */
  readonly stars: number;
  readonly background: number;
  /** Chance of a neighbour of a similar kind. */
  readonly companion: number;
  /** Weights of i, r, g as red, green, blue. */
  readonly balance: readonly [number, number, number];
  /** Q of Lupton+ 2004: how early the stretch turns from linear to logarithmic. */
  readonly softening: number;
}

/** The noise of a 256-pixel image is the unit; a pixel n times as wide averages n^2 of them. */
const NOISE_SIZE = 256;

/** Adds stars and galaxies that have nothing to do with the one in the middle. */
export function addField(bands: Bands, size: number, camera: Camera, random: Random): void {
  for (let k = poisson(random, camera.stars); k > 0; k--) {
    const x = random.between(0, size);
    const y = random.between(0, size);
    // Star counts rise as a power law towards faint ones.
    const flux = Math.min(6 / (1 - random.uniform()), 1500) * (size / NOISE_SIZE) ** 2;
    addPoint(bands, size, x, y, flux, bandsOfColour(0.2 + 1.2 * random.uniform() ** 1.5));
  }
  for (let k = poisson(random, camera.background); k > 0; k--) {
    const radius = 0.006 * 10 ** (0.2 * random.normal());
    addSmallGalaxy(bands, size, random, radius, random.between(0.3, 1), random.between(0.4, 1.2));
  }
  if (random.uniform() < camera.companion)
    addSmallGalaxy(
      bands,
      size,
      random,
      random.between(0.015, 0.035),
      random.between(0.6, 1.4),
      0.75,
    );
}

function addSmallGalaxy(
  bands: Bands,
  size: number,
  random: Random,
  radius: number,
  brightness: number,
  colour: number,
): void {
  const x0 = random.uniform();
  const y0 = random.uniform();
  const angle = random.between(0, Math.PI);
  const axisRatio = random.between(0.35, 1);
  const flux = 2 * Math.PI * radius ** 2 * brightness;
  const profile = sersicProfile({ flux, radius, sersicIndex: 1.5 }, axisRatio);
  const color = bandsOfColour(colour);
  const reach = Math.ceil(5 * radius * size);
  const col0 = Math.floor(x0 * size);
  const row0 = Math.floor(y0 * size);
  for (let row = Math.max(row0 - reach, 0); row <= Math.min(row0 + reach, size - 1); row++)
    for (let col = Math.max(col0 - reach, 0); col <= Math.min(col0 + reach, size - 1); col++) {
      const dx = (col + 0.5) / size - x0;
      const dy = (row + 0.5) / size - y0;
      const value = profile(
        dx * Math.cos(angle) + dy * Math.sin(angle),
        dy * Math.cos(angle) - dx * Math.sin(angle),
      );
      for (let band = 0; band < 3; band++)
        bands[(band * size + row) * size + col]! += value * color[band]!;
    }
}

/** A point source, shared by the four nearest pixels; the blur gives it its shape. x, y in pixels. */
function addPoint(
  bands: Bands,
  size: number,
  x: number,
  y: number,
  flux: number,
  color: readonly number[],
): void {
  const col0 = Math.floor(x - 0.5);
  const row0 = Math.floor(y - 0.5);
  for (const row of [row0, row0 + 1])
    for (const col of [col0, col0 + 1]) {
      if (row < 0 || col < 0 || row >= size || col >= size) continue;
      const share = (1 - Math.abs(x - 0.5 - col)) * (1 - Math.abs(y - 0.5 - row));
      for (let band = 0; band < 3; band++)
        bands[(band * size + row) * size + col]! += flux * share * color[band]!;
    }
}

/** Knuth's product of uniforms; the means here are small. */
function poisson(random: Random, mean: number): number {
  let count = 0;
  for (let p = random.uniform(); p > Math.exp(-mean); p *= random.uniform()) count++;
  return count;
}

/**
 * Blurs all bands by a double Gaussian, the form that the SDSS pipeline fits to its stars (Stoughton+ 2002):
 * a core and a tenth of the light in wings 2.5 times as wide.
 */
export function blur(bands: Bands, size: number, fwhmPixels: number): void {
  // 1/12 square pixel: the variance of a pixel's own square, which sampling at its centre leaves out.
  const sigma = Math.sqrt((fwhmPixels / 2.3548) ** 2 + 1 / 12);
  const core = gaussianKernel(sigma);
  const wings = gaussianKernel(2.5 * sigma);
  const rows = new Float32Array(size * size);
  const cored = new Float32Array(size * size);
  const winged = new Float32Array(size * size);
  for (let band = 0; band < 3; band++) {
    const plane = bands.subarray(band * size * size, (band + 1) * size * size);
    blurSeparable(plane, size, core, rows, cored);
    blurSeparable(plane, size, wings, rows, winged);
    for (let i = 0; i < plane.length; i++) plane[i] = 0.9 * cored[i]! + 0.1 * winged[i]!;
  }
}

/** One side of a normalised Gaussian, centre first. */
function gaussianKernel(sigma: number): Float64Array {
  const kernel = Float64Array.from({ length: Math.ceil(3 * sigma) + 1 }, (_, i) =>
    Math.exp(-(i ** 2) / (2 * sigma ** 2)),
  );
  const sum = kernel.reduce((total, value, i) => total + (i === 0 ? value : 2 * value), 0);
  return kernel.map((value) => value / sum);
}

/** Rows, then columns, the edge repeated. */
function blurSeparable(
  plane: Float32Array,
  size: number,
  kernel: Float64Array,
  rows: Float32Array,
  out: Float32Array,
): void {
  blurRowsTransposed(plane, size, kernel, rows);
  blurRowsTransposed(rows, size, kernel, out);
}

/** out[col][row] = the blurred row: two passes blur both ways and turn the image back. */
function blurRowsTransposed(
  plane: Float32Array,
  size: number,
  kernel: Float64Array,
  out: Float32Array,
): void {
  const reach = kernel.length - 1;
  const padded = new Float64Array(size + 2 * reach);
  for (let row = 0; row < size; row++) {
    const start = row * size;
    padded.fill(plane[start]!, 0, reach);
    for (let col = 0; col < size; col++) padded[reach + col] = plane[start + col]!;
    padded.fill(plane[start + size - 1]!, reach + size);
    for (let col = 0; col < size; col++) {
      const at = col + reach;
      let sum = padded[at]! * kernel[0]!;
      for (let k = 1; k <= reach; k++) sum += kernel[k]! * (padded[at - k]! + padded[at + k]!);
      out[col * size + row] = sum;
    }
  }
}

/**
 * Normal deviates for pixels, millions of them: drawn from a fixed table by Marsaglia's xorshift128 (2003), seeded from
 * `Random`. Philox for each pixel would take longer than all the rest.
 */
export class PixelNoise {
  static readonly #table = (() => {
    const random = new Random(0, "simulate/normal deviates");
    return Float32Array.from({ length: 65536 }, () => random.normal());
  })();
  #x: number;
  #y: number;
  #z: number;
  #w: number;
  #spare = -1;

  constructor(random: Random) {
    this.#x = random.uint32() | 1; // xorshift must not start from zeros only
    this.#y = random.uint32();
    this.#z = random.uint32();
    this.#w = random.uint32();
  }

  /** A standard normal deviate. Each word of the generator gives two. */
  next(): number {
    if (this.#spare >= 0) {
      const value = PixelNoise.#table[this.#spare]!;
      this.#spare = -1;
      return value;
    }
    const t = this.#x ^ (this.#x << 11);
    this.#x = this.#y;
    this.#y = this.#z;
    this.#z = this.#w;
    this.#w = this.#w ^ (this.#w >>> 19) ^ t ^ (t >>> 8);
    this.#spare = this.#w >>> 16;
    return PixelNoise.#table[this.#w & 0xffff]!;
  }
}

/**
 * Adds noise and writes the colour picture (Lupton+ 2004): i, r, g as red, green, blue, the mean intensity stretched by
 * asinh(Q I) / Q, colour kept, and scaled down as a whole where one channel would exceed white.
 * `out`: size * size * 3 bytes.
 */
export function expose(
  bands: Bands,
  size: number,
  camera: Camera,
  noise: PixelNoise,
  out: Uint8Array,
): void {
  const pixels = size * size;
  const sigma = camera.skyNoise.map((value) => (value * size) / NOISE_SIZE);
  const q = camera.softening;
  const noisy = (band: number, pixel: number) => {
    const value = bands[band * pixels + pixel]!;
    return value + sigma[band]! * Math.sqrt(1 + Math.max(value, 0) / camera.sky) * noise.next();
  };
  for (let pixel = 0; pixel < pixels; pixel++) {
    const g = Math.max(noisy(0, pixel) * camera.balance[2], 0);
    const r = Math.max(noisy(1, pixel) * camera.balance[1], 0);
    const i = Math.max(noisy(2, pixel) * camera.balance[0], 0);
    const mean = (g + r + i) / 3;
    const stretch = mean > 0 ? Math.asinh(q * mean) / (q * mean) : 0;
    const scale = 255 * Math.min(stretch, 1 / Math.max(g, r, i, 1e-9));
    out[pixel * 3] = Math.round(i * scale);
    out[pixel * 3 + 1] = Math.round(r * scale);
    out[pixel * 3 + 2] = Math.round(g * scale);
  }
}
