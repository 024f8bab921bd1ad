/**
 * Every figure of a study, in the order of the report: what is drawn, what its caption says, which of the paper's it answers.
 */
import type { StudyEvidence, StudyResults } from "../results.ts";
import { appliedFigures } from "./applied.ts";
import type { Figure } from "./figure.ts";
import { featureMapFigures, sampleFigures, testImageFigures } from "./images.ts";
import { physicalFigures } from "./physical.ts";
import {
  accuracyFigure,
  confusionFigures,
  rocFigures,
  smallAgainstLargeFigure,
  trainingFigures,
} from "./scores.ts";

/** Draws all figures that the evidence allows; what is absent is left out. */
export async function drawFigures(
  results: StudyResults,
  evidence: StudyEvidence,
): Promise<Figure[]> {
  const figures = [
    await accuracyFigure(results),
    ...(await trainingFigures(results)),
    ...(await rocFigures(results, evidence)),
    ...(await smallAgainstLargeFigure(evidence)),
    ...(await confusionFigures(results)),
    ...(await sampleFigures(evidence)),
    ...(await testImageFigures(results, evidence)),
    ...(await featureMapFigures(evidence)),
    ...(await appliedFigures(results, evidence)),
    ...(await physicalFigures(results, evidence)),
  ];
  return figures.filter((figure) => figure !== null);
}
