/**
 * Simulated galaxies: what the study runs on when no images are there. Two surveys that differ in scale, seeing, noise
 * and colour as Nair & Abraham's sample and EFIGI do. Model and sources: docs/simulation.md.
 */
import { Random } from "../random.ts";
import type { ImageSet } from "./dataset.ts";
import { addField, blur, expose, PixelNoise, type Camera } from "./simulate_camera.ts";
import { makeTexture } from "./simulate_disc.ts";
import { drawGalaxy, EARLIEST_T_TYPE, type Scale } from "./simulate_galaxy.ts";
import { renderGalaxy } from "./simulate_light.ts";

export type SurveyName = "na10" | "efigi";

interface Survey {
  readonly scale: Scale;
  readonly camera: Camera;
  /** Relative frequencies of T = -6, -5 ... 9. */
  readonly tTypes: readonly number[];
  /** Median redshift and its scatter in dex. */
  readonly redshift: number;
  readonly redshiftScatter: number;
}

const SURVEYS: Readonly<Record<SurveyName, Survey>> = {
  efigi: {
    scale: { medianRadius: 0.155, radiusScatter: 0.1, exposure: 1.5, reddening: 0 },
    camera: {
      seeing: 0.011,
      seeingScatter: 0.12,
      skyNoise: [0.12, 0.1, 0.12],
      sky: 2,
      stars: 5,
      background: 3,
      companion: 0.05,
      balance: [0.84, 1, 1.5],
      softening: 7,
    },
    // EFIGI 1.6.2, without T = 10 and 11, which belong to none of the three classes.
    tTypes: [18, 227, 44, 189, 196, 152, 196, 257, 219, 517, 472, 303, 448, 285, 355, 263],
    redshift: 0.015,
    redshiftScatter: 0.25,
  },
  na10: {
    scale: { medianRadius: 0.095, radiusScatter: 0.11, exposure: 2, reddening: 0.05 },
    camera: {
      seeing: 0.028,
      seeingScatter: 0.08,
      skyNoise: [0.26, 0.22, 0.26],
      sky: 2,
      stars: 2,
      background: 2,
      companion: 0.06,
      balance: [0.9, 1, 1.36],
      softening: 8,
    },
    // In parts per thousand, our estimate: bright galaxies, more lenticulars than ellipticals, few late spirals.
    tTypes: [0, 190, 10, 90, 80, 30, 60, 115, 65, 135, 100, 90, 20, 10, 3, 2],
    redshift: 0.05,
    redshiftScatter: 0.2,
  },
};

/** The paper's numbers of galaxies. */
export const PAPER_COUNTS: Readonly<Record<SurveyName, number>> = { na10: 10956, efigi: 4458 };

export const GALAXY_CLASSES = ["Elliptical", "Lenticular", "Spiral"] as const;

export interface SimulatedSurvey extends ImageSet {
  /** The T-Type of each galaxy, -6 to 9. */
  readonly tTypes: Int8Array;
}

