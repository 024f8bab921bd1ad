/**
 * The report as one HTML page that needs no network and no script: text, tables, and the figures as data.
 */
import { htmlPage } from "../draw/page.ts";
import { escapeXml, svgDataUri, svgSize } from "../draw/svg.ts";
import { accuracy, argmax } from "../metrics/accuracy.ts";
import { columnSums, precisionRecall } from "../metrics/confusion.ts";
import { appliedShares } from "./figures/applied.ts";
import type { Figure, FigureSection } from "./figures/figure.ts";
import type { DataSetChoice, StudyEvidence, StudyResults, TestId, TestResult } from "./results.ts";
import {
  bestTest,
  classesOf,
  count,
  fixed,
  meanAccuracy,
  percent,
  recipe,
  testsRun,
} from "./summary.ts";
import { PAPER_TABLE3 } from "./table3.ts";

const DATA_SETS: Readonly<Record<DataSetChoice, string>> = {
  real: "real galaxies (Galaxy Zoo)",
  simulated: "simulated galaxies",
  paper: "the paper's own data (EFIGI, NA10)",
};

interface Section {
  readonly id: string;
  readonly title: string;
  readonly html: string;
}

/** The whole page. `figures` as drawn by `drawFigures`. */
export function reportPage(
  results: StudyResults,
  evidence: StudyEvidence,
  figures: readonly Figure[],
): string {
  const numbers = new Map<Figure, number>();
  const draw = (section: FigureSection, layout: "wide" | "grid" = "wide"): string =>
    figureGroup(
      figures.filter((figure) => figure.section === section),
      layout,
      numbers,
    );
  const sections: Section[] = [
    {
      id: "table-3",
      title: "Table 3: the seven tests",
      html: table3Section(results) + draw("accuracy"),
    },
    { id: "auc", title: "Ranking, speed and collapse", html: aucSection(results) },
    { id: "seeds", title: "Spread over seeds", html: seedsSection(results) },
    {
      id: "training",
      title: "Training",
      html: draw("training") + pretrainingTable(results) + draw("pretraining"),
    },
    { id: "roc", title: "ROC curves", html: draw("roc", "grid") },
    {
      id: "overfitting",
      title: "Overfitting: few images against many",
      html: draw("small-against-large"),
    },
    {
      id: "confusion",
      title: "What is taken for what",
      html: draw("confusion", "grid") + precisionTable(results),
    },
    { id: "samples", title: "The images", html: draw("samples") },
    { id: "single-images", title: "Single images", html: draw("single-images") },
    { id: "feature-maps", title: "What the layers see", html: draw("feature-maps") },
    { id: "galleries", title: "Right and wrong", html: draw("galleries") },
    {
      id: "applied",
      title: "A catalogue classified whole",
      html: appliedSection(results, evidence) + draw("applied"),
    },
    {
      id: "physical",
      title: "Physical properties",
      html: physicalSection(evidence) + draw("physical"),
    },
    { id: "settings", title: "Settings and machine", html: settingsSection(results, evidence) },
  ];
  const shown = sections.filter((section) => section.html !== "");
  const title = "Galaxy morphology by transfer learning";
  return htmlPage(
    `${title}: report`,
    `<header>
<p class="kicker">${text(`Study report, preset ${results.preset}, ${DATA_SETS[results.data_set]}`)}</p>
<h1>${title}</h1>
<p class="byline">Seven tests after H. J. Child, <cite>Convolutional Neural Networks for the Classification of Galaxies based on their Morphology</cite> (2022). ${text(dateText(results.started))}.</p>
</header>
<nav aria-label="Contents"><h2>Contents</h2><ol>
<li><a href="#result">Result</a></li>
${shown.map(({ id, title: heading }) => `<li><a href="#${id}">${text(heading)}</a></li>`).join("\n")}
</ol></nav>
<main>
<section id="result">
<h2>Result</h2>
${headline(results)}
${notesBox(evidence)}
</section>
${shown.map(({ id, title: heading, html }) => `<section id="${id}">\n<h2>${text(heading)}</h2>\n${html}\n</section>`).join("\n")}
</main>
<footer><p>Made by tuningfork with its own WebGPU kernels. Beside this file: <code>results.json</code>, <code>table3.csv</code>, <code>table3.md</code>, and each figure in <code>figures/</code> as SVG and PNG.</p></footer>`,
  );
}

