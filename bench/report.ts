/** The report of a run: one HTML page that needs no network, and its plots as SVG and PNG beside it. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { htmlPage } from "../src/draw/page.ts";
import {
  escapeXml,
  MUTED_COLOUR,
  PALETTE,
  svgDataUri,
  svgSize,
  svgToPng,
} from "../src/draw/svg.ts";
import { draw } from "../src/draw/vega.ts";
import { gflopsUnder, type Ceilings } from "./ceilings.ts";
import { PASSES, type Work } from "./engine.ts";
import { isWide, shareOf, type BenchFile, type BenchRow, type Comparison } from "./results.ts";
import { digits, rate } from "./table.ts";
import { shapeText } from "./work.ts";

const text = escapeXml;

const PASS_COLOURS = [PALETTE[2], PALETTE[0], PALETTE[1], PALETTE[3]];

/** A figure of the page and of the folder. */
interface Plot {
  readonly file: string;
  readonly title: string;
  readonly caption: string;
  readonly svg: string;
}

/** Writes report.html, results.json's plots and their PNGs into a folder. Returns the files' names. */
export async function writeReport(
  folder: string,
  file: BenchFile,
  comparison: Comparison | undefined,
): Promise<string[]> {
  const plots = await drawPlots(file);
  const written: string[] = [];
  const write = async (name: string, content: string | Buffer) => {
    await writeFile(join(folder, name), content);
    written.push(name);
  };
  for (const { file: name, svg } of plots) {
    await write(`${name}.svg`, svg);
    await write(`${name}.png`, svgToPng(svg));
  }
  await write("report.html", reportPage(file, plots, comparison));
  return written;
}

async function drawPlots({ context, benchmarks }: BenchFile): Promise<Plot[]> {
  const own = benchmarks.filter(({ engine, ms }) => engine === "tuningfork" && ms !== null);
  const plots: Plot[] = [];
  const rows = own.filter(({ suite }) => suite !== "scaling");
  if (rows.length > 0)
    plots.push({
      file: "roofline",
      title: "Roofline",
      caption: `Each dot one row. The roof is what this adapter was measured to do at best: the slope its copy kernel, the flat part its multiply-adds${mixedIsHigher(context.ceilings) ? ", dashed those of float16 subgroup matrices" : ""}. A dot's distance below the roof is what its kernel leaves unused; algorithms with fewer multiplications than the plain sum (Winograd) may lie above it.`,
      svg: await rooflinePlot(rows, context.ceilings),
    });
  const scaling = own.filter(({ suite }) => suite === "scaling");
  if (scaling.length > 0)
    plots.push({
      file: "scaling",
      title: "Scaling",
      caption:
        "One 3x3 convolution, 8 images of 48x48, 64 channels to 64, of which one size at a time grows or shrinks. Above: time against work; the dashed line is the ceiling. Below: the rate. A cliff is a step that the line does not explain.",
      svg: await scalingPlot(scaling, context.ceilings),
    });
  return plots;
}

/** True where rows under mixed precision have a roof of their own. */
function mixedIsHigher(ceilings: Ceilings): boolean {
  return gflopsUnder("mixed", ceilings) > ceilings.gflops;
}