export interface SimulateOptions {
  readonly survey: SurveyName;
  readonly count: number;
  /** Side of the images in pixels. */
  readonly size: number;
  readonly seed: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Renders `count` galaxies. images: [count, size, size, 3]; ids: "sim-efigi-000123".
 * Galaxy i depends on survey, seed, size and i alone; T-Type and structure do not depend on `size` either.
 */
export function simulateSurvey(options: SimulateOptions): SimulatedSurvey {
  const { survey: surveyName, count, size, seed, onProgress } = options;
  expectWhole("count", count, 0);
  expectWhole("size", size, 8);
  const survey = SURVEYS[surveyName];
  const purpose = `simulate/${surveyName}`;
  const texture = makeTexture(new Random(seed, `${purpose}/texture`));
  const start = new Random(seed, `${purpose}/t-type`).uniform();

  const images = new Uint8Array(count * size * size * 3);
  const tTypes = new Int8Array(count);
  const labels = new Int32Array(count);
  const ids: string[] = [];
  for (let i = 0; i < count; i++) {
    const tType = tTypeOf(survey.tTypes, start, i);
    const random = new Random(seed, purpose, i);
    const galaxy = drawGalaxy(random, tType, survey.scale);
    const fwhm = survey.camera.seeing * 10 ** (survey.camera.seeingScatter * random.normal());
    const bands = renderGalaxy(galaxy, size, texture);
    addField(bands, size, survey.camera, random);
    blur(bands, size, fwhm * size);
    const picture = images.subarray(i * size * size * 3, (i + 1) * size * size * 3);
    expose(bands, size, survey.camera, new PixelNoise(random), picture);
    tTypes[i] = tType;
    labels[i] = tType <= -4 ? 0 : tType <= 0 ? 1 : 2;
    ids.push(`sim-${surveyName}-${String(i).padStart(6, "0")}`);
    onProgress?.(i + 1, count);
  }
  return {
    name: `simulated-${surveyName}`,
    images,
    count,
    height: size,
    width: size,
    channels: 3,
    labels,
    classes: GALAXY_CLASSES,
    ids,
    crop: 1,
    tTypes,
  };
}

/**
 * The T-Type of galaxy i: the inverse of the cumulative frequencies at the i-th number of a golden-ratio sequence,
 * so that every run of galaxies has nearly the right number of each type, however many are drawn.
 */
function tTypeOf(frequencies: readonly number[], start: number, i: number): number {
  const total = frequencies.reduce((sum, value) => sum + value, 0);
  let left = ((start + i * 0.6180339887498949) % 1) * total;
  for (let k = 0; k < frequencies.length; k++) {
    left -= frequencies[k]!;
    if (left < 0) return EARLIEST_T_TYPE + k;
  }
  return EARLIEST_T_TYPE + frequencies.length - 1;
}

function expectWhole(name: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least)
    throw new RangeError(
      `simulateSurvey: ${name}: expected an integer of ${least} or more, got ${value}`,
    );
}

/** Physical properties of one simulated galaxy, as Figure 23 shows them for real ones. Nothing here was measured. */
export interface SimulatedPhysical {
  readonly id: string;
  readonly redshift: number;
  /** log10 of the stellar mass in solar masses. */
  readonly logMass: number;
  /** Velocity dispersion in km/s. */
  readonly sigma: number;
  /** log10 of the star formation rate in solar masses a year. */
  readonly logSfr: number;
}

/** At T = -6, -5 ... 9, round values of ours. */
const LOG_MASS = [
  10.1, 10.95, 11.2, 10.8, 10.7, 10.65, 10.65, 10.65, 10.6, 10.55, 10.45, 10.3, 10.05, 9.7, 9.4,
  9.1,
];
/** Distance below the star-forming sequence in dex. */
const SFR_DEFICIT = [2.1, 2.1, 2.1, 2, 1.9, 1.7, 1.3, 0.8, 0.5, 0.25, 0.1, 0, 0, 0, 0, 0];
/** How far below the relation of early types a late type's dispersion lies, in dex. */
const SIGMA_DEFICIT = [
  0, 0, 0, 0, 0.01, 0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28, 0.3, 0.3, 0.3,
];

/**
 * Redshift, mass, velocity dispersion and star formation rate of simulated galaxies. They follow the T-Type through
 * known relations with their scatter: heavier galaxies are seen further away, log sigma = 0.286 log M - 0.9 for early
 * types (Gallazzi+ 2006), log SFR = 0.76 log M - 7.64 on the star-forming sequence (Renzini & Peng 2015).
 */
export function simulatePhysical(
  set: ImageSet,
  tTypes: ArrayLike<number>,
  seed: number,
): SimulatedPhysical[] {
  const survey = set.name.includes("na10") ? SURVEYS.na10 : SURVEYS.efigi;
  return set.ids.map((id, i) => {
    // One stream for each galaxy's name, so that a subset keeps its values.
    const random = new Random(seed, `simulate/physical/${id}`);
    const k = tTypes[i]! - EARLIEST_T_TYPE;
    const distance = random.normal();
    const logMass = LOG_MASS[k]! + 0.25 * distance + 0.25 * random.normal();
    const logSigma = 0.286 * logMass - 0.9 - SIGMA_DEFICIT[k]! + 0.07 * random.normal();
    const logSfr = 0.76 * logMass - 7.64 - SFR_DEFICIT[k]! + 0.3 * random.normal();
    const redshift = survey.redshift * 10 ** (survey.redshiftScatter * distance);
    return { id, redshift, logMass, sigma: 10 ** logSigma, logSfr };
  });
}
