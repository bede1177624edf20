// The figures as a person reads them.

/** Of these the upstream's share of its core, it was what limited the row. */
const LIMIT = 0.9
/** Above this it could not have served half as much again. */
const HEADROOM = 1 / 1.5

/** Of a core, by processes that are no part of the bench. */
export const NOISE = 0.1

export function table({ title, unit, rounds, clients }) {
  const base = clients.find(({ name }) => name === 'undici')
  const head = [
    'client',
    `${unit}s/s`,
    'range',
    '× undici',
    'JS thread µs',
    '× undici',
    'event loop µs',
    'CPU µs',
    'p50 ms',
    'p99 ms',
    'peak MB',
    'sockets',
    'upstream',
    'others',
  ]
  const rows = clients.map((client) => [
    client.name,
    number(client.rate.median),
    rounds > 1 ? `${number(client.rate.min)}–${number(client.rate.max)}` : '',
    ratio(client.rate, base?.rate),
    number(threadOf(client).median),
    ratio(threadOf(client), base && threadOf(base)),
    number(client.loop.median),
    number(client.cpu.median),
    number(client.p50.median),
    number(client.p99.median),
    number(client.memory),
    String(client.sockets),
    `${Math.round(client.upstream.median * 100)} %${client.upstream.median > LIMIT ? ' !' : ''}`,
    `${Math.round(client.others.median * 100)} %`,
  ])
  const notes = clients.filter(({ note }) => note).map(({ name, note }) => `  ${name}: ${note}`)
  return [
    '',
    `${title} (${rounds === 1 ? 'one round' : `${rounds} rounds`})`,
    ...aligned([head, ...rows]),
    ...notes,
  ].join('\n')
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
    `The pool itself, in Rust over a network of memory (${rounds === 1 ? 'one round' : `${rounds} rounds`})`,
    ...aligned([head, ...lines]),
  ].join('\n')
}

/** What is said once, under all tables. */
export function summary(report) {
  const all = report.workloads.flatMap(({ title, clients }) => clients.map((client) => ({ title, ...client })))
  const versions = [...new Set(all.map(({ name, version }) => `${name.split(' ')[0]} ${version}`))]
  const bound = all.filter(({ upstream }) => upstream.median > LIMIT)
  const tight = all.filter(({ upstream }) => upstream.median > HEADROOM && upstream.median <= LIMIT)
  const names = (rows) => rows.map(({ name, title }) => `${name} (${title})`).join('; ')
  const lines = [
    '',
    `Node ${report.node}, ${report.platform}, ${report.cores} cores; ${versions.join(', ')}.`,
    report.clientsPinned
      ? 'The upstream had one core to itself, the clients the others.'
      : report.pinned
        ? 'The upstream was pinned to one core; the clients ran where the system put them.'
        : 'Client and upstream were not pinned to cores of their own: they took time from each other.',
    report.threadClock === 'processor'
      ? 'JS thread: processor time of the thread that runs JavaScript, for each call. Event loop: the time that it was active, which counts what others took from it.'
      : "JS thread: the time that the event loop was active, as this system does not tell the thread's processor time.",
    'Medians of the rounds; where other processes disturbed some, of the quietest of more.',
    'Upstream, others: the share of a core that the upstream took, and processes that are no part of this.',
    bound.length > 0
      ? `The upstream was the limit (!) of ${names(bound)}: the client could have gone faster.`
      : 'The upstream was never the limit.',
  ]
  const others = Math.max(...all.map((client) => client.others.median))
  if (others > NOISE) {
    const share = Math.round(others * 100)
    lines.push(`Other processes took up to ${share} % of a core meanwhile: measure again when the machine is quiet.`)
  }
  if (tight.length > 0) lines.push(`It could not have served half as much again to ${names(tight)}.`)
  return lines.join('\n')
}

/** The figure that is the thread's: its processor time where the system tells. */
export function threadOf(client) {
  return client.thread ?? client.loop
}

export function number(value) {
  if (value >= 1000) return Math.round(value).toLocaleString('en')
  if (value >= 100) return value.toFixed(0)
  return value.toFixed(value >= 10 ? 1 : 2)
}

function ratio(of, base) {
  return base ? `${number(of.median / base.median)}` : ''
}

/** The first column to the left, the others to the right. */
export function aligned(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  const line = (row) =>
    row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join('  ')
  const [head, ...rest] = rows
  return [line(head), widths.map((width) => '─'.repeat(width)).join('──'), ...rest.map(line)]
}
