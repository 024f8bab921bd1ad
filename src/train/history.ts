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
}

const COLUMNS: readonly (keyof EpochRecord)[] = [
  "epoch",
  "loss",
  "accuracy",
  "valLoss",
  "valAccuracy",
  "learningRate",
  "seconds",
  "imagesPerSecond",
];

/** The history as CSV, one line an epoch under a head. */
export function historyCsv(history: readonly EpochRecord[]): string {
  return stringify(
    history.map((record) => COLUMNS.map((column) => record[column] ?? "")),
    { header: true, columns: COLUMNS as string[] },
  );
}
