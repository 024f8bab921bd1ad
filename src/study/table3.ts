/**
 * The paper's Table 3 (H. J. Child 2022; the counts from its Table 2 and text) and ours beside it, as CSV and Markdown.
 */
import { stringify } from "csv-stringify/sync";
import type { StudyResults, TestId, TestResult } from "./results.ts";
import { classesOf, fixed, testsRun } from "./summary.ts";

/** One row of the paper's table. */
export interface PaperTest {
  readonly pretrainedOn: string | null;
  readonly trainedOn: string | null;
  readonly fineTuned: string;
  readonly nPretrain: number;
  readonly nTrain: number;
  readonly nTest: number;
  readonly accuracy: number;
  readonly loss: number;
  /** The paper's figure with the ROC curves of this test. */
  readonly rocFigure: string;
}

const FASHION = { pretrainedOn: "Fashion-MNIST", nPretrain: 60000 } as const;
const NA10 = { pretrainedOn: "NA10", nPretrain: 10956 } as const;
const EFIGI = { trainedOn: "EFIGI", nTrain: 3000, nTest: 758 } as const;
const UNTRAINED = { trainedOn: null, nTrain: 0, nTest: 4458, fineTuned: "none" } as const;
const MULTIPLE = "conv3 conv4 + dense";

/** Accuracies and losses of the paper's Table 3. (Its abstract says 85.8 % for test a, the table 85.3.) */
export const PAPER_TABLE3: Readonly<Record<TestId, PaperTest>> = {
  a: {
    ...EFIGI,
    pretrainedOn: null,
    nPretrain: 0,
    fineTuned: "all",
    accuracy: 0.853,
    loss: 0.309,
    rocFigure: "17a",
  },
  b: { ...FASHION, ...UNTRAINED, accuracy: 0.604, loss: 0.955, rocFigure: "17b" },
  c: { ...FASHION, ...EFIGI, fineTuned: "dense", accuracy: 0.736, loss: 4.244, rocFigure: "17c" },
  d: { ...FASHION, ...EFIGI, fineTuned: MULTIPLE, accuracy: 0.736, loss: 4.244, rocFigure: "17d" },
  e: { ...NA10, ...UNTRAINED, accuracy: 0.764, loss: 0.631, rocFigure: "18a" },
  f: { ...NA10, ...EFIGI, fineTuned: "dense", accuracy: 0.885, loss: 0.229, rocFigure: "18b" },
  g: { ...NA10, ...EFIGI, fineTuned: MULTIPLE, accuracy: 0.936, loss: 0.223, rocFigure: "18c" },
};

/** `table3.csv`: one row a test, full precision, an empty field where there is no number. RFC 4180. */
export function table3Csv(results: StudyResults): string {
  const classes = classesOf(results);
  const rows = testsRun(results).map(({ id, test }) => {
    const paper = PAPER_TABLE3[id];
    const spread = results.seeds?.[id]?.accuracy;
    return {
      test: id,
      pretrained_on: test.pretrained_on,
      trained_on: test.trained_on,
      fine_tuned: test.fine_tuned,
      n_pretrain: test.n_pretrain,
      n_train: test.n_train,
      n_test: test.n_test,
      accuracy: test.accuracy,
      loss: test.loss,
      accuracy_mean: spread?.mean,
      accuracy_std: spread?.std,
      seeds: spread?.values.length,
      accuracy_all: test.accuracy_all,
      n_all: test.n_all,
      macro_auc: test.macro_auc,
      ...Object.fromEntries(classes.map((name) => [`auc ${name}`, test.auc[name]])),
      majority_baseline: test.majority_baseline,
      collapsed: String(test.collapsed),
      images_per_s: test.images_per_s,
      seconds: test.seconds,
      paper_pretrained_on: paper.pretrainedOn,
      paper_n_pretrain: paper.nPretrain,
      paper_n_train: paper.nTrain,
      paper_n_test: paper.nTest,
      paper_accuracy: paper.accuracy,
      paper_loss: paper.loss,
    };
  });
  return stringify(rows, { header: true });
}

/** `table3.md`: the same for reading, columns aligned. */
export function table3Markdown(results: StudyResults): string {
  const header = [
    ["test", "pre-trained on", "trained on", "fine-tuned", "pre-train", "train", "test n"],
    ["accuracy", "loss", "macro AUC", "majority class", "paper accuracy", "paper loss", "remark"],
  ].flat();
  const leftAligned = new Set([0, 1, 2, 3, header.length - 1]);
  const rows = testsRun(results).map(({ id, test }) => {
    const paper = PAPER_TABLE3[id];
    return [
      id,
      test.pretrained_on ?? "–",
      test.trained_on ?? "–",
      test.fine_tuned,
      String(test.n_pretrain),
      String(test.n_train),
      String(test.n_test),
      accuracyText(results, id),
      fixed(test.loss),
      fixed(test.macro_auc),
      fixed(test.majority_baseline),
      fixed(paper.accuracy),
      fixed(paper.loss),
      remark(test),
    ].map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " "));
  });
  const widths = header.map((name, column) =>
    Math.max(3, name.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => (leftAligned.has(i) ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(" | ")} |`;
  const rule = widths.map((width, i) =>
    leftAligned.has(i) ? "-".repeat(width) : `${"-".repeat(width - 1)}:`,
  );
  return `${[header, rule, ...rows].map(line).join("\n")}\n`;
}

/** "0.912 ± 0.008 (3 seeds)" with several seeds, else "0.912". */
function accuracyText(results: StudyResults, id: TestId): string {
  const test = results.tests[id];
  const spread = results.seeds?.[id]?.accuracy;
  if (spread !== undefined && spread.values.length > 1)
    return `${fixed(spread.mean)} ± ${fixed(spread.std)} (${spread.values.length} seeds)`;
  return fixed(test?.accuracy);
}

/** What a reader must know beside the number: a collapse, and the result on the whole target set. */
function remark(test: TestResult): string {
  const remarks: string[] = [];
  if (test.collapsed) remarks.push("collapsed to one class");
  if (test.accuracy_all !== undefined)
    remarks.push(`${fixed(test.accuracy_all)} on all ${test.n_all ?? ""}`.trimEnd());
  return remarks.join("; ");
}
