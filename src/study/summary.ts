/**
 * What the table, the figures and the page of a study say alike: which tests there are, the best, numbers in words.
 */
import { TEST_IDS } from "./results.ts";
import type { StudyResults, TestId, TestResult } from "./results.ts";

/** The tests that were run, in the paper's order. */
export function testsRun(results: StudyResults): { id: TestId; test: TestResult }[] {
  return TEST_IDS.flatMap((id) => {
    const test = results.tests[id];
    return test === undefined ? [] : [{ id, test }];
  });
}

/** All classes that any test of the run knows, in order of first appearance. */
export function classesOf(results: StudyResults): string[] {
  return [...new Set(testsRun(results).flatMap(({ test }) => test.classes))];
}

/** The test with the highest accuracy: over the seeds where there are several, else of the one run. */
export function bestTest(results: StudyResults): TestId | null {
  let best: TestId | null = null;
  for (const { id } of testsRun(results))
    if (best === null || meanAccuracy(results, id) > meanAccuracy(results, best)) best = id;
  return best;
}

/** The accuracy that a test is ranked by. */
export function meanAccuracy(results: StudyResults, id: TestId): number {
  return results.seeds?.[id]?.accuracy.mean ?? results.tests[id]?.accuracy ?? 0;
}

/** "gz1 → gz2, conv3 conv4 + dense": how a test came about. */
export function recipe(results: StudyResults, id: TestId): string {
  const test = results.tests[id];
  if (test === undefined) return "";
  const { pretrained_on: before, trained_on: on, fine_tuned: layers } = test;
  if (before === null) return `${on ?? "nothing"} only`;
  if (on === null) return `${before} only`;
  return `${before} → ${on}, ${layers}`;
}

/** Three decimals; a dash where there is no number. */
export function fixed(value: number | null | undefined, digits = 3): string {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

/** 10,000 */
export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** 12.3 %, or a dash. */
export function percent(value: number | null): string {
  return value === null ? "–" : `${(100 * value).toFixed(1)} %`;
}