/** GFLOP/s against operations per byte, under the measured roof; both axes logarithmic. */
export function rooflinePlot(rows: readonly BenchRow[], ceilings: Ceilings): Promise<string> {
  const points = rows
    .filter(({ gflops, flops }) => gflops !== null && flops > 0)
    .map(({ flops, bytes, gflops, pass, op }) => ({
      intensity: flops / bytes,
      gflops,
      pass,
      kind: kindOf(op),
    }));
  const xs = points.map(({ intensity }) => intensity);
  const ys = points.map(({ gflops }) => gflops ?? 1);
  const mixedGflops = gflopsUnder("mixed", ceilings);
  const mixedRidge = mixedGflops / ceilings.gbps;
  const hasMixedRoof = mixedIsHigher(ceilings);
  const x: [number, number] = [
    Math.min(0.1, ...xs) / 1.5,
    Math.max(100, hasMixedRoof ? 3 * mixedRidge : 0, ...xs) * 1.5,
  ];
  const y: [number, number] = [
    Math.min(...ys, ceilings.gbps * x[0]) / 1.5,
    Math.max(mixedGflops, ...ys) * 1.8,
  ];
  const ridge = ceilings.gflops / ceilings.gbps;
  const roof = [
    { intensity: x[0], gflops: x[0] * ceilings.gbps },
    { intensity: ridge, gflops: ceilings.gflops },
    { intensity: x[1], gflops: ceilings.gflops },
  ];
  const mixedRoof = [
    { intensity: ridge, gflops: ceilings.gflops },
    { intensity: mixedRidge, gflops: mixedGflops },
    { intensity: x[1], gflops: mixedGflops },
  ];
  const encoding = {
    x: {
      field: "intensity",
      type: "quantitative",
      title: "operations per byte that must be moved",
      scale: { type: "log", domain: x, nice: false },
      axis: { tickCount: 6, format: "~g" },
    },
    y: {
      field: "gflops",
      type: "quantitative",
      title: "GFLOP/s",
      scale: { type: "log", domain: y, nice: false },
      axis: { tickCount: 6, format: "~g" },
    },
  };
  const label = (point: object, text: string, style: object) => ({
    data: { values: [{ ...point, text }] },
    mark: { type: "text", fontSize: 11, color: MUTED_COLOUR, ...style },
    encoding: { ...encoding, text: { field: "text" } },
  });
  const passes = PASSES.filter((pass) => points.some((point) => point.pass === pass));
  const kinds = ["conv2d", "dense", "whole network", "other"].filter((kind) =>
    points.some((point) => point.kind === kind),
  );
  return draw({
    width: 620,
    height: 380,
    layer: [
      {
        data: { values: roof },
        mark: { type: "line", color: "#222222", strokeWidth: 1.6 },
        encoding,
      },
      ...(hasMixedRoof
        ? [
            {
              data: { values: mixedRoof },
              mark: { type: "line", color: "#222222", strokeWidth: 1.6, strokeDash: [5, 4] },
              encoding,
            },
            label({ intensity: x[1], gflops: mixedGflops }, `${rate(mixedGflops)} GFLOP/s mixed`, {
              align: "right",
              dx: -4,
              dy: -9,
            }),
          ]
        : []),
      label({ intensity: ridge, gflops: ceilings.gflops }, `${rate(ceilings.gflops)} GFLOP/s`, {
        align: "left",
        dx: 4,
        // The roof of mixed rows goes on above this one.
        dy: hasMixedRoof ? 10 : -9,
      }),
      label({ intensity: ridge, gflops: ceilings.gflops }, `${rate(ceilings.gbps)} GB/s`, {
        align: "right",
        dx: -12,
        dy: 6,
      }),
      {
        data: { values: points },
        mark: { type: "point", filled: true, size: 46, opacity: 0.8 },
        encoding: {
          ...encoding,
          color: {
            field: "pass",
            type: "nominal",
            title: null,
            scale: {
              domain: passes,
              range: passes.map((pass) => PASS_COLOURS[PASSES.indexOf(pass)]),
            },
            legend: { orient: "top", direction: "horizontal", symbolOpacity: 1 },
          },
          shape: {
            field: "kind",
            type: "nominal",
            title: null,
            scale: {
              domain: kinds,
              range: ["circle", "square", "triangle-up", "diamond"].slice(0, kinds.length),
            },
            legend: { orient: "top", direction: "horizontal", symbolOpacity: 1 },
          },
        },
      },
    ],
  });
}

function kindOf(op: string): string {
  if (op === "conv2d" || op === "dense") return op;
  return op === "training_step" || op === "inference" ? "whole network" : "other";
}

