/**
 * Figures made of images: galleries, single images with their probabilities, feature maps. Each function returns an
 * SVG document with the images inside it as data.
 */
import sharp from "sharp";
import { scheme } from "vega";
import type { ImageSet } from "../data/dataset.ts";
import {
  GRID_COLOUR,
  MUTED_COLOUR,
  classColour,
  fitText,
  svgDocument,
  svgText,
} from "../draw/svg.ts";
import type { FontWeight } from "../draw/svg.ts";
import type { FeatureMaps } from "./results.ts";

const MARGIN = 12;

/** A line of text under an image. */
export interface Line {
  readonly text: string;
  readonly weight?: FontWeight;
  readonly colour?: string;
}

/** One image of a gallery with what is written under it. */
export interface GalleryCell {
  readonly set: ImageSet;
  readonly index: number;
  readonly lines: readonly Line[];
}

/** Images in rows of `columns`, each `cellSize` wide, its lines under it; a row may begin with a label of its own. */
export async function gallery(options: {
  /** In reading order; null leaves a place empty. */
  readonly cells: readonly (GalleryCell | null)[];
  readonly columns: number;
  readonly cellSize?: number;
  /** Written above each row, when rows have a meaning. */
  readonly rowLabels?: readonly string[];
}): Promise<string> {
  const { cells, columns, cellSize = 112, rowLabels } = options;
  const gap = 10;
  const lineHeight = 14;
  const lineCount = Math.max(0, ...cells.map((cell) => cell?.lines.length ?? 0));
  const labelHeight = rowLabels === undefined ? 0 : 22;
  const rowHeight = labelHeight + cellSize + lineCount * lineHeight + (lineCount > 0 ? 14 : gap);
  const rows = Math.ceil(cells.length / columns);
  const body: string[] = [];
  rowLabels?.forEach((label, row) => {
    const y = MARGIN + row * rowHeight + 13;
    body.push(svgText(label, MARGIN, y, { size: 12, weight: "bold" }));
  });
  for (const [i, cell] of cells.entries()) {
    if (cell === null) continue;
    const { set, index, lines } = cell;
    const x = MARGIN + (i % columns) * (cellSize + gap);
    const y = MARGIN + Math.floor(i / columns) * rowHeight + labelHeight;
    body.push(await imageElement(set, index, x, y, cellSize));
    lines.forEach(({ text, weight = "normal", colour }, line) => {
      body.push(
        svgText(fitText(text, cellSize, 10.5, weight), x, y + cellSize + 14 + line * lineHeight, {
          size: 10.5,
          weight,
          ...(colour !== undefined && { colour }),
        }),
      );
    });
  }
  const width = 2 * MARGIN + columns * (cellSize + gap) - gap;
  return svgDocument(width, MARGIN + rows * rowHeight, body);
}

/** A single image with the probability of each class (Figure 10). */
export interface ProbabilityCell extends GalleryCell {
  /** One for each class. */
  readonly probabilities: readonly number[];
  /** Index of the true class; -1 if unknown. */
  readonly label: number;
}

