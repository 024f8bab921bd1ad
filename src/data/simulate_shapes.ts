/**
 * Drawn shapes in ten classes, grey: they stand in for Fashion-MNIST when it is not there, as images unlike galaxies.
 */
import { Random } from "../random.ts";
import type { ImageSet } from "./dataset.ts";
import { PixelNoise } from "./simulate_camera.ts";

/** Below 0 inside the shape, above outside, close to the distance from its edge; shapes fill about |x|, |y| < 1. */
type Distance = (x: number, y: number) => number;

const SHAPES: readonly (readonly [name: string, distance: Distance])[] = [
  ["Disc", (x, y) => Math.hypot(x, y) - 0.9],
  ["Ring", (x, y) => Math.abs(Math.hypot(x, y) - 0.75) - 0.15],
  ["Square", (x, y) => box(x, y, 0.8, 0.8)],
  ["Frame", (x, y) => Math.abs(box(x, y, 0.75, 0.75)) - 0.13],
  ["Triangle", triangle],
  ["Bar", (x, y) => box(x, y, 1, 0.25)],
  ["Cross", (x, y) => Math.min(box(x, y, 0.95, 0.25), box(x, y, 0.25, 0.95))],
  ["Crescent", (x, y) => Math.max(Math.hypot(x, y) - 0.9, 0.7 - Math.hypot(x - 0.45, y))],
  ["Star", star],
  ["Chevron", chevron],
];

export const SHAPE_CLASSES: readonly string[] = SHAPES.map(([name]) => name);

function box(x: number, y: number, halfWidth: number, halfHeight: number): number {
  return Math.max(Math.abs(x) - halfWidth, Math.abs(y) - halfHeight);
}

/** Equilateral: three half-planes half a unit from the centre. */
function triangle(x: number, y: number): number {
  return Math.max(y, Math.abs(x) * Math.cos(Math.PI / 6) - y / 2) - 0.5;
}

/** Five points. By symmetry only the edge from a tip at r = 1 to a notch at r = 0.42 need be known. */
function star(x: number, y: number): number {
  const sector = Math.PI / 5;
  const turned = Math.atan2(y, x) + 2 * Math.PI;
  const angle = Math.abs((turned % (2 * sector)) - sector);
  const r = Math.hypot(x, y);
  const notchX = 0.42 * Math.cos(sector);
  const notchY = 0.42 * Math.sin(sector);
  const length = Math.hypot(1 - notchX, notchY);
  return ((r * Math.cos(angle) - 1) * notchY + r * Math.sin(angle) * (1 - notchX)) / length;
}

/** Two strokes that meet at a right angle. */
function chevron(x: number, y: number): number {
  const u = (x + Math.abs(y)) * Math.SQRT1_2 - 0.3;
  return Math.max(Math.abs(u) - 0.22, Math.abs(y) - 0.85);
}

/**
 * Shapes of varied place, size, aspect, rotation, brightness and shading; with noise.
 * images: [count, size, size, 1], dark background; class of image i: i mod 10. Image i depends on seed, size and i alone.
 */
export function simulateShapes(options: {
  readonly count: number;
  readonly size?: number;
  readonly seed: number;
}): ImageSet {
  const { count, size = 28, seed } = options;
  const images = new Uint8Array(count * size * size);
  const labels = Int32Array.from({ length: count }, (_, i) => i % SHAPES.length);
  for (let i = 0; i < count; i++) {
    const random = new Random(seed, "simulate/shapes", i);
    const [, distance] = SHAPES[labels[i]!]!;
    drawShape(distance, random, images.subarray(i * size * size, (i + 1) * size * size), size);
  }
  return {
    name: "simulated-shapes",
    images,
    count,
    height: size,
    width: size,
    channels: 1,
    labels,
    classes: SHAPE_CLASSES,
    ids: Array.from({ length: count }, (_, i) => `sim-shape-${String(i).padStart(6, "0")}`),
    crop: 1,
  };
}

function drawShape(distance: Distance, random: Random, out: Uint8Array, size: number): void {
  const halfWidth = random.between(0.18, 0.4) * size;
  const aspect = random.between(0.65, 1.5);
  const centreX = size * random.between(0.38, 0.62);
  const centreY = size * random.between(0.38, 0.62);
  const angle = random.between(0, 2 * Math.PI);
  const cos = Math.cos(angle);
  const sin = Math.sin(angle);
  const brightness = random.between(90, 255);
  const shade = random.between(-0.35, 0.35);
  const stripes = random.uniform() < 0.3 ? random.between(3, 8) : 0;
  const background = random.between(0, 30);
  const sigma = random.between(2, 40);
  const noise = new PixelNoise(random);
  for (let row = 0; row < size; row++)
    for (let col = 0; col < size; col++) {
      const dx = (col + 0.5 - centreX) / halfWidth;
      const dy = (row + 0.5 - centreY) / halfWidth;
      const x = (dx * cos + dy * sin) * aspect;
      const y = dy * cos - dx * sin;
      // One pixel from full to nothing: the edge is antialiased.
      const covered = Math.min(Math.max(0.5 - distance(x, y) * halfWidth, 0), 1);
      const pattern = 1 + shade * x + (stripes > 0 ? 0.2 * Math.sin(stripes * y) : 0);
      const value = background + covered * (brightness * pattern - background);
      const seen = value + sigma * noise.next();
      out[row * size + col] = Math.round(Math.min(Math.max(seen, 0), 255));
    }
}
