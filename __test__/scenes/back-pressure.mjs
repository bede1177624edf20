// Many more calls than may run, offered in slices while nothing moves: what waits, what is refused, in which order it goes, and what that
// costs in memory and in pauses of the event loop.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { Trunkline } from 'trunkline'
import { Broken, until } from './check.mjs'
import { watchPauses } from './pauses.mjs'
import { startUpstream } from './upstream.mjs'

const PRIORITIES = ['critical', 'interactive', 'batch', 'background']
const MINUTES = 60_000

/**
 * Resolves with `{ broken, figures }`: the promises that were broken, and what was seen.
 * @param {{ calls?: number, limit?: number, maxQueue?: number, slice?: number, latency?: number }} [options] `maxQueue`: of the part that
 * refuses; in the other, all calls may wait. `latency`: so that the log of many calls can be followed.
 */
export async function backPressure({ calls = 100_000, limit = 50, maxQueue = 10_000, slice = 100, latency = 3 } = {}) {
  const broken = new Broken()
  const baseline = await promisesAlone({ calls, slice })
  const waiting = await allWait({ calls, limit, slice, latency }, broken)
  const refusing = await mostAreRefused({ calls, limit, maxQueue, slice, latency }, broken)
  return { broken: broken.list, figures: { calls, limit, baseline, waiting, refusing } }
}

/** What as many requests and promises cost that nobody does anything with. */
async function promisesAlone({ calls, slice }) {
  const before = memory()
  const pauses = watchPauses()
  const ends = []
  const all = []
  for (let number = 0; number < calls; number++) {
    JSON.stringify(requestOf(number))
    all.push(new Promise((resolve) => ends.push(resolve)).then(() => number))
    if (number % slice === slice - 1) await nextTurn()
  }
  const offering = pauses.stop()
  const held = memory()
  const ending = watchPauses()
  for (const [number, end] of ends.entries()) {
    end()
    if (number % slice === slice - 1) await nextTurn()
  }
  await Promise.all(all)
  return { pauses: { offering, ending: ending.stop() }, ...perCall(before, held, calls) }
}

async function allWait({ calls, limit, slice, latency }, broken) {
  const scene = await standstill({ limit, maxQueue: calls, latency })
  const { line, upstream } = scene
  const before = memory()
  const pauses = watchPauses()
  let [done, failed] = [0, 0]
  const began = performance.now()
  for (let number = 0; number < calls; number++) {
    line.chat(requestOf(number), { priority: PRIORITIES[number % PRIORITIES.length] }).then(
      () => done++,
      () => failed++,
    )
    if (number % slice === slice - 1) await nextTurn()
  }
  const offered = performance.now() - began
  await until(() => waits(line) === calls)
  broken.check(waits(line) === calls, () => `${waits(line)} wait of ${calls} that were offered`)
  const whileOffered = pauses.stop()
  const held = memory()
  const draining = watchPauses()
  const released = performance.now()
  scene.release()
  await until(() => done + failed === calls, 10 * MINUTES)
  const drained = performance.now() - released
  const whileDrained = draining.stop()
  broken.check(failed === 0, () => `${failed} failed of ${calls} that could wait`)
  const { queue, requests } = line.metrics()
  broken.check(requests.inFlight === 0 && waits(line) === 0, () => 'calls are left after the last had ended')
  const log = (await upstream.log()).slice(limit).map(({ user }) => Number(user))
  const order = checkOrder(log, calls, limit, broken)
  await scene.close()
  return {
    offered,
    drained,
    pauses: { offering: whileOffered, draining: whileDrained },
    ...perCall(before, held, calls),
    after: memory(),
    longestWait: queue.turns.max,
    order,
  }
}

