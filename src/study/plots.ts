/**
 * The plots, as Vega-Lite specifications in one style. Each function returns an SVG document.
 */
import {
  GRID_COLOUR,
  MUTED_COLOUR,
  PALETTE,
  TEXT_COLOUR,
  classColour,
  fitText,
  textWidth,
} from "../draw/svg.ts";
import { draw, type Spec } from "../draw/vega.ts";
import { columnSums } from "../metrics/confusion.ts";
import { auc, classScores, rocCurve } from "../metrics/roc.ts";
import type { EpochRecord } from "../train/history.ts";
import type { Predictions } from "./results.ts";

const BLUE = PALETTE[2];
const ORANGE = PALETTE[4];
const SHAPES = [
  "circle",
  "triangle-up",
  "square",
  "diamond",
  "cross",
  "triangle-down",
  "triangle-right",
];

/** One training run of a small-multiples plot. */
export interface TrainingRun {
  readonly title: string;
  readonly subtitle: string;
  readonly history: readonly EpochRecord[];
}

/** Loss above, accuracy below, a column for each run; training and validation. */
export async function trainingCurves(runs: readonly TrainingRun[]): Promise<string> {
  const heading = (run: TrainingRun): string =>
    `${fitText(run.title, 138, 11.5, "bold")}\n${fitText(run.subtitle, 138, 11.5, "bold")}`;
  const values = runs.flatMap((run) =>
    run.history.flatMap((record) => [
      {
        run: heading(run),
        epoch: record.epoch,
        part: "training",
        loss: record.loss,
        accuracy: record.accuracy,
      },
      ...(record.valLoss === undefined && record.valAccuracy === undefined
        ? []
        : [
            {
              run: heading(run),
              epoch: record.epoch,
              part: "validation",
              loss: record.valLoss ?? null,
              accuracy: record.valAccuracy ?? null,
            },
          ]),
    ]),
  );
  const parts = [...new Set(values.map((value) => value.part))];
  const legend = { orient: "top", direction: "horizontal", symbolType: "stroke", symbolSize: 160 };
  const epochs = values.map((value) => value.epoch);
  const [first, last] = [Math.min(...epochs), Math.max(...epochs)];
  const span = first === last ? [first - 1, last + 1] : [first, last];
  const panel = (field: "loss" | "accuracy", title: string, top: boolean): Spec => ({
    facet: {
      column: {
        field: "run",
        title: null,
        sort: runs.map(heading),
        header: top
          ? { labelPadding: 6, labelExpr: "split(datum.label, '\\n')" }
          : { labels: false },
      },
    },
    spacing: 14,
    spec: {
      width: 138,
      height: 120,
      mark: { type: "line", point: { size: 22, filled: true }, strokeWidth: 1.8 },
      encoding: {
        x: {
          field: "epoch",
          type: "quantitative",
          title: top ? null : "epoch",
          scale: { domain: span, nice: false, padding: 6 },
          axis: { tickMinStep: 1, format: "d", tickCount: 6, grid: false },
        },
        y: {
          field,
          type: "quantitative",
          title,
          scale: field === "loss" ? { zero: true } : { zero: false, nice: true },
          axis: { tickCount: 5, minExtent: 34, ...(field === "accuracy" && { format: ".2f" }) },
        },
        color: {
          field: "part",
          type: "nominal",
          title: null,
          scale: { domain: parts, range: [BLUE, PALETTE[0]] },
          legend,
        },
        strokeDash: {
          field: "part",
          type: "nominal",
          title: null,
          scale: {
            domain: parts,
            range: [
              [1, 0],
              [5, 3],
            ],
          },
          legend,
        },
      },
    },
  });
  return draw({
    data: { values },
    vconcat: [panel("loss", "loss (cross-entropy)", true), panel("accuracy", "accuracy", false)],
    spacing: 10,
  });
}

/** The ROC curve of each class against the rest, AUC in the legend, chance as the dotted diagonal. */
export function rocPlot(
  predictions: Predictions,
  title: string,
  subtitle: string,
): Promise<string> {
  return draw(rocPanel(predictions, title, subtitle, "inside"));
}

/** Two networks' ROC curves side by side, each with its legend. */
export function rocPair(
  panels: readonly { predictions: Predictions; title: string; subtitle: string }[],
): Promise<string> {
  return draw({
    hconcat: panels.map(({ predictions, title, subtitle }) =>
      rocPanel(predictions, title, subtitle, "right"),
    ),
    spacing: 28,
    resolve: { scale: { color: "independent", strokeDash: "independent" } },
  });
}

