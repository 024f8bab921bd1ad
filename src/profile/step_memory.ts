/** The scratch memory of one step: which tensor lies where, from which dispatch to which. */
import { escapeXml, fitText, MUTED_COLOUR, PALETTE, svgDocument, svgText } from "../draw/svg.ts";
import type { ScratchLife } from "../gpu/memory_plan.ts";
import type { GpuSpan, ProfiledProgram, Recording } from "../gpu/profiler.ts";
import { formatBytes } from "../tensor.ts";
import type { Excerpt } from "./analyse.ts";
import type { TextTable } from "./format.ts";

/** A step's largest program, and its commands as the GPU ran them. */
export interface StepMemory {
  readonly program: ProfiledProgram;
  readonly spans: readonly GpuSpan[];
  /** Layer and pass of each command; empty where no one said. */
  readonly scopes: readonly string[];
  /** Bytes that each command finds in scratch tensors, its outputs too. */
  readonly liveBytes: readonly number[];
}

/** @returns undefined where the first step of the excerpt has no scratch memory */
export function stepMemory(recording: Recording, { gpu, steps }: Excerpt): StepMemory | undefined {
  const [step] = steps;
  const runs = programsOf(recording, step, gpu);
  const [largest] = runs.sort((a, b) => b.program.commands - a.program.commands);
  if (!largest || largest.program.lives.length === 0) return undefined;
  const { program, spans } = largest;
  const scopes = spans.map(({ dispatch }) => recording.dispatches[dispatch ?? -1]?.scope ?? "");
  return { program, spans, scopes, liveBytes: liveBytesOf(program) };
}

/** The programs of a submission, each with its spans. */
export function programsOf(
  { submissions, programs }: Recording,
  submission: number | undefined,
  gpu: readonly GpuSpan[],
): { program: ProfiledProgram; spans: GpuSpan[] }[] {
  const spans = gpu.filter((span) => span.submission === submission);
  let start = 0;
  return (submissions[submission ?? -1]?.programs ?? []).flatMap((index) => {
    const program = programs[index];
    if (!program) return [];
    return [{ program, spans: spans.slice(start, (start += program.commands)) }];
  });
}

/** Of each command of a program. */
export function liveBytesOf({ commands, lives }: ProfiledProgram): number[] {
  return Array.from({ length: commands }, (_, at) =>
    lives.reduce((sum, { first, last, bytes }) => sum + (first <= at && at <= last ? bytes : 0), 0),
  );
}

/** The largest tensors, by when they are first written. */
export function lifeTable({ program, spans, scopes }: StepMemory, most = 16): TextTable {
  const largest = [...program.lives].sort((a, b) => b.bytes - a.bytes).slice(0, most);
  const at = (command: number) =>
    `${command + 1}: ${scopes[command] ?? ""} (${spans[command]?.label ?? "?"})`;
  const rows = largest
    .sort((a, b) => a.first - b.first)
    .map(({ label, bytes, first, last, buffer, offsetBytes }) => [
      ...[label, at(first), at(last), formatBytes(bytes), String(buffer + 1)],
      formatBytes(offsetBytes),
    ]);
  const heads = ["tensor", "first written by", "last used by", "bytes", "buffer", "offset"];
  return { heads, rows, left: 3 };
}

const WIDTH = 1120;
const LEFT = 92;
const SCOPES = 22;
const LIVE = 90;
const BUFFERS = 340;
const GAP = 7;

/**
 * Commands from left to right, each as wide as the next; above, what lives, below, where it lies: a box for each buffer of the
 * plan, as high as it is large, and in it the tensors that share it.
 */
export function stepMemoryChart(memory: StepMemory): string {
  const { program, scopes, liveBytes } = memory;
  const width = WIDTH - LEFT - 12;
  const x = (command: number) => LEFT + (command * width) / Math.max(1, program.commands);
  const buffers = buffersOf(program.lives);
  const total = buffers.reduce((sum, { bytes }) => sum + bytes, 0);
  const height = (bytes: number) => Math.max(1, (bytes * BUFFERS) / total);
  const body = [
    ...scopeBars(scopes, x),
    ...liveArea(liveBytes, program.plannedBytes, x, SCOPES + 12),
  ];
  let y = SCOPES + 12 + LIVE + 16;
  for (const { bytes, lives } of buffers) {
    const high = height(bytes);
    body.push(
      `<rect x="${LEFT}" y="${y.toFixed(1)}" width="${width}" height="${high.toFixed(1)}" fill="#f1f1ec"/>`,
      ...(high >= 9 ? [svgText(formatBytes(bytes), LEFT - 8, y + high / 2 + 4, axisText)] : []),
      ...lives.map((life) => {
        const top = y + (life.offsetBytes * BUFFERS) / total;
        return tenantSvg(memory, life, [x(life.first), x(life.last + 1)], top, height(life.bytes));
      }),
    );
    y += high + GAP;
  }
  return svgDocument(WIDTH, y + 4, body);
}

