// The tables, in Markdown that can be read as it is.

import { CANNOT } from './emulation.mjs'

/** The load of a machine with something else to do. */
const BUSY = 0.5

const HEADINGS = {
  peers: 'Beside its peers',
  burst: 'A burst',
  overload: 'Priorities under overload',
  guides: "The guides' configurations",
  pools: 'Sizes of a pool',
  lossy: 'With loss',
}

export function tables(report) {
  const parts = []
  for (const [section, heading] of Object.entries(HEADINGS)) {
    const rows = report.rows.filter((row) => row.section === section)
    if (rows.length === 0) continue
    parts.push(`### ${heading}`, pathOf(rows[0]), ...rows.map(shapes[rows[0].kind]))
  }
  parts.push('### Goals', goalTable(report), conditions(report))
  return `${parts.join('\n\n')}\n`
}

const shapes = {
  steady({ title, published, floor, clients, atOnce, size = atOnce }) {
    // Where the pool is smaller than what is asked of it, the rest waits, whoever asks.
    const limit = (Math.min(atOnce, size) * 1000) / floor
    const least = (atOnce * 1000) / limit
    const theirs = published
      ? [
          [
            '*published*',
            number(published.rate),
            '',
            number(published.mean),
            number(published.p50),
            number(published.p99),
            '',
            '',
            '',
          ],
        ]
      : []
    const mine = clients.map((client) =>
      client.missing
        ? [client.label, 'not installed', '', '', '', '', '', '', '']
        : [
            client.label,
            number(client.rate),
            number(client.mean - least),
            number(client.mean),
            number(client.p50),
            number(client.p99),
            failures(client),
            `${number(client.reuse * 100)} %`,
            number(client.opened ?? client.sockets),
          ],
    )
    const head = ['', 'calls/s', 'over the floor ms', 'mean ms', 'p50 ms', 'p99 ms', 'timed out', 'reuse', 'sockets']
    const bounds = `floor ${number(least)} ms, ${number(limit)} calls/s`
    return [
      `**${capital(title)}**, ${atOnce} ${atOnce === 1 ? 'call' : 'calls'} under way (${bounds})`,
      '',
      aligned([head, ...theirs, ...mine]),
    ].join('\n')
  },

  burst({ title, floor, clients }) {
    const head = ['', 'cold ms in all', 'warm ms in all', 'cold p50 ms', 'warm p50 ms', 'timed out', 'sockets']
    const rows = clients.map((client) =>
      client.missing
        ? [client.label, 'not installed', '', '', '', '', '']
        : [
            client.label,
            number(client.cold.wall),
            number(client.warm.wall),
            number(client.cold.p50),
            number(client.warm.p50),
            failures(client.cold, client.warm),
            number(client.sockets),
          ],
    )
    return [
      `**${capital(title)}** (floor ${number(floor)} ms): by a new client, and once more by the same`,
      '',
      aligned([head, ...rows]),
    ].join('\n')
  },

  overload({ title, floor, clients }) {
    const head = [
      '',
      'urgent p50 ms',
      'urgent p99 ms',
      'background p50 ms',
      'background p99 ms',
      'calls/s in all',
      'timed out',
      'sockets',
    ]
    const rows = clients.map((client) => [
      client.label,
      number(client.urgent.p50),
      number(client.urgent.p99),
      number(client.background.p50),
      number(client.background.p99),
      number(client.urgent.rate + client.background.rate),
      failures(client.urgent, client.background),
      number(client.sockets),
    ])
    return [`**${capital(title)}** (floor ${number(floor)} ms)`, '', aligned([head, ...rows])].join('\n')
  },
}

function pathOf({ path, wait }) {
  const { roundTrip, jitter, loss } = path
  const more = [jitter > 0 && `± ${jitter} ms of jitter each way`, loss > 0 && `${loss} % of the packets lost each way`]
  const words = [
    `A round trip of ${roundTrip} ms`,
    ...more.filter(Boolean),
    'TLS',
    `an upstream that answers after ${wait} ms`,
  ]
  return `${words.join(', ')}.`
}

function goalTable({ goals, namespace }) {
  const word = (met) => (met === null ? 'not measured' : met ? 'met' : 'missed')
  const rows = goals.map(({ goal, figure, met }) => [goal, figure ?? '', namespace ? word(met) : 'not judged'])
  return aligned([['goal', 'measured', ''], ...rows])
}

function conditions({ node, platform, cores, versions, namespace, why, seconds, load, carried, date }) {
  const lines = [
    `Node ${node}, ${platform}, ${cores} cores; ${versions.join(', ')}. ${date}. Medians of rounds of ${seconds ?? 'a few'} seconds, in which the clients took turns.`,
  ]
  if (namespace) {
    const control = [...new Set(carried.map(({ congestionControl }) => congestionControl))].join(', ')
    const dropped = carried.reduce((sum, { dropped }) => sum + dropped, 0)
    lines.push(`Packets were delayed in a network namespace; TCP's congestion control was ${control}.`)
    if (dropped > 0)
      lines.push(
        `${dropped} packets were dropped by the device, which is no part of the path: the machine was too busy.`,
      )
  } else {
    lines.push(`Without a network namespace (${why}). ${CANNOT} So no goal is judged.`)
  }
  if (load > BUSY) {
    lines.push(`The machine was busy before it began (load ${number(load)}): measure again when it is quiet.`)
  }
  return lines.join(' ')
}

function failures(...figures) {
  const sum = (key) => figures.reduce((total, each) => total + each[key], 0)
  const others = sum('failed') - sum('timedOut')
  return `${sum('timedOut')}${others > 0 ? `, ${others} failed` : ''}`
}

export function number(value) {
  if (value === undefined || value === null || Number.isNaN(value)) return ''
  if (value >= 1000) return Math.round(value).toLocaleString('en')
  if (Number.isInteger(value)) return String(value)
  return value.toFixed(value >= 100 ? 0 : 1)
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1)
}

/** The first column to the left, the others to the right. */
function aligned(rows) {
  const widths = rows[0].map((_, column) => Math.max(3, ...rows.map((row) => row[column].length)))
  const line = (row) =>
    `| ${row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join(' | ')} |`
  const rule = `|${widths.map((width, at) => (at === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  const [head, ...rest] = rows
  return [line(head), rule, ...rest.map(line)].join('\n')
}