function headline(results: StudyResults): string {
  const best = bestTest(results);
  const test = best === null ? undefined : results.tests[best];
  if (best === null || test === undefined) return `<p class="abstract">No test was run.</p>`;
  const tests = testsRun(results);
  const sentences = [
    `<strong>Test ${best}</strong> (${text(recipe(results, best))}) ${tests.length > 1 ? `is the best of ${tests.length} tests` : "was run alone"}: it classifies <strong>${accuracyPercent(results, best)}</strong> of ${count(test.n_test)} test images as their labels say${seedCount(results, best) > 1 ? ` (mean ± standard deviation over ${seedCount(results, best)} seeds)` : ""}. Always naming the most frequent class would give ${percent(test.majority_baseline)}.`,
  ];
  const gain = gainSentence(results);
  if (gain !== null) sentences.push(gain);
  const collapsed = tests.filter((entry) => entry.test.collapsed).map((entry) => entry.id);
  if (collapsed.length > 0)
    sentences.push(
      `${collapsed.length === 1 ? "Test" : "Tests"} ${collapsed.join(" and ")} <strong>collapsed to one class</strong>: 99 % or more of the predictions are the same, so the accuracy says nothing about galaxies.`,
    );
  sentences.push(
    `The whole study took ${duration(results.seconds)} on ${text(adapterName(results))}${results.adapter.software ? ", a software adapter without a GPU" : ""}.`,
  );
  const facts: [string, string][] = [
    ["Best test", `<span class="big">${best}</span> ${text(recipe(results, best))}`],
    [
      "Accuracy",
      `<span class="big">${accuracyPercent(results, best)}</span> of ${count(test.n_test)}`,
    ],
    ["Macro AUC", `<span class="big">${fixed(test.macro_auc)}</span>`],
    ["Time", `<span class="big">${duration(results.seconds)}</span>`],
  ];
  return `<p class="abstract">${sentences.join(" ")}</p>
<dl class="facts">${facts.map(([name, value]) => `<div><dt>${name}</dt><dd>${value}</dd></div>`).join("")}</dl>`;
}

/** Does it help to have seen galaxies before? Best of e to g against a, with the statistical error of the difference. */
function gainSentence(results: StudyResults): string | null {
  const scratch = results.tests.a;
  const rivals = (["f", "g"] as const).filter((id) => results.tests[id] !== undefined);
  if (scratch === undefined || rivals.length === 0) return null;
  const rival = rivals.reduce((x, y) =>
    meanAccuracy(results, y) > meanAccuracy(results, x) ? y : x,
  );
  const test = results.tests[rival];
  if (test === undefined) return null;
  const [from, to] = [meanAccuracy(results, "a"), meanAccuracy(results, rival)];
  const error = Math.hypot(standardError(from, scratch.n_test), standardError(to, test.n_test));
  const points = 100 * (to - from);
  const verdict =
    Math.abs(to - from) < 2 * error
      ? `which is less than twice its statistical error of ${(100 * error).toFixed(1)} points`
      : `with a statistical error of ${(100 * error).toFixed(1)} points`;
  return `Without pre-training (test a) it is ${accuracyPercent(results, "a")}: having seen similar galaxies before ${points >= 0 ? "gains" : "loses"} ${Math.abs(points).toFixed(1)} points (test ${rival}), ${verdict}.`;
}

/** Binomial standard error of a share `p` of `n` images. */
function standardError(p: number, n: number): number {
  return Math.sqrt((p * (1 - p)) / Math.max(1, n));
}

