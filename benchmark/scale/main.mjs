// Measures how costs grow: npm run bench:scale -- [--only streams,tenants] [--rounds 3] [--seconds 1.5] [--smoke]
//
// Each point has processes of its own, an upstream's and a client's, and all points of a series take turns, round by round. The medians are judged by
// their shape, which does not depend on the machine, and printed as met or not met. A whole run rewrites benchmark/results/scale.json and scale.svg, and what
// docs/scale.md shows of them; any other leaves its results in benchmark/results/tmp.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { startWitness } from '../../__test__/scenes/pauses.mjs'
import { shareCores, start } from '../child.mjs'
import { drawChart } from './chart.mjs'
import { judge, median } from './judge.mjs'
import { putBetween } from './page.mjs'
import { page, summary, table } from './report.mjs'
import { series as all } from './series.mjs'

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '1.5' },
    smoke: { type: 'boolean', default: false },
  },
})
const ids = all.map(({ id }) => id)
const only = options.only?.split(',') ?? ids
const unknown = only.find((id) => !ids.includes(id))
if (unknown !== undefined) fail(`--only: there is no ${unknown}; there are ${ids.join(', ')}`)
const rounds = options.smoke ? 1 : positive('rounds')
const seconds = options.smoke ? 0 : positive('seconds')

const cores = shareCores()
const openFiles = mostFiles()
const witness = startWitness()
const report = {
  date: new Date().toISOString().slice(0, 10),
  node: process.versions.node,
  platform: `${process.platform} ${process.arch}`,
  cores: availableParallelism(),
  rounds,
  seconds,
  disturbed: 0,
  series: [],
}
let wrong = 0
const wanted = all.filter(({ id }) => only.includes(id))
if (options.smoke) {
  // Nothing is judged, so that they may take each other's time.
  report.series = await Promise.all(wanted.map(measureSeries))
} else {
  for (const one of wanted) {
    report.series.push(await measureSeries(one))
    console.log(table(report.series.at(-1)))
  }
}
report.disturbed = await witness.longest()
await witness.stop()

const whole = !options.smoke && options.only === undefined
const results = new URL(whole ? '../results/' : '../results/tmp/', import.meta.url)
mkdirSync(results, { recursive: true })
writeFileSync(new URL('scale.json', results), `${JSON.stringify(report, null, 2)}\n`)
writeFileSync(new URL('scale.svg', results), drawChart(report))
if (whole) {
  const file = new URL('../../docs/scale.md', import.meta.url)
  writeFileSync(file, putBetween(readFileSync(file, 'utf8'), 'scale', page(report)))
}
if (wrong > 0) {
  console.error(`${wrong} answers were wrong, or came before their turn`)
  process.exitCode = 1
} else if (options.smoke) {
  const points = report.series.reduce((sum, { points }) => sum + points.length, 0)
  console.log(`\nsmoke: ${points} points of ${report.series.length} series ran, every answer was right`)
} else {
  console.log(summary(report))
}

async function measureSeries(one) {
  const { id, title, x, unit, bytes = false, goals } = one
  const values = options.smoke ? one.smoke : one.values
  const able = values.filter((value) => (one.files?.(value) ?? 0) <= openFiles)
  const notes = values
    .filter((value) => !able.includes(value))
    .map(
      (value) =>
        `${value} was not measured: it needs ${one.files(value)} open files, and this system gives ${openFiles}`,
    )
  const taken = new Map(able.map((value) => [value, []]))
  for (let round = 0; round < rounds; round++) {
    for (const value of able) {
      progress(`${title}: round ${round + 1}, ${value}`)
      taken.get(value).push(await measurePoint(one, value))
    }
  }
  progress('')
  const points = able.map((value) => ({ x: value, ...middle(taken.get(value)) }))
  const judged = options.smoke ? [] : goals.map((goal) => ({ ...goal, ...judge(goal, points) }))
  return { id, title, x, unit, bytes, points, goals: judged, notes }
}

