import { TEXT_COLOUR, textWidth } from "../../draw/svg.ts";
import { draw, type Spec } from "../../draw/vega.ts";
import { columnSums } from "../../metrics/confusion.ts";

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