/** Each image above a bar for each class; the true class is written in bold. */
export async function probabilityBars(
  cells: readonly ProbabilityCell[],
  classes: readonly string[],
): Promise<string> {
  const cellSize = 138;
  const gap = 22;
  const lineHeight = 14;
  const barTop = cellSize + 14 + 2 * lineHeight;
  const rowHeight = 30;
  const valueWidth = 38;
  const body: string[] = [];
  for (const [i, { set, index, lines, probabilities, label }] of cells.entries()) {
    const x = MARGIN + i * (cellSize + gap);
    body.push(await imageElement(set, index, x, MARGIN, cellSize));
    lines.slice(0, 2).forEach(({ text, weight = "normal", colour }, line) => {
      const y = MARGIN + cellSize + 15 + line * lineHeight;
      const style = { size: 10.5, weight, ...(colour !== undefined && { colour }) };
      body.push(svgText(fitText(text, cellSize, 10.5, weight), x, y, style));
    });
    classes.forEach((name, c) => {
      const y = MARGIN + barTop + c * rowHeight;
      const weight = c === label ? "bold" : "normal";
      const full = cellSize - valueWidth;
      const probability = probabilities[c] ?? 0;
      body.push(
        svgText(fitText(name, cellSize, 10.5, weight), x, y + 10, { size: 10.5, weight }),
        `<rect x="${x}" y="${y + 14}" width="${full}" height="9" fill="${GRID_COLOUR}"/>`,
        `<rect x="${x}" y="${y + 14}" width="${(full * probability).toFixed(2)}" height="9" fill="${classColour(c)}"/>`,
        svgText(probability.toFixed(3), x + cellSize, y + 22, { size: 10.5, anchor: "end" }),
      );
    });
  }
  const width = 2 * MARGIN + cells.length * (cellSize + gap) - gap;
  return svgDocument(width, MARGIN + barTop + classes.length * rowHeight + 6, body);
}

/** At most so many channels of a layer are drawn, the first ones: no choice, so no flattery. */
export const SHOWN_CHANNELS = 32;
const TILE = 48;
const TILE_GAP = 3;
const TILE_COLUMNS = 8;

/**
 * The channels of one layer as tiles, before and after side by side. A channel has one colour scale, viridis from the
 * least to the largest value that it takes in either panel: a change of strength is seen, not scaled away.
 */
export async function featureMapPair(maps: readonly FeatureMaps[]): Promise<string> {
  const shown = Math.min(SHOWN_CHANNELS, Math.max(...maps.map((map) => map.channels)));
  const rows = Math.ceil(shown / TILE_COLUMNS);
  const columns = Math.min(TILE_COLUMNS, shown);
  const panelWidth = columns * (TILE + TILE_GAP) - TILE_GAP;
  const panelHeight = rows * (TILE + TILE_GAP) - TILE_GAP;
  const gap = 24;
  const ranges = channelRanges(maps, shown);
  const body: string[] = [];
  for (const [i, map] of maps.entries()) {
    const x = MARGIN + i * (panelWidth + gap);
    body.push(svgText(map.when, x, MARGIN + 11, { size: 12, weight: "bold" }));
    const png = await tilesPng(map, ranges, columns, rows);
    const uri = `data:image/png;base64,${png.toString("base64")}`;
    body.push(imageTag(uri, x, MARGIN + 20, panelWidth, panelHeight));
  }
  const barWidth = 120;
  const barY = MARGIN + 20 + panelHeight + 12;
  const stops = Array.from({ length: 11 }, (_, i) => {
    const [r, g, b] = viridis(i / 10);
    return `<stop offset="${i * 10}%" stop-color="rgb(${r},${g},${b})"/>`;
  });
  body.push(
    `<defs><linearGradient id="viridis">${stops.join("")}</linearGradient></defs>`,
    svgText("each channel's least value", MARGIN, barY + 9, { size: 10.5, colour: MUTED_COLOUR }),
    `<rect x="${MARGIN + 160}" y="${barY}" width="${barWidth}" height="11" fill="url(#viridis)"/>`,
    svgText("largest", MARGIN + 160 + barWidth + 8, barY + 9, { size: 10.5, colour: MUTED_COLOUR }),
  );
  const width = 2 * MARGIN + Math.max(maps.length * (panelWidth + gap) - gap, 340);
  return svgDocument(width, barY + 11 + MARGIN, body);
}

type Maps = Omit<FeatureMaps, "when">;

/** All channels of one layer as a PNG of tiles in viridis, each channel scaled on its own; no text. */
export function featureMapGridPng(map: Maps): Promise<Buffer> {
  const columns = Math.min(
    map.channels,
    Math.max(TILE_COLUMNS, Math.ceil(Math.sqrt(map.channels))),
  );
  const rows = Math.ceil(map.channels / columns);
  return tilesPng(map, channelRanges([map], map.channels), columns, rows);
}

