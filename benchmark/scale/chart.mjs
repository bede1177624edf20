// Small charts of a report, one for each series: what a call costs as something grows, both by logarithm, so that what is flat lies flat.

const WIDTH = 300
const HEIGHT = 130
const LEFT = 48
const TOP = 44
const STEP_X = WIDTH + LEFT + 26
const STEP_Y = HEIGHT + TOP + 54
const COLUMNS = 2
const LINES = [
  { figure: 'thread', kind: 'thread' },
  { figure: 'cpu', kind: 'cpu' },
]

export function drawChart({ series, node, cores, date }) {
  const parts = []
  for (const [at, one] of series.entries()) {
    const [x, y] = [(at % COLUMNS) * STEP_X, Math.floor(at / COLUMNS) * STEP_Y + 30]
    parts.push(`<g transform="translate(${x + LEFT} ${y + TOP})">`, ...panel(one), '</g>')
  }
  const width = COLUMNS * STEP_X + 10
  const height = Math.ceil(series.length / COLUMNS) * STEP_Y + 50
  parts.push(line(LEFT, 14, LEFT + 18, 14, 'thread'), text(LEFT + 24, 18, "JavaScript's thread, µs", 'axis'))
  parts.push(
    line(LEFT + 190, 14, LEFT + 208, 14, 'cpu'),
    text(LEFT + 214, 18, 'all threads, processor time in µs', 'axis'),
  )
  parts.push(text(LEFT, height - 10, `Node ${node}, ${cores} cores, ${date}. Medians of one run.`, 'axis'))
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" role="img"
  aria-label="What a call costs as calls in flight, origins, tenants, bodies, streams and workers grow">
<style>
  text { font: 11px system-ui, sans-serif; fill: #1f2328 }
  .ground { fill: #ffffff; stroke: #d1d9e0 }
  .title { font-size: 13px; font-weight: 600 }
  .axis { fill: #59636e }
  .end { text-anchor: end; fill: #59636e }
  .middle { text-anchor: middle; fill: #59636e }
  .grid { stroke: #d1d9e0; stroke-width: 1 }
  .thread { stroke: #0a7d5c; stroke-width: 2; fill: none }
  .cpu { stroke: #8250df; stroke-width: 2; fill: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .ground { fill: #0d1117; stroke: #3d444d }
    .axis, .end, .middle { fill: #9198a1 }
    .grid { stroke: #3d444d }
    .thread { stroke: #2fbf8f }
    .cpu { stroke: #b392f0 }
  }
</style>
<rect class="ground" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8"/>
${parts.join('\n')}
</svg>
`
}

function panel({ title, x, unit = 'call', bytes, points }) {
  const values = points.flatMap((point) => LINES.map(({ figure }) => point[figure]))
  const [low, high] = [
    10 ** Math.floor(Math.log10(Math.min(...values))),
    10 ** Math.ceil(Math.log10(Math.max(...values))),
  ]
  const yOf = (value) => HEIGHT - (Math.log10(value / low) / Math.log10(Math.max(10, high / low))) * HEIGHT
  const xs = points.map((point) => point.x)
  const numeric = xs.every((value) => typeof value === 'number') && xs.length > 1
  const xOf = (value, at) => {
    if (!numeric) return ((at + 0.5) / xs.length) * WIDTH
    return (Math.log(value / xs[0]) / Math.log(xs.at(-1) / xs[0])) * WIDTH
  }
  const parts = [text(0, -24, title, 'title'), text(0, -9, `µs a ${unit}`, 'axis')]
  for (let tick = low; tick <= high * 1.001; tick *= 10) {
    parts.push(line(0, yOf(tick), WIDTH, yOf(tick), 'grid'), text(-6, yOf(tick) + 4, short(tick), 'end'))
  }
  for (const [at, value] of xs.entries()) {
    parts.push(text(xOf(value, at), HEIGHT + 15, bytes ? sizeOf(value) : short(value), 'middle'))
  }
  parts.push(text(WIDTH / 2, HEIGHT + 31, x, 'middle'))
  for (const { figure, kind } of LINES) {
    const dots = points.map((point, at) => `${fixed(xOf(point.x, at))},${fixed(yOf(point[figure]))}`)
    parts.push(`<polyline class="${kind}" points="${dots.join(' ')}"/>`)
    for (const dot of dots) {
      const [cx, cy] = dot.split(',')
      parts.push(`<circle class="${kind}" cx="${cx}" cy="${cy}" r="2"/>`)
    }
  }
  return parts
}

const fixed = (value) => value.toFixed(1)
const short = (value) =>
  typeof value === 'number' && value >= 1000
    ? `${value / 1000}k`
    : String(Number.isInteger(value) ? value : (value.toPrecision?.(1) ?? value))
const sizeOf = (bytes) => (bytes < 2 ** 20 ? `${bytes / 1024}K` : `${bytes / 2 ** 20}M`)

function text(x, y, words, kind) {
  return `<text class="${kind}" x="${fixed(x)}" y="${fixed(y)}">${words.replace(/[&<]/g, (sign) => (sign === '&' ? '&amp;' : '&lt;'))}</text>`
}

function line(x1, y1, x2, y2, kind) {
  return `<line class="${kind}" x1="${fixed(x1)}" y1="${fixed(y1)}" x2="${fixed(x2)}" y2="${fixed(y2)}"/>`
}
