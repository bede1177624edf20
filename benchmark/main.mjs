// Measures this package beside its peers: npm run bench -- [--only chat,stream] [--rounds 5] [--seconds 2] [--pin] [--smoke]
//
// For each workload every client has a process of its own, and all of them take turns, round by round, against one
// upstream in a further process, which has a core that it is pinned to. The clients run where the system puts them, as they
// do in a user's process; with --pin they are kept to the other cores. The ratios within a run are the result: absolute figures vary from machine to machine.
//
// `pool` is none of these: what the pool itself costs, measured in Rust.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request as http } from 'node:http'
import { request as https } from 'node:https'
import { availableParallelism, cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { drawChart } from './chart.mjs'
import { shareCores, start } from './child.mjs'
import { measurePool } from './pool.mjs'
import { NOISE, poolTable, summary, table } from './report.mjs'
import { body, upstreams, workloads } from './workloads.mjs'

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    pin: { type: 'boolean', default: false },
    smoke: { type: 'boolean', default: false },
  },
})
const ids = [...workloads.map(({ id }) => id), 'pool']
const only = options.only?.split(',') ?? ids
const unknown = only.find((id) => !ids.includes(id))
if (unknown !== undefined) fail(`--only: there is no ${unknown}; there are ${ids.join(', ')}`)
const mostRounds = options.smoke ? 1 : positive('rounds')
const seconds = positive('seconds')
const WARM_UP = { seconds: options.smoke ? Number.MAX_SAFE_INTEGER : 1 }
const LEAD_IN = { seconds: 0.3 }

const cores = shareCores()
const folder = mkdtempSync(join(tmpdir(), 'trunkline-bench-'))
const upstreamProcess = start('upstream.mjs', { cores: cores?.upstream })
try {
  const report = await measureAll()
  const wrong = report.workloads.flatMap(({ clients }) => clients).filter((client) => !client.right)
  // What is measured in part or in haste does not replace what the README shows.
  const whole = !options.smoke && options.only === undefined
  const results = new URL(whole ? 'results/' : 'results/tmp/', import.meta.url)
  mkdirSync(results, { recursive: true })
  writeFileSync(new URL('latest.json', results), `${JSON.stringify(report, null, 2)}\n`)
  if (report.workloads.length > 0) {
    writeFileSync(new URL('chart.svg', results), drawChart(report))
    console.log(summary(report))
  }
  for (const { name } of wrong) console.error(`wrong answers: ${name}`)
  if (wrong.length > 0) process.exitCode = 1
  else if (options.smoke) {
    const rows = report.workloads.reduce((sum, { clients }) => sum + clients.length, 0)
    const ran = [`${rows} rows of ${report.workloads.length} workloads`, `${report.pool?.rows.length ?? 0} of the pool`]
    console.log(`smoke: ${ran.join(' and ')} ran, every answer was right`)
  }
} finally {
  await upstreamProcess.stop()
  rmSync(folder, { recursive: true })
}

async function measureAll() {
  const report = {
    date: new Date().toISOString().slice(0, 10),
    node: process.versions.node,
    platform: `${process.platform} ${process.arch}`,
    cores: availableParallelism(),
    pinned: cores !== null,
    clientsPinned: cores !== null && options.pin,
    seconds: options.smoke ? null : seconds,
    threadClock: null,
    workloads: [],
    pool: null,
  }
  for (const workload of workloads.filter(({ id }) => only.includes(id))) {
    const measured = await measureWorkload(workload)
    report.threadClock = measured.clients[0].thread === null ? 'event loop' : 'processor'
    report.workloads.push(measured)
    console.log(table(measured))
  }
  if (only.includes('pool')) {
    progress('the pool (the first time, a minute or two to build it)')
    report.pool = measurePool({ smoke: options.smoke })
    progress('')
    console.log(poolTable(report.pool))
  }
  return report
}

