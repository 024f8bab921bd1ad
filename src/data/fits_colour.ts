/**
 * Colour pictures from FITS bands, by the asinh stretch of Lupton et al. 2004 (PASP 116, 133): the three bands are stretched
 * by one function of their mean, so that colours stay and a bright core does not burn out to white.
 */
import { type FitsImage, readFitsImage } from "./fits.ts";

export interface ColourImage {
  /** uint8 [height, width, 3], top row first. */
  readonly rgb: Uint8Array;
  readonly width: number;
  readonly height: number;
}

export interface StretchOptions {
  /** Factors of the red, green and blue band (SDSS i, r, g) before stretching; the defaults come near EFIGI's own PNGs. */
  readonly scales?: readonly [number, number, number];
  /** Softening: how strongly the bright parts are compressed. */
  readonly softening?: number;
  /** The mean brightness, in standard deviations of the sky, at which linear gives way to logarithmic. */
  readonly stretch?: number;
}

/** Told by its name alone. */
export function isFitsFile(file: string): boolean {
  return /\.fits?(\.gz)?$/i.test(file);
}

/** Reads [red, green, blue] bands, or one band as grey, and stretches them. */
export async function readFitsColour(
  files: readonly string[],
  options: StretchOptions = {},
): Promise<ColourImage> {
  const bands = await Promise.all(files.map(readFitsImage));
  const [first] = bands;
  if (!first || (bands.length !== 1 && bands.length !== 3))
    throw new Error(`FITS colour: expected 1 or 3 bands, got ${files.length}`);
  bands.forEach((band, i) => {
    if (band.width !== first.width || band.height !== first.height)
      throw new Error(
        `${files[i]}: bands of one size expected: ${first.width}x${first.height} in ${files[0]} vs ${band.width}x${band.height}`,
      );
  });
  const [red, green = red, blue = red] = bands as [FitsImage, FitsImage?, FitsImage?];
  return asinhColour([red, green, blue], options);
}

/**
 * Lupton's stretch. The sky (median) of each band is taken off, and brightness is counted in standard deviations of the sky
 * noise, so that one setting serves surveys with different units.
 */
export function asinhColour(
  bands: readonly [FitsImage, FitsImage, FitsImage],
  { scales = [0.8, 0.85, 1.3], softening = 6, stretch = 8 }: StretchOptions = {},
): ColourImage {
  const { width, height } = bands[0];
  const skies = bands.map(({ values }) => skyOf(values));
  const noise = Math.max(...skies.map(({ sigma }) => sigma)) || 1;
  const rgb = new Uint8Array(width * height * 3);
  const pixel = [0, 0, 0];
  for (let i = 0; i < width * height; i++) {
    let mean = 0;
    for (let c = 0; c < 3; c++) {
      const value = bands[c]!.values[i]!;
      pixel[c] = Number.isFinite(value) ? (scales[c]! * (value - skies[c]!.level)) / noise : 0;
      mean += pixel[c]! / 3;
    }
    if (mean <= 0) continue; // sky: black
    const factor = Math.asinh((softening * mean) / stretch) / softening / mean;
    const stretched = pixel.map((value) => Math.max(0, value * factor));
    // A pixel brighter than white is scaled down as a whole, which keeps its colour.
    const excess = Math.max(1, ...stretched);
    for (let c = 0; c < 3; c++) rgb[i * 3 + c] = Math.round((255 * stretched[c]!) / excess);
  }
  return { rgb, width, height };
}

/** Level and noise of the sky: the median and 1.4826 times the median absolute deviation. */
function skyOf(values: Float32Array): { readonly level: number; readonly sigma: number } {
  const finite = values.filter((value) => Number.isFinite(value));
  const level = median(finite);
  const sigma = 1.4826 * median(finite.map((value) => Math.abs(value - level)));
  return { level, sigma };
}

function median(values: Float32Array): number {
  const sorted = Float32Array.from(values).sort();
  return sorted[sorted.length >> 1] ?? 0;
}
