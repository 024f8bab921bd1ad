/** Figure 23: do the predicted classes differ in mass, redshift, star formation and velocity dispersion as the true ones do? */
import { scatterPair, type Quantity, type ScatterPoint } from "../plots/scatter.ts";
import type { PhysicalRow, StudyEvidence, StudyResults } from "../results.ts";
import { classesOf, count } from "../summary.ts";
import type { Figure } from "./figure.ts";

const MASS: Quantity = { title: "log₁₀ (stellar mass / M☉)" };

/** Mass against redshift, star formation and velocity dispersion against mass. */
export async function physicalFigures(
  results: StudyResults,
  { physical }: StudyEvidence,
): Promise<Figure[]> {
  if (physical === undefined) return [];
  const named = physical.rows.flatMap((r) => [r.trueClass, r.predictedClass]);
  const classes = [...new Set([...classesOf(results), ...named])];
  const figures: Figure[] = [];
  const add = async (
    name: string,
    what: string,
    paperFigure: string,
    xOf: (r: PhysicalRow) => number | null | undefined,
    yOf: (r: PhysicalRow) => number | null | undefined,
    x: Quantity,
    y: Quantity,
  ): Promise<void> => {
    const points = physical.rows.flatMap((r): ScatterPoint[] => {
      const [px, py] = [xOf(r), yOf(r)];
      if (px === null || px === undefined || !Number.isFinite(px)) return [];
      if (py === null || py === undefined || !Number.isFinite(py) || (y.log === true && py <= 0))
        return [];
      return [{ x: px, y: py, trueClass: r.trueClass, predictedClass: r.predictedClass }];
    });
    if (points.length === 0) return;
    const agree = points.filter((p) => p.trueClass === p.predictedClass).length;
    figures.push({
      name,
      section: "physical",
      paperFigure,
      caption: `${what} of ${count(points.length)} galaxies, by true class (left) and by predicted class (right).`,
      alt: `Two scatter plots of ${what.toLowerCase()}; true and predicted class agree for ${agree} of ${points.length} galaxies.`,
      svg: await scatterPair(points, classes, x, y),
    });
  };
  const redshift: Quantity = { title: "redshift z" };
  const sigma: Quantity = { title: "velocity dispersion σ (km/s)", log: true };
  const sfr: Quantity = { title: "log₁₀ (star formation rate / (M☉/yr))" };
  const massOf = (r: PhysicalRow): number => r.logMass;
  await add(
    "mass_redshift",
    "Stellar mass against redshift",
    "23a, b",
    (r) => r.redshift,
    massOf,
    redshift,
    MASS,
  );
  await add(
    "sfr_mass",
    "Star formation rate against stellar mass",
    "23c, d",
    massOf,
    (r) => r.logSfr,
    MASS,
    sfr,
  );
  await add(
    "sigma_mass",
    "Velocity dispersion against stellar mass",
    "23e, f",
    massOf,
    (r) => r.sigma,
    MASS,
    sigma,
  );
  return figures;
}
