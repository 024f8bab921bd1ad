/**
 * What every figure shares: the font, the colours, text of a known width, and the way from SVG to PNG.
 */
import { createRequire } from "node:module";
import { Resvg } from "@resvg/resvg-js";
import type { ResvgRenderOptions } from "@resvg/resvg-js";

/** DejaVu Sans lies beside us and draws the PNGs; Verdana is as wide, the others narrower, so no label grows. */
export const FONT_FAMILY = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";
export const TEXT_COLOUR = "#222222";
export const MUTED_COLOUR = "#5f6368";
export const GRID_COLOUR = "#e4e4e4";

/**
 * Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), told apart by colour-blind readers too; without its
 * yellow, which no one sees on white. First vermilion, then green, then blue: early types are red, spirals blue.
 */
export const PALETTE = [
  "#D55E00",
  "#009E73",
  "#0072B2",
  "#CC79A7",
  "#E69F00",
  "#56B4E9",
  "#000000",
] as const;

/** The colour of a class, the same in every figure; an eighth class starts again (and is dashed where there are lines). */
export function classColour(index: number): string {
  return PALETTE[index % PALETTE.length] ?? TEXT_COLOUR;
}

const require = createRequire(import.meta.url);
const FONT: NonNullable<ResvgRenderOptions["font"]> = {
  loadSystemFonts: false, // the same picture on every machine, one without fonts too
  fontFiles: ["DejaVuSans.ttf", "DejaVuSans-Bold.ttf"].map((file) =>
    require.resolve(`dejavu-fonts-ttf/ttf/${file}`),
  ),
  defaultFontFamily: "DejaVu Sans",
  sansSerifFamily: "DejaVu Sans",
};

/** Draws an SVG as PNG bytes, at `zoom` times its own size. */
export function svgToPng(svg: string, zoom = 2): Buffer {
  const options = {
    font: FONT,
    fitTo: { mode: "zoom", value: zoom },
    background: "white",
  } as const;
  return new Resvg(svg, options).render().asPng();
}

export type FontWeight = "normal" | "bold";
const widths = new Map<string, number>();

/** Width in pixels of a line of text in our font. Measured by the renderer that draws it. */
export function textWidth(text: string, fontSize: number, weight: FontWeight = "normal"): number {
  const key = `${weight} ${text}`;
  let width = widths.get(key);
  if (width === undefined) {
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"><text font-family="${FONT_FAMILY}" font-size="100" font-weight="${weight}">${escapeXml(text)}</text></svg>`;
    width = (new Resvg(svg, { font: FONT }).getBBox()?.width ?? 0) / 100;
    widths.set(key, width);
  }
  return width * fontSize;
}

/** The text itself, or as much of it as fits `maxWidth` pixels, with an ellipsis. */
export function fitText(
  text: string,
  maxWidth: number,
  fontSize: number,
  weight: FontWeight = "normal",
): string {
  if (textWidth(text, fontSize, weight) <= maxWidth) return text;
  const characters = Array.from(text);
  while (characters.length > 0) {
    characters.pop();
    const shorter = `${characters.join("")}…`;
    if (textWidth(shorter, fontSize, weight) <= maxWidth) return shorter;
  }
  return "";
}

/** Escapes text for an element or a double-quoted attribute, in XML and HTML alike; drops what XML cannot hold. */
export function escapeXml(text: string): string {
  return (
    text
      // eslint-disable-next-line no-control-regex -- the control characters are what is to be removed
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "")
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', "&quot;")
      .replaceAll("'", "&#39;")
  );
}

export interface TextStyle {
  readonly size?: number;
  readonly weight?: FontWeight;
  readonly anchor?: "start" | "middle" | "end";
  readonly colour?: string;
}

/** A `<text>` element with its baseline at (x, y). */
export function svgText(text: string, x: number, y: number, style: TextStyle = {}): string {
  const { size = 11, weight = "normal", anchor = "start", colour = TEXT_COLOUR } = style;
  return `<text x="${round(x)}" y="${round(y)}" font-size="${size}" font-weight="${weight}" text-anchor="${anchor}" fill="${colour}">${escapeXml(text)}</text>`;
}

/** A whole SVG document of the given size, on white, in our font. */
export function svgDocument(width: number, height: number, body: readonly string[]): string {
  const [w, h] = [Math.ceil(width), Math.ceil(height)];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${w}" height="${h}" viewBox="0 0 ${w} ${h}" font-family="${FONT_FAMILY}">`,
    `<rect width="${w}" height="${h}" fill="white"/>`,
    ...body,
    "</svg>",
  ].join("\n");
}

/** The SVG as a `data:` address for `src`: only what an attribute or an address cannot hold is encoded. */
export function svgDataUri(svg: string): string {
  const encoded = svg.replace(/[%#<>"&\n\r]/g, (c) => encodeURIComponent(c));
  return `data:image/svg+xml;charset=utf-8,${encoded}`;
}

/** The size in pixels that an SVG asks for. */
export function svgSize(svg: string): { width: number; height: number } {
  const [, width, height] = /<svg[^>]* width="([\d.]+)"[^>]* height="([\d.]+)"/.exec(svg) ?? [];
  return { width: Number(width ?? 0), height: Number(height ?? 0) };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
