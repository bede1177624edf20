// A bar chart of a report: calls a second, and the time on JavaScript's thread, for each workload.

import { number, threadOf } from './report.mjs'

const WIDTH = 960
const NAMES = 170
const PANEL = 290
const GAP = 105
const BAR = 16
const STEP = 22
const HEAD = 46

export function drawChart({ workloads, node, cores }) {
  const parts = []
  let y = 34
  for (const { title, unit, clients } of workloads) {
    parts.push(text(0, y, title, 'title'))
    parts.push(text(NAMES, y + 20, `${unit}s a second, more is better`, 'axis'))
    parts.push(text(NAMES + PANEL + GAP, y + 20, `µs of JavaScript's thread a ${unit}, less is better`, 'axis'))
    y += HEAD - 14
    const most = {
      rate: largest(clients, 'rate'),
      thread: Math.max(...clients.map((client) => threadOf(client).median)),
    }
    for (const client of clients) {
      const kind = client.name.startsWith('trunkline') ? 'ours' : 'theirs'
      parts.push(text(NAMES - 10, y + BAR - 4, client.name, 'name'))
      parts.push(bar(NAMES, y, client.rate.median, most.rate, kind))
      parts.push(bar(NAMES + PANEL + GAP, y, threadOf(client).median, most.thread, kind))
      y += STEP
    }
    y += HEAD - 6
  }
  const versions = new Set(
    workloads.flatMap(({ clients }) => clients.map((c) => `${c.name.split(' ')[0]} ${c.version}`)),
  )
  parts.push(text(0, y - 14, `Node ${node}, ${cores} cores; ${[...versions].join(', ')}. One run, medians.`, 'axis'))
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-16 0 ${WIDTH + 32} ${y}" width="${WIDTH + 32}" role="img"
  aria-label="trunkline beside its peers: calls a second, and time on JavaScript's thread">
<style>
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 14px; font-weight: 600 }
  .axis { fill: #59636e }
  .name { text-anchor: end }
  .ours { fill: #0a7d5c }
  .theirs { fill: #afb8c1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .axis { fill: #9198a1 }
    .ours { fill: #2fbf8f }
    .theirs { fill: #565f69 }
  }
</style>
${parts.join('\n')}
</svg>
`
}

function bar(x, y, value, most, kind) {
  const length = Math.max(1, (value / most) * PANEL)
  const shape = `<rect class="${kind}" x="${x}" y="${y}" width="${length.toFixed(1)}" height="${BAR}" rx="2"/>`
  return `${shape}${text((x + length + 6).toFixed(1), y + BAR - 4, number(value), 'value')}`
}

function text(x, y, words, kind) {
  return `<text class="${kind}" x="${x}" y="${y}">${words.replace(/[&<]/g, (sign) => (sign === '&' ? '&amp;' : '&lt;'))}</text>`
}

function largest(clients, key) {
  return Math.max(...clients.map((client) => client[key].median))
}
