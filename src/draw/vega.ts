/**
 * Plots as Vega-Lite specifications, in the style of this project's pages, drawn without a browser.
 */
import * as vega from "vega";
import { compile } from "vega-lite";
import type { Config, TopLevelSpec } from "vega-lite";
import { FONT_FAMILY, GRID_COLOUR, MUTED_COLOUR, TEXT_COLOUR, textWidth } from "./svg.ts";
import type { FontWeight } from "./svg.ts";

/** A Vega-Lite specification, or a part of one. */
export type Spec = Record<string, unknown>;

const CONFIG: Config = {
  background: "white",
  padding: 8,
  aria: false, // one label for each of thousands of marks says nothing; the figure as a whole has its text
  font: FONT_FAMILY,
  view: { stroke: "#9aa0a6" },
  title: {
    anchor: "start",
    fontSize: 13,
    fontWeight: "bold",
    color: TEXT_COLOUR,
    subtitleColor: MUTED_COLOUR,
    subtitleFontSize: 11,
    offset: 10,
  },
  axis: {
    labelFontSize: 11,
    titleFontSize: 11.5,
    titleFontWeight: "normal",
    labelColor: TEXT_COLOUR,
    titleColor: TEXT_COLOUR,
    gridColor: GRID_COLOUR,
    domainColor: "#9aa0a6",
    tickColor: "#9aa0a6",
    titlePadding: 8,
    labelOverlap: "greedy",
    labelFlush: false,
  },
  legend: {
    labelFontSize: 11,
    titleFontSize: 11.5,
    titleFontWeight: "normal",
    labelColor: TEXT_COLOUR,
    titleColor: TEXT_COLOUR,
    labelLimit: 0,
    symbolStrokeWidth: 2,
  },
  header: {
    labelFontSize: 11.5,
    labelFontWeight: "bold",
    labelColor: TEXT_COLOUR,
    titleFontSize: 11.5,
    titleColor: TEXT_COLOUR,
  },
};

interface TextItem {
  readonly fontSize?: number;
  readonly fontWeight?: FontWeight | number;
  readonly limit?: number;
}

/** Without a canvas Vega guesses 0.8 em a character, twice too much; it exports, untyped, the place to say better. */
function teachVegaOurFont(): void {
  const { textMetrics } = vega as unknown as {
    textMetrics: { width: (item: TextItem, line: unknown) => number };
  };
  textMetrics.width = (item, line) => {
    const text = typeof line === "string" || typeof line === "number" ? String(line).trim() : "";
    const bold = item.fontWeight === "bold" || Number(item.fontWeight) >= 600;
    const width = textWidth(text, item.fontSize ?? 11, bold ? "bold" : "normal");
    return item.limit !== undefined && item.limit > 0 ? Math.min(width, item.limit) : width;
  };
}

/** Compiles and draws a specification without a browser or a canvas. */
export async function draw(spec: Spec): Promise<string> {
  teachVegaOurFont();
  const compiled = compile(spec as unknown as TopLevelSpec, { config: CONFIG });
  const view = new vega.View(vega.parse(compiled.spec), { renderer: "none" });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}
