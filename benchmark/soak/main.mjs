// Whether anything is left of a million calls: npm run soak -- [--calls 1000000] [--streams 100000] [--seed 1]
//
// Calls and streams of every kind, with aborts and faults, over three clients that stay and others that come and go, against stand-ins in a further process. A
// hundred times in between everything ends, and what the process holds then is looked at; after the first tenth it must not grow. At last all is
// closed, and nothing may be left. A whole run rewrites benchmark/results/soak.json and what docs/scale.md shows of it.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { Trunkline } from 'trunkline'
import { start } from '../child.mjs'
import { putBetween } from '../scale/page.mjs'
import { bound, drift } from './judge.mjs'
import { head, page, row, verdicts } from './report.mjs'
import { sample } from './sample.mjs'
import { FAULTS, makeWork, REPLY } from './work.mjs'

const WHOLE = { calls: 1_000_000, streams: 100_000 }
const AT_ONCE = 96
/** Operations for each fault. */
const FAULT_EVERY = 40
const MAX_IDLE = 32
const KB = 1024

if (globalThis.gc === undefined) fail('to be run by node --expose-gc')
const { values: options } = parseArgs({
  options: {
    calls: { type: 'string', default: String(WHOLE.calls) },
    streams: { type: 'string', default: String(WHOLE.streams) },
    seed: { type: 'string', default: '1' },
  },
})
const [calls, streams, seed] = [whole('calls'), whole('streams'), whole('seed')]
const all = calls + streams
const short = calls < WHOLE.calls || streams < WHOLE.streams
const parts = short ? 20 : 100

const upstream = start('soak/upstream.mjs')
const [plain, tls] = await upstream.ask('start', [{}, { tls: true }], REPLY)
// Before anything is counted: the first line that is printed opens what it is printed to.
console.log(head())
await visit()
const empty = await sample([])
const outcomes = {}
const wrong = []
const began = performance.now()
const shared = new AbortController()
const lines = [
  { upstream: 0, ...open(plain, { http2: 'never' }) },
  { upstream: 0, ...open(plain, { http2: 'prior-knowledge' }) },
  { upstream: 1, ...open(tls, { tls: { ca: tls.ca } }) },
]
const samples = []
await run()
const judged = judge()
await Promise.all(lines.map(({ line }) => line.close()))
lines.length = 0
const left = await sample([], empty)
judged.push(...judgeEnd())
const report = {
  date: new Date().toISOString().slice(0, 10),
  node: process.versions.node,
  platform: `${process.platform} ${process.arch}`,
  calls,
  streams,
  seed,
  seconds: (performance.now() - began) / 1000,
  outcomes,
  samples: [{ at: 0, ...empty }, ...samples, { at: all, closed: true, ...left }],
  judged,
}
await upstream.stop()

const results = new URL(short ? '../results/tmp/' : '../results/', import.meta.url)
mkdirSync(results, { recursive: true })
writeFileSync(new URL('soak.json', results), `${JSON.stringify(report, null, 1)}\n`)
if (!short) {
  const file = new URL('../../docs/scale.md', import.meta.url)
  writeFileSync(file, putBetween(readFileSync(file, 'utf8'), 'soak', page(report)))
}
console.log(verdicts(report))
for (const what of wrong.slice(0, 10)) console.error(`WRONG  ${what}`)
const broken = wrong.length + judged.filter(({ met }) => met === false).length
console.log(broken === 0 ? '\nnothing was left' : `\n${broken} broken promises`)
process.exitCode = broken === 0 ? 0 : 1

async function run() {
  const work = makeWork({ calls, streams, seed })
  let number = 0
  for (let part = 1; part <= parts; part++) {
    // A client that comes and goes, with a pool of its own.
    let guest = open(plain, { http2: part % 2 === 0 ? 'never' : 'prior-knowledge', maxAge: 100_000 + part })
    const end = Math.round((all * part) / parts)
    const worker = async () => {
      while (number < end) {
        const own = number++
        if (own % FAULT_EVERY === 0) spoil(work.draw)
        const { act, stream } = work.next()
        const host = own % 20 === 0 ? guest : lines[own % lines.length]
        await count(stream, () => act({ ...host, number: own, draw: work.draw, shared: shared.signal }))
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, worker))
    // One is closed, the next is left to the collector.
    if (part % 3 > 0) await guest.line.close()
    guest = null
    samples.push({ at: number, ...(await sample(lines.map(({ line }) => line))) })
    console.log(row(samples.at(-1)))
  }
}