/** Time and rate against work, a line for each size that varies, a column for each pass. */
export function scalingPlot(rows: readonly BenchRow[], ceilings: Ceilings): Promise<string> {
  const values = rows.map(({ name, pass, algorithm, flops, ms, gflops }) => ({
    sweep: name.split(".")[0] ?? name,
    pass: algorithm === "auto" ? pass : `${pass}, ${algorithm}`,
    gflop: flops / 1e9,
    ms,
    gflops,
  }));
  const panels = [...new Set(values.map(({ pass }) => pass))];
  const work = values.map(({ gflop }) => gflop);
  const domain = [Math.min(...work) / 1.2, Math.max(...work) * 1.2];
  // A run has one precision.
  const ceiling = gflopsUnder(rows[0]?.precision ?? "float32", ceilings);
  const roof = domain.map((gflop) => ({ gflop, ms: (1000 * gflop) / ceiling }));
  const x = (title: string | null) => ({
    field: "gflop",
    type: "quantitative",
    title,
    scale: { type: "log", domain, nice: false },
    axis: { tickCount: 4, format: "~g" },
  });
  const color = {
    field: "sweep",
    type: "nominal",
    title: null,
    scale: { domain: ["batch", "image", "channels"], range: PASS_COLOURS.slice(0, 3) },
    legend: { orient: "top", direction: "horizontal" },
  };
  const mark = { type: "line", point: { size: 30, filled: true }, strokeWidth: 1.6 };
  const size = { width: 210, height: 170 };
  const column = (pass: string) => ({
    data: { values: values.filter((value) => value.pass === pass) },
    vconcat: [
      {
        title: { text: pass, fontSize: 11.5 },
        ...size,
        layer: [
          {
            data: { values: roof },
            mark: { type: "line", strokeDash: [4, 3], color: "#222222", strokeWidth: 1.2 },
            encoding: { x: x(null), y: { field: "ms", type: "quantitative" } },
          },
          {
            mark,
            encoding: {
              x: x(null),
              y: {
                field: "ms",
                type: "quantitative",
                title: "ms",
                scale: { type: "log" },
                axis: { tickCount: 5, format: "~g" },
              },
              color,
            },
          },
        ],
      },
      {
        ...size,
        mark,
        encoding: {
          x: x("GFLOP of one run"),
          y: { field: "gflops", type: "quantitative", title: "GFLOP/s", scale: { zero: true } },
          color,
        },
      },
    ],
  });
  return draw({ hconcat: panels.map(column), spacing: 24 });
}

function reportPage(
  { context, benchmarks }: BenchFile,
  plots: readonly Plot[],
  comparison: Comparison | undefined,
): string {
  const suites = [...new Set(benchmarks.map(({ suite }) => suite))];
  const failed = benchmarks.filter(({ error }) => error !== undefined);
  const { adapter, driver, backend, software, timestamps, ceilings } = context;
  const mixed = ceilings.mixedGflops === undefined ? "" : `, mixed ${rate(ceilings.mixedGflops)}`;
  const facts: readonly (readonly [string, string])[] = [
    ["Adapter", `${adapter} (${backend}${software ? ", software" : ""})`],
    ["Driver", driver],
    ["Multiply-adds", `${rate(ceilings.gflops)} GFLOP/s${mixed}`],
    ["Copy", `${rate(ceilings.gbps)} GB/s`],
    ["Times", timestamps ? "GPU timestamps" : "by the clock"],
    ["Host", `${context.cpu}, ${context.cpus} CPUs`],
    ["System", `${context.os}, Node ${context.node}`],
    ["Versions", `tuningfork ${context.tuningfork}, webgpu ${context.webgpu}`],
  ];
  const title = `Benchmarks on ${adapter}`;
  const style = `
.facts{grid-template-columns:repeat(4,1fr)}@media (max-width:40rem){.facts{grid-template-columns:1fr 1fr}}
.failed td{color:var(--warn)}.bar{display:inline-block;height:.55rem;background:var(--accent);border-radius:2px;margin-right:.4rem}`;
  return htmlPage(
    title,
    `<header>
<p class="kicker">tuningfork bench</p>
<h1>${text(title)}</h1>
<p class="byline">${text(new Date(context.date).toUTCString())}. ${benchmarks.length} rows, ${failed.length === 0 ? "each verified against float64 before it was timed" : `${failed.length} of them failed`}.</p>
</header>
<main>
<dl class="facts">${facts.map(([name, value]) => `<div><dt>${text(name)}</dt><dd>${text(value)}</dd></div>`).join("")}</dl>
${software ? '<div class="notes"><h3>A software adapter</h3><p>These are times of a processor that plays a graphics card. Ratios within this page mean something, absolute numbers say nothing of any GPU.</p></div>' : ""}
${plots.map(figure).join("\n")}
${suites.map((suite) => suiteTable(suite, benchmarks)).join("\n")}
${comparison ? comparisonTable(comparison) : ""}
</main>
<footer><p>Median of the samples; ~ marks rows whose p10 and p90 lie too far apart to be trusted. Operations count 2 for a multiply-add, padding included, whatever the algorithm; bytes count each tensor once. How to read all this: docs/benchmarks.md.</p></footer>`,
    style,
  );
}

