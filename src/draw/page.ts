/**
 * Pages of HTML that need no network and no script, in one style.
 */
import { escapeXml } from "./svg.ts";

/**
 * A whole page.
 * @param body what stands in its `<body>`, as HTML
 * @param style CSS beyond that of every page
 */
export function htmlPage(title: string, body: string, style = ""): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeXml(title)}</title>
<link rel="icon" href="data:,">
<style>${PAGE_STYLE}${style}</style>
</head>
<body>
${body}
</body>
</html>
`;
}

const PAGE_STYLE = `
:root{--paper:#fdfdfb;--ink:#1d1d1f;--muted:#5f6368;--rule:#d9d9d4;--accent:#0b5a94;--tint:#f1f5f9;--warn:#9a3d00;--warn-bg:#fff1e6;--plate:#fff}
@media (prefers-color-scheme:dark){:root{--paper:#16181b;--ink:#e6e6e3;--muted:#a3a7ad;--rule:#35393f;--accent:#7cb8e8;--tint:#1f2429;--warn:#ffb37a;--warn-bg:#3a2616;--plate:#f7f7f5}}
*{box-sizing:border-box}
html{color-scheme:light dark;scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:70rem;padding:0 1.25rem 3rem;background:var(--paper);color:var(--ink);font:1.0625rem/1.55 Charter,"Bitstream Charter","Iowan Old Style","Palatino Linotype",Palatino,Georgia,"DejaVu Serif",serif}
header{padding:2.5rem 0 1rem;border-bottom:1px solid var(--rule)}
h1{margin:.2rem 0 .5rem;font-size:2.3rem;line-height:1.15;font-weight:600;letter-spacing:-.01em}
h2{margin:3rem 0 .8rem;font-size:1.45rem;line-height:1.25;font-weight:600}
h3{margin:0 0 .4rem;font-size:1.05rem}
p{max-width:46rem}
a{color:var(--accent)}
.kicker,.byline,nav,table,figcaption,.facts,footer,.ref{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
.kicker{margin:0;color:var(--accent);font-size:.85rem;font-weight:600}
.byline{margin:0;color:var(--muted);font-size:.9rem}
nav{margin:1.2rem 0 0;font-size:.9rem}
nav h2{margin:0 0 .3rem;font-size:.9rem;font-weight:600;color:var(--muted)}
nav ol{margin:0;padding-left:1.4rem;columns:3 13rem;column-gap:2rem}
nav li{break-inside:avoid;padding:.08rem 0}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
#result h2{margin-top:1.8rem}
.abstract{font-size:1.15rem;line-height:1.55;max-width:50rem}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(12rem,1fr));gap:1px;margin:1.4rem 0;background:var(--rule);border:1px solid var(--rule);border-radius:8px;overflow:hidden}
.facts div{background:var(--paper);padding:.7rem .9rem}
.facts dt{font-size:.8rem;color:var(--muted)}
.facts dd{margin:0;font-size:.85rem;line-height:1.35}
.facts .big{display:block;font-size:1.6rem;line-height:1.25;font-weight:600;font-variant-numeric:tabular-nums}
.notes{margin:1.4rem 0;padding:.9rem 1.2rem;background:var(--warn-bg);border-left:4px solid var(--warn);border-radius:0 8px 8px 0}
.notes h3{color:var(--warn)}
.notes ul{margin:0;padding-left:1.2rem}
.notes li{margin:.2rem 0}
.scroll{overflow-x:auto;margin:1.2rem 0 1.8rem}
.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:3px}
table{border-collapse:collapse;font-size:.84rem;line-height:1.35;min-width:100%}
caption{caption-side:top;text-align:left;color:var(--muted);font-size:.84rem;padding-bottom:.5rem;max-width:min(52rem,calc(100vw - 2.5rem))}
th,td{padding:.38rem .55rem;text-align:left;vertical-align:top}
thead{border-top:2px solid var(--ink);border-bottom:1px solid var(--ink)}
thead th{font-weight:600;vertical-align:bottom}
thead th[scope=colgroup]{text-align:center;border-bottom:1px solid var(--rule)}
tbody{border-bottom:2px solid var(--ink)}
tbody tr+tr{border-top:1px solid var(--rule)}
tbody th{font-weight:600}
.n,.digits{font-variant-numeric:tabular-nums}
td.n,th.n{text-align:right;white-space:nowrap}
.strong{font-weight:600}
.small{font-size:.76rem;font-weight:400;color:var(--muted)}
.paper{background:var(--tint)}
tr.best td:not(.paper),tr.best th{background:color-mix(in srgb,var(--accent) 13%,transparent)}
.collapsed{display:inline-block;margin-top:.15rem;padding:.05rem .45rem;border-radius:4px;background:var(--warn-bg);color:var(--warn);border:1px solid currentColor;font-size:.74rem;font-weight:600;white-space:nowrap}
.name{white-space:nowrap}
.settings{min-width:0}
.settings tbody{border-top:2px solid var(--ink)}
.settings th{white-space:nowrap;color:var(--muted);font-weight:400}
figure{margin:1.2rem 0 1.8rem;break-inside:avoid}
.plate{display:inline-block;max-width:100%;background:var(--plate);border:1px solid var(--rule);border-radius:6px;padding:.4rem;overflow-x:auto}
.plate img{display:block;max-width:100%;height:auto}
figcaption{max-width:50rem;margin-top:.5rem;font-size:.86rem;line-height:1.45;color:var(--muted)}
figcaption strong{color:var(--ink)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(18.5rem,1fr));gap:1.2rem}
.grid figure{margin:0}
.grid .plate{width:100%}
.grid img{margin:0 auto}
footer{margin-top:3rem;border-top:1px solid var(--rule);color:var(--muted);font-size:.82rem}
code{font-size:.92em}
@media (max-width:40rem){h1{font-size:1.7rem}.abstract{font-size:1.05rem}}
@media print{body{max-width:none;font-size:10pt}nav{display:none}.scroll{overflow:visible}}
`;
