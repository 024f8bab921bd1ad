/**
 * One simulated galaxy: drawn from its T-Type, then rendered as surface brightness in the bands g, r, i.
 * The model, its formulas and their sources: docs/simulation.md.
 *
 * Lengths are fractions of the image's side, so that a galaxy does not depend on the size it is rendered at.
 * Angles are in radians. Surface brightness 1 is where the stretch turns from linear to logarithmic.
 */
import type { Random } from "../random.ts";

/** Values at T = -6, -5 ... 9, with straight lines between: every property follows the T-Type continuously. */
const BY_T_TYPE = {
  /** After Laurikainen+ 2010, Graham & Worley 2008. */
  bulgeToTotal: [
    0.99, 0.985, 0.95, 0.78, 0.64, 0.53, 0.42, 0.34, 0.27, 0.2, 0.14, 0.1, 0.07, 0.05, 0.03, 0.02,
  ],
  sersicIndex: [3.6, 4.2, 4.8, 3.4, 2.8, 2.4, 2.1, 2, 1.8, 1.6, 1.4, 1.3, 1.2, 1.1, 1, 1],
  /** Bulge half-light radius in disc scale lengths. */
  bulgeRadius: [1.9, 1.8, 1.6, 1, 0.7, 0.5, 0.4, 0.33, 0.28, 0.24, 0.22, 0.2, 0.2, 0.2, 0.2, 0.2],
  /** Axis ratio of the spheroid seen from the side. */
  flattening: [
    0.75, 0.68, 0.65, 0.65, 0.68, 0.7, 0.72, 0.75, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8,
  ],
  /** Half-light radius against the survey's median: the wings of a high Sersic index reach further out. */
  size: [0.55, 0.72, 0.8, 0.75, 0.78, 0.82, 0.88, 0.94, 1, 1.05, 1.08, 1.1, 1.1, 1.05, 1, 0.95],
  surfaceBrightness: [
    2.2, 1.6, 1.3, 1.5, 1.4, 1.25, 1.1, 0.95, 0.85, 0.75, 0.68, 0.6, 0.52, 0.45, 0.38, 0.32,
  ],
  /** sech^2 scale height in disc scale lengths; lenticular discs are thicker (de Grijs 1998). */
  thickness: [
    0.45, 0.42, 0.38, 0.32, 0.28, 0.25, 0.22, 0.2, 0.18, 0.16, 0.14, 0.13, 0.12, 0.12, 0.14, 0.16,
  ],
  /** g - r of spheroid and old disc, after Fukugita+ 1995. */
  bulgeColour: [
    0.76, 0.78, 0.79, 0.77, 0.76, 0.75, 0.74, 0.73, 0.71, 0.69, 0.66, 0.62, 0.58, 0.52, 0.47, 0.43,
  ],
  discColour: [
    0.75, 0.76, 0.76, 0.74, 0.72, 0.7, 0.67, 0.64, 0.61, 0.58, 0.55, 0.52, 0.48, 0.44, 0.4, 0.37,
  ],
  /** Part of the disc's r-band light that young stars give. */
  youngLight: [0, 0, 0, 0, 0.01, 0.025, 0.06, 0.13, 0.19, 0.26, 0.32, 0.37, 0.42, 0.45, 0.48, 0.5],
  /** 0: none, 1: all young light lies in the arms. */
  armStrength: [0, 0, 0, 0, 0.02, 0.06, 0.25, 0.55, 0.7, 0.8, 0.86, 0.88, 0.84, 0.72, 0.58, 0.42],
  /** Degrees, after Kennicutt 1981. */
  pitch: [6, 6, 6, 6, 6, 7, 8, 10, 12, 14.5, 17, 20, 23, 26, 29, 32],
  /** Share of the texture in the arms: grand design to flocculent. */
  flocculence: [0, 0, 0, 0, 0, 0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.75, 0.9, 1, 1],
  knots: [0, 0, 0, 0, 0, 0, 1, 5, 9, 16, 24, 32, 36, 32, 28, 24],
  /** Face-on optical depth in r, dust and stars mixed. */
  dust: [0, 0, 0, 0.01, 0.04, 0.1, 0.25, 0.5, 0.7, 0.8, 0.8, 0.65, 0.5, 0.35, 0.22, 0.15],
  lopsidedness: [
    0, 0, 0, 0.01, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.13, 0.18, 0.25, 0.3,
  ],
  barChance: [0, 0, 0, 0.12, 0.22, 0.28, 0.34, 0.38, 0.4, 0.42, 0.4, 0.4, 0.42, 0.45, 0.5, 0.5],
  /** Bar half-length in disc scale lengths (Erwin 2005: long in early types, short in late ones). */
  barLength: [1.2, 1.2, 1.2, 1.2, 1.25, 1.3, 1.3, 1.25, 1.2, 1.1, 1, 0.85, 0.75, 0.7, 0.7, 0.7],
  lensChance: [0, 0, 0.05, 0.3, 0.4, 0.4, 0.3, 0.15, 0.05, 0, 0, 0, 0, 0, 0, 0],
} as const;

