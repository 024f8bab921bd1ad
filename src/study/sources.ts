/**
 * The images of a study: which set stands for which of the paper's, loaded, split and described.
 */
import { GALAXY_ZOO_CLASSES, T_TYPE_CLASSES } from "../data/catalogue.ts";
import { subset, type ImageSet, type OnProgress } from "../data/dataset.ts";
import { loadGalaxyProperties } from "../data/galaxy_zoo.ts";
import { loadDataSet } from "../data/load.ts";
import { locateDataSet } from "../data/locate.ts";
import { simulatePhysical, simulateSurvey } from "../data/simulate.ts";
import { simulateShapes } from "../data/simulate_shapes.ts";
import { stratifiedSplit } from "../data/split.ts";
import type { DataSetChoice, Properties } from "./results.ts";
import type { StudySettings } from "./settings.ts";

export interface StudySources {
  readonly choice: DataSetChoice;
  readonly classes: readonly string[];
  /** Pre-training on something else: Fashion-MNIST, or drawn shapes. */
  readonly dissimilar: ImageSet;
  readonly dissimilarTest: ImageSet;
  /** Pre-training on galaxies of another survey. */
  readonly similar: ImageSet;
  /** The galaxies of interest, and their split. */
  readonly target: ImageSet;
  readonly split: { readonly train: Uint32Array; readonly test: Uint32Array };
  /** The target set at a size for looking at. */
  readonly targetDisplay: () => Promise<ImageSet>;
  /** Images to be classified, not learned from. */
  readonly apply: ImageSet | undefined;
  /** Galaxies with physical properties that no network was trained on. */
  readonly physical:
    { readonly images: ImageSet; readonly rows: readonly Properties[] } | undefined;
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
}

export interface SourceOptions {
  readonly data?: string | undefined;
  readonly seed: number;
  readonly onProgress?: OnProgress;
}

/** Real galaxies when the images are there, else simulated ones. */
export function defaultChoice(data: string | undefined): DataSetChoice {
  const here = (name: "gz1" | "gz2") => locateDataSet(name, { data }) !== undefined;
  return here("gz1") && here("gz2") ? "real" : "simulated";
}

/** Loads all that a study needs. @throws Error saying what is missing and how to get it */
export async function loadSources(
  choice: DataSetChoice,
  settings: StudySettings,
  options: SourceOptions,
): Promise<StudySources> {
  const dissimilar = await loadDissimilar(settings, options);
  const galaxies = await { real: loadReal, simulated: loadSimulated, paper: loadPaper }[choice](
    settings,
    options,
  );
  return {
    choice,
    ...dissimilar,
    ...galaxies,
    notes: [...galaxies.notes, ...dissimilar.notes],
    warnings: [...galaxies.warnings, ...dissimilar.warnings],
  };
}

type Dissimilar = Pick<StudySources, "dissimilar" | "dissimilarTest" | "notes" | "warnings">;
type Galaxies = Omit<StudySources, keyof Dissimilar | "choice"> &
  Pick<StudySources, "notes" | "warnings">;

/** At most `count` images, by class in their share. */
function atMost(set: ImageSet, count: number, seed: number): ImageSet {
  if (count >= set.count) return set;
  return subset(set, stratifiedSplit(set, { train: count, test: 0 }, seed).train, set.name);
}

async function loadDissimilar(
  settings: StudySettings,
  options: SourceOptions,
): Promise<Dissimilar> {
  const { data, seed } = options;
  const { dissimilarImages } = settings;
  if (locateDataSet("fashion-mnist", { data }) === undefined) {
    const count = Math.min(dissimilarImages, 20000);
    return {
      dissimilar: simulateShapes({ count, seed }),
      dissimilarTest: simulateShapes({ count: 3000, seed: seed + 1_000_003 }),
      notes: [`Fashion-MNIST is not here; ${count} drawn shapes stand in its place.`],
      warnings: ["Fashion-MNIST is not here; get it with: tuningfork data fetch fashion-mnist"],
    };
  }
  const load = (part: "train" | "test") =>
    loadDataSet("fashion-mnist", { size: settings.size, data, part });
  const [train, test] = [await load("train"), await load("test")];
  return {
    dissimilar: atMost(train.set, dissimilarImages, seed),
    dissimilarTest: test.set,
    notes: [
      "Fashion-MNIST, 28x28 grey, resized and replicated to three channels on the GPU, is the dissimilar set, as in the paper.",
    ],
    warnings: [...train.warnings, ...test.warnings],
  };
}

