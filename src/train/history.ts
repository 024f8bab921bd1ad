/** What a training run reports of each epoch. */
import { stringify } from "csv-stringify/sync";

/** Figures of one epoch; validation figures are absent when no images were held out. */
export interface EpochRecord {
  /** From 1. */
  readonly epoch: number;
  /** Mean over the training images as they were seen, augmented and with dropout. */
  readonly loss: number;
  readonly accuracy: number;
  readonly valLoss?: number;
  readonly valAccuracy?: number;
  readonly learningRate: number;
  readonly seconds: number;
  readonly imagesPerSecond: number;
  /** Under mixed precision, at the epoch's end: the factor of the loss, and how many steps overflowed so far. */
  readonly lossScale?: number;
  readonly skippedSteps?: number;
}

const COLUMNS = [
  "epoch",
  "loss",
  "accuracy",
  "valLoss",
  "valAccuracy",
  "learningRate",
  "seconds",
  "imagesPerSecond",
] as const satisfies readonly (keyof EpochRecord)[];
const MIXED_COLUMNS = [
  "lossScale",
  "skippedSteps",
] as const satisfies readonly (keyof EpochRecord)[];

/** The history as CSV, one line an epoch under a head. */
export function historyCsv(history: readonly EpochRecord[]): string {
  const isMixed = history.some(({ lossScale }) => lossScale !== undefined);
  const columns = isMixed ? [...COLUMNS, ...MIXED_COLUMNS] : [...COLUMNS];
  return stringify(
    history.map((record) => columns.map((column) => record[column] ?? "")),
    { header: true, columns },
  );
}