function accuracyPercent(results: StudyResults, id: TestId): string {
  const spread = results.seeds?.[id]?.accuracy;
  const mean = (100 * meanAccuracy(results, id)).toFixed(1);
  return spread !== undefined && spread.values.length > 1
    ? `${mean}\u00a0±\u00a0${(100 * spread.std).toFixed(1)}\u00a0%`
    : `${mean}\u00a0%`;
}

function notesBox({ notes }: StudyEvidence): string {
  if (notes.length === 0) return "";
  return `<aside class="notes" aria-label="Notes on the data"><h3>Read this first</h3><ul>${notes.map((note) => `<li>${text(note)}</li>`).join("")}</ul></aside>`;
}

const COLLAPSED = `<span class="collapsed">collapsed to one class</span>`;

function table3Section(results: StudyResults): string {
  const tests = testsRun(results);
  if (tests.length === 0) return "";
  const best = bestTest(results);
  const column = (name: string, className = ""): string =>
    `<th scope="col"${className === "" ? "" : ` class="${className}"`}>${name}</th>`;
  const head = `<tr><th scope="col" rowspan="2">Test</th><th scope="colgroup" colspan="6">This run</th><th scope="colgroup" colspan="5" class="paper">The paper</th></tr>
<tr>${[
    column("pre-trained on"),
    column("trained on"),
    column("fine-tuned"),
    column("tested", "n"),
    column("accuracy", "n"),
    column("loss", "n"),
    column("pre-trained on", "paper"),
    column("trained on", "paper"),
    column("tested", "n paper"),
    column("accuracy", "n paper"),
    column("loss", "n paper"),
  ].join("")}</tr>`;
  const rows = tests.map(({ id, test }) => {
    const paper = PAPER_TABLE3[id];
    const cells = [
      `<th scope="row">${id}</th>`,
      withCount(test.pretrained_on, test.n_pretrain),
      withCount(test.trained_on, test.n_train),
      cell(test.fine_tuned),
      numeric(count(test.n_test)),
      `<td class="n strong">${text(meanAndSpread(results, id))}${wholeSet(test)}${test.collapsed ? `<br>${COLLAPSED}` : ""}</td>`,
      numeric(fixed(test.loss)),
      withCount(paper.pretrainedOn, paper.nPretrain, "paper"),
      withCount(paper.trainedOn, paper.nTrain, "paper"),
      `<td class="n paper">${count(paper.nTest)}</td>`,
      `<td class="n paper">${fixed(paper.accuracy)}</td>`,
      `<td class="n paper">${fixed(paper.loss)}</td>`,
    ];
    return `<tr${id === best ? ' class="best"' : ""}>${cells.join("")}</tr>`;
  });
  const seeds = hasSeeds(results)
    ? " Accuracy: mean ± standard deviation over the seeds; the other columns are the first seed's."
    : "";
  const left = 7 - tests.length;
  const missing =
    left > 0 ? ` ${left} of the paper's seven tests ${left === 1 ? "was" : "were"} not run.` : "";
  return table(
    `Accuracy and loss on the test split, beside the paper's Table 3; under each data set the number of its images. The best test is tinted.${seeds}${missing}`,
    head,
    rows,
  );
}

/** A data set with the number of images under it; a dash where there is none. */
function withCount(name: string | null, n: number, className = ""): string {
  const html =
    name === null
      ? "–"
      : `<span class="name">${text(name)}</span><br><span class="small">${count(n)}</span>`;
  return `<td${className === "" ? "" : ` class="${className}"`}>${html}</td>`;
}

/** Tests b and e: the accuracy on the whole target set, under that on the test split. */
function wholeSet(test: TestResult): string {
  return test.accuracy_all === undefined
    ? ""
    : `<br><span class="small">${fixed(test.accuracy_all)} on all ${count(test.n_all ?? 0)}</span>`;
}

