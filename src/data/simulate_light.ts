/**
 * The light of a simulated galaxy: its spheroid and its disc as surface brightness in the bands g, r, i. The model, its
 * formulas and their sources: docs/simulation.md.
 */
import { EXTINCTION, drawFaceOn, lookThrough } from "./simulate_disc.ts";
import type { Galaxy } from "./simulate_galaxy.ts";

/** Planes of `size * size` floats in the order g, r, i: surface brightness, before the PSF. */
export type Bands = Float32Array;

/**
 * Surface brightness of a galaxy in g, r, i at the pixels' centres, finer at the spheroid's centre.
 * The disc is drawn face-on and then looked at along inclined lines of sight, so that dust lanes and edge-on
 * discs come out by themselves. Shape: [3, size, size].
 */
export function renderGalaxy(galaxy: Galaxy, size: number, texture: Float32Array): Bands {
  const bands: Bands = new Float32Array(3 * size * size);
  const { disc, bulge, inclination, positionAngle } = galaxy;
  const faceOn = drawFaceOn(galaxy, size, texture);
  const cosPa = Math.cos(positionAngle);
  const sinPa = Math.sin(positionAngle);
  // Exactly edge-on, lines of sight would lie in the disc and never cross it.
  const cosI = Math.max(Math.cos(inclination), 0.02);
  const sinI = Math.sqrt(1 - cosI ** 2);

  const bulgeBands = bandsOfColour(bulge.colour);
  const oldBands = bandsOfColour(disc.colour);
  const youngBands = bandsOfColour(disc.youngColour);
  // An oblate spheroid's apparent axis ratio (Hubble 1926).
  const axisRatio = Math.sqrt((bulge.axisRatio * sinI) ** 2 + cosI ** 2);
  const sersic = sersicProfile(bulge, axisRatio);
  const fine = 3 / size;

  const column = {
    old: 0,
    young: 0,
    tau: 0,
    light: new Float64Array(3),
    through: new Float64Array(3),
  };
  for (let row = 0; row < size; row++)
    for (let col = 0; col < size; col++) {
      const skyX = (col + 0.5) / size - galaxy.centreX;
      const skyY = (row + 0.5) / size - galaxy.centreY;
      // x along the major axis; y towards the far side of the disc.
      const x = skyX * cosPa + skyY * sinPa;
      const y = skyY * cosPa - skyX * sinPa;
      lookThrough(faceOn, x, y, cosI, sinI, oldBands, youngBands, column);
      const spheroid =
        x ** 2 + y ** 2 < fine ** 2 ? averageOverPixel(sersic, x, y, 1 / size) : sersic(x, y);
      const pixel = row * size + col;
      // The part of the spheroid that lies behind the disc's dust: more on the near side.
      const behind =
        column.tau > 1e-4
          ? 0.5 * (1 - Math.tanh((y * sinI) / cosI / (bulge.radius + Math.abs(x))))
          : 0;
      for (let band = 0; band < 3; band++) {
        const dimmed = behind > 0 ? behind * (1 - Math.exp(-EXTINCTION[band]! * column.tau)) : 0;
        bands[band * size * size + pixel] =
          column.light[band]! + spheroid * bulgeBands[band]! * (1 - dimmed);
      }
    }
  return bands;
}

/** I(x, y) of a Sersic (1968) spheroid with the component's total flux; x along the major axis. */
export function sersicProfile(
  spheroid: { flux: number; radius: number; sersicIndex: number },
  axisRatio: number,
): (x: number, y: number) => number {
  const { flux, radius, sersicIndex: n } = spheroid;
  const b = sersicB(n);
  const centre = flux / (2 * Math.PI * n * b ** (-2 * n) * gamma(2 * n) * radius ** 2 * axisRatio);
  const power = 1 / (2 * n);
  const along = 1 / radius ** 2;
  const across = along / axisRatio ** 2;
  return (x, y) => centre * Math.exp(-b * (x * x * along + y * y * across) ** power);
}

const FINE_STEPS = 6;

function averageOverPixel(
  profile: (x: number, y: number) => number,
  x: number,
  y: number,
  pixel: number,
): number {
  let sum = 0;
  for (let i = 0; i < FINE_STEPS; i++)
    for (let j = 0; j < FINE_STEPS; j++)
      sum += profile(
        x + ((i + 0.5) / FINE_STEPS - 0.5) * pixel,
        y + ((j + 0.5) / FINE_STEPS - 0.5) * pixel,
      );
  return sum / FINE_STEPS ** 2;
}

/** b_n of the Sersic profile, Ciotti & Bertin 1999, equation 18. */
function sersicB(n: number): number {
  return 2 * n - 1 / 3 + 4 / (405 * n) + 46 / (25515 * n ** 2);
}

/** Gamma function for x > 0: Stirling's series above 8, brought there by the recurrence. */
export function gamma(x: number): number {
  let divisor = 1;
  for (; x < 8; x++) divisor *= x;
  const series = 1 / (12 * x) - 1 / (360 * x ** 3) + 1 / (1260 * x ** 5);
  return (Math.sqrt((2 * Math.PI) / x) * (x / Math.E) ** x * Math.exp(series)) / divisor;
}

/** Light of a component in g, r, i for each unit in r. r - i follows g - r (Fukugita+ 1995). */
export function bandsOfColour(gMinusR: number): [number, number, number] {
  return [10 ** (-0.4 * gMinusR), 1, 10 ** (0.4 * (0.5 * gMinusR))];
}
