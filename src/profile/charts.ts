/** The pictures of a profile's report, as SVG: steps over time, roofline, memory. */
import type { GpuSpan, HostSpan, Recording } from "../gpu/profiler.ts";
import type { HostKind } from "../gpu/device_core.ts";
import { escapeXml, fitText, MUTED_COLOUR, PALETTE, svgDocument, svgText } from "../draw/svg.ts";
import { draw } from "../draw/vega.ts";
import type { DispatchRow, Excerpt, Profile } from "./analyse.ts";
import { fixed, percent } from "./format.ts";

const WIDTH = 1120;
const LEFT = 92;
const ROW = 22;
const AXIS = 24;

/** A rectangle of a timeline. */
interface Bar {
  readonly startMs: number;
  readonly endMs: number;
  readonly label: string;
  /** Shown when the pointer rests on it. */
  readonly title: string;
  readonly colour: string;
}

interface Lane {
  readonly name: string;
  readonly bars: readonly Bar[];
}

/** Families of kernels by the names of their shaders: the first that fits. */
const FAMILIES = [
  { name: "convolution's gradients", shaders: /^conv2d.*grad/, colour: "#7fb3d9" },
  { name: "convolution", shaders: /^conv2d/, colour: PALETTE[2] },
  { name: "matrix product", shaders: /^(dense|matmul)/, colour: PALETTE[1] },
  { name: "pooling", shaders: /^max_pool2d/, colour: PALETTE[3] },
  { name: "optimizer", shaders: /^(adamax|all_finite|loss_scale)/, colour: PALETTE[0] },
  {
    name: "element by element",
    shaders: /^(leaky_relu|dropout|softmax|affine)/,
    colour: PALETTE[4],
  },
  { name: "other", shaders: /^/, colour: "#8d99a6" },
] as const;
const COPY_COLOUR = "#b4b8bd";

function familyOf(shader: string): (typeof FAMILIES)[number] {
  return FAMILIES.find(({ shaders }) => shaders.test(shader)) ?? FAMILIES[6];
}

const HOST_COLOURS: Readonly<Record<HostKind, string>> = {
  encode: "#c98a1b",
  submit: "#a8690f",
  upload: "#d9b36c",
  record: "#9b8cc4",
  compile: "#7d6bb0",
  read: "#8fbf9f",
  wait: "#dfe3e6",
  phase: "#c8d3dd",
};

/** The step whose GPU time is the median, as an icicle: passes over layers over kernels, and the host below. */
export function stepChart(recording: Recording, excerpt: Excerpt): string {
  const steps = excerpt.steps.map((index) => {
    const spans = excerpt.gpu.filter(({ submission }) => submission === index);
    return { spans, ms: Math.max(...spans.map((s) => s.endMs)) - (spans[0]?.startMs ?? 0) };
  });
  const sorted = [...steps].sort((a, b) => a.ms - b.ms);
  const spans = sorted[Math.floor(sorted.length / 2)]?.spans ?? [];
  const startMs = Math.min(...spans.map((span) => span.startMs));
  const endMs = Math.max(...spans.map((span) => span.endMs));
  const scopeOf = (span: GpuSpan) => recording.dispatches[span.dispatch ?? -1]?.scope ?? "";
  const passOf = (span: GpuSpan) =>
    / (forward|backward)$/.exec(scopeOf(span))?.[1] ?? scopeOf(span);
  const merged = (nameOf: (span: GpuSpan) => string, colour: (name: string) => string) =>
    mergeRuns(spans, nameOf).map(({ name, from, to }): Bar => ({
      startMs: from,
      endMs: to,
      label: name,
      title: `${name || "(no layer)"}: ${fixed(to - from, 3)} ms`,
      colour: colour(name),
    }));
  const passColours: Record<string, string> = { forward: "#d5e4f1", backward: "#e6dcec" };
  const light = (name: string) =>
    passColours[/ (forward|backward)$/.exec(name)?.[1] ?? name] ?? "#ecebe4";
  return timeline(startMs, endMs, [
    { name: "pass", bars: merged(passOf, light) },
    { name: "layer", bars: merged(scopeOf, light) },
    { name: "kernel", bars: spans.map((span) => gpuBar(recording, span)) },
    ...hostLanes(excerpt.host),
  ]);
}

/** The whole excerpt: when the GPU worked, and what the host was at. */
export function overviewChart(recording: Recording, excerpt: Excerpt): string {
  const bars = excerpt.gpu.map((span) => gpuBar(recording, span));
  return timeline(excerpt.startMs, excerpt.endMs, [
    { name: "GPU", bars },
    ...hostLanes(excerpt.host),
  ]);
}

function gpuBar({ dispatches }: Recording, span: GpuSpan): Bar {
  const { label, startMs, endMs } = span;
  const dispatch = dispatches[span.dispatch ?? -1];
  const where = dispatch ? ` (${dispatch.scope || "no layer"}, ${dispatch.shader}.wgsl)` : "";
  return {
    ...{ startMs, endMs, label: dispatch?.shader ?? label },
    title: `${label}${where}: ${fixed(endMs - startMs, 3)} ms`,
    colour: dispatch ? familyOf(dispatch.shader).colour : COPY_COLOUR,
  };
}

