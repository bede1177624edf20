// A client's process: one point, once. A process of its own for each, so that none finds the memory of another.

import { once } from 'node:events'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Worker } from 'node:worker_threads'
import { Trunkline } from 'trunkline'
import { watchPauses } from '../../__test__/scenes/pauses.mjs'
import { serve } from '../child.mjs'
import { callOf, optionsOf } from './calls.mjs'
import { startLoop, threadTime } from './loop.mjs'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')
const MINUTES = 60_000

let line
let one
let before

serve({
  open({ client, load, urls }) {
    line = new Trunkline(optionsOf(client, load, urls))
    one = callOf(line, load)
  },

  /** `pauses`: of the event loop as well, while calls `run` on, or while those that wait `drain`. */
  async measure({ load, warm, limits, pauses }) {
    const order = new Order(load)
    const loop = startLoop(order.watch(one), { atOnce: load.atOnce + (load.waiting ?? 0) })
    await loop.reached(warm)
    // What it takes to bring so many to where they wait, and V8 to find them there, is no part of what the next call costs.
    if (load.waiting !== undefined) collect()
    const result = await loop.measure(limits)
    // What waits for a limiter would take its time to end: it ends with the process.
    if (pauses === undefined && load.waiting !== undefined) return { ...result, wrong: 0 }
    const watch = pauses === undefined ? null : watchPauses()
    if (pauses === 'run') await loop.reached({ seconds: limits.seconds })
    const pause = pauses === 'run' ? watch.stop() : null
    const wrong = await loop.stop()
    return { ...result, pause: pause ?? watch?.stop() ?? null, wrong: wrong + order.early, earliest: order.most }
  },

  /** What JavaScript's thread takes for a call's texts and nothing else, in µs: one written as bytes, or one read. */
  alone({ load: { answer, request, atOnce }, seconds }) {
    const filling = 'a'.repeat(answer ?? request)
    const text = Buffer.from(JSON.stringify({ choices: [{ message: { content: filling } }] }))
    const act = (number) =>
      answer === undefined
        ? Buffer.from(JSON.stringify({ messages: [{ content: `Question number ${number}: ${filling}` }] }))
        : JSON.parse(text.latin1Slice())
    // As many are held as there are calls at once.
    const held = new Array(atOnce)
    let count = 0
    const clock = () => threadTime() ?? performance.now() * 1000
    let began = clock()
    for (const until of [performance.now() + seconds * 300, performance.now() + seconds * 1300]) {
      began = clock()
      count = 0
      do held[count % atOnce] = act(count++)
      while (performance.now() < until || count < atOnce)
    }
    return (clock() - began) / count
  },

  /** Each with a client of its own, over one pool. */
  async measureWorkers({ client, load, urls, warm, limits }) {
    const workers = Array.from({ length: load.workers }, () => startWorker({ client, load, urls }))
    const ask = (...question) => Promise.all(workers.map((worker) => worker.ask(...question)))
    await ask('reached', warm)
    const cpu = process.cpuUsage()
    const results = await ask('measure', limits)
    const { user, system } = process.cpuUsage(cpu)
    const wrong = (await ask('stop')).reduce((sum, count) => sum + count, 0)
    await ask('end')
    const sum = (of) => results.reduce((all, result) => all + of(result), 0)
    const calls = sum((result) => result.calls)
    return {
      calls,
      wrong,
      wall: Math.max(...results.map(({ wall }) => wall)),
      rate: sum(({ rate }) => rate),
      thread: sum((result) => result.thread * result.calls) / calls,
      cpu: (user + system) / calls,
    }
  },

  /** Calls that come and go; what there is then is the beginning. */
  async warm(calls) {
    await pass(calls)
    before = memory()
  },

  pass,

  /** Begins calls that the upstream does not end. Resolves once each is where it stays. */
  async hold({ calls, waiting = 0 }) {
    for (let number = 0; number < calls; number++) {
      // As the process ends, so do they.
      one(number, number).catch(() => {})
      if (number % 100 === 99) await turn()
    }
    let last = -1
    const rests = () => {
      const { requests, queue, bytes, pool } = line.metrics()
      const waits = Object.values(queue.depth).reduce((sum, depth) => sum + depth, 0)
      const moved = bytes.sent + bytes.received
      const still = moved === last && pool.connections.connecting === 0
      last = moved
      return still && waits === waiting && requests.inFlight >= calls
    }
    const end = performance.now() + 2 * MINUTES
    while (!rests()) {
      if (performance.now() > end) throw new Error(`calls are not where they should be: ${describe()}`)
      await sleep(20)
    }
  },

  /** Marks what is held by now as the beginning. */
  mark() {
    before = memory()
  },

  /** Bytes since then: of all, and of those JavaScript's. */
  growth() {
    const { rss, heap } = memory()
    return { rss: rss - before.rss, heap: heap - before.heap }
  },
})

async function pass(calls) {
  const loop = startLoop(one, { atOnce: Math.min(64, calls) })
  await loop.reached({ calls })
  await loop.stop()
}

function describe() {
  const { requests, queue, pool } = line.metrics()
  return JSON.stringify({ inFlight: requests.inFlight, depth: queue.depth, connections: pool.connections })
}

function memory() {
  collect()
  collect()
  const { rss, heapUsed } = process.memoryUsage()
  return { rss, heap: heapUsed }
}

function startWorker(workerData) {
  const worker = new Worker(new URL('worker.mjs', import.meta.url), { workerData })
  return {
    async ask(method, ...args) {
      if (method === 'end') return worker.terminate()
      worker.postMessage({ method, args })
      const [{ answer, error }] = await once(worker, 'message')
      if (error !== undefined) throw new Error(error)
      return answer
    },
  }
}

/** Calls that come in the same moment are taken up by the runtime in batches of this many at most (tokio's queue of a worker). */
const BATCH = 256

/**
 * Whether calls that wait go in the order in which they came, those of one priority: of so many that run at once, none ends more places early. `early`:
 * how many did, `most`: by how many places one was early.
 */
class Order {
  early = 0

  constructor({ atOnce, waiting = 0, priorities }) {
    this.atOnce = atOnce
    this.watched = waiting > 0 && priorities
    this.most = 0
    this.came = [0, 0, 0, 0]
    this.ended = [0, 0, 0, 0]
  }

  watch(one) {
    if (!this.watched) return one
    return async (number, of) => {
      const priority = of % 4
      const place = this.came[priority]++
      const right = await one(number, of)
      const early = place - this.ended[priority]++
      this.most = Math.max(this.most, early)
      if (early > this.atOnce + BATCH) this.early++
      return right
    }
  }
}
