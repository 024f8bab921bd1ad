import { classColour } from "../../draw/svg.ts";
import { draw, type Spec } from "../../draw/vega.ts";

const SHAPES = [
  "circle",
  "triangle-up",
  "square",
  "diamond",
  "cross",
  "triangle-down",
  "triangle-right",
];

const LOG_TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000];

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
