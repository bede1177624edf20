// A bar chart of a report: the time on JavaScript's thread, and calls a second, for some workloads and clients. It brings a ground of its own, so
// that it can be read on a page of either colour.

import { number } from './report.mjs'

/** Workloads, and what is drawn beside the thread: of those that have a pace of their own, calls a second say nothing. */
const SHOWN = { chat: 'rate', 'chat-h2': 'rate', stream: 'rate', paced: 'cpu' }
const LEFT_OUT = ['undici fetch', 'openai over undici', 'trunkline fetch', 'trunkline text']
const WORDS = {
  rate: (unit) => `${unit}s a second: more is better`,
  cpu: (unit) => `µs of all its threads for each ${unit}: less is better`,
}
const WIDTH = 960
const MARGIN = 24
const NAMES = 152
const PANEL = 292
const GAP = 84
const BAR = 12
const STEP = 18
const LEFT = MARGIN + NAMES
const RIGHT = LEFT + PANEL + GAP

export function drawChart(report) {
  const parts = []
  let y = MARGIN + 12
  for (const { id, title, unit, clients } of report.workloads) {
    const beside = SHOWN[id]
    if (!beside) continue
    parts.push(text(MARGIN, y, title, 'title'))
    y += 20
    parts.push(text(LEFT, y, `µs of JavaScript's thread for each ${unit}: less is better`, 'axis'))
    parts.push(text(RIGHT, y, WORDS[beside](unit), 'axis'))
    y += 9
    const ranked = clients.filter(({ name }) => !LEFT_OUT.includes(name)).sort((a, b) => b.loop.median - a.loop.median)
    const most = (figure) => Math.max(...ranked.map((client) => client[figure].median))
    for (const client of ranked) {
      const kind = client.name.startsWith('trunkline') ? 'ours' : 'theirs'
      parts.push(text(LEFT - 8, y + BAR - 2, client.name, `name ${kind}-name`))
      parts.push(bar(LEFT, y, client.loop.median, most('loop'), kind))
      parts.push(bar(RIGHT, y, client[beside].median, most(beside), kind))
      y += STEP
    }
    y += 26
  }
  parts.push(text(MARGIN, y, footOf(report), 'axis'))
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + MARGIN - 6}" width="${WIDTH}" role="img"
  aria-label="trunkline beside its peers: time on JavaScript's thread, and calls a second">
<style>
  text { font: 11px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328; font-variant-numeric: tabular-nums }
  .ground { fill: #ffffff; stroke: #d1d9e0 }
  .title { font-size: 14px; font-weight: 600 }
  .axis { fill: #59636e }
  .name { text-anchor: end }
  .ours-name { font-weight: 600 }
  .ours { fill: #0a7d5c }
  .theirs { fill: #b6bfc8 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .ground { fill: #0d1117; stroke: #3d444d }
    .axis { fill: #9198a1 }
    .ours { fill: #2fbf8f }
    .theirs { fill: #56606b }
  }
</style>
<rect class="ground" x="0.5" y="0.5" width="${WIDTH - 1}" height="${y + MARGIN - 7}" rx="8"/>
${parts.join('\n')}
</svg>
`
}

function footOf({ workloads, node, machine, date }) {
  const names = ['undici', 'openai', 'trunkline']
  const all = workloads.flatMap(({ clients }) => clients)
  const versions = names.flatMap((name) => {
    const client = all.find((one) => one.name === name)
    return client ? [`${name} ${client.version}`] : []
  })
  return `Node ${node}, ${machine.cores} cores, ${date}; ${versions.join(', ')}. One run, alternating, medians.`
}

function bar(x, y, value, most, kind) {
  const length = Math.max(1, (value / most) * PANEL)
  const shape = `<rect class="${kind}" x="${x}" y="${y}" width="${length.toFixed(1)}" height="${BAR}" rx="2"/>`
  return `${shape}${text((x + length + 6).toFixed(1), y + BAR - 2, number(value), 'value')}`
}

function text(x, y, words, kind) {
  const escaped = words.replace(/[&<]/g, (sign) => (sign === '&' ? '&amp;' : '&lt;'))
  return `<text class="${kind}" x="${x}" y="${y}">${escaped}</text>`
}