async function loadReal(
  settings: StudySettings,
  { data, seed, onProgress }: SourceOptions,
): Promise<Galaxies> {
  const load = (name: string, size: number) =>
    loadDataSet(name, { size, data, ...(onProgress && { onProgress }) });
  const gz1 = await load("gz1", settings.size);
  const gz2 = await load("gz2", settings.size);
  const apply =
    locateDataSet("gz2-apply", { data }) === undefined
      ? undefined
      : await load("gz2-apply", settings.size);
  const physical = await heldOutProperties(gz1.set, data);
  const held = new Set(physical?.rows.map(({ id }) => id));
  const pretraining = subset(
    gz1.set,
    [...gz1.set.ids.keys()].filter((index) => !held.has(gz1.set.ids[index] ?? "")),
  );
  const target = atMost(gz2.set, settings.targetImages, seed);
  return {
    classes: GALAXY_ZOO_CLASSES,
    similar: atMost(pretraining, settings.similarImages, seed),
    target,
    split: stratifiedSplit(target, 0.8, seed),
    targetDisplay: async () => sameImages((await load("gz2", 128)).set, target),
    apply: apply && firstImages(apply.set, settings.applyImages),
    physical,
    notes: [
      "Real galaxies. No images labelled Lenticular could be had, so the classes are Early type (E and S0 together), Edge-on disc and Spiral; the accuracies are not to be compared with the paper's.",
      "Galaxy Zoo 2 (gz2; votes of 70 % or more, barred counted as spiral, central 163x163 of 299x299) stands for EFIGI, the target set; 80 % of it train, 20 % test.",
      "Galaxy Zoo 1 (gz1; majority class, without merger and unknown, without images that gz2 or gz2-apply show too) stands for Nair & Abraham 2010, the similar set.",
      ...(physical
        ? [
            `${physical.rows.length} gz1 galaxies with redshift and mass (Schawinski et al. 2010) are kept out of the pre-training, so that they can be classified by a network that has not seen them.`,
          ]
        : []),
    ],
    warnings: [...gz1.warnings, ...gz2.warnings, ...(apply?.warnings ?? [])],
  };
}

async function heldOutProperties(
  gz1: ImageSet,
  data: string | undefined,
): Promise<StudySources["physical"]> {
  const known = await loadGalaxyProperties({ data }).catch(() => []);
  const place = new Map(gz1.ids.map((id, index) => [id, index]));
  const rows = known.filter(({ id, label }) => label >= 0 && place.has(id));
  if (rows.length === 0) return undefined;
  return {
    images: subset(
      gz1,
      rows.map(({ id }) => place.get(id) ?? 0),
      "gz1/with properties",
    ),
    rows,
  };
}

/** The images of `set` that have the ids of `like`, in that order. */
function sameImages(set: ImageSet, like: ImageSet): ImageSet {
  const place = new Map(set.ids.map((id, index) => [id, index]));
  return subset(
    set,
    like.ids.map((id) => place.get(id) ?? 0),
    like.name,
  );
}

function firstImages(set: ImageSet, count: number): ImageSet {
  if (count >= set.count) return set;
  // Spread over the set: it may be sorted by folder.
  return subset(
    set,
    Array.from({ length: count }, (_, i) => Math.floor((i * set.count) / count)),
  );
}