export const EARLIEST_T_TYPE = -6;
export const LATEST_T_TYPE = 9;

/** The value that `property` has on average at a (fractional) T-Type. */
function byTType(property: keyof typeof BY_T_TYPE, stage: number): number {
  const values: readonly number[] = BY_T_TYPE[property];
  const at = Math.min(Math.max(stage - EARLIEST_T_TYPE, 0), values.length - 1);
  const below = Math.min(Math.floor(at), values.length - 2);
  return values[below]! + (at - below) * (values[below + 1]! - values[below]!);
}

interface Knot {
  readonly x: number;
  readonly y: number;
  readonly radius: number;
  readonly flux: number;
}

/** What `renderGalaxy` draws. Lengths of disc, arms, bar and knots are in disc scale lengths. */
export interface Galaxy {
  readonly tType: number;
  readonly centreX: number;
  readonly centreY: number;
  readonly positionAngle: number;
  readonly inclination: number;
  readonly bulge: {
    readonly flux: number;
    /** Fraction of the image's side. */
    readonly radius: number;
    readonly sersicIndex: number;
    /** As seen from the side; `renderGalaxy` inclines it. */
    readonly axisRatio: number;
    readonly colour: number;
  };
  readonly disc: {
    readonly flux: number;
    /** Fraction of the image's side. */
    readonly scaleLength: number;
    readonly thickness: number;
    readonly truncation: number;
    readonly lens: number;
    readonly lopsidedness: number;
    readonly lopsidedAngle: number;
    readonly colour: number;
    readonly youngLight: number;
    readonly youngColour: number;
    readonly dust: number;
  };
  readonly arms: {
    readonly count: number;
    readonly strength: number;
    readonly tanPitch: number;
    readonly phase: number;
    readonly sense: 1 | -1;
    readonly sharpness: number;
    readonly flocculence: number;
    readonly start: number;
    /** Corner of the texture from which this galaxy's patchiness is read. */
    readonly texture: readonly [number, number];
  };
  readonly bar: { readonly light: number; readonly length: number; readonly angle: number };
  readonly ring: { readonly light: number; readonly radius: number };
  readonly knots: readonly Knot[];
}

/** How a survey shows its galaxies, as far as the galaxy itself is concerned. */
export interface Scale {
  /** Median half-light radius of a T = 2 galaxy, as a fraction of the image's side. */
  readonly medianRadius: number;
  /** Its scatter in dex. */
  readonly radiusScatter: number;
  /** Multiplies every surface brightness. */
  readonly exposure: number;
  /** Added to g - r (and half of it to r - i): redshift moves the spectrum through the bands. */
  readonly reddening: number;
}

/** Structure scatters about the label, as experts' T-Types of one galaxy do (by 1.8 and more: Naim+ 1995). */
const STAGE_SCATTER = 0.7;

