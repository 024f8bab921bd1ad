/**
 * The disc of a simulated galaxy: drawn face-on, then looked at along inclined lines of sight. The model, its formulas and
 * their sources: docs/simulation.md.
 */
import type { Random } from "../random.ts";
import { TEXTURE_SIZE, type Galaxy, type Knot } from "./simulate_galaxy.ts";

/** Extinction in g, r, i against r (Stoughton+ 2002, table 22). */
export const EXTINCTION = [1.379, 1, 0.758] as const;

/** The disc seen from above. `cells`: [side, side, 3] of old light, young light and optical depth. */
export interface FaceOn {
  readonly cells: Float32Array;
  readonly side: number;
  /** Width of a cell and half-width of the map, as fractions of the image's side. */
  readonly cell: number;
  readonly reach: number;
  /** sech^2 scale height, same unit. */
  readonly height: number;
  readonly empty: boolean;
}

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

/** The disc of a galaxy with its arms, bar, ring and knots, for an image of `size` pixels. */
export function drawFaceOn(galaxy: Galaxy, size: number, texture: Float32Array): FaceOn {
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

/** A line of sight: what it meets at one point of the disc, and in all. */
export interface Column {
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
export function lookThrough(
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
