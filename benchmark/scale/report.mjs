// The figures as a person reads them: on the screen, and in docs/scale.md.

import { aligned, number } from '../report.mjs'

const WORDS = { thread: 'JS thread', cpu: 'CPU', memory: 'memory', pause: 'longest pause' }

const columns = (series) =>
  [
    { head: series.x, cell: ({ x }) => (series.bytes ? size(x) : typeof x === 'number' ? x.toLocaleString('en') : x) },
    { head: `${unitOf(series)}s/s`, cell: ({ rate }) => number(rate), of: 'rate' },
    { head: `JS thread µs/${unitOf(series)}`, cell: ({ thread }) => number(thread), of: 'thread' },
    { head: `CPU µs/${unitOf(series)}`, cell: ({ cpu }) => number(cpu), of: 'cpu' },
    { head: 'V8 alone µs', cell: ({ alone }) => number(alone), of: 'alone' },
    { head: 'memory, KB each', cell: ({ x, memory }) => kilobytes(memory / x), of: 'memory' },
    { head: 'of that JS heap', cell: ({ x, heap }) => kilobytes(heap / x), of: 'heap' },
    { head: 'longest pause ms', cell: ({ pause }) => number(pause), of: 'pause' },
    { head: 'of that work', cell: ({ worked }) => number(worked), of: 'worked' },
  ].filter(({ of }) => of === undefined || series.points.some((point) => typeof point[of] === 'number'))

export function table(series) {
  const all = columns(series)
  const rows = series.points.map((point) => all.map((column) => cellOf(column, point)))
  return [
    '',
    series.title,
    ...aligned([all.map(({ head }) => head), ...rows]),
    ...series.goals.map((goal) => `  ${verdict(goal)}`),
    ...series.notes.map((note) => `  ${note}`),
  ].join('\n')
}

/** The part of docs/scale.md that is generated. */
export function page(report) {
  const { all, met, unmet, unknown } = tally(report)
  const lines = [
    '![What a call costs as something grows](../benchmark/results/scale.svg)',
    '',
    `Node ${report.node}, ${report.platform}, ${report.cores} cores, ${report.date}; medians of ${report.rounds} rounds. ${met} of ${all} goals met${unmet > 0 ? `, ${unmet} not met` : ''}${unknown > 0 ? `, ${unknown} not judged` : ''}.`,
  ]
  for (const series of report.series) {
    const shown = columns(series)
    lines.push('', `### ${series.title}`, '')
    lines.push(`| ${shown.map(({ head }) => head).join(' | ')} |`, `|${shown.map(() => '---:').join('|')}|`)
    for (const point of series.points) lines.push(`| ${shown.map((column) => cellOf(column, point)).join(' | ')} |`)
    lines.push('', ...series.goals.map((goal) => `- ${verdict(goal)}`), ...series.notes.map((note) => `- ${note}`))
  }
  return lines.join('\n')
}

export function summary(report) {
  const { all, met, unmet, unknown } = tally(report)
  const lines = [`\n${met} of ${all} goals met, ${unmet} not met, ${unknown} not judged.`]
  if (report.disturbed > 10) {
    lines.push(`A thread without work stood still for up to ${number(report.disturbed)} ms: others used the machine.`)
  }
  return lines.join('\n')
}

function tally({ series }) {
  const goals = series.flatMap((one) => one.goals)
  const count = (met) => goals.filter((goal) => goal.met === met).length
  return { all: goals.length, met: count(true), unmet: count(false), unknown: count(null) }
}

function verdict({ figure, shape, from, at, within, most, met, growth, value }) {
  const word = met === null ? 'not judged' : met ? 'met' : 'NOT MET'
  const where =
    at === undefined ? (from ? `, from ${from.toLocaleString('en')} on` : '') : ` at ${at.toLocaleString('en')}`
  const found = []
  if (typeof growth === 'number') found.push(`grows ${growth.toFixed(2)} ×, at most ${within} ×`)
  if (typeof value === 'number') {
    const show = figure === 'pause' ? (ms) => `${number(ms)} ms` : (bytes) => `${kilobytes(bytes)} KB each`
    found.push(`${show(value)}, at most ${show(most)}`)
  }
  return `${word}: ${WORDS[figure]}, ${shape}${where}${found.length > 0 ? ` (${found.join('; ')})` : ''}`
}

const unitOf = ({ unit }) => unit ?? 'call'
const cellOf = ({ of, cell }, point) => (of === undefined || typeof point[of] === 'number' ? cell(point) : '')
const size = (bytes) => (bytes < 2 ** 20 ? `${bytes / 1024} KB` : `${bytes / 2 ** 20} MB`)
const kilobytes = (bytes) => (bytes < 0 ? '0' : number(bytes / 1024))