function loadSimulated(
  settings: StudySettings,
  { data, seed, onProgress }: SourceOptions,
): Promise<Galaxies> {
  const { size } = settings;
  const missing = (["gz1", "gz2"] as const).filter(
    (name) => locateDataSet(name, { data }) === undefined,
  );
  const draw = (survey: "na10" | "efigi", count: number, drawSize: number, drawSeed: number) =>
    simulateSurvey({
      survey,
      count,
      size: drawSize,
      seed: drawSeed,
      onProgress: (done, total) => onProgress?.({ stage: `simulating ${survey}`, done, total }),
    });
  const { similar, target: targetCount, apply: applyCount } = settings.simulated;
  const target = draw("efigi", targetCount, size, seed);
  // Another seed: galaxies that are in no training set.
  const apply = draw("efigi", applyCount, size, seed + 1_000_003);
  return Promise.resolve({
    classes: T_TYPE_CLASSES,
    similar: draw("na10", similar, size, seed),
    target,
    split: stratifiedSplit(target, 3000 / 3758, seed),
    targetDisplay: () => Promise.resolve(draw("efigi", targetCount, 128, seed)),
    apply,
    physical: { images: apply, rows: simulatePhysical(apply, apply.tTypes, seed) },
    notes: [
      "SIMULATED galaxies: Sersic bulges, discs and spiral arms drawn by T-Type (docs/simulation.md), not observations. The classes are the paper's; the accuracies say something of the software, nothing of the sky.",
      "Two simulated surveys that differ in scale, seeing, noise and colour stand for EFIGI (target) and Nair & Abraham 2010 (similar).",
    ],
    warnings: [
      missing.length > 0
        ? `the galaxies are SIMULATED; real ones: ${missing.map((name) => `tuningfork data fetch ${name}`).join(", ")}`
        : "the galaxies are SIMULATED; real ones are here: --data-set real",
    ],
  });
}

async function loadPaper(
  settings: StudySettings,
  { data, seed, onProgress }: SourceOptions,
): Promise<Galaxies> {
  const load = (name: string, size: number, allowEmptyClasses = false) =>
    loadDataSet(name, { size, data, allowEmptyClasses, ...(onProgress && { onProgress }) });
  const efigi = await load("efigi", settings.size);
  const hasNa10 = locateDataSet("na10", { data }) !== undefined;
  const similar = hasNa10 ? await load("na10", settings.size) : await load("gz1", settings.size);
  const apply =
    locateDataSet("gz2-apply", { data }) === undefined
      ? undefined
      : await load("gz2-apply", settings.size);
  const target = atMost(efigi.set, settings.targetImages, seed);
  const paperSplit = target.count >= 3758 ? { train: 3000, test: 758 } : 0.8;
  return {
    classes: T_TYPE_CLASSES,
    similar: atMost(hasNa10 ? similar.set : asTTypes(similar.set), settings.similarImages, seed),
    target,
    split: stratifiedSplit(target, paperSplit, seed),
    targetDisplay: async () => sameImages((await load("efigi", 128)).set, target),
    apply: apply && firstImages(apply.set, settings.applyImages),
    physical: undefined,
    notes: [
      "EFIGI is the target set, as in the paper; 3000 images train, 758 test where there are as many.",
      hasNa10
        ? "Nair & Abraham 2010 is the similar set, as in the paper."
        : "Nair & Abraham 2010 is not here: Galaxy Zoo 1 stands for it, its Early type as Elliptical and its Spiral only; the similar set has no Lenticulars.",
    ],
    warnings: [...efigi.warnings, ...similar.warnings],
  };
}

/** gz1 with the paper's classes: early type as Elliptical, Spiral as it is, edge-on discs left out. */
function asTTypes(gz1: ImageSet): ImageSet {
  const meaning = new Map([
    [GALAXY_ZOO_CLASSES.indexOf("Early type"), T_TYPE_CLASSES.indexOf("Elliptical")],
    [GALAXY_ZOO_CLASSES.indexOf("Spiral"), T_TYPE_CLASSES.indexOf("Spiral")],
  ]);
  const kept = subset(
    gz1,
    [...gz1.labels.keys()].filter((i) => meaning.has(gz1.labels[i] ?? -1)),
  );
  return {
    ...kept,
    classes: T_TYPE_CLASSES,
    labels: kept.labels.map((label) => meaning.get(label) ?? -1),
  };
}