function hasSeeds(results: StudyResults): boolean {
  return testsRun(results).some(({ id }) => seedCount(results, id) > 1);
}

function seedCount(results: StudyResults, id: TestId): number {
  return results.seeds?.[id]?.accuracy.values.length ?? 1;
}

/** "0.912 ± 0.008" over several seeds, else "0.912". */
function meanAndSpread(results: StudyResults, id: TestId): string {
  const spread = results.seeds?.[id]?.accuracy;
  return spread !== undefined && spread.values.length > 1
    ? `${fixed(spread.mean)}\u00a0±\u00a0${fixed(spread.std)}`
    : fixed(results.tests[id]?.accuracy);
}

function aucSection(results: StudyResults): string {
  const tests = testsRun(results);
  if (tests.length === 0) return "";
  const classes = classesOf(results);
  const head = `<tr><th scope="col" rowspan="2">Test</th><th scope="colgroup" colspan="${classes.length + 1}">AUC, one class against the rest</th><th scope="col" class="n" rowspan="2">Accuracy</th><th scope="col" class="n" rowspan="2">Majority class</th><th scope="col" rowspan="2">Predictions</th><th scope="col" class="n" rowspan="2">Images/s</th><th scope="col" class="n" rowspan="2">Time</th></tr>
<tr>${classes.map((name) => `<th scope="col" class="n">${text(name)}</th>`).join("")}<th scope="col" class="n">macro</th></tr>`;
  const rows = tests.map(({ id, test }) => {
    const cells = [
      `<th scope="row">${id}</th>`,
      ...classes.map((name) => numeric(fixed(test.auc[name]))),
      `<td class="n strong">${fixed(test.macro_auc)}</td>`,
      numeric(fixed(test.accuracy)),
      numeric(fixed(test.majority_baseline)),
      `<td>${test.collapsed ? COLLAPSED : `in ${columnSums(test.confusion).filter((n) => n > 0).length} of ${test.classes.length} classes`}</td>`,
      numeric(
        Number.isFinite(test.images_per_s)
          ? test.images_per_s.toFixed(test.images_per_s < 10 ? 1 : 0)
          : "–",
      ),
      numeric(duration(test.seconds)),
    ];
    return `<tr>${cells.join("")}</tr>`;
  });
  return table(
    "Area under the ROC curve (1: the class is ranked above all others, 0.5: chance), the accuracy of always naming the most frequent class, and speed. Time is that of the test itself, without the shared pre-training.",
    head,
    rows,
  );
}

function seedsSection(results: StudyResults): string {
  const { seeds } = results;
  const tests = testsRun(results).flatMap(({ id }) => {
    const accuracy = seeds?.[id]?.accuracy;
    return accuracy === undefined ? [] : [{ id, accuracy }];
  });
  if (tests.length === 0) return "";
  const head = `<tr><th scope="col">Test</th><th scope="col" class="n">Mean</th><th scope="col" class="n">Standard deviation</th><th scope="col">Values, one a seed</th></tr>`;
  return table(
    "Accuracy on the test split, the study repeated with other seeds. One run proves little; the standard deviation is the sample's (K − 1).",
    head,
    tests.map(
      ({ id, accuracy }) =>
        `<tr><th scope="row">${id}</th><td class="n strong">${fixed(accuracy.mean)}</td>${numeric(fixed(accuracy.std))}<td class="digits">${accuracy.values.map((value) => fixed(value)).join(", ")}</td></tr>`,
    ),
  );
}

