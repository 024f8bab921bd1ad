/**
 * One simulated galaxy, drawn from its T-Type. `simulate_light.ts` renders it.
 * The model, its formulas and their sources: docs/simulation.md.
 *
 * Lengths are fractions of the image's side, so that a galaxy does not depend on the size it is rendered at.
 * Angles are in radians. Surface brightness 1 is where the stretch turns from linear to logarithmic.
 */
import type { Random } from "../random.ts";

/** Side of the periodic texture from which `simulate_disc.ts` reads patches. */
export const TEXTURE_SIZE = 32;

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

/** A star-forming knot. */
export interface Knot {
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