function rocPanel(
  { classes, labels, probabilities }: Predictions,
  title: string,
  subtitle: string,
  legend: "inside" | "right",
): Spec {
  const curves = classes.map((name, c) => {
    const scores = classScores(probabilities, classes.length, c);
    const area = auc(labels, scores, c);
    const curve = rocCurve(labels, scores, c);
    return {
      label: area === null ? `${name}: none in the set` : `${name}, AUC ${area.toFixed(3)}`,
      points: curve === null ? [] : thinned(curve.falsePositiveRate, curve.truePositiveRate),
    };
  });
  const values = curves.flatMap(({ label, points }) =>
    // The order keeps Vega from sorting a vertical run of points by x.
    points.map(([x, y], order) => ({ label, x, y, order })),
  );
  const scale = { domain: [0, 1], nice: false };
  const legendStyle = {
    ...(legend === "inside"
      ? {
          orient: "bottom-right",
          offset: 6,
          fillColor: "white",
          strokeColor: GRID_COLOUR,
          padding: 5,
          cornerRadius: 2,
        }
      : { orient: "right", offset: 10 }),
    symbolType: "stroke",
    symbolSize: 160,
    rowPadding: 3,
  };
  const axis = { values: [0, 0.2, 0.4, 0.6, 0.8, 1], format: ".1f" };
  const series = curves.map((curve) => curve.label);
  return {
    title: { text: title, subtitle },
    width: 290,
    height: 290,
    layer: [
      {
        data: { values: [{ x: 0, y: 0, x2: 1, y2: 1 }] },
        mark: { type: "rule", strokeDash: [2, 3], color: MUTED_COLOUR, strokeWidth: 1.2 },
        encoding: {
          x: { field: "x", type: "quantitative" },
          y: { field: "y", type: "quantitative" },
          x2: { field: "x2" },
          y2: { field: "y2" },
        },
      },
      {
        data: { values },
        mark: { type: "line", strokeWidth: 2, strokeJoin: "round", clip: false },
        encoding: {
          x: { field: "x", type: "quantitative", title: "false positive rate", scale, axis },
          y: { field: "y", type: "quantitative", title: "true positive rate", scale, axis },
          order: { field: "order", type: "quantitative" },
          color: {
            field: "label",
            type: "nominal",
            title: null,
            scale: { domain: series, range: classes.map((_, c) => classColour(c)) },
            legend: legendStyle,
          },
          strokeDash: {
            field: "label",
            type: "nominal",
            title: null,
            scale: {
              domain: series,
              range: classes.map((_, c) => (c < PALETTE.length ? [1, 0] : [5, 3])),
            },
            legend: legendStyle,
          },
        },
      },
    ],
  };
}

/** A step curve without the points that nobody sees: those within a 500th of the last, and those amid a straight run. */
function thinned(x: readonly number[], y: readonly number[]): [number, number][] {
  const grid = 500;
  const kept: [number, number][] = [];
  for (let i = 0; i < x.length; i++) {
    const point: [number, number] = [
      Math.round((x[i] ?? 0) * grid) / grid,
      Math.round((y[i] ?? 0) * grid) / grid,
    ];
    const last = kept.at(-1);
    const beforeLast = kept.at(-2);
    if (last !== undefined && last[0] === point[0] && last[1] === point[1]) continue;
    if (last !== undefined && beforeLast !== undefined) {
      const vertical = beforeLast[0] === last[0] && last[0] === point[0];
      const horizontal = beforeLast[1] === last[1] && last[1] === point[1];
      if (vertical || horizontal) kept.pop();
    }
    kept.push(point);
  }
  return kept;
}

