'use strict'

/** Colours by what they mean. Those of charts are told apart without red and green (after Okabe and Ito), and stand beside words. */
const style = `
:root {
  color-scheme: light dark;
  --page: #f4f5f8; --card: #ffffff; --edge: #e3e6ec; --ink: #14181f; --soft: #5a6474; --faint: #eef0f4;
  --accent: #2f6fed; --link: #1f55c4; --good: #0a7d57; --warn: #9a5b00; --bad: #c02f3a; --good-wash: #e3f5ee; --warn-wash: #fdf1dc; --bad-wash: #fdeaec;
  --queued: #e09a12; --connecting: #b565a7; --retried: #d1495b; --first: #2f6fed; --rest: #1aa37a;
  --p50: #2f6fed; --p90: #8a63d2; --p99: #d9822b;
  --shadow: 0 1px 2px rgb(16 24 40 / .05), 0 4px 16px rgb(16 24 40 / .04);
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0c0f14; --card: #151a22; --edge: #242b37; --ink: #e9edf4; --soft: #98a3b5; --faint: #1d2430;
    --accent: #6b9dff; --link: #8ab1ff; --good: #43d3a0; --warn: #f2b355; --bad: #ff7c86; --good-wash: #10291f; --warn-wash: #2d2313; --bad-wash: #33181c;
    --queued: #f0b542; --connecting: #d08bc4; --retried: #f0707f; --first: #6b9dff; --rest: #3fcf9f;
    --p50: #6b9dff; --p90: #b597f2; --p99: #f2a65a;
    --shadow: none;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 1360px; padding: 20px 24px 32px; background: var(--page); color: var(--ink);
  font: 14px/1.45 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Inter, Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-font-smoothing: antialiased;
}
h1, h2, p { margin: 0; }
.top { display: flex; align-items: center; gap: 8px 16px; flex-wrap: wrap; padding: 2px 2px 18px; }
.brand { display: flex; align-items: center; gap: 10px; color: var(--accent); }
.brand svg { width: 32px; height: 24px; }
h1 { font-size: 20px; font-weight: 680; letter-spacing: -.01em; color: var(--ink); }
.status { display: inline-flex; align-items: center; gap: 8px; padding: 4px 12px; border-radius: 99px; font-weight: 560; background: var(--faint); color: var(--soft); }
.status::before { content: ""; width: 8px; height: 8px; border-radius: 50%; background: currentColor; }
.status[data-level=good] { background: var(--good-wash); color: var(--good); }
.status[data-level=warn] { background: var(--warn-wash); color: var(--warn); }
.status[data-level=bad] { background: var(--bad-wash); color: var(--bad); }
.facts { margin-left: auto; color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 14px; margin-bottom: 14px; }
.card, .tile { background: var(--card); border: 1px solid var(--edge); border-radius: 14px; box-shadow: var(--shadow); }
.tile { position: relative; overflow: hidden; padding: 14px 16px 48px; }
.tile h2 { font-size: 13px; font-weight: 540; color: var(--soft); }
.tile .value { font-size: 27px; font-weight: 660; letter-spacing: -.025em; line-height: 1.25; white-space: nowrap; }
.tile .value small { font-size: 14px; font-weight: 540; letter-spacing: 0; color: var(--soft); margin-left: 3px; }
.tile .more { color: var(--soft); font-size: 12.5px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.tile svg { position: absolute; left: 0; right: 0; bottom: 0; width: 100%; height: 40px; }
.grid { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 14px; align-items: stretch; }
.card { padding: 16px 18px 18px; min-width: 0; }
.card > header { display: flex; align-items: baseline; gap: 2px 12px; flex-wrap: wrap; margin-bottom: 12px; }
.card h2 { font-size: 15px; font-weight: 640; letter-spacing: -.005em; }
.note { color: var(--soft); font-size: 12.5px; }
.half { grid-column: span 3; } .two { grid-column: span 4; } .one { grid-column: span 2; } .full { grid-column: 1 / -1; }
.scroll { overflow-x: auto; margin: 0 -18px -4px; padding: 0 18px 4px; }
table { width: 100%; border-collapse: collapse; }
th { font-weight: 540; font-size: 12.5px; color: var(--soft); text-align: right; padding: 0 0 6px 14px; white-space: nowrap; }
td { text-align: right; padding: 7px 0 7px 14px; border-top: 1px solid var(--edge); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.name { max-width: 290px; overflow: hidden; text-overflow: ellipsis; font-weight: 540; }
td .dim, .dim { color: var(--soft); font-weight: 400; }
tr.sum td { font-weight: 640; }
.left { text-align: left !important; }
.chart { position: relative; }
.chart svg { display: block; width: 100%; height: 168px; overflow: visible; }
.grid-line { stroke: var(--edge); stroke-width: 1; vector-effect: non-scaling-stroke; }
.trace { fill: none; stroke-width: 1.8; vector-effect: non-scaling-stroke; stroke-linejoin: round; stroke-linecap: round; }
.area { opacity: .13; stroke: none; }
.axis { display: flex; justify-content: space-between; color: var(--soft); font-size: 11.5px; margin-top: 5px; }
.tick { position: absolute; left: 0; font-size: 11.5px; color: var(--soft); transform: translateY(-100%); padding: 0 4px 1px 0; }
.cross { position: absolute; top: 0; width: 1px; height: 168px; background: var(--soft); opacity: .5; pointer-events: none; }
.tip { position: absolute; top: 2px; background: var(--ink); color: var(--card); border-radius: 8px; padding: 5px 10px; font-size: 12px; pointer-events: none; white-space: nowrap; z-index: 1; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 0 0 10px; padding: 0; list-style: none; color: var(--soft); font-size: 12.5px; }
.legend li { display: flex; align-items: center; gap: 6px; }
.legend b { color: var(--ink); font-weight: 600; }
.key { width: 10px; height: 10px; border-radius: 3px; flex: none; background: currentColor; }
.slow { display: grid; gap: 11px; }
.slow > div { display: grid; grid-template-columns: 200px minmax(0, 1fr) 68px; gap: 5px 16px; align-items: center; }
.slow .name { font-weight: 540; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.slow .name small { display: block; font-size: 12px; font-weight: 400; color: var(--soft); }
.slow .mean { text-align: right; font-weight: 600; }
.bar { display: flex; height: 18px; border-radius: 5px; overflow: hidden; gap: 2px; min-width: 3px; }
.bar i { display: block; background: currentColor; min-width: 0; transition: flex-grow .4s; }
.meter { height: 8px; border-radius: 99px; background: var(--faint); overflow: hidden; }
.meter i { display: block; height: 100%; border-radius: 99px; background: currentColor; color: var(--accent); transition: width .4s; }
.meter i[data-level=good] { color: var(--accent); } .meter i[data-level=warn] { color: var(--queued); } .meter i[data-level=bad] { color: var(--bad); }
.row + .row { margin-top: 13px; }
.row p { display: flex; justify-content: space-between; gap: 12px; margin-bottom: 5px; }
.row p > :first-child { font-weight: 540; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.row p > :last-child { white-space: nowrap; }
.row .under { margin: 4px 0 0; color: var(--soft); font-size: 12.5px; }
.lines { display: grid; grid-template-columns: auto minmax(0, 1fr) minmax(2ch, auto); gap: 11px 14px; align-items: center; }
.lines > :nth-child(3n) { text-align: right; font-weight: 560; }
.verdict { font-size: 20px; font-weight: 660; letter-spacing: -.015em; line-height: 1.25; margin-bottom: 8px; text-wrap: balance; }
.words { color: var(--soft); margin-bottom: 16px; text-wrap: pretty; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; border-top: 1px solid var(--edge); padding-top: 14px; margin-top: 16px; }
.pair b { display: block; white-space: nowrap; font-size: 19px; font-weight: 640; letter-spacing: -.015em; }
.pair > div > span { color: var(--soft); font-size: 12.5px; }
.sums { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 12px; margin-bottom: 16px; }
.sums b { display: block; white-space: nowrap; font-size: 24px; font-weight: 660; letter-spacing: -.02em; line-height: 1.25; }
.sums > div > span { color: var(--soft); font-size: 12.5px; }
.pill { display: inline-block; border-radius: 99px; padding: 1px 9px; font-size: 12px; font-weight: 560; background: var(--faint); color: var(--soft); }
.pill[data-level=good] { background: var(--good-wash); color: var(--good); }
.pill[data-level=warn] { background: var(--warn-wash); color: var(--warn); }
.pill[data-level=bad] { background: var(--bad-wash); color: var(--bad); }
.errors { list-style: none; margin: 0 -18px -8px; padding: 0 18px 8px; max-height: 400px; overflow-y: auto; }
.errors li { display: grid; grid-template-columns: 88px minmax(150px, auto) minmax(0, 1fr); gap: 2px 16px; padding: 9px 0; border-top: 1px solid var(--edge); }
.errors li:first-child { border-top: 0; padding-top: 0; }
.errors .text { overflow-wrap: anywhere; }
.errors .text small { display: block; color: var(--soft); font-size: 12.5px; }
.empty { color: var(--soft); padding: 6px 0; }
.scroll + .empty { padding: 12px 0 0; font-size: 12.5px; }
footer { display: flex; justify-content: space-between; gap: 8px 24px; flex-wrap: wrap; color: var(--soft); font-size: 12.5px; padding: 18px 4px 0; }
a { color: var(--link); text-underline-offset: 2px; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
body.stale main { opacity: .55; }
@media (max-width: 1100px) {
  .tiles { grid-template-columns: repeat(3, minmax(0, 1fr)); }
  .half, .two, .one { grid-column: 1 / -1; }
}
@media (max-width: 620px) {
  body { padding: 14px 12px 28px; }
  .top { padding-bottom: 14px; }
  .facts { margin-left: 0; width: 100%; font-size: 12.5px; }
  .tiles, .grid { gap: 10px; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .tile { padding: 12px 13px 44px; }
  .tile .value { font-size: 24px; }
  .card { padding: 14px 14px 16px; }
  .scroll { margin: 0 -14px -4px; padding: 0 14px 4px; }
  .slow { gap: 14px; }
  .slow > div { grid-template-columns: minmax(0, 1fr) auto; }
  .slow .bar { grid-column: 1 / -1; grid-row: 2; }
  .sums b { font-size: 19px; }
  .errors li { grid-template-columns: auto 1fr; }
  .errors .text { grid-column: 1 / -1; }
  td.name { max-width: 180px; }
}
@media (prefers-reduced-motion: reduce) { * { transition: none !important; } }
@media (forced-colors: active) { .key, .bar i, .meter i { forced-color-adjust: none; } }
`

module.exports = { style }