/** Draws a galaxy of this T-Type. All random numbers come from `random`, always in the same order. */
export function drawGalaxy(random: Random, tType: number, scale: Scale): Galaxy {
  const stage = Math.min(
    Math.max(tType + STAGE_SCATTER * random.normal(), EARLIEST_T_TYPE),
    LATEST_T_TYPE,
  );
  const typical = (property: keyof typeof BY_T_TYPE) => byTType(property, stage);
  const dex = (sigma: number) => 10 ** (sigma * random.normal());

  // Scatter on the logit keeps the ratio between 0 and 1.
  const ratio = typical("bulgeToTotal");
  const bulgeToTotal = 1 / (1 + ((1 - ratio) / ratio) * Math.exp(0.5 * random.normal()));
  const bulgeRadius = typical("bulgeRadius") * dex(0.08);
  const halfLight = scale.medianRadius * typical("size") * dex(scale.radiusScatter);
  // An exponential disc holds half its light within 1.678 scale lengths.
  const scaleLength = halfLight / (bulgeToTotal * bulgeRadius + (1 - bulgeToTotal) * 1.678);
  const flux =
    2 *
    Math.PI *
    halfLight ** 2 *
    typical("surfaceBrightness") *
    scale.exposure *
    Math.min(dex(0.16), 2.5);

  const colourShift = 0.03 * random.normal() + scale.reddening;
  const pitch = Math.max(typical("pitch") * (1 + 0.2 * random.normal()), 4) * (Math.PI / 180);
  const flocculence = Math.min(Math.max(typical("flocculence") + 0.25 * random.normal(), 0), 1);
  const barred = random.uniform() < typical("barChance");
  const barLength = barred ? typical("barLength") * dex(0.08) : 0;
  const ringed = random.uniform() < 0.25;
  const armDraw = random.uniform() + 0.04 * stage;
  const arms: Galaxy["arms"] = {
    count: armDraw < 0.75 ? 2 : armDraw < 0.98 ? 3 : 4,
    strength: typical("armStrength") * random.between(0.75, 1),
    tanPitch: Math.tan(pitch),
    phase: random.between(0, 2 * Math.PI),
    sense: random.uniform() < 0.5 ? 1 : -1,
    sharpness: random.between(1.6, 3.2),
    flocculence,
    start: barred ? 0.9 * barLength : random.between(0.25, 0.6),
    texture: [random.between(0, TEXTURE_SIZE), random.between(0, TEXTURE_SIZE)],
  };

  const galaxy: Galaxy = {
    tType,
    centreX: 0.5 + 0.008 * random.normal(),
    centreY: 0.5 + 0.008 * random.normal(),
    positionAngle: random.between(0, 2 * Math.PI),
    // Discs point everywhere: cos i is uniform.
    inclination: Math.acos(random.uniform()),
    bulge: {
      flux: flux * bulgeToTotal,
      radius: bulgeRadius * scaleLength,
      sersicIndex: Math.min(Math.max(typical("sersicIndex") * dex(0.08), 0.8), 6.5),
      axisRatio: Math.min(Math.max(typical("flattening") + 0.12 * random.normal(), 0.45), 1),
      colour: typical("bulgeColour") + colourShift,
    },
    disc: {
      flux: flux * (1 - bulgeToTotal),
      scaleLength,
      thickness: typical("thickness") * dex(0.06),
      truncation: random.between(3.2, 4.6),
      lens: random.uniform() < typical("lensChance") ? random.between(0.15, 0.4) : 0,
      lopsidedness: typical("lopsidedness") * random.between(0.3, 1.5),
      lopsidedAngle: random.between(0, 2 * Math.PI),
      colour: typical("discColour") + colourShift,
      youngLight: Math.min(typical("youngLight") * dex(0.12), 0.7),
      youngColour: 0.12 + colourShift,
      dust: typical("dust") * dex(0.15),
    },
    arms,
    bar: {
      light: barred ? random.between(0.12, 0.25) : 0,
      length: barLength,
      angle: arms.phase / arms.count,
    },
    ring: {
      light: ringed ? random.between(0.15, 0.4) : 0,
      radius: barred ? 1.05 * barLength : random.between(0.8, 1.8),
    },
    knots: [],
  };
  const knots = drawKnots(random, galaxy, Math.round(typical("knots") * random.between(0.5, 1.5)));
  return { ...galaxy, knots };
}

/** Star-forming knots: log-normal fluxes, most of them on the arms. */
function drawKnots(random: Random, galaxy: Galaxy, count: number): Knot[] {
  const { arms } = galaxy;
  return Array.from({ length: count }, () => {
    const r = random.between(0.4, 3);
    const arm = random.below(arms.count);
    const spread = 0.35 + arms.flocculence;
    const offset = (2 * Math.PI * arm + spread * random.normal()) / arms.count;
    const theta = armAngle(galaxy, r) + offset;
    return {
      x: r * Math.cos(theta),
      y: r * Math.sin(theta),
      radius: random.between(0.05, 0.11),
      flux: 0.006 * Math.exp(-0.4 * r + 0.6 * random.normal()),
    };
  });
}