const axisText = { size: 10, anchor: "end", colour: MUTED_COLOUR } as const;

function buffersOf(lives: readonly ScratchLife[]): { bytes: number; lives: ScratchLife[] }[] {
  const buffers: { bytes: number; lives: ScratchLife[] }[] = [];
  for (const life of lives) {
    const buffer = (buffers[life.buffer] ??= { bytes: 0, lives: [] });
    buffer.bytes = Math.max(buffer.bytes, life.offsetBytes + life.bytes);
    buffer.lives.push(life);
  }
  return buffers.filter(Boolean).sort((a, b) => b.bytes - a.bytes);
}

const colourOf = (scope: string): string => {
  if (scope.endsWith(" forward")) return "#a9cbe6";
  return scope.endsWith(" backward") ? "#c6b4da" : "#d5d2bd";
};

/** Neighbouring commands of one layer and pass as one bar. */
function scopeBars(scopes: readonly string[], x: (command: number) => number): string[] {
  const starts = scopes.flatMap((scope, i) => (i === 0 || scopes[i - 1] !== scope ? [i] : []));
  return starts.map((start, i) => {
    const scope = scopes[start] ?? "";
    const [from, to] = [x(start), x(starts[i + 1] ?? scopes.length)];
    // Its colour says which pass it is.
    const text = fitText(scope.replace(/ (forward|backward)$/, ""), to - from - 3, 9);
    const label = text.length > 2 ? svgText(text, from + 2, 14, { size: 9 }) : "";
    return `<g><title>${escapeXml(scope || "no layer")}</title><rect x="${from.toFixed(1)}" y="0" width="${(to - from).toFixed(1)}" height="${SCOPES - 2}" fill="${colourOf(scope)}" stroke="white" stroke-width="0.6"/>${label}</g>`;
  });
}

/** What lives at each command, under what the plan takes. */
function liveArea(
  liveBytes: readonly number[],
  plannedBytes: number,
  x: (command: number) => number,
  top: number,
): string[] {
  const y = (bytes: number) => top + LIVE - (bytes / Math.max(1, plannedBytes)) * (LIVE - 28);
  const steps = liveBytes.flatMap((bytes, i) => [
    `${x(i).toFixed(1)},${y(bytes).toFixed(1)}`,
    `${x(i + 1).toFixed(1)},${y(bytes).toFixed(1)}`,
  ]);
  const right = x(liveBytes.length).toFixed(1);
  const peak = liveBytes.indexOf(Math.max(...liveBytes));
  const peakBytes = liveBytes[peak] ?? 0;
  const planned = y(plannedBytes).toFixed(1);
  return [
    `<polygon points="${LEFT},${top + LIVE} ${steps.join(" ")} ${right},${top + LIVE}" fill="${PALETTE[2]}" fill-opacity="0.35" stroke="${PALETTE[2]}" stroke-width="1"><title>bytes in use at each dispatch</title></polygon>`,
    `<line x1="${LEFT}" x2="${right}" y1="${planned}" y2="${planned}" stroke="#5f6368" stroke-dasharray="4 3"/>`,
    svgText(`planned: ${formatBytes(plannedBytes)}`, LEFT + 4, Number(planned) - 4, { size: 10 }),
    svgText(formatBytes(peakBytes), x(peak + 0.5), y(peakBytes) - 4, {
      size: 10,
      anchor: "middle",
    }),
    svgText("in use", LEFT - 8, top + LIVE / 2 + 4, axisText),
  ];
}

function tenantSvg(
  { scopes, spans }: StepMemory,
  { label, bytes, first, last }: ScratchLife,
  [from, to]: readonly [number, number],
  top: number,
  height: number,
): string {
  const name = (command: number) =>
    `${command + 1} (${scopes[command] || (spans[command]?.label ?? "?")})`;
  const title = `${label}: ${formatBytes(bytes)}, from dispatch ${name(first)} to ${name(last)}`;
  const text = height >= 11 ? fitText(label, to - from - 6, 9) : "";
  const shown = text.length > 3 ? svgText(text, from + 3, top + height / 2 + 3, { size: 9 }) : "";
  const stroke = height > 4 ? ' stroke="white" stroke-width="0.6"' : "";
  return `<g><title>${escapeXml(title)}</title><rect x="${from.toFixed(1)}" y="${top.toFixed(1)}" width="${(to - from).toFixed(1)}" height="${height.toFixed(1)}" fill="${colourOf(scopes[first] ?? "")}"${stroke}/>${shown}</g>`;
}
