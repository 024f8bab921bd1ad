import { PALETTE, TEXT_COLOUR } from "../../draw/svg.ts";
import { draw, type Spec } from "../../draw/vega.ts";

/** One group of bars. */
export interface BarRow {
  readonly label: string;
  readonly bars: readonly {
    readonly series: string;
    readonly value: number;
    /** Half the length of the error bar. */
    readonly std?: number;
    /** Written after the value. */
    readonly remark?: string;
  }[];
}

/** Horizontal bars in groups, each with its value written at its end; an optional dashed line to compare with. */
export async function barPlot(options: {
  readonly rows: readonly BarRow[];
  readonly series: readonly string[];
  readonly xTitle: string;
  readonly line?: { readonly value: number; readonly label: string };
  readonly percent?: boolean;
}): Promise<string> {
  const { rows, series, xTitle, line, percent = false } = options;
  const values = rows.flatMap(({ label, bars }) =>
    bars.map(({ series: name, value, std = 0, remark }) => ({
      row: label,
      series: name,
      value,
      low: value - std,
      high: value + std,
      hasSpread: std > 0,
      text:
        (percent ? `${(100 * value).toFixed(1)} %` : value.toFixed(3)) +
        (std > 0 ? ` ± ${std.toFixed(3)}` : "") +
        (remark === undefined ? "" : `  ${remark}`),
    })),
  );
  const barHeight = 15;
  const rowHeight = barHeight * series.length + 12;
  const yOffset = { field: "series", type: "nominal", sort: [...series] };
  const y = {
    field: "row",
    type: "nominal",
    sort: null,
    title: null,
    axis: {
      labelLimit: 0,
      ticks: false,
      labelPadding: 8,
      labelOffset: { condition: { test: "indexof(datum.label, '\\n') >= 0", value: -7 }, value: 0 },
      labelExpr: "split(datum.label, '\\n')",
    },
    scale: { paddingInner: 0.22, paddingOuter: 0.12 },
  };
  const layers: Spec[] = [
    {
      mark: { type: "bar" },
      encoding: {
        y,
        yOffset,
        x: {
          field: "value",
          type: "quantitative",
          title: xTitle,
          scale: { domain: [0, 1], nice: false },
          axis: { values: [0, 0.2, 0.4, 0.6, 0.8, 1], format: percent ? ".0%" : ".1f" },
        },
        color: {
          field: "series",
          type: "nominal",
          title: null,
          scale: { domain: series, range: [PALETTE[2], PALETTE[4], "#9aa0a6"] },
          legend: {
            orient: "top",
            direction: "horizontal",
            columns: 3,
            symbolType: "square",
            offset: line === undefined ? 8 : 24, // leaves room for the line's label
          },
        },
      },
    },
    {
      transform: [{ filter: "datum.hasSpread" }],
      mark: { type: "rule", strokeWidth: 1.4, color: TEXT_COLOUR },
      encoding: {
        y,
        yOffset,
        x: { field: "low", type: "quantitative" },
        x2: { field: "high" },
      },
    },
  ];
  // A white rim first, so that the dashed line does not run through the digits.
  const valueText = (style: Spec): Spec => ({
    mark: { type: "text", align: "left", baseline: "middle", dx: 6, fontSize: 10.5, ...style },
    encoding: {
      y,
      yOffset,
      x: { field: "high", type: "quantitative" },
      text: { field: "text" },
    },
  });
  if (line !== undefined)
    layers.push(
      {
        data: { values: [line] },
        mark: { type: "rule", strokeDash: [4, 3], color: TEXT_COLOUR, strokeWidth: 1.2 },
        encoding: { x: { field: "value", type: "quantitative" } },
      },
      {
        data: { values: [line] },
        mark: {
          type: "text",
          align: "center",
          baseline: "bottom",
          fontSize: 10.5,
          dy: -4,
          clip: false,
        },
        encoding: {
          x: { field: "value", type: "quantitative" },
          y: { value: 0 },
          text: { field: "label" },
          color: { value: TEXT_COLOUR },
        },
      },
    );
  layers.push(
    valueText({ fill: "white", stroke: "white", strokeWidth: 4, strokeJoin: "round" }),
    valueText({ fill: TEXT_COLOUR }),
  );
  return draw({
    data: { values },
    width: 430,
    height: rowHeight * rows.length,
    layer: layers,
  });
}