async function measurePoint(one, value) {
  const { upstream: what = {}, client: settings, load } = one.point(value)
  const upstream = start('scale/upstream.mjs', { cores: cores?.upstream })
  try {
    const urls = await upstream.ask('start', what)
    const point = { client: settings, load, urls }
    const cost = await inClient((client) => costs(client, one, point))
    const memory = one.memory === undefined ? {} : await inClient((client) => held(client, upstream, one, point))
    const alone = one.alone ? await inClient((client) => client.ask('alone', { load, seconds })) : null
    wrong += cost.wrong
    const { rate, thread, cpu, pause, calls } = cost
    return {
      calls,
      rate,
      thread,
      cpu,
      earliest: cost.earliest,
      pause: pause ? Math.max(0, pause.max) : null,
      worked: pause?.worked ?? null,
      alone,
      ...memory,
    }
  } finally {
    await upstream.stop()
  }
}

/** What a call costs, while everything that is to be there is. */
async function costs(client, one, { client: settings, load, urls }) {
  const inFlight = load.atOnce * (load.workers ?? 1) + (load.waiting ?? 0)
  // Everybody has had a turn twice, and V8 its time.
  const least = Math.max(2 * load.atOnce, 2 * (load.origins ?? load.tenants ?? 0))
  // A stream takes a second, of however many at once.
  const [many, some, span] = load.kind === 'stream' ? [3, 3, 2 * seconds] : [inFlight > 1 ? 500 : 50, 20, seconds]
  const warm = options.smoke ? { calls: least } : { calls: Math.max(least, many), seconds: 0.7 }
  const limits = { calls: options.smoke ? 4 : some, seconds: span }
  if (load.workers !== undefined) return client.ask('measureWorkers', { client: settings, load, urls, warm, limits })
  await client.ask('open', { client: settings, load, urls })
  return client.ask('measure', { load, warm, limits, pauses: one.pauses })
}

/** What a process grows by, of calls that stay where they are or of what is left when all have ended. */
async function held(client, upstream, one, { client: settings, load, urls }) {
  // A stream takes its second.
  const few = load.kind === 'stream' ? Math.min(64, load.atOnce) : options.smoke ? 16 : 1000
  const growth = async () => {
    const { rss, heap } = await client.ask('growth')
    return { memory: rss, heap }
  }
  if (one.memory === 'left') {
    // A client of one of them warms the process; then come all.
    const alone = load.origins === undefined ? { ...load, tenants: 1 } : { ...load, origins: 1 }
    await client.ask('open', { client: settings, load: alone, urls: urls.slice(0, 1) })
    await client.ask('warm', few)
    await client.ask('open', { client: settings, load, urls })
    await client.ask('pass', 2 * (load.origins ?? load.tenants))
    return growth()
  }
  await client.ask('open', { client: settings, load, urls })
  await client.ask('warm', few)
  const fault = load.kind === 'stream' ? { kind: 'stall', afterTokens: 3, for: 3_600_000 } : { kind: 'silence' }
  await upstream.ask('fault', fault, { times: load.atOnce })
  await client.ask('hold', { calls: load.atOnce })
  if (load.waiting !== undefined) {
    await client.ask('mark')
    await client.ask('hold', { calls: load.waiting, waiting: load.waiting })
  }
  return growth()
}

/** With a client's process of its own. */
async function inClient(act) {
  const client = start('scale/client.mjs')
  try {
    return await act(client)
  } finally {
    await client.stop()
  }
}

function middle(rounds) {
  const of = (figure) => {
    const values = rounds.map((round) => round[figure]).filter((value) => typeof value === 'number')
    return values.length === 0 ? null : median(values)
  }
  const figures = ['rate', 'thread', 'cpu', 'memory', 'heap', 'pause', 'worked', 'alone']
  return { ...Object.fromEntries(figures.map((figure) => [figure, of(figure)])), rounds }
}

/** How many files a process may have open. */
function mostFiles() {
  const { stdout } = spawnSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' })
  const most = Number.parseInt(stdout ?? '', 10)
  return most > 0 ? most : Number.POSITIVE_INFINITY
}

function positive(name) {
  const value = Number(options[name])
  if (!(value > 0)) fail(`--${name}: must be a positive number, got ${options[name]}`)
  return value
}

function progress(what) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${what}`)
}

function fail(message) {
  console.error(message)
  process.exit(1)
}
