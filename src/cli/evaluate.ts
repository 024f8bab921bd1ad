/** `tuningfork evaluate`: how well a model does on a labelled data set. */
import { isDataSetName } from "../data/catalogue.ts";
import { loadDataSet } from "../data/load.ts";
import { openDevice } from "../gpu/device.ts";
import { precisionRecall } from "../metrics/confusion.ts";
import { scoresOf, type Scores } from "../metrics/scores.ts";
import { table } from "../text_table.ts";
import { loadModel, type ModelInfo } from "../nn/weights.ts";
import { predict } from "../train/predict.ts";
import { terminalProgress } from "./data.ts";

export interface EvaluateOptions {
  readonly model: string;
  readonly dataSet: string;
  readonly data?: string;
  readonly crop?: number;
  readonly part: "train" | "test";
  readonly batchSize: number;
  readonly json: boolean;
}

/** Prints how well a model does: accuracy, loss, and for each class its confusions, precision, recall and AUC. */
export async function evaluate(options: EvaluateOptions): Promise<number> {
  const device = await openDevice();
  try {
    const { model, info } = await loadModel(device, options.model, {
      batchSize: options.batchSize,
    });
    const progress = terminalProgress();
    const { set, warnings } = await loadDataSet(options.dataSet, {
      size: Math.max(model.input[0], model.input[1]),
      data: options.data,
      crop: options.crop ?? cropOf(info, options.dataSet),
      part: options.part,
      onProgress: progress.onProgress,
    });
    progress.stop();
    for (const warning of warnings) console.error(`warning: ${warning}`);
    if (set.classes.join("\n") !== info.classes.join("\n"))
      throw new Error(
        `evaluate: the model's classes are ${info.classes.join(", ")}, those of ${set.name} are ${set.classes.join(", ")}; choose a data set with the model's classes`,
      );
    const probabilities = await predict(model, set, { batchSize: options.batchSize });
    const result = {
      model: options.model,
      data_set: set.name,
      n: set.count,
      ...scoresOf(set, probabilities),
    };
    console.log(options.json ? JSON.stringify(result) : formatResult(result));
    return 0;
  } finally {
    device.destroy();
  }
}

/** Images of one's own, and the set that the model knows, are cropped as in training; another set has a crop of its own. */
function cropOf({ crop, dataSet }: ModelInfo, name: string): number | undefined {
  const trainedOn = dataSet.replace(/\/.*/, ""); // "gz2/train" is a part of gz2
  return isDataSetName(name) && name !== trainedOn ? undefined : crop;
}

function formatResult(result: Scores & { n: number; data_set: string }): string {
  const { classes, confusion } = result;
  const number = (value: number | null | undefined) =>
    typeof value === "number" ? value.toFixed(3) : "-";
  const rows = precisionRecall(confusion).map((scores, i) => [
    classes[i] ?? "",
    ...(confusion[i] ?? []).map(String),
    number(scores.precision),
    number(scores.recall),
    number(result.auc[classes[i] ?? ""]),
  ]);
  const heads = ["true \\ predicted", ...classes, "precision", "recall", "AUC"];
  return [
    `${result.data_set}: ${result.n} images, accuracy ${result.accuracy.toFixed(3)} (always the most frequent class: ${result.majority_baseline.toFixed(3)}), loss ${result.loss.toFixed(3)}`,
    "",
    ...table(
      [heads, ...rows],
      heads.map((_, i) => i > 0),
    ),
  ].join("\n");
}