function figure({ title, caption, svg }: Plot): string {
  const { width } = svgSize(svg);
  return `<section><h2>${text(title)}</h2><figure><div class="plate"><img src="${svgDataUri(svg)}" width="${width}" alt="${text(title)}"></div><figcaption>${text(caption)}</figcaption></figure></section>`;
}

function suiteTable(suite: string, benchmarks: readonly BenchRow[]): string {
  const rows = benchmarks.filter((row) => row.suite === suite);
  const engines = new Set(rows.map(({ engine }) => engine)).size > 1;
  const head = [
    ...(engines ? ["engine"] : []),
    ...["case", "shape", "pass", "algorithm"],
    ...["ms", "p10", "p90", "n", "GFLOP/s", "GB/s", "bound", "of the ceiling"],
  ];
  const numeric = new Set(["ms", "p10", "p90", "n", "GFLOP/s", "GB/s"]);
  const heads = head.map((name) => `<th${numeric.has(name) ? ' class="n"' : ""}>${name}</th>`);
  return `<section><h2>${text(suite)}</h2><div class="scroll" tabindex="0"><table><thead><tr>${heads.join("")}</tr></thead><tbody>
${rows.map((row) => tableRow(row, engines)).join("\n")}
</tbody></table></div></section>`;
}

function tableRow(row: BenchRow, engines: boolean): string {
  const { engine, name, pass, algorithm, chosen, ms, p10, p90, samples } = row;
  const start = [
    ...(engines ? [`<td>${text(engine)}</td>`] : []),
    `<th scope="row" class="name">${text(name)}</th>`,
    `<td class="small name">${text(sizesText(row))}</td>`,
    `<td>${text(pass)}</td>`,
    `<td>${text(chosen ?? algorithm)}</td>`,
  ].join("");
  if (ms === null || p10 === null || p90 === null)
    return `<tr class="failed">${start}<td colspan="8">FAILED: ${text(row.error ?? "")}</td></tr>`;
  const share = shareOf(row) ?? 0;
  const cells = [
    ...[`${isWide(row) ? "~" : ""}${digits(ms)}`, digits(p10), digits(p90), String(samples)],
    ...[rate(row.gflops), rate(row.gbps)],
  ].map((cell) => `<td class="n">${cell}</td>`);
  const bar = `<span class="bar" style="width:${Math.min(100, share).toFixed(0)}px"></span>`;
  return `<tr>${start}${cells.join("")}<td>${row.bound}</td><td class="name">${bar}${share.toFixed(share < 10 ? 1 : 0)} %</td></tr>`;
}

function sizesText({ op, shape }: BenchRow): string {
  if (!Array.isArray(shape["input"])) return shapeText({ op, ...shape } as Work);
  return [shape["n"], ...(shape["input"] as number[])].join("x");
}

function comparisonTable({ changes, warnings }: Comparison): string {
  const rows = changes.map(({ before, after, ratio }) => {
    const times = [before.ms, after.ms].map((ms) => (ms === null ? "FAILED" : digits(ms)));
    const shown = ratio === undefined || !Number.isFinite(ratio) ? "" : ratio.toFixed(2);
    return `<tr><th scope="row" class="name">${text(`${after.suite}/${after.name}`)}</th><td>${text(after.pass)}</td><td>${text(after.algorithm)}</td>${[...times, shown].map((cell) => `<td class="n">${cell}</td>`).join("")}</tr>`;
  });
  return `<section><h2>Compared with an older run</h2>${warnings.map((warning) => `<p>${text(warning)}</p>`).join("")}<div class="scroll" tabindex="0"><table><thead><tr><th>case</th><th>pass</th><th>algorithm</th><th class="n">old ms</th><th class="n">new ms</th><th class="n">new/old</th></tr></thead><tbody>
${rows.join("\n")}
</tbody></table></div></section>`;
}
