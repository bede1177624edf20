// The figures as a person reads them in a terminal.

import { NOISE } from './figures.mjs'

/** Of these the upstream's share of its core, it was what limited the row. */
const LIMIT = 0.9
/** Above this it could not have served half as much again. */
const HEADROOM = 1 / 1.5

/** What a figure is called, beside its unit. `{}` is what is counted. */
export const FIGURES = {
  rate: '{}s/s',
  loop: 'JS thread µs',
  cpu: 'CPU µs',
  p50: 'p50 ms',
  p99: 'p99 ms',
  memory: 'peak MB',
  sockets: 'sockets',
  load: 'ms to load',
  size: 'MB on disk',
}

export function table({ title, unit, rounds, clients }) {
  const base = clients.find(({ name }) => name === 'undici')
  const named = (figure) => FIGURES[figure].replace('{}', unit)
  const head = [
    'client',
    named('rate'),
    'range',
    '× undici',
    named('loop'),
    'range',
    '× undici',
    'its processor µs',
    named('cpu'),
    named('p50'),
    named('p99'),
    named('memory'),
    named('sockets'),
    'upstream',
    'others',
  ]
  const rows = clients.map((client) => [
    client.name,
    number(client.rate.median),
    range(client.rate, rounds),
    ratio(client.rate, base?.rate),
    number(client.loop.median),
    range(client.loop, rounds),
    ratio(client.loop, base?.loop),
    client.thread ? number(client.thread.median) : '',
    number(client.cpu.median),
    number(client.p50.median),
    number(client.p99.median),
    number(client.memory),
    String(client.sockets),
    `${Math.round(client.upstream.median * 100)} %${client.upstream.median > LIMIT ? ' !' : ''}`,
    `${Math.round(client.others.median * 100)} %`,
  ])
  const notes = clients.filter(({ note }) => note).map(({ name, note }) => `  ${name}: ${note}`)
  return ['', `${title} (${counted(rounds)})`, ...aligned([head, ...rows]), ...notes].join('\n')
}

/** What packages cost before their first call. */
export function packageTable({ rounds, rows }) {
  const head = ['package', 'version', FIGURES.load, 'range', FIGURES.size]
  const lines = rows.map(({ name, version, load, size }) => [
    name,
    version,
    number(load.median),
    range(load, rounds),
    number(size),
  ])
  return ['', `To load, and what is installed (${counted(rounds)})`, ...aligned([head, ...lines])].join('\n')
}

/** The pool's own rows: the best round is what it can do, the median says how much others disturbed. */
export function poolTable({ rounds, rows }) {
  const head = ['the pool alone', 'best', 'median', 'unit', 'goal', '']
  const lines = rows.map(({ title, unit, best, median, goal, met }) => [
    title,
    number(best),
    number(median),
    unit,
    goal ? `${goal.sign} ${number(goal.value)}` : '',
    met === false ? '!' : '',
  ])
  return [
    '',
    `The pool itself, in Rust over a network of memory (${counted(rounds)})`,
    ...aligned([head, ...lines]),
  ].join('\n')
}

/** What was aimed at, and what was reached. */
export function goalTable(judged) {
  const head = ['goal', 'of', 'reached', 'wanted', '']
  const rows = judged.map((goal) => [goalTitle(goal), goal.ours, reachedBy(goal), wantedOf(goal), verdict(goal)])
  const met = judged.filter((goal) => goal.met).length
  return ['', `Goals: ${met} of ${judged.length} met`, ...aligned([head, ...rows])].join('\n')
}

export const goalTitle = ({ title, unit, figure }) => `${title}: ${FIGURES[figure].replace('{}', unit)}`

export function reachedBy({ base, reached, processor, measured }) {
  if (base) return `${number(measured)} × ${base.name} (${number(reached)} to ${number(base.value)})`
  return processor === null ? number(reached) : `${number(reached)} (processor: ${number(processor)})`
}

export function wantedOf({ sign, wanted, base }) {
  return `${sign} ${number(wanted)}${base ? ' ×' : ''}`
}

export const verdict = ({ met }) => (met ? 'met' : 'not met')

/** What is said once, under all tables. */
export function summary(report) {
  return ['', ...facts(report), ...manner(report), ...doubts(report)].join('\n')
}

/** What was measured, and on what. */
export function facts({ workloads, node, machine, date }) {
  return [
    `Node ${node}; ${versionsOf(workloads.flatMap(({ clients }) => clients))}.`,
    `${machine.cpu ?? 'An unknown processor'}, ${machine.cores} cores, ${machine.memory} GB, ${machine.system}; ${date}.`,
  ]
}

/** How it was measured. */
export function manner({ pinned, itself }) {
  const lines = [
    pinned.upstream === null
      ? 'Neither clients nor upstream were pinned to cores of their own, since this system cannot: they took time from each other.'
      : pinned.clients === null
        ? 'The upstream was pinned to one core; the clients ran where the system put them.'
        : 'The upstream had one core to itself, the clients the others.',
    'JS thread: the time for each call that the event loop was active; its processor time is told beside it where the system tells it.',
    'Medians of the rounds; where other processes disturbed some, of the quietest of more.',
    'Upstream, others: the share of a core that the upstream took, and processes that are no part of this.',
  ]
  if (itself) lines.push(`Of every JS thread figure of a chat, the bench itself is ${number(itself.loop)} µs.`)
  return lines
}

/** What speaks for the figures, or against them. */
export function doubts({ workloads }) {
  const all = workloads.flatMap(({ title, clients }) => clients.map((client) => ({ title, ...client })))
  const bound = all.filter(({ upstream }) => upstream.median > LIMIT)
  const tight = all.filter(({ upstream }) => upstream.median > HEADROOM && upstream.median <= LIMIT)
  const names = (rows) => rows.map(({ name, title }) => `${name} (${title})`).join('; ')
  const lines = []
  if (bound.length > 0) {
    lines.push(`The upstream was the limit (!) of ${names(bound)}: the client could have gone faster.`)
  }
  if (tight.length > 0) lines.push(`The upstream could not have served half as much again to ${names(tight)}.`)
  if (lines.length === 0) {
    lines.push('The upstream was never the limit: it could have served at least half as much again in every row.')
  }
  const others = Math.max(0, ...all.map((client) => client.others.median))
  if (others > NOISE) {
    const share = Math.round(others * 100)
    lines.push(`Other processes took up to ${share} % of a core meanwhile: measure again when the machine is quiet.`)
  }
  return lines
}

/** Each package once. */
function versionsOf(clients) {
  const names = clients.map(({ name, version }) => `${/^\w+/.exec(name)[0]} ${version}`)
  return [...new Set(names)].filter((name) => !name.startsWith('fetch ')).join(', ')
}

export function number(value) {
  if (value >= 1000) return Math.round(value).toLocaleString('en')
  if (value >= 100) return value.toFixed(0)
  return value.toFixed(value >= 10 ? 1 : value >= 0.1 || value === 0 ? 2 : 3)
}

function range({ min, max }, rounds) {
  return rounds > 1 ? `${number(min)}–${number(max)}` : ''
}

function ratio(of, base) {
  return base ? number(of.median / base.median) : ''
}

function counted(rounds) {
  return rounds === 1 ? 'one round' : `${rounds} rounds`
}

/** The first column to the left, the others to the right. */
export function aligned(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  const line = (row) =>
    row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join('  ')
  const [head, ...rest] = rows
  return [line(head), widths.map((width) => '─'.repeat(width)).join('──'), ...rest.map(line)]
}