/** What keeps the host busy above, what it waits for below. */
function hostLanes(host: readonly HostSpan[]): Lane[] {
  const bars = (kinds: readonly HostKind[]) =>
    host
      .filter(({ kind }) => kinds.includes(kind))
      .map(({ kind, label, startMs, endMs }): Bar => ({
        ...{ startMs, endMs, label: kind, colour: HOST_COLOURS[kind] },
        title: `${kind} ${label}: ${fixed(endMs - startMs, 3)} ms`,
      }));
  return [
    { name: "host calls", bars: bars(["upload", "encode", "submit"]) },
    { name: "host waits", bars: bars(["wait", "read", "record", "compile"]) },
  ];
}

/** Neighbours of one name as one. */
function mergeRuns(
  spans: readonly GpuSpan[],
  nameOf: (span: GpuSpan) => string,
): { name: string; from: number; to: number }[] {
  const runs: { name: string; from: number; to: number }[] = [];
  for (const span of spans) {
    const name = nameOf(span);
    const last = runs.at(-1);
    if (last?.name === name) last.to = Math.max(last.to, span.endMs);
    else runs.push({ name, from: span.startMs, to: span.endMs });
  }
  return runs;
}

function timeline(startMs: number, endMs: number, lanes: readonly Lane[]): string {
  const scale = (WIDTH - LEFT - 12) / Math.max(1e-6, endMs - startMs);
  const x = (ms: number) => LEFT + (Math.min(endMs, Math.max(startMs, ms)) - startMs) * scale;
  const height = AXIS + lanes.length * (ROW + 4) + 4;
  const body = [
    ...ticks(endMs - startMs).flatMap((ms) => [
      `<line x1="${x(startMs + ms).toFixed(1)}" x2="${x(startMs + ms).toFixed(1)}" y1="${AXIS - 6}" y2="${height}" stroke="#e4e4e4"/>`,
      svgText(`${Number(ms.toPrecision(6))} ms`, x(startMs + ms), 12, {
        size: 10,
        anchor: "middle",
        colour: MUTED_COLOUR,
      }),
    ]),
    ...lanes.flatMap((lane, i) => {
      const y = AXIS + i * (ROW + 4);
      const shown = lane.bars.filter((bar) => bar.endMs > startMs && bar.startMs < endMs);
      return [
        svgText(lane.name, LEFT - 8, y + 15, { size: 11, anchor: "end", colour: MUTED_COLOUR }),
        ...shown.map((bar) => barSvg(bar, x(bar.startMs), x(bar.endMs), y)),
      ];
    }),
  ];
  return svgDocument(WIDTH, height, body);
}

function barSvg(bar: Bar, from: number, to: number, y: number): string {
  const width = Math.max(0.4, to - from);
  const text = width > 26 ? fitText(bar.label, width - 6, 10) : "";
  const dark = /^#[0-8]/.test(bar.colour);
  const label = text
    ? svgText(text, from + 3, y + 15, { size: 10, colour: dark ? "#ffffff" : "#222222" })
    : "";
  // A hairline between neighbours, where there is room for one.
  const stroke = width > 3 ? ' stroke="white" stroke-width="0.6"' : "";
  return `<g><title>${escapeXml(bar.title)}</title><rect x="${from.toFixed(2)}" y="${y}" width="${width.toFixed(2)}" height="${ROW}" fill="${bar.colour}"${stroke}/>${label}</g>`;
}

/** About ten round times within a span. */
function ticks(spanMs: number): number[] {
  const rough = spanMs / 10;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  return Array.from({ length: Math.floor(spanMs / step) + 1 }, (_, i) => i * step);
}

/** GFLOP/s over operations a byte, a dot for each dispatch, under the adapter's ceilings where they were measured. */
export async function rooflineChart(profile: Profile): Promise<string | undefined> {
  const dots = profile.dispatches.flatMap((row) => {
    if (!row.flops || row.ms === 0) return [];
    return [{ ...dotOf(row), family: familyOf(row.shader).name }];
  });
  if (dots.length === 0) return undefined;
  const { ceilings } = profile;
  const intensities = dots.map(({ intensity }) => intensity);
  const low = 10 ** Math.floor(Math.log10(Math.min(...intensities, 0.1)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...intensities, 100)));
  const rates = [...dots.map(({ gflops }) => gflops), ...(ceilings ? [ceilings.gflops] : [])];
  const slowest = Math.floor(Math.log10(Math.min(...rates)));
  const fastest = Math.ceil(Math.log10(Math.max(...rates)) + 0.1);
  const x = {
    field: "intensity",
    type: "quantitative",
    title: "operations a byte (each tensor once)",
    scale: { type: "log", domain: [low, high] },
    axis: { format: "~g", tickCount: 6 },
  };
  const y = {
    field: "gflops",
    type: "quantitative",
    title: "GFLOP/s",
    scale: { type: "log", domain: [10 ** slowest, 10 ** fastest] },
    axis: { format: "~g", tickCount: 6 },
  };
  const svg = await draw({
    width: 760,
    height: ROOFLINE_HEIGHT,
    layer: [
      ...(ceilings ? [roofLayer(ceilings, low, high)] : []),
      {
        data: { values: dots },
        mark: { type: "circle", opacity: 0.75, aria: true, stroke: "white", strokeWidth: 0.5 },
        encoding: {
          x,
          y,
          size: {
            field: "ms",
            type: "quantitative",
            title: "ms a step",
            scale: { range: [24, 700] },
          },
          color: {
            field: "family",
            type: "nominal",
            title: null,
            scale: { domain: FAMILIES.map((f) => f.name), range: FAMILIES.map((f) => f.colour) },
          },
          description: { field: "text" },
        },
      },
      {
        data: { values: labelsOf(dots, fastest - slowest) },
        mark: { type: "text", align: "right", dx: -14, dy: 3, fontSize: 10 },
        encoding: { x, y: { ...y, field: "labelAt" }, text: { field: "label" } },
      },
    ],
  });
  return titlesFromLabels(svg);
}