/** A client that comes and goes before anything is counted: what the library has once in a process is there then. */
async function visit() {
  const { line } = open(plain, {})
  // More than one at a time: what gathers their answers is begun then, once for all.
  await Promise.all([1, 2, 3].map(() => line.chat({ model: 'm', messages: [] })))
  await line.close()
}

/** Every operation settles, in a way that there is a name for. */
async function count(stream, act) {
  const kind = stream ? 'stream' : 'call'
  let how = 'ok'
  try {
    await act()
  } catch (error) {
    how = nameOf(error)
    if (!(error instanceof Error) || how === 'ERR_INTERNAL' || how === 'Error')
      wrong.push(`${kind}: ${error?.stack ?? error}`)
  }
  const name = `${kind} ${how}`
  outcomes[name] = (outcomes[name] ?? 0) + 1
}

/** Codes of a DOMException are numbers. */
function nameOf(error) {
  const codes = [error?.code, error?.cause?.code].filter((code) => typeof code === 'string')
  return codes[0] ?? error?.name ?? String(error)
}

/** The next request, of whatever client, meets a fault. What nobody meets is over soon. */
function spoil(draw) {
  const fault = FAULTS[Math.floor(draw() * FAULTS.length)]
  upstream
    .ask('fault', draw() < 0.67 ? 0 : 1, fault, { times: 1, for: 500 })
    .catch((error) => wrong.push(String(error)))
}

function open({ url }, pool) {
  const baseURL = `${url}/v1`
  const line = new Trunkline({
    baseURL,
    apiKey: 'k',
    timeouts: { connect: 5000, queue: 10_000, firstByte: 200, idle: 200, total: 5000 },
    retry: { baseDelay: 5, maxDelay: 50 },
    // What fails is the next call and no target: it is not to be left alone, or the calls would only be refused.
    circuitBreaker: { failureThreshold: 50, failureRatio: 0.9, recoveryTimeout: 100 },
    // What has a bound has reached it before the first tenth is over.
    cache: { maxBytes: KB * KB },
    tenants: { maxTenants: 200 },
    alerts: { window: 1000 },
    pricing: { 'a-model': { input: 1, output: 2 } },
    pool: { maxConnections: 2 * MAX_IDLE, maxIdleConnections: MAX_IDLE, proxy: false, ...pool },
  })
  return { line, url: baseURL }
}

function judge() {
  const settled = samples.filter(({ at }) => at >= all / 10)
  // Of a short run, what V8 and the allocator still make room for is more than what would leak.
  const bytes = short ? { most: 64 * KB * KB } : { share: 0.05 }
  return [
    drift(settled, { figure: 'rss', ...bytes }),
    drift(settled, { figure: 'heap', ...bytes }),
    drift(settled, { figure: 'external', most: KB * KB }),
    drift(settled, { figure: 'files', most: 1 }),
    drift(settled, { figure: 'handles', most: 1 }),
    drift(settled, { figure: 'tasks', most: 1 }),
    bound(samples, { figure: 'inFlight', most: 0 }),
    bound(samples, { figure: 'waiting', most: 0 }),
    bound(samples, { figure: 'busy', most: 0 }),
    bound(samples, { figure: 'sockets', most: 3 * MAX_IDLE }),
  ]
}

/** Once all is closed. */
function judgeEnd() {
  return ['sockets', 'files', 'handles', 'tasks'].map((figure) => ({
    ...bound([left], { figure, most: empty[figure] }),
    closed: true,
  }))
}

function whole(name) {
  const value = Number(options[name])
  if (!Number.isSafeInteger(value) || value < 0) fail(`--${name}: must be a whole number, got ${options[name]}`)
  return value
}

function fail(message) {
  console.error(message)
  process.exit(1)
}