async function measureWorkload(workload) {
  const { id, title, upstream, unit, http2 = false, atOnce, calls, clients: names } = workload
  const rounds = Math.min(mostRounds, workload.rounds ?? Infinity)
  // Twice as many at most, where others disturb.
  const passes = options.smoke ? rounds : rounds * 2
  const { url, ca, connections } = await startUpstream(upstream)
  const completions = await Promise.all(Array.from({ length: 8 }, (_, number) => askPlainly(url, ca, body(number))))
  const scale = options.smoke ? { atOnce: Math.min(atOnce, 8), calls: 16 } : { atOnce, calls, seconds }
  const clients = []
  try {
    for (const name of names) {
      const child = start('client.mjs', { cores: options.pin ? cores?.client : null, env: certificateOf(upstream, ca) })
      const client = { name, child, sockets: 0, rounds: [] }
      clients.push(client)
      Object.assign(client, await child.ask('open', { name, unit, url, http2, connections: atOnce }))
      client.right = await counted(client, () => child.ask('check', { unit, atOnce }, completions))
      const warm = await counted(client, () => child.ask('run', { ...scale, ...WARM_UP }))
      client.right &&= warm.wrong === 0
    }
    for (let pass = 0; pass < passes; pass++) {
      // What others disturbed is measured again.
      const due = pass < rounds ? clients : clients.filter((client) => quietRounds(client) < rounds)
      for (const client of due) {
        progress(`${title}: round ${pass + 1}, ${client.name}`)
        client.rounds.push(await measureRound(client))
      }
    }
    for (const client of clients) client.memory = await client.child.ask('peakMemory')
  } finally {
    progress('')
    await Promise.all(clients.map(({ child }) => child.stop()))
  }
  return { id, title, unit, rounds, clients: clients.map((client) => figuresOf(client, rounds)) }

  async function measureRound(client) {
    // Not counted: it opens again what closed while the others had their turns.
    if (!options.smoke) await client.child.ask('run', { ...scale, ...LEAD_IN })
    const before = { upstream: await upstreamProcess.ask('cpu'), machine: machineTime() }
    const result = await counted(client, () => client.child.ask('run', scale))
    const upstream = ((await upstreamProcess.ask('cpu')) - before.upstream) / 1000 / result.wall
    const machine = (machineTime() - before.machine) / result.wall
    // The system counts in ticks: a haste of a few milliseconds says nothing about others.
    const taken = machine - upstream - (result.cpu * result.calls) / 1000 / result.wall
    const others = result.wall > 200 ? Math.max(0, taken) : 0
    client.right &&= result.wrong === 0 && result.calls > 0
    return { ...result, upstream, others }
  }

  /** Only one client runs at a time: what is opened meanwhile is its. */
  async function counted(client, act) {
    const { opened } = await connections()
    const result = await act()
    client.sockets += (await connections()).opened - opened
    return result
  }
}

function quietRounds({ rounds }) {
  return rounds.filter(({ others }) => others <= NOISE).length
}

function figuresOf({ name, version, note, right, sockets, memory, rounds: all }, rounds) {
  const kept = all.sort((a, b) => a.others - b.others).slice(0, rounds)
  const spread = (key) => {
    const values = kept.map((round) => round[key]).sort((a, b) => a - b)
    if (values[0] === null) return null
    const median = (values[(values.length - 1) >> 1] + values[values.length >> 1]) / 2
    return { median: short(median), min: short(values[0]), max: short(values.at(-1)) }
  }
  const keys = ['rate', 'thread', 'loop', 'cpu', 'p50', 'p99', 'upstream', 'others']
  const calls = kept.reduce((sum, round) => sum + round.calls, 0)
  const figures = Object.fromEntries(keys.map((key) => [key, spread(key)]))
  return { name, version, note, right, calls, ...figures, memory: short(memory), sockets }
}

async function startUpstream(name) {
  const { options: how, hasty, replies } = upstreams[name]
  const { id, url, ca } = await upstreamProcess.ask('start', { ...how, ...(options.smoke && hasty) }, replies)
  return { url, ca, connections: () => upstreamProcess.ask('connections', id) }
}

function certificateOf(name, ca) {
  if (ca === undefined) return {}
  const file = join(folder, `${name}.pem`)
  writeFileSync(file, ca)
  return { NODE_EXTRA_CA_CERTS: file }
}

/** The answer as none of the clients reads it. */
function askPlainly(url, ca, body) {
  const { promise, resolve, reject } = withResolvers()
  const method = url.startsWith('https:') ? https : http
  const headers = { 'content-type': 'application/json' }
  const sent = method(`${url}/v1/chat/completions`, { method: 'POST', headers, ca, agent: false }, async (response) => {
    try {
      let text = ''
      for await (const data of response.setEncoding('utf8')) text += data
      resolve(JSON.parse(text))
    } catch (error) {
      reject(error)
    }
  })
  sent.on('error', reject)
  sent.end(JSON.stringify(body))
  return promise
}

function withResolvers() {
  const parts = {}
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }))
  return parts
}

/** Processor time of all cores so far, whoever took it, in ms. */
function machineTime() {
  return cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0)
}

function short(number) {
  return Number(number.toPrecision(4))
}

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

function positive(name) {
  const number = Number(options[name])
  if (!(number > 0)) fail(`--${name}: must be above 0, got ${options[name]}`)
  return number
}

function fail(message) {
  console.error(message)
  process.exit(1)
}
