// What the repository shows of a run: the results themselves, the chart, and the parts of the README and of docs/benchmark.md that are
// made from them, in place of what stands there.

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { drawChart } from './chart.mjs'
import { doubts, FIGURES, facts, goalTitle, manner, number, reachedBy, verdict, wantedOf } from './report.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const BEGIN = '<!-- What follows is written by `npm run bench -- --write`. -->\n'
const END = '<!-- That was it. -->\n'

/** The files that show results, beside the results. */
export const pages = { 'README.md': readmeOf, 'docs/benchmark.md': pageOf }

export function writePages(report) {
  writeFileSync(`${root}benchmark/results/latest.json`, `${JSON.stringify(report, null, 2)}\n`)
  writeFileSync(`${root}benchmark/results/chart.svg`, drawChart(report))
  for (const [name, textOf] of Object.entries(pages)) {
    writeFileSync(`${root}${name}`, withResults(readFileSync(`${root}${name}`, 'utf8'), textOf(report)))
  }
}

/** A page with these results in the place of those that it shows. */
export function withResults(page, results) {
  const { begin, end } = placeIn(page)
  return `${page.slice(0, begin)}${results}${page.slice(end)}`
}

/** What a page shows now. */
export function shownIn(page) {
  const { begin, end } = placeIn(page)
  return page.slice(begin, end)
}

/** There may be other places, of other commands. */
function placeIn(page) {
  const begin = page.indexOf(BEGIN) + BEGIN.length
  const end = page.indexOf(END, begin)
  if (begin < BEGIN.length || end < 0) throw new Error(`the page has no place for results: ${BEGIN}${END}`)
  return { begin, end }
}

/** A few clients and figures of each workload. */
export function readmeOf(report) {
  const columns = ['undici', 'fetch', 'axios', 'impit', 'openai', 'ai', 'trunkline', 'trunkline all on']
  const figures = { chat: ['loop', 'rate', 'cpu', 'p99'], one: ['p50', 'p99'], paced: ['loop', 'cpu', 'memory'] }
  const lines = [
    line(['', '', ...columns.map((name) => (name === 'trunkline all on' ? `**${name}**` : name))]),
    line(['---', '---', ...columns.map(() => '---:')]),
  ]
  for (const { id, title, unit, clients } of report.workloads) {
    for (const [at, figure] of (figures[id] ?? ['loop', 'rate']).entries()) {
      const cells = columns.map((name) => cellOf(clients, name, figure))
      lines.push(line([at === 0 ? title : '', named(figure, unit), ...cells]))
    }
  }
  if (report.packages) {
    for (const figure of ['load', 'size']) {
      const cells = columns.map((name) => cellOf(report.packages.rows, name, figure))
      lines.push(line([figure === 'load' ? 'the package' : '', FIGURES[figure], ...cells]))
    }
  }
  const met = report.goals.filter((goal) => goal.met).length
  return [
    ...lines,
    '',
    `${[...facts(report), ...doubts(report)].join(' ')} ${met} of ${report.goals.length} goals are met, all with every policy on;`,
    '[docs/benchmark.md](docs/benchmark.md) lists them, with every figure of every client.',
    '',
    "![time on JavaScript's thread, and calls a second](benchmark/results/chart.svg)",
    '',
  ].join('\n')
}

/** All of it. */
export function pageOf(report) {
  const parts = []
  for (const { title, unit, rounds, clients } of report.workloads) {
    const figures = ['loop', 'rate', 'cpu', 'p50', 'p99', 'memory', 'sockets']
    parts.push(`### ${title}`, '', `${rounds} rounds.`, '')
    parts.push(line(['', ...figures.map((figure) => named(figure, unit)), 'range']))
    parts.push(line(['---', ...figures.map(() => '---:'), '---:']))
    for (const client of clients) {
      const range = `${number(client.rate.min)}–${number(client.rate.max)}`
      const cells = figures.map((figure) => cellOf(clients, client.name, figure))
      parts.push(line([`${client.name} ${client.version.replace('Node ', '')}`, ...cells, range]))
    }
    parts.push('')
    const notes = clients.filter(({ note }) => note)
    if (notes.length > 0) parts.push(...notes.map(({ name, note }) => `- ${name}: ${note}`), '')
  }
  if (report.packages) {
    parts.push('### The package', '', line(['', FIGURES.load, FIGURES.size]), line(['---', '---:', '---:']))
    for (const { name, version, load, size } of report.packages.rows) {
      parts.push(line([`${name} ${version}`, number(load.median), number(size)]))
    }
    parts.push('')
  }
  if (report.pool) {
    parts.push('### The pool alone', '', 'In Rust, without Node.', '', line(['', 'best', 'median', 'unit']))
    parts.push(line(['---', '---:', '---:', '---']))
    for (const { title, unit, best, median } of report.pool.rows) {
      parts.push(line([title, number(best), number(median), unit]))
    }
    parts.push('')
  }
  const goals = report.goals.map((goal) => [goalTitle(goal), goal.ours, reachedBy(goal), wantedOf(goal), verdict(goal)])
  return [
    ...[...facts(report), ...manner(report), ...doubts(report)].map((said) => `- ${said}`),
    '',
    '### Goals',
    '',
    line(['', 'of', 'reached', 'wanted', '']),
    line(['---', '---', '---:', '---:', '---']),
    ...goals.map(line),
    '',
    ...parts,
  ].join('\n')
}

function cellOf(clients, name, figure) {
  const found = clients.find((client) => client.name === name)
  return found ? number(found[figure].median ?? found[figure]) : '–'
}

function named(figure, unit) {
  return FIGURES[figure].replace('{}', unit)
}

function line(cells) {
  return `| ${cells.join(' | ')} |`
}