function channelRanges(maps: readonly Maps[], shown: number): [number, number][] {
  return Array.from({ length: shown }, (_, c) => {
    let low = Infinity;
    let high = -Infinity;
    for (const { values, channels } of maps)
      for (let i = c; i < values.length; i += channels) {
        const value = values[i] ?? 0;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    return [low, high];
  });
}

/** All tiles of a panel as one PNG at twice the size shown, pixels repeated, so that no viewer blurs them. */
async function tilesPng(
  map: Maps,
  ranges: readonly [number, number][],
  columns: number,
  rows: number,
): Promise<Buffer> {
  const tile = 2 * TILE;
  const step = 2 * (TILE + TILE_GAP);
  const width = columns * step - 2 * TILE_GAP;
  const height = rows * step - 2 * TILE_GAP;
  const pixels = new Uint8Array(width * height * 3).fill(255);
  for (const [c, [low, high]] of ranges.entries()) {
    if (c >= map.channels) break;
    const scale = high > low ? 1 / (high - low) : 0;
    const left = (c % columns) * step;
    const top = Math.floor(c / columns) * step;
    for (let ty = 0; ty < tile; ty++) {
      const y = Math.floor(((ty + 0.5) * map.height) / tile);
      for (let tx = 0; tx < tile; tx++) {
        const x = Math.floor(((tx + 0.5) * map.width) / tile);
        const value = map.values[(y * map.width + x) * map.channels + c] ?? 0;
        pixels.set(viridis((value - low) * scale), ((top + ty) * width + left + tx) * 3);
      }
    }
  }
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .png({ compressionLevel: 9, palette: true, colours: 256, dither: 0 })
    .toBuffer();
}

type Rgb = readonly [number, number, number];
let viridisTable: readonly Rgb[] | undefined;

/** Viridis, perceptually uniform and readable without colour; 128 steps. */
function viridis(t: number): Rgb {
  viridisTable ??= Array.from({ length: 128 }, (_, i) => {
    const colour = (scheme("viridis") as (t: number) => string)(i / 127);
    return hexOrRgb(colour);
  });
  const index = Math.round(127 * Math.min(1, Math.max(0, Number.isNaN(t) ? 0 : t)));
  return viridisTable[index] ?? [0, 0, 0];
}

function hexOrRgb(colour: string): Rgb {
  const numbers = colour.startsWith("#")
    ? [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16))
    : (colour.match(/\d+/g) ?? []).map(Number);
  return [numbers[0] ?? 0, numbers[1] ?? 0, numbers[2] ?? 0];
}

/** One image of a set, in a frame of `size` pixels; larger images are shrunk to twice that. */
async function imageElement(
  set: ImageSet,
  index: number,
  x: number,
  y: number,
  size: number,
): Promise<string> {
  const { height, width, channels } = set;
  const bytes = height * width * channels;
  if (index < 0 || index >= set.count)
    throw new RangeError(
      `figure: image ${index} is not in ${set.name}, which has ${set.count} images`,
    );
  const pixels = set.images.subarray(index * bytes, (index + 1) * bytes);
  const image = sharp(pixels, { raw: { width, height, channels: channels === 1 ? 1 : 3 } });
  const jpeg = await image
    .resize({ width: 2 * size, height: 2 * size, fit: "inside", withoutEnlargement: true })
    .jpeg({ quality: 92, chromaSubsampling: "4:4:4" })
    .toBuffer();
  return imageTag(`data:image/jpeg;base64,${jpeg.toString("base64")}`, x, y, size, size);
}

/** `xlink:href` is read by browsers, resvg and the older drawing programs alike. */
function imageTag(uri: string, x: number, y: number, width: number, height: number): string {
  return `<image x="${x}" y="${y}" width="${width}" height="${height}" preserveAspectRatio="xMidYMid meet" xlink:href="${uri}"/>`;
}