function pretrainingTable({ pretraining }: StudyResults): string {
  if (pretraining.length === 0) return "";
  const head = `<tr><th scope="col">Run</th><th scope="col">Data</th><th scope="col" class="n">Images</th><th scope="col" class="n">Epochs</th><th scope="col" class="n">Last accuracy</th><th scope="col" class="n">Validation</th><th scope="col" class="n">Images/s</th><th scope="col" class="n">Time</th></tr>`;
  return table(
    "Pre-training runs. Each is made once and shared by the tests that start from it.",
    head,
    pretraining.map((run) => {
      const last = run.history.at(-1);
      return `<tr><th scope="row">${text(run.name)}</th>${cell(run.data_set)}${numeric(count(run.n))}${numeric(String(run.history.length))}${numeric(fixed(last?.accuracy))}${numeric(fixed(last?.valAccuracy))}${numeric(run.images_per_s.toFixed(0))}${numeric(duration(run.seconds))}</tr>`;
    }),
  );
}

function precisionTable(results: StudyResults): string {
  const tests = testsRun(results);
  if (tests.length === 0) return "";
  const classes = classesOf(results);
  const head = `<tr><th scope="col" rowspan="2">Test</th>${classes.map((name) => `<th scope="colgroup" colspan="3">${text(name)}</th>`).join("")}</tr>
<tr>${classes.map(() => `<th scope="col" class="n">precision</th><th scope="col" class="n">recall</th><th scope="col" class="n">F1</th>`).join("")}</tr>`;
  return table(
    "Precision (of the images given this class, the share that has it), recall (of those that have it, the share that was given it) and their harmonic mean. A dash: the class was never predicted, or has no member.",
    head,
    tests.map(({ id, test }) => {
      const scores = precisionRecall(test.confusion);
      const cells = classes.map((name) => {
        const score = scores[test.classes.indexOf(name)];
        return [score?.precision, score?.recall, score?.f1]
          .map((value) => numeric(fixed(value)))
          .join("");
      });
      return `<tr><th scope="row">${id}</th>${cells.join("")}</tr>`;
    }),
  );
}

function appliedSection(results: StudyResults, { applied }: StudyEvidence): string {
  if (applied === undefined) return "";
  const { predictions, name, note } = applied;
  const shares = appliedShares(results, applied);
  const head = `<tr><th scope="col" rowspan="2">Class</th><th scope="colgroup" colspan="3">${text(name)}, by test ${applied.test}</th><th scope="colgroup" colspan="2">Labelled test split</th><th scope="colgroup" colspan="2">Difference, points</th></tr>
<tr><th scope="col" class="n">images</th><th scope="col" class="n">share</th><th scope="col" class="n">mean probability</th><th scope="col" class="n">true share</th><th scope="col" class="n">predicted share</th><th scope="col" class="n">to the training classes</th><th scope="col" class="n">on the test split itself</th></tr>`;
  const rows = shares.map(
    (share) =>
      `<tr><th scope="row">${text(share.name)}</th>${numeric(count(share.appliedCount))}<td class="n strong">${percent(share.applied)}</td>${numeric(fixed(share.meanProbability))}${numeric(percent(share.labelled))}${numeric(percent(share.predictedOnTest))}${numeric(points(share.applied, share.labelled))}${numeric(points(share.predictedOnTest, share.labelled))}</tr>`,
  );
  const known = predictions.labels.filter((label) => label >= 0).length;
  const right =
    known === 0
      ? ""
      : ` Of the ${count(known)} whose class is known ${percent(accuracy(predictions.labels, argmax(predictions.probabilities, predictions.classes.length)))} are classified as their labels say.`;
  return `<p>${count(predictions.labels.length)} images of ${text(name)}. ${text(note)}${right}</p>
${table("Shares of the classes, and how far they are from those the network was trained on (the test split is stratified, so it has the training classes' shares). The last column is the bias that the network shows where the truth is known.", head, rows)}`;
}

function points(value: number | null, reference: number | null): string {
  if (value === null || reference === null) return "–";
  const difference = 100 * (value - reference);
  return `${difference < 0 ? "−" : "+"}${Math.abs(difference).toFixed(1)}`;
}

function physicalSection({ physical }: StudyEvidence): string {
  if (physical === undefined) return "";
  return `<p>${count(physical.rows.length)} galaxies. ${text(physical.note)}</p>`;
}