const ROOFLINE_HEIGHT = 380;

/** Labels of the dispatches that take longest, one below the other where they would meet. */
function labelsOf(dots: readonly ReturnType<typeof dotOf>[], decades: number) {
  const line = 10 ** ((12 / ROOFLINE_HEIGHT) * decades);
  const placed: (ReturnType<typeof dotOf> & { readonly labelAt: number })[] = [];
  const longest = [...dots].sort((a, b) => b.ms - a.ms).slice(0, 8);
  for (const dot of longest.sort((a, b) => b.gflops - a.gflops)) {
    const near = placed.filter((p) => Math.abs(Math.log10(p.intensity / dot.intensity)) < 0.5);
    const below = Math.min(...near.map(({ labelAt }) => labelAt / line));
    placed.push({ ...dot, labelAt: Math.min(dot.gflops, below) });
  }
  return placed;
}

function dotOf(row: DispatchRow) {
  const flops = row.flops ?? 0;
  const gflops = flops / row.ms / 1e6;
  const share =
    row.ceilingShare === undefined ? "" : `, ${percent(row.ceilingShare)} of the ceiling`;
  return {
    label: row.scope || row.name,
    ms: row.ms,
    intensity: flops / Math.max(1, row.bytes),
    gflops,
    text: `${row.name} (${row.scope || "no layer"}, ${row.shader}.wgsl): ${fixed(row.ms, 3)} ms, ${fixed(gflops)} GFLOP/s${share}`,
  };
}

function roofLayer({ gflops, gbps }: { gflops: number; gbps: number }, low: number, high: number) {
  const ridge = gflops / gbps;
  const at = [low, ...(ridge > low && ridge < high ? [ridge] : []), high];
  const values = at.map((intensity) => ({ intensity, gflops: Math.min(gflops, intensity * gbps) }));
  return {
    data: { values },
    mark: { type: "line", color: "#5f6368", strokeWidth: 2 },
    encoding: {
      x: { field: "intensity", type: "quantitative", scale: { type: "log" } },
      y: { field: "gflops", type: "quantitative", scale: { type: "log" } },
    },
  };
}

/** Browsers show a `<title>` when the pointer rests on a mark; Vega writes what it has to say as a label. */
function titlesFromLabels(svg: string): string {
  return svg.replace(
    /<path aria-label="([^"]*)"([^>]*?)\/?>(?:<\/path>)?/g,
    (_, label: string, rest: string) => `<path${rest}><title>${label}</title></path>`,
  );
}

/** Bytes in tensors and in pooled buffers, over the whole recording. */
export function memoryChart({ memory, wallMs, host }: Recording): Promise<string> {
  const last = memory.at(-1);
  const samples = last ? [...memory, { ...last, atMs: wallMs }] : [];
  const values = samples.flatMap(({ atMs, liveBytes, allocatedBytes }) => [
    { atMs, bytes: liveBytes / 1e6, what: "in tensors" },
    { atMs, bytes: allocatedBytes / 1e6, what: "in buffers, pooled ones too" },
  ]);
  const phases = host.filter(({ kind }) => kind === "phase");
  return draw({
    width: 900,
    height: 200,
    layer: [
      {
        data: { values: phases.map(({ startMs, label }) => ({ startMs, label })) },
        layer: [
          { mark: { type: "rule", color: "#9aa0a6", strokeDash: [4, 3] } },
          {
            mark: { type: "text", align: "left", dx: 4, y: 8, fontSize: 10 },
            encoding: { text: { field: "label" } },
          },
        ],
        encoding: { x: { field: "startMs", type: "quantitative" } },
      },
      {
        data: { values },
        mark: { type: "line", interpolate: "step-after" },
        encoding: {
          x: { field: "atMs", type: "quantitative", title: "ms" },
          y: { field: "bytes", type: "quantitative", title: "MB" },
          color: {
            field: "what",
            type: "nominal",
            title: null,
            scale: { range: [PALETTE[2], PALETTE[4]] },
            legend: { orient: "top" },
          },
        },
      },
    ],
  });
}
