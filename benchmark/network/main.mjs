// Measures this package beside its peers in a wide area:
// npm run bench:network -- [--round-trip 40] [--jitter 0] [--loss 0] [--only peers,burst] [--clients 'trunkline h2,undici h1'] [--rounds 3] [--seconds 3] [--no-namespace] [--smoke]
//
// A path is a network namespace of its own (emulation.mjs, relay/), in which one process (scene.mjs) has the upstreams and a process for each client. The
// clients take turns, round by round. What is measured is in plan.mjs, what is to be reached in goals.mjs.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { drawChart } from './chart.mjs'
import { clients } from './clients.mjs'
import { CANNOT, measureThrough, whyNoNamespace } from './emulation.mjs'
import { goalsOf } from './goals.mjs'
import { planOf, sections } from './plan.mjs'
import { tables } from './report.mjs'

const CHART = '![calls a second and p99 through a wide area](../benchmark/results/network.svg)'
/** Calls and sockets at a time, where only the answers matter. */
const SMOKE = 6
const USUAL = { 'round-trip': '40', jitter: '0', loss: '0' }
const { values: options } = parseArgs({
  options: {
    ...Object.fromEntries(Object.entries(USUAL).map(([name, value]) => [name, { type: 'string', default: value }])),
    only: { type: 'string' },
    clients: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string', default: '3' },
    'no-namespace': { type: 'boolean', default: false },
    smoke: { type: 'boolean', default: false },
  },
})
const only = options.only?.split(',') ?? sections
const unknown = only.find((section) => !sections.includes(section))
if (unknown !== undefined) fail(`--only: there is no ${unknown}; there are ${sections.join(', ')}`)
const asked = options.clients?.split(',')
const stranger = asked?.find((name) => !(name in clients))
if (stranger !== undefined) fail(`--clients: there is no ${stranger}; there are ${Object.keys(clients).join(', ')}`)
const roundTrip = options.smoke ? 4 : positive('round-trip', 60_000)
const jitter = fromNothing('jitter', roundTrip / 2)
const loss = fromNothing('loss', 50)
const rounds = options.rounds === undefined ? undefined : positive('rounds', 1000)
const seconds = positive('seconds', 3600)

const why = options['no-namespace'] ? 'as asked' : whyNoNamespace()
const namespace = why === null
if (!namespace) console.error(`Without a network namespace (${why}).\n${CANNOT}`)

/** Processes of others that want a core: whatever they take is in the figures. */
const [load] = loadavg()
const rows = []
const carried = []
for (const { path, rows: all } of planOf({ roundTrip, jitter, loss })) {
  const wanted = all
    .filter((row) => only.includes(row.section) && (row.smoke || !options.smoke))
    .map((row) => ({
      ...sized(row),
      clients: row.clients.filter(({ name }) => asked?.includes(name) ?? true).map(smaller),
    }))
    .filter(({ clients }) => clients.length > 0)
  // What cannot be emulated is not measured.
  if (wanted.length === 0 || (!namespace && path.loss > 0)) continue
  const measured = await measureThrough({ path, rows: wanted, namespace }, progress)
  rows.push(...measured.rows.map((row) => ({ ...row, path, floor: path.roundTrip + row.wait })))
  if (measured.carried) carried.push({ path, ...measured.carried })
}
progress('')

const versions = [
  ...new Set(
    rows
      .flatMap(({ clients }) => clients)
      .filter(({ missing }) => !missing)
      .map(nameAndVersion),
  ),
]
const about = {
  node: process.versions.node,
  platform: `${process.platform} ${process.arch}`,
  cores: availableParallelism(),
}
const date = new Date().toISOString().slice(0, 10)
const report = { date, ...about, versions, namespace, why, roundTrip, jitter, loss, seconds, load, carried, rows }
report.goals = goalsOf(report)

// What is measured in part, in haste or elsewhere does not replace what the documentation shows.
const isUsual = Object.entries(USUAL).every(([name, value]) => options[name] === value)
const isWhole = namespace && isUsual && !options.smoke && options.only === undefined && asked === undefined
const results = new URL(isWhole ? '../results/' : '../results/tmp/', import.meta.url)
mkdirSync(results, { recursive: true })
writeFileSync(new URL('network.json', results), `${JSON.stringify(report, null, 2)}\n`)
if (rows.some(({ section }) => section === 'peers')) writeFileSync(new URL('network.svg', results), drawChart(report))
const text = tables(report)
if (isWhole) writeIntoDocs(`${CHART}\n\n${text}`)
console.log(text)

const missing = rows.flatMap(({ clients }) => clients).filter(({ missing }) => missing)
for (const label of new Set(missing.map(({ label }) => label))) console.error(`!! ${label}: not installed, left out`)
const broken = rows.flatMap(({ id, clients }) => clients.filter(hasNoCalls).map(({ label }) => `${label} (${id})`))
if (broken.length > 0) {
  console.error(`without one answer: ${broken.join(', ')}`)
  process.exitCode = 1
} else if (options.smoke) {
  console.log(`smoke: ${rows.length} rows ran ${namespace ? 'in a namespace' : 'over the delaying stand-in'}`)
}

/** A row as large as it is measured this time. */
function sized(row) {
  if (!options.smoke) {
    const limits = row.calls ? {} : { seconds }
    return { rounds: rounds ?? 3, ...limits, leadIn: 2 * (row.atOnce ?? row.background), ...row }
  }
  const few = (most) => Math.min(most, SMOKE)
  const numbers = row.kind === 'overload' ? { background: 12, urgent: 1 } : { atOnce: few(row.atOnce ?? 1) }
  return { ...row, ...numbers, wait: 2, calls: 24, rounds: 1, leadIn: 12 }
}

function smaller(client) {
  return options.smoke ? { ...client, connections: Math.min(client.connections, SMOKE) } : client
}

function hasNoCalls({ missing, cold, warm, urgent, background, calls }) {
  if (missing) return false
  return [cold, warm, urgent, background].some((part) => part && part.calls === 0) || calls === 0
}

function nameAndVersion({ label, version }) {
  const [name] = label.split(' ')
  return version.startsWith('Node') ? `https of ${version}` : `${name} ${version}`
}

function writeIntoDocs(text) {
  const file = new URL('../../docs/network.md', import.meta.url)
  const [before, after] = ['<!-- measured -->', '<!-- /measured -->']
  const page = readFileSync(file, 'utf8')
  const [from, to] = [page.indexOf(before), page.indexOf(after)]
  if (from < 0 || to < from) throw new Error(`docs/network.md has no ${before} … ${after}`)
  writeFileSync(file, `${page.slice(0, from + before.length)}\n${text}${page.slice(to)}`)
}

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

function positive(name, most) {
  const number = Number(options[name])
  if (!(number > 0 && number <= most)) fail(`--${name}: must be above 0 and at most ${most}, got ${options[name]}`)
  return number
}

function fromNothing(name, most) {
  const number = Number(options[name])
  if (!(number >= 0 && number <= most)) fail(`--${name}: must be from 0 to ${most}, got ${options[name]}`)
  return number
}

function fail(message) {
  console.error(message)
  process.exit(1)
}