/** Where the first arm is at radius r: the logarithmic spiral r = start * exp(theta tan(pitch)). */
function armAngle({ arms }: Galaxy, r: number): number {
  return arms.phase / arms.count + (arms.sense * Math.log(r / arms.start)) / arms.tanPitch;
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

/** Extinction in g, r, i against r (Stoughton+ 2002, table 22). */
const EXTINCTION = [1.379, 1, 0.758] as const;

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

/** The disc seen from above. `cells`: [side, side, 3] of old light, young light and optical depth. */
interface FaceOn {
  readonly cells: Float32Array;
  readonly side: number;
  /** Width of a cell and half-width of the map, as fractions of the image's side. */
  readonly cell: number;
  readonly reach: number;
  /** sech^2 scale height, same unit. */
  readonly height: number;
  readonly empty: boolean;
}

/** Side of the periodic texture. */
export const TEXTURE_SIZE = 32;

/** White noise from which all galaxies read their patches; uniform in [-1, 1). */
export function makeTexture(random: Random): Float32Array {
  return Float32Array.from({ length: TEXTURE_SIZE ** 2 }, () => random.between(-1, 1));
}

/** The texture between its points, periodic in both directions. */
function textureAt(texture: Float32Array, u: number, v: number): number {
  const u0 = Math.floor(u);
  const v0 = Math.floor(v);
  // The smoothstep of value noise: no creases at the grid lines.
  const fu = (u - u0) ** 2 * (3 - 2 * (u - u0));
  const fv = (v - v0) ** 2 * (3 - 2 * (v - v0));
  const mask = TEXTURE_SIZE - 1;
  const top = (v0 & mask) * TEXTURE_SIZE;
  const bottom = ((v0 + 1) & mask) * TEXTURE_SIZE;
  const left = u0 & mask;
  const right = (u0 + 1) & mask;
  return (
    (1 - fv) * ((1 - fu) * texture[top + left]! + fu * texture[top + right]!) +
    fv * ((1 - fu) * texture[bottom + left]! + fu * texture[bottom + right]!)
  );
}

function drawFaceOn(galaxy: Galaxy, size: number, texture: Float32Array): FaceOn {
  const { disc, arms, bar } = galaxy;
  const h = disc.scaleLength;
  const reachInH = disc.truncation + 0.8;
  const empty = disc.flux < 1e-3 * galaxy.bulge.flux;
  // Finer than the image, and fine enough for the arms of a small galaxy.
  const cell = Math.min(0.75 / size, h / 6);
  const step = cell / h;
  const side = empty ? 0 : 2 * Math.ceil(reachInH / step) + 1;
  const cells = new Float32Array(side * side * 3);
  const barCells = new Float32Array(bar.light > 0 ? side * side : 0);
  const centre = (side - 1) / 2;
  const radial = radialProfiles(galaxy, reachInH, step / 4);
  const lopX = disc.lopsidedness * Math.cos(disc.lopsidedAngle);
  const lopY = disc.lopsidedness * Math.sin(disc.lopsidedAngle);
  const barX = Math.cos(bar.angle);
  const barY = Math.sin(bar.angle);
  const hasArms = arms.strength > 0;
  const profile = armProfile(arms.sharpness);
  const pointsPerRadian = TEXTURE_SIZE / (2 * Math.PI);

  let oldSum = 0;
  let youngSum = 0;
  let barSum = 0;
  for (let row = 0; row < side; row++)
    for (let col = 0; col < side; col++) {
      const x = (col - centre) * step;
      const y = (row - centre) * step;
      const r = Math.sqrt(x * x + y * y);
      if (r > reachInH) continue;
      const k = Math.floor((4 * r) / step);
      const lop = Math.max(1 + (lopX * x + lopY * y) / (0.5 + 0.5 * r), 0.1);
      let old = radial.old[k]! * lop;
      let young = radial.young[k]! * lop;
      let dust = radial.dust[k]!;
      if (hasArms) {
        const logR = radial.logR[k]!;
        const strength = radial.armStrength[k]!;
        const winding = Math.atan2(y, x) - (arms.sense * logR) / arms.tanPitch;
        const patch = textureAt(
          texture,
          arms.texture[0] + winding * pointsPerRadian,
          arms.texture[1] + logR * 4,
        );
        const angle = arms.count * winding - arms.phase + 1.5 * arms.flocculence * patch;
        const crest = armAt(profile, angle);
        // Dust lies on the concave side of an arm, where gas meets the density wave (Roberts 1969).
        const lane = armAt(profile, angle + 0.7);
        const patchy = Math.exp(1.6 * arms.flocculence * patch);
        old *= 1 + 0.45 * strength * (crest - 0.9);
        young = (young * (1 - strength + strength * crest) + radial.ring[k]!) * patchy;
        dust *= 1 - 0.7 * strength + 0.7 * strength * lane * patchy;
      }
      const at = row * side + col;
      if (bar.light > 0) {
        const major = (x * barX + y * barY) / bar.length;
        const minor = (y * barX - x * barY) / (0.3 * bar.length);
        const inside = 1 - major ** 4 - minor ** 2;
        if (inside > 0) barSum += barCells[at] = inside * radial.bar[k]!;
      }
      oldSum += old;
      youngSum += young;
      cells[at * 3] = old;
      cells[at * 3 + 1] = young;
      cells[at * 3 + 2] = dust;
    }

  // Every map becomes surface brightness: its sum times a cell's area is the component's flux.
  const oldFlux = disc.flux * (1 - disc.youngLight);
  const oldScale = (oldFlux * (1 - bar.light)) / (oldSum * cell ** 2 || 1);
  const barScale = (oldFlux * bar.light) / (barSum * cell ** 2 || 1);
  const youngScale = (disc.flux * disc.youngLight) / (youngSum * cell ** 2 || 1);
  for (let at = 0; at < side * side; at++) {
    cells[at * 3] = cells[at * 3]! * oldScale + (bar.light > 0 ? barCells[at]! * barScale : 0);
    cells[at * 3 + 1]! *= youngScale;
  }
  if (!empty) for (const knot of galaxy.knots) addKnot(cells, side, step, knot, disc.flux / h ** 2);
  return { cells, side, cell, reach: reachInH * h, height: disc.thickness * h, empty };
}

const PHASES = 512;

/** One arm across its phase, tabulated: sharper than a cosine, about 1 on average. */
function armProfile(sharpness: number): Float64Array {
  return Float64Array.from(
    { length: PHASES },
    (_, k) => 2.2 * Math.exp(sharpness * (Math.cos((2 * Math.PI * k) / PHASES) - 1)),
  );
}

function armAt(profile: Float64Array, angle: number): number {
  return profile[Math.floor((angle * PHASES) / (2 * Math.PI)) & (PHASES - 1)]!;
}

/** What depends on the radius alone, at r = 0, spacing, 2 spacing ... in disc scale lengths. */
function radialProfiles({ disc, arms, ring }: Galaxy, reach: number, spacing: number) {
  const radii = Float64Array.from(
    { length: Math.ceil(reach / spacing) + 2 },
    (_, k) => Math.max(k, 0.5) * spacing,
  );
  // The edge is soft: discs end at three to five scale lengths (van der Kruit & Searle 1981).
  const edge = (r: number) => 1 / (1 + Math.exp((r - disc.truncation) / 0.22));
  // Arms open where the bar or the bulge's reign ends.
  const opened = (r: number) => 1 - Math.exp(-((r / arms.start) ** 3));
  const lens = (r: number) => (disc.lens * Math.exp(-1)) / (1 + Math.exp((r - 1.5) / 0.12));
  return {
    old: radii.map((r) => Math.exp(-r) * edge(r) + lens(r)),
    young: radii.map((r) => Math.exp(-r / 1.3) * edge(r) * (0.3 + 0.7 * opened(r))),
    ring: radii.map((r) => 0.6 * ring.light * Math.exp(-(((r - ring.radius) / 0.16) ** 2) / 2)),
    dust: radii.map((r) => 2.4 * disc.dust * Math.exp(-r / 1.2) * edge(r)),
    bar: radii.map((r) => Math.exp(-0.5 * r)),
    armStrength: radii.map((r) => arms.strength * opened(r)),
    logR: radii.map((r) => Math.log(r / arms.start)),
  };
}

/** Adds a round Gaussian knot to the young light; never narrower than 0.8 cells. */
function addKnot(cells: Float32Array, side: number, step: number, knot: Knot, unit: number): void {
  const centre = (side - 1) / 2;
  const col0 = centre + knot.x / step;
  const row0 = centre + knot.y / step;
  const sigma = Math.max(knot.radius / step, 0.8);
  const peak = (knot.flux * unit) / (2 * Math.PI * (sigma * step) ** 2);
  const reach = Math.ceil(3 * sigma);
  for (let row = Math.round(row0) - reach; row <= Math.round(row0) + reach; row++)
    for (let col = Math.round(col0) - reach; col <= Math.round(col0) + reach; col++) {
      if (row < 0 || col < 0 || row >= side || col >= side) continue;
      const distance2 = (row - row0) ** 2 + (col - col0) ** 2;
      cells[(row * side + col) * 3 + 1]! += peak * Math.exp(-distance2 / (2 * sigma ** 2));
    }
}

/** Young stars and dust lie in a thinner layer than old stars. */
const THIN_LAYER = 0.4;
const STEPS = 16;

interface Column {
  old: number;
  young: number;
  tau: number;
  readonly light: Float64Array;
  /** Transmission so far, in g, r, i. */
  readonly through: Float64Array;
}

/**
 * The disc's light along one line of sight, front to back, in g, r, i, and the optical depth behind all of it.
 * Seen from above the disc is one mixed slab; when it is inclined, light and dust are integrated through the layers
 * sech^2(z / z0) / (2 z0) (van der Kruit & Searle 1981).
 */
function lookThrough(
  disc: FaceOn,
  x: number,
  y: number,
  cosI: number,
  sinI: number,
  oldBands: readonly number[],
  youngBands: readonly number[],
  out: Column,
): void {
  out.light.fill(0);
  out.tau = 0;
  if (disc.empty || Math.abs(x) > disc.reach) return;
  if (cosI > 0.5) {
    sampleFaceOn(disc, x, y / cosI, out);
    if (out.old === 0) return;
    const tau = out.tau / cosI;
    for (let band = 0; band < 3; band++) {
      const depth = EXTINCTION[band]! * tau;
      const through = depth < 1e-4 ? 1 : (1 - Math.exp(-depth)) / depth;
      const stars = out.old * oldBands[band]! + out.young * youngBands[band]!;
      out.light[band] = (stars * through) / cosI;
    }
    out.tau = tau;
    return;
  }
  const { reach, height } = disc;
  const thin = height * THIN_LAYER;
  const middle = (y * sinI) / cosI;
  const from = Math.max(middle - (2.5 * height) / cosI, (-reach - y * cosI) / sinI);
  const to = Math.min(middle + (2.5 * height) / cosI, (reach - y * cosI) / sinI);
  if (from >= to) return;
  const step = (to - from) / STEPS;
  const through = out.through.fill(1);
  let depth = 0;
  for (let k = 0; k < STEPS; k++) {
    const s = from + (k + 0.5) * step;
    sampleFaceOn(disc, x, y * cosI + s * sinI, out);
    if (out.old === 0) continue;
    const z = s * cosI - y * sinI;
    const old = (out.old * sech2(z / height) * step) / (2 * height);
    // Four scale heights out, a thousandth of the thin layer is left.
    const layer = Math.abs(z) < 4 * thin ? (sech2(z / thin) * step) / (2 * thin) : 0;
    const dust = out.tau * layer;
    for (let band = 0; band < 3; band++) {
      // Half of the step's own dust lies before its stars.
      if (dust > 0) through[band] = Math.exp(-EXTINCTION[band]! * (depth + dust / 2));
      out.light[band]! +=
        (old * oldBands[band]! + out.young * layer * youngBands[band]!) * through[band]!;
    }
    depth += dust;
  }
  out.tau = depth;
}

function sech2(x: number): number {
  const e = Math.exp(-2 * Math.abs(x));
  return (4 * e) / (1 + e) ** 2;
}

/** Old light, young light and optical depth at a point of the disc's plane, bilinear. */
function sampleFaceOn(disc: FaceOn, x: number, y: number, out: Column): void {
  const { cells, side, cell } = disc;
  const col = x / cell + (side - 1) / 2;
  const row = y / cell + (side - 1) / 2;
  const col0 = Math.floor(col);
  const row0 = Math.floor(row);
  out.old = out.young = out.tau = 0;
  if (col0 < 0 || row0 < 0 || col0 >= side - 1 || row0 >= side - 1) return;
  const fx = col - col0;
  const fy = row - row0;
  const at = (row0 * side + col0) * 3;
  const below = at + side * 3;
  const w00 = (1 - fx) * (1 - fy);
  const w01 = fx * (1 - fy);
  const w10 = (1 - fx) * fy;
  const w11 = fx * fy;
  out.old = w00 * cells[at]! + w01 * cells[at + 3]! + w10 * cells[below]! + w11 * cells[below + 3]!;
  out.young =
    w00 * cells[at + 1]! + w01 * cells[at + 4]! + w10 * cells[below + 1]! + w11 * cells[below + 4]!;
  out.tau =
    w00 * cells[at + 2]! + w01 * cells[at + 5]! + w10 * cells[below + 2]! + w11 * cells[below + 5]!;
}