/** A confusion matrix: the count and the share of its row in each cell, the colour following the share. */
export async function confusionPlot(
  confusion: readonly (readonly number[])[],
  classes: readonly string[],
  title: string,
  subtitle: string,
): Promise<string> {
  const predicted = columnSums(confusion);
  const labelWidth = Math.max(...classes.map((name) => textWidth(name, 11)));
  const cell = Math.min(110, Math.max(74, labelWidth + 8));
  const values = confusion.flatMap((row, i) => {
    const support = row.reduce((sum, count) => sum + count, 0);
    return row.map((count, j) => ({
      actual: `${classes[i] ?? ""}\n${support} images`,
      predicted: `${classes[j] ?? ""}\n${predicted[j] ?? 0} images`,
      count: String(count),
      share: support === 0 ? 0 : count / support,
      percent: support === 0 ? "–" : `${((100 * count) / support).toFixed(1)} %`,
    }));
  });
  const text = (field: string, dy: number, style: Spec): Spec => ({
    mark: { type: "text", dy, ...style },
    encoding: {
      text: { field },
      color: { condition: { test: "datum.share > 0.55", value: "white" }, value: TEXT_COLOUR },
    },
  });
  const axis = {
    domain: false,
    ticks: false,
    labelAngle: 0,
    labelExpr: "split(datum.label, '\\n')",
    labelLimit: 0,
    labelOverlap: false,
  };
  return draw({
    title: { text: title, subtitle },
    data: { values },
    width: cell * classes.length,
    height: 62 * classes.length,
    encoding: {
      x: {
        field: "predicted",
        type: "nominal",
        sort: null,
        title: "predicted class",
        axis: { ...axis, orient: "bottom", labelPadding: 6 },
        scale: { paddingInner: 0.02 },
      },
      y: {
        field: "actual",
        type: "nominal",
        sort: null,
        title: "true class",
        axis: { ...axis, labelPadding: 6, labelOffset: -7 },
        scale: { paddingInner: 0.03 },
      },
    },
    layer: [
      {
        mark: { type: "rect" },
        encoding: {
          color: {
            field: "share",
            type: "quantitative",
            scale: { domain: [0, 1], range: ["#f4f8fc", "#08519c"] },
            legend: null,
          },
        },
      },
      text("count", -7, { fontSize: 14, fontWeight: "bold" }),
      text("percent", 10, { fontSize: 11 }),
    ],
  });
}

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
          scale: { domain: series, range: [BLUE, ORANGE, "#9aa0a6"] },
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

/** A quantity on an axis of a scatter plot. */
export interface Quantity {
  readonly title: string;
  readonly log?: boolean;
}

export interface ScatterPoint {
  readonly x: number;
  readonly y: number;
  readonly trueClass: string;
  readonly predictedClass: string;
}

/** The same points twice, on the same axes: by true class, and by predicted class. */
export async function scatterPair(
  points: readonly ScatterPoint[],
  classes: readonly string[],
  x: Quantity,
  y: Quantity,
): Promise<string> {
  const shown = classes.filter((name) =>
    points.some((point) => point.trueClass === name || point.predictedClass === name),
  );
  const domain = (values: readonly number[], { log = false }: Quantity): [number, number] => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = log ? (high / low) ** 0.04 : 0.04 * (high - low || 1);
    return log ? [low / margin, high * margin] : [low - margin, high + margin];
  };
  const axisOf = (quantity: Quantity, values: readonly number[]): Spec => ({
    type: "quantitative",
    title: quantity.title,
    scale: {
      type: quantity.log === true ? "log" : "linear",
      domain: domain(values, quantity),
      nice: false,
      ...(quantity.log !== true && { zero: false }),
    },
    axis: { tickCount: 6, ...(quantity.log === true && { values: LOG_TICKS, format: "d" }) },
  });
  const legend = { orient: "top", direction: "horizontal", symbolOpacity: 1, symbolSize: 60 };
  // One field name in both panels, so that Vega-Lite draws one legend for both, and for colour and shape.
  const panel = (field: "trueClass" | "predictedClass", title: string): Spec => ({
    data: { values: points.map((point) => ({ x: point.x, y: point.y, class: point[field] })) },
    title: { text: title, fontSize: 11.5 },
    width: 300,
    height: 270,
    mark: { type: "point", filled: true, size: 26, opacity: 0.65, clip: true },
    encoding: {
      x: {
        field: "x",
        ...axisOf(
          x,
          points.map((point) => point.x),
        ),
      },
      y: {
        field: "y",
        ...axisOf(
          y,
          points.map((point) => point.y),
        ),
      },
      color: {
        field: "class",
        type: "nominal",
        title: null,
        scale: { domain: shown, range: shown.map((name) => classColour(classes.indexOf(name))) },
        legend,
      },
      shape: {
        field: "class",
        type: "nominal",
        title: null,
        scale: {
          domain: shown,
          range: shown.map((name) => SHAPES[classes.indexOf(name) % SHAPES.length]),
        },
        legend,
      },
    },
  });
  return draw({
    hconcat: [panel("trueClass", "By true class"), panel("predictedClass", "By predicted class")],
    spacing: 26,
    resolve: { scale: { color: "shared", shape: "shared" } },
  });
}

const LOG_TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000];