async function mostAreRefused({ calls, limit, maxQueue, slice, latency }, broken) {
  const scene = await standstill({ limit, maxQueue, latency })
  const { line, upstream } = scene
  const before = memory()
  const pauses = watchPauses()
  const times = []
  const wrong = []
  const waiting = new Set()
  for (let number = 0; number < calls; number++) {
    const began = performance.now()
    const call = line.chat(requestOf(number), { priority: PRIORITIES[number % PRIORITIES.length] })
    waiting.add(number)
    call.then(
      () => waiting.delete(number),
      (error) => {
        waiting.delete(number)
        times.push(performance.now() - began)
        if (error.name !== 'QueueFullError' || error.billed !== 'no') wrong.push(error)
      },
    )
    if (number % slice === slice - 1) await nextTurn()
  }
  // Nothing has moved: who is refused waits for nobody.
  await until(() => waiting.size === maxQueue)
  const whileOffered = pauses.stop()
  const held = memory()
  const refused = calls - maxQueue
  broken.check(times.length === refused, () => `${times.length} were refused, of ${calls} for ${maxQueue} places`)
  broken.check(wrong.length === 0, () => `refused with ${wrong[0]}`)
  const count = line.metrics().queue.refused
  broken.check(count === refused, () => `${count} are counted as refused, and ${refused} were`)
  broken.check((await upstream.log()).length === limit, () => 'something moved while the line was full')
  scene.release()
  await until(() => waiting.size === 0, 10 * MINUTES)
  const served = (await upstream.log()).length - limit
  broken.check(served === maxQueue, () => `${served} were served of ${maxQueue} that waited`)
  await scene.close()
  times.sort((one, other) => one - other)
  const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))]
  return {
    refused,
    refusal: { p50: at(0.5), p99: at(0.99), max: at(1) },
    pauses: whileOffered,
    growth: held.rss - before.rss,
  }
}

/** A client all of whose calls at once are under way, and stay so until `release`. */
async function standstill({ limit, maxQueue, latency }) {
  const upstream = await startUpstream({ latency })
  const line = new Trunkline({
    baseURL: `${upstream.url}/v1`,
    apiKey: 'k',
    // So that nobody's age makes up for a priority.
    concurrency: { max: limit, maxQueue, agingInterval: 1000 * MINUTES },
    timeouts: { queue: 20 * MINUTES, total: 30 * MINUTES },
    rateLimit: { learn: false },
    pool: { maxConnections: limit, maxConnectionsPerOrigin: limit, maxIdleConnections: limit },
  })
  await upstream.fault({ kind: 'silence', for: 60 * MINUTES }, { times: limit })
  const holder = new AbortController()
  for (let number = 0; number < limit; number++) {
    line.chat(requestOf(-1), { signal: holder.signal }).catch(() => {})
  }
  await until(async () => (await upstream.log()).length === limit)
  return {
    line,
    upstream,
    release: () => holder.abort(),
    close: async () => {
      await line.close()
      await upstream.close()
    },
  }
}

function requestOf(number) {
  return { model: 'm', user: String(number), messages: [{ role: 'user', content: 'Hello' }] }
}

function waits(line) {
  return Object.values(line.metrics().queue.depth).reduce((sum, depth) => sum + depth)
}

/**
 * By priority, then by arrival. Who goes is decided one by one, but of those who may go, so many are on their way at once: nobody arrives
 * more places early than that.
 */
function checkOrder(log, calls, limit, broken) {
  const classes = PRIORITIES.length
  const inClass = (of) => Math.ceil((calls - of) / classes)
  const before = PRIORITIES.map((_, of) => {
    let sum = 0
    for (let higher = 0; higher < of; higher++) sum += inClass(higher)
    return sum
  })
  let [early, late] = [0, 0]
  for (const [at, number] of log.entries()) {
    const rank = before[number % classes] + Math.floor(number / classes)
    early = Math.max(early, rank - at)
    late = Math.max(late, at - rank)
  }
  broken.check(log.length === calls, () => `the upstream has seen ${log.length} of ${calls}`)
  broken.check(early < limit, () => `one arrived ${early} places early, with ${limit} at once`)
  return { early, late }
}

function memory() {
  globalThis.gc?.()
  const { rss, heapUsed } = process.memoryUsage()
  return { rss, heapUsed }
}

function perCall(before, held, calls) {
  return {
    rssPerCall: Math.round((held.rss - before.rss) / calls),
    heapPerCall: Math.round((held.heapUsed - before.heapUsed) / calls),
  }
}
