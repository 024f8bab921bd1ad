import { GRID_COLOUR, MUTED_COLOUR, PALETTE, classColour } from "../../draw/svg.ts";
import { draw, type Spec } from "../../draw/vega.ts";
import { auc, classScores, rocCurve } from "../../metrics/roc.ts";
import type { Predictions } from "../results.ts";

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
