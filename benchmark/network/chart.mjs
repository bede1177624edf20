// A chart of the rows beside peers: calls a second up to the limit that the path sets, and how late the slowest hundredth was.

import { number } from './report.mjs'

const WIDTH = 960
const NAMES = 170
const PANEL = 290
const GAP = 105
const BAR = 16
const STEP = 22

export function drawChart({ rows, node, cores, roundTrip }) {
  const parts = []
  let y = 34
  for (const { title, floor, atOnce, clients } of rows.filter(({ section }) => section === 'peers')) {
    const here = clients.filter(({ missing }) => !missing)
    const limit = (atOnce * 1000) / floor
    const latest = Math.max(...here.map(({ p99 }) => p99))
    parts.push(text(0, y, title[0].toUpperCase() + title.slice(1), 'title'))
    parts.push(text(NAMES, y + 20, `calls a second; the limit is ${number(limit)}`, 'axis'))
    parts.push(text(NAMES + PANEL + GAP, y + 20, `p99 ms, less is better; the floor is ${number(floor)}`, 'axis'))
    y += 32
    const top = y - 3
    for (const { label, rate, p99 } of here) {
      const kind = label.startsWith('trunkline') ? 'ours' : 'theirs'
      parts.push(text(NAMES - 10, y + BAR - 4, label, 'name'))
      parts.push(bar(NAMES, y, rate, Math.max(limit, rate), kind), bar(NAMES + PANEL + GAP, y, p99, latest, kind))
      y += STEP
    }
    const floorAt = NAMES + PANEL + GAP + (floor / latest) * PANEL
    parts.push(line(NAMES + PANEL, top, y), line(floorAt, top, y))
    y += 40
  }
  const words = `A round trip of ${roundTrip} ms, TLS, an upstream that answers after 50 ms. Node ${node}, ${cores} cores. The lines are what the path allows.`
  parts.push(text(0, y - 14, words, 'axis'))
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-16 0 ${WIDTH + 32} ${y}" width="${WIDTH + 32}" role="img"
  aria-label="trunkline beside its peers in a wide area: calls a second, and the slowest hundredth">
<style>
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .ground { fill: #ffffff; stroke: #d1d9e0 }
  .title { font-size: 14px; font-weight: 600 }
  .axis { fill: #59636e }
  .name { text-anchor: end }
  .ours { fill: #0a7d5c }
  .theirs { fill: #afb8c1 }
  .limit { stroke: #59636e; stroke-dasharray: 3 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .ground { fill: #0d1117; stroke: #3d444d }
    .axis { fill: #9198a1 }
    .ours { fill: #2fbf8f }
    .theirs { fill: #565f69 }
    .limit { stroke: #9198a1 }
  }
</style>
<rect class="ground" x="-15.5" y="0.5" width="${WIDTH + 31}" height="${y - 1}" rx="8"/>
${parts.join('\n')}
</svg>
`
}

function bar(x, y, value, most, kind) {
  const length = Math.max(1, (value / most) * PANEL)
  const shape = `<rect class="${kind}" x="${x}" y="${y}" width="${length.toFixed(1)}" height="${BAR}" rx="2"/>`
  return `${shape}${text((x + length + 6).toFixed(1), y + BAR - 4, number(value), 'value')}`
}

function line(x, from, to) {
  return `<line class="limit" x1="${x.toFixed(1)}" y1="${from}" x2="${x.toFixed(1)}" y2="${to - 4}"/>`
}

function text(x, y, words, kind) {
  return `<text class="${kind}" x="${x}" y="${y}">${words.replace(/[&<]/g, (sign) => (sign === '&' ? '&amp;' : '&lt;'))}</text>`
}
