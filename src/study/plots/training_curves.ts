import { PALETTE, fitText } from "../../draw/svg.ts";
import { draw, type Spec } from "../../draw/vega.ts";
import type { EpochRecord } from "../../train/history.ts";

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
          scale: { domain: parts, range: [PALETTE[2], PALETTE[0]] },
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
