"""The page's style sheet: colours that follow the reader's scheme, one column on a phone, plain paper in print.

Colours are those of Okabe and Ito, which people with any colour vision tell apart, lightened on dark ground; members
are told apart by shape, too. The text holds no `<` and no `&`, so it may stand in a page as it is.

Source: Okabe and Ito (2008), "Color universal design".
"""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fbfbf9; --panel: #ffffff; --ink: #1b1f24; --soft: #5b6670; --line: #e2e5e8; --faint: #eef0f2;
  --ensemble: #0067a8; --wide: #c95600; --deep: #00805c; --muted: #78838d; --on: #ffffff;
  --good: #00704f; --bad: #b03a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --panel: #1b1f23; --ink: #e8eaec; --soft: #a2acb5; --line: #30363c; --faint: #252a2f;
    --ensemble: #5cb5ea; --wide: #f0a04b; --deep: #3cc69b; --muted: #8b96a0; --on: #0c0f12;
    --good: #4fd3a8; --bad: #f5a36b;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
.page { max-width: 1240px; margin: 0 auto; padding: 0 20px 64px; }
header { padding: 44px 0 8px; }
.kicker { margin: 0 0 4px; color: var(--soft); font-size: 14px; }
h1 { margin: 0; font-size: 36px; line-height: 1.15; letter-spacing: -0.02em; font-weight: 680; }
h2 { margin: 0 0 6px; font-size: 22px; line-height: 1.25; letter-spacing: -0.01em; font-weight: 650; }
h3 { margin: 0 0 8px; font-size: 15px; line-height: 1.35; font-weight: 620; }
.lead { max-width: 70ch; margin: 12px 0 0; font-size: 18px; }
section { padding: 40px 0 0; scroll-margin-top: 52px; }
.how { max-width: 78ch; margin: 0 0 18px; color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 1px; margin: 24px 0 0; overflow: hidden;
  border: 1px solid var(--line); border-radius: 10px; background: var(--panel); }
.tiles div { padding: 14px 16px; box-shadow: 0 0 0 1px var(--line); }
.tiles dt { color: var(--soft); font-size: 13px; }
.tiles dd { margin: 0; color: var(--soft); font-size: 13px; line-height: 1.4; }
.tiles .figure { color: var(--ink); font-size: 26px; line-height: 1.3; font-weight: 640; letter-spacing: -0.01em; }
.tiles .first .figure { color: var(--ensemble); }
nav { position: sticky; top: 0; z-index: 1; margin: 24px -20px 0; padding: 0 20px; background: var(--ground);
  border-bottom: 1px solid var(--line); overflow-x: auto; white-space: nowrap; scrollbar-width: none; }
nav::-webkit-scrollbar { display: none; }
nav a { display: inline-block; margin-right: 17px; padding: 12px 0; color: var(--soft); font-size: 13.5px;
  text-decoration: none; }
