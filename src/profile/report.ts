/** A profile as one HTML page that needs no network and no script. */
import { escapeXml } from "../draw/svg.ts";
import type { Recording } from "../gpu/profiler.ts";
import { formatBytes } from "../tensor.ts";
import { excerptOf, type Profile } from "./analyse.ts";
import { memoryChart, overviewChart, rooflineChart, stepChart } from "./charts.ts";
import {
  clockLine,
  dispatchTable,
  fixed,
  hostTable,
  idleTable,
  percent,
  rowTable,
  sumLine,
  type TextTable,
} from "./format.ts";
import { lifeTable, stepMemory, stepMemoryChart } from "./step_memory.ts";

/** @param title what was run on what, for the page's head */
export async function profilePage(
  recording: Recording,
  profile: Profile,
  title: string,
  phase?: string,
): Promise<string> {
  const excerpt = excerptOf(recording, phase);
  const roofline = await rooflineChart(profile);
  const { wallMs, busyMs, idleMs, steps, memory, ceilings } = profile;
  const facts: [string, string, string][] = [
    ["A step", `${fixed(wallMs / steps)} ms`, `mean of ${steps}`],
    ["GPU busy", percent(busyMs / wallMs), `${fixed(busyMs / steps)} ms a step`],
    ["GPU idle", percent(idleMs / wallMs), `${fixed(idleMs / steps)} ms a step`],
    ["Memory", formatBytes(memory.peakAllocatedBytes), "in buffers, at most"],
    ceilings
      ? ["Ceilings", `${ceilings.gflops.toFixed(0)} GFLOP/s`, `${ceilings.gbps.toFixed(1)} GB/s`]
      : ["Ceilings", "–", "not measured"],
  ];
  const sections: [string, string][] = [
    [
      "A step: passes over layers over kernels",
      `<p>The step whose GPU time is the median. Rest the pointer on a bar for its name and time.</p>${stepChart(recording, excerpt)}`,
    ],
    ["All steps", overviewChart(recording, excerpt)],
    ["By layer", htmlTable(rowTable("layer", profile.layers))],
    ["By kernel", htmlTable(rowTable("kernel", profile.kernels))],
    ["Roofline", rooflineSection(roofline, ceilings !== undefined)],
    ["Why the GPU was idle", htmlTable(idleTable(profile))],
    ["The host", htmlTable(hostTable(profile))],
    ["Memory of a step", stepMemorySection(recording, profile, phase)],
    ["Memory over the whole recording", await memoryChart(recording)],
    ["Every dispatch of a step, in order", htmlTable(dispatchTable(profile))],
  ];
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeXml(title)}</title>
<link rel="icon" href="data:,">
<style>${STYLE}</style>
</head>
<body>
<h1>${escapeXml(title)}</h1>
<p class="muted">${escapeXml(contextLine(profile))}</p>
<dl>${facts.map(([name, value, note]) => `<div><dt>${name}</dt><dd><b>${value}</b>${note}</dd></div>`).join("")}</dl>
<p class="muted">${escapeXml(sumLine(profile).replace(/^sum +/, "Sum of the tables below: "))}</p>
${sections.map(([heading, html]) => `<section><h2>${heading}</h2>\n${html}\n</section>`).join("\n")}
<p class="muted">${escapeXml(clockLine(profile))} Beside this file: <code>trace.json</code> for Perfetto (ui.perfetto.dev, which keeps it in the browser) or chrome://tracing, and <code>profile.json</code> for <code>tuningfork profile --diff</code>.</p>
</body>
</html>
`;
}

function contextLine({ context, startedAt }: Profile): string {
  const facts = Object.entries(context).map(([key, value]) =>
    typeof value === "string" || typeof value === "number" ? `${key} ${value}` : "",
  );
  return [startedAt, ...facts.filter(Boolean)].join(" · ");
}

function rooflineSection(svg: string | undefined, ceilings: boolean): string {
  if (svg === undefined) return "<p>No dispatch whose operations are known.</p>";
  const roof = ceilings
    ? "The line is what the adapter does at best: its arithmetic measured in registers, its bandwidth on large buffers. Above the slope lies what comes from a cache."
    : "Without ceilings: they were not measured.";
  return `<p>A dot for each dispatch, as large as its time. ${roof} Dispatches that compute nothing have no place here.</p>${svg}`;
}

function stepMemorySection(
  recording: Recording,
  { memory }: Profile,
  phase: string | undefined,
): string {
  const found = stepMemory(recording, excerptOf(recording, phase));
  if (!found) return "<p>A step has no tensors that live within it alone.</p>";
  const { plannedBytes, naiveBytes } = found.program;
  const lasting = Math.max(0, memory.peakLiveBytes - plannedBytes);
  const kept = `${formatBytes(naiveBytes)} of tensors lie in ${formatBytes(plannedBytes)} of buffers`;
  return `<p>What lives within a step: ${kept}. From left to right its dispatches, in order; a box for each buffer, as high as it is large; in it its tensors, from the dispatch that first writes them to the last that uses them. Blue: written forward, violet: backward. Beside it ${formatBytes(lasting)} last from step to step: parameters, gradients, the optimizer's state, images.</p>${stepMemoryChart(found)}<p class="muted">The largest of them:</p>${htmlTable(lifeTable(found))}`;
}

function htmlTable({ heads, rows, left }: TextTable): string {
  const numeric = (column: number) =>
    column >= left && !["bound by", "tensors"].includes(heads[column] ?? "");
  const line = (tag: string, cells: readonly string[]) =>
    `<tr>${cells.map((text, i) => `<${tag}${numeric(i) ? ' class="n"' : ""}>${escapeXml(text)}</${tag}>`).join("")}</tr>`;
  return `<div class="scroll"><table><thead>${line("th", heads)}</thead><tbody>${rows.map((row) => line("td", row)).join("\n")}</tbody></table></div>`;
}

const STYLE = `
body{margin:0 auto;max-width:75rem;padding:0 1.25rem 3rem;background:#fdfdfb;color:#1d1d1f;font:.95rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
h1{margin:2rem 0 .3rem;font-size:1.6rem;line-height:1.2}
h2{margin:2.2rem 0 .6rem;font-size:1.15rem}
p{max-width:52rem;margin:.3rem 0 .8rem}
.muted{color:#5f6368;font-size:.82rem;max-width:none}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:1px;background:#d9d9d4;border:1px solid #d9d9d4;border-radius:8px;overflow:hidden}
dl div{background:#fdfdfb;padding:.6rem .8rem}
dt{font-size:.78rem;color:#5f6368}
dd{margin:0;font-size:.82rem}
dd b{display:block;font-size:1.35rem;font-weight:600}
svg{max-width:100%;height:auto;border:1px solid #e4e4e0;border-radius:6px;background:#fff}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.82rem;line-height:1.35}
th,td{padding:.28rem .6rem;text-align:left;white-space:nowrap}
thead th{border-bottom:1px solid #1d1d1f;font-weight:600}
tbody tr+tr{border-top:1px solid #e4e4e0}
.n{text-align:right;font-variant-numeric:tabular-nums}
`;