function settingsSection(results: StudyResults, evidence: StudyEvidence): string {
  const { adapter } = results;
  const rows: (readonly [string, string])[] = [
    ["preset", results.preset],
    ["data set", DATA_SETS[results.data_set]],
    ["seed", String(results.seed)],
    ...evidence.settings,
    ["adapter", adapterName(results)],
    [
      "adapter, vendor and architecture",
      `${adapter.vendor} ${adapter.architecture}`.trim() || "unknown",
    ],
    ["adapter, kind", adapter.software ? "software (CPU)" : "hardware"],
    ["Node", results.node],
    ["started", dateText(results.started)],
    ["whole time", duration(results.seconds)],
  ];
  return `<div class="scroll" role="region" tabindex="0" aria-label="Settings"><table class="settings"><caption>How this run was made; the same settings, seed and adapter give the same numbers.</caption><tbody>${rows.map(([name, value]) => `<tr><th scope="row">${text(name)}</th><td>${text(value)}</td></tr>`).join("")}</tbody></table></div>${leftOut(evidence)}`;
}

/** Parts of the paper's that this run has no evidence for: named, so that nobody looks for them. */
function leftOut(evidence: StudyEvidence): string {
  const parts: [unknown, string][] = [
    [evidence.smallAgainstLarge, "few training images against many (Figure 5)"],
    [evidence.augmented, "augmented samples (Figure 7)"],
    [evidence.featureMaps, "feature maps (Figures 11, 12, 14 to 16)"],
    [evidence.surveys, "the two surveys side by side (Figure 19)"],
    [evidence.applied, "a catalogue classified whole (the paper's section 4.2)"],
    [evidence.physical, "physical properties (Figure 23)"],
  ];
  const missing = parts.filter(([part]) => part === undefined).map(([, name]) => name);
  return missing.length === 0
    ? ""
    : `<p>Not made by this run, so not shown: ${missing.join("; ")}.</p>`;
}

function adapterName({ adapter }: StudyResults): string {
  return adapter.description || adapter.device || adapter.vendor || "an unnamed adapter";
}

function figureGroup(
  figures: readonly Figure[],
  layout: "wide" | "grid",
  numbers: Map<Figure, number>,
): string {
  const html = figures.map((figure) => {
    const number = numbers.size + 1;
    numbers.set(figure, number);
    const { width, height } = svgSize(figure.svg);
    const paper =
      figure.paperFigure === undefined
        ? ""
        : ` <span class="ref">(The paper's ${figure.paperFigure.startsWith("Table") ? "" : "Figure "}${text(figure.paperFigure)}.)</span>`;
    return `<figure id="figure-${text(figure.name)}"><div class="plate"><img src="${svgDataUri(figure.svg)}" width="${width}" height="${height}" alt="${text(figure.alt)}"></div><figcaption><strong>Figure ${number}.</strong> ${text(figure.caption)}${paper}</figcaption></figure>`;
  });
  if (html.length === 0) return "";
  return layout === "grid" ? `<div class="grid">${html.join("\n")}</div>` : html.join("\n");
}

function table(caption: string, head: string, rows: readonly string[]): string {
  return `<div class="scroll" role="region" tabindex="0" aria-label="${text(caption.split(/[.(,]/)[0] ?? "Table")}"><table><caption>${text(caption)}</caption><thead>${head}</thead><tbody>${rows.join("\n")}</tbody></table></div>`;
}

function cell(value: string): string {
  return `<td>${text(value)}</td>`;
}

function numeric(value: string): string {
  return `<td class="n">${text(value)}</td>`;
}

/** 8 min 32 s */
function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)}\u00a0s`;
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  if (h > 0) return `${h}\u00a0h\u00a0${m}\u00a0min`;
  return m > 0 ? `${m}\u00a0min\u00a0${s}\u00a0s` : `${s}\u00a0s`;
}

function dateText(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  return `${date.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

function text(value: string): string {
  return escapeXml(value);
}