nav a:hover, nav a:focus { color: var(--ensemble); }
a { color: var(--ensemble); }
:focus-visible { outline: 2px solid var(--ensemble); outline-offset: 2px; }
.two, .three { display: grid; gap: 20px; align-items: start; }
.two > *, .three > * { min-width: 0; }
.two { grid-template-columns: repeat(auto-fill, minmax(min(100%, 450px), 1fr)); }
.three { grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
figure { min-width: 0; margin: 0; padding: 18px; background: var(--panel); border: 1px solid var(--line);
  border-radius: 10px; }
section > div + div.two, section > div + figure { margin-top: 20px; }
figcaption, .note { margin: 10px 0 0; color: var(--soft); font-size: 13.5px; line-height: 1.45; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 10px; background: var(--panel); }
figure .scroll { border: 0; border-radius: 0; margin: 0 -18px; }
figure .scroll th:first-child, figure .scroll td:first-child { padding-left: 18px; }
table { width: 100%; border-collapse: collapse; font-size: 14px; overflow-wrap: normal; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { padding: 9px 14px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: middle; }
tbody tr:last-child td { border-bottom: 0; }
th { color: var(--soft); font-size: 13px; font-weight: 560; white-space: nowrap; }
td:first-child { min-width: 140px; max-width: 330px; overflow-wrap: anywhere; }
td b { font-weight: 600; }
td small { display: block; color: var(--soft); font-size: 12px; line-height: 1.35; }
td small { overflow-wrap: anywhere; }
.n { text-align: right; white-space: nowrap; }
.n small { white-space: nowrap; }
tr.marked td { background: var(--faint); }
.better { color: var(--good); } .worse { color: var(--bad); } .muted-text { color: var(--soft); }
svg { display: block; overflow: visible; }
svg text { fill: var(--soft); font-size: 12px; }
.grid-plot { max-width: 100%; height: auto; }
svg .label { fill: var(--ink); }
.plot { width: 100%; max-width: 560px; height: auto; margin: 0 auto; }
.strip { width: 180px; height: 22px; margin-left: auto; }
.grid { stroke: var(--line); stroke-width: 1; }
.axis { fill: none; stroke: var(--muted); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.front { stroke: var(--muted); stroke-width: 1.5; }
.diagonal { fill: none; stroke: var(--muted); stroke-width: 1.25; stroke-dasharray: 4 4; }
.whisker { stroke-width: 2; stroke-linecap: round; }
circle, rect { stroke: none; }
.track { fill: var(--faint); } .count { fill: var(--muted); fill-opacity: 0.28; }
.heat, .ensemble { fill: var(--ensemble); } .other, .wide { fill: var(--wide); }
.deep { fill: var(--deep); } .muted { fill: var(--muted); }
.line.ensemble, .whisker.ensemble { stroke: var(--ensemble); } .line.wide, .whisker.wide { stroke: var(--wide); }
.line.deep, .whisker.deep { stroke: var(--deep); } .line.muted, .whisker.muted { stroke: var(--muted); }
.line { fill: none; }
.faint { fill-opacity: 0.5; }
svg .on { fill: var(--ink); font-size: 11px; pointer-events: none; } svg .strong { fill: var(--on); }
.plot circle.ensemble, .plot circle.wide, .plot rect.deep { stroke: var(--panel); stroke-width: 1; }
.bars { margin: 0; padding: 0; list-style: none; }
.bars li { display: grid; grid-template-columns: 1fr auto; gap: 1px 12px; padding: 5px 0; font-size: 14px; }
.bars .value, .answers .value { color: var(--soft); text-align: right; }
.bars svg { grid-column: 1 / -1; width: 100%; height: 8px; border-radius: 4px; overflow: hidden; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0 0; color: var(--soft); font-size: 13px; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 5px; }
.key.ensemble { background: var(--ensemble); } .key.wide { background: var(--wide); }
.key.deep { background: var(--deep); border-radius: 1px; } .key.muted { background: var(--muted); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 270px), 1fr)); gap: 20px; }
.card { min-width: 0; padding: 16px 18px; border: 1px solid var(--line); border-radius: 10px;
  background: var(--panel); }
.card img { display: block; width: 128px; height: auto; margin: 0 0 10px; border-radius: 6px;
  border: 1px solid var(--line); }
.pixels { image-rendering: pixelated; }
.signal { width: 100%; height: auto; margin-bottom: 10px; }
.cells { display: grid; grid-template-columns: minmax(0, max-content) minmax(0, 1fr); gap: 2px 14px; margin: 0 0 10px;
  font-size: 13px; line-height: 1.45; }
.cells dt { color: var(--soft); } .cells dd { margin: 0; }
.truth { margin: 0 0 4px; font-size: 14px; }
.answers { margin: 0; padding: 0; list-style: none; font-size: 13.5px; }
.answers li { display: flex; justify-content: space-between; gap: 12px; padding: 3px 0;
  border-top: 1px solid var(--line); }
.answers .right { color: var(--good); } .answers .wrong { color: var(--bad); }
.notes { margin: 24px 0 0; padding: 14px 18px; border: 1px solid var(--line); border-left: 3px solid var(--wide);
  border-radius: 6px; background: var(--panel); font-size: 14.5px; }
.notes h2 { font-size: 15px; } .notes ul { margin: 0; padding-left: 20px; }
details { margin: 12px 0 0; } summary { padding: 6px 0; color: var(--soft); font-size: 14px; cursor: pointer; }
footer { margin-top: 48px; padding-top: 16px; border-top: 1px solid var(--line); color: var(--soft); font-size: 13px; }
@media (max-width: 600px) {
  .page { padding: 0 16px 48px; } nav { margin: 20px -16px 0; padding: 0 16px; }
  header { padding-top: 28px; } h1 { font-size: 28px; } .lead { font-size: 16.5px; }
  .tiles { grid-template-columns: 1fr 1fr; } .tiles .figure { font-size: 21px; } .tiles div { padding: 12px; }
  figure { padding: 14px; } figure .scroll { margin: 0 -14px; } .strip { width: 110px; height: 14px; }
  th, td { padding: 9px 10px; }
  .how { font-size: 15px; } section { padding-top: 32px; }
  .plot text { font-size: 13.5px; } svg .on { font-size: 11.5px; }
}
@media print {
  :root { --ground: #ffffff; --panel: #ffffff; --ink: #000000; --soft: #444444; --line: #cccccc; --faint: #eeeeee;
    --ensemble: #0067a8; --wide: #c95600; --deep: #00805c; --muted: #78838d; --on: #ffffff;
    --good: #00704f; --bad: #b03a00; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  nav { display: none; } .page { max-width: none; padding: 0; } body { font-size: 11pt; }
  figure, .card, tr, .tiles, .notes { break-inside: avoid; } h2 { break-after: avoid; } .scroll { overflow: visible; }
}
"""
