'use strict'

/**
 * What a dashboard knows beyond the client's own figures: how they were in the last minutes, where the time of calls went, and the last
 * errors. It is kept for as long as the dashboard is there, and in bounds.
 */

const { requests } = require('../channels.js')
const { TrunklineError } = require('../errors.js').classes
const { clearTimeout, setTimeout } = require('../timers.js')
const { advise } = require('./advice.js')

/** How far back it goes, and in how many steps what is told of calls. In milliseconds. */
const WINDOW = 600_000
const SLOT = 10_000
/** Between two samples, while somebody looks and while nobody does. */
const LOOKED_AT = 1000
const UNSEEN = 5000
const RATE_OVER = 4000

const MOST_ERRORS = 50
const MOST_ABORTS = 10
/** Of a slot, and of what is shown. Calls of models beyond are `(others)`. */
const MOST_MODELS = 100
const SHOWN_MODELS = 24
/** A provider's words may be long. */
const LONGEST_MESSAGE = 400

/** Where the time of a call goes; together they are all of it. */
const PARTS = ['queued', 'connecting', 'retried', 'firstByte', 'rest']

/** Milliseconds since 1970 that never go back, whatever becomes of the system's clock. */
const clock = () => Math.round(performance.timeOrigin + performance.now())

/** The figures of a client over time. Whoever drops it ends it: its timer and its subscription hold it weakly. */
class Watch {
  #line
  /** @type {{ point: any, raw: any }[]} */
  #samples = []
  /** Of ended calls, the newest last. @type {{ at: number, models: Map<string, any>, times: Map<number, number> }[]} */
  #slots = []
  /** The newest first. @type {{ code: string | null }[]} */
  #errors = []
  /** @type {Set<(snapshot: string) => void>} */
  #viewers = new Set()
  /** @type {NodeJS.Timeout | undefined} */
  #timer
  #subscriber
  #startedAt = clock()

  /** @param {any} line */
  constructor(line) {
    this.#line = line
    this.#subscriber = subscriberOf(new WeakRef(this), line)
    requests.end.subscribe(this.#subscriber)
    this.#sample()
    this.#wait()
  }

  get viewers() {
    return this.#viewers.size
  }

  /** Calls `show` with each snapshot, as JSON, until what it returns is called. @param {(snapshot: string) => void} show */
  look(show) {
    this.#viewers.add(show)
    if (this.#viewers.size === 1) this.#wait()
    return () => this.#viewers.delete(show)
  }

  /** All that is shown but the history. */
  snapshot() {
    const { metrics, point } = this.#sample()
    const line = this.#line
    return {
      point,
      window: Math.min(WINDOW, clock() - this.#startedAt),
      process: { pid: process.pid, node: process.version, uptime: process.uptime() * 1000 },
      metrics,
      costs: {
        today: spending(line.costs({ window: 'day' })),
        yesterday: spending(line.costs({ window: 'day', before: true })),
        month: spending(line.costs({ window: 'month' })),
      },
      budget: line.costs().budget,
      savings: line.savings(),
      time: this.#time(),
      advice: advise(
        this.#samples.map(({ raw }) => raw),
        metrics,
      ),
      errors: this.#errors,
    }
  }

  /** The points that charts are made of, the oldest first. */
  history() {
    return this.#samples.map(({ point }) => point)
  }

  end() {
    requests.end.unsubscribe(this.#subscriber)
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#viewers.clear()
  }

  #wait() {
    clearTimeout(this.#timer)
    const weak = new WeakRef(this)
    this.#timer = setTimeout(() => weak.deref()?.tick(), this.#viewers.size > 0 ? LOOKED_AT : UNSEEN)
    this.#timer.unref()
  }

  tick() {
    if (this.#viewers.size > 0) {
      const text = JSON.stringify(this.snapshot())
      for (const show of this.#viewers) show(text)
    } else this.#sample()
    this.#wait()
  }

  #sample() {
    const metrics = this.#line.metrics()
    const now = clock()
    const raw = rawOf(metrics, now)
    const last = this.#samples.at(-1)
    // Rates of single seconds are all peaks.
    const before = this.#samples.findLast((sample) => sample.raw.at <= now - RATE_OVER) ?? this.#samples[0]
    const point = pointOf(metrics, raw, before?.raw, this.#percentiles(now))
    // Two that look within a moment see the same; peaks are kept.
    if (last !== undefined && now - last.raw.at < LOOKED_AT / 2) {
      last.raw.busy = Math.max(last.raw.busy, raw.busy)
      last.raw.wanted = Math.max(last.raw.wanted, raw.wanted)
      return { metrics, point: last.point }
    }
    this.#samples.push({ point, raw })
    while (this.#samples[0].raw.at < now - WINDOW) this.#samples.shift()
    return { metrics, point }
  }

  /** @param {any} message */
  told(message) {
    const { error, meta, operation } = message
    const now = clock()
    if (error !== undefined) {
      this.#errors.unshift(errorOf(error, message, now))
      // Who aborts all the time leaves room for what went wrong.
      const aborts = this.#errors.filter(({ code }) => code === null)
      if (aborts.length > MOST_ABORTS) this.#errors.splice(this.#errors.indexOf(aborts[MOST_ABORTS]), 1)
      this.#errors.length = Math.min(this.#errors.length, MOST_ERRORS)
    }
    // Of a fetch, and of what was aborted, nobody knows where the time went.
    const attempt = meta?.attempts.at(-1)
    if (operation === 'fetch' || attempt === undefined) return
    const { models, times } = this.#slot(now)
    const name = attempt.model ? `${attempt.provider}/${attempt.model}` : attempt.provider
    const key = models.has(name) || models.size < MOST_MODELS ? name : '(others)'
    const sums = models.get(key) ?? {
      calls: 0,
      failed: 0,
      longest: 0,
      ...Object.fromEntries(PARTS.map((part) => [part, 0])),
    }
    models.set(key, sums)
    sums.calls++
    if (error !== undefined) sums.failed++
    sums.longest = Math.max(sums.longest, meta.timings.total)
    const parts = partsOf(meta, error !== undefined)
    for (const part of PARTS) sums[part] += parts[part]
    const bucket = bucketOf(meta.timings.total)
    times.set(bucket, (times.get(bucket) ?? 0) + 1)
  }

  /** @param {number} now */
  #slot(now) {
    const at = now - (now % SLOT)
    let slot = this.#slots.at(-1)
    if (slot === undefined || slot.at !== at) {
      slot = { at, models: new Map(), times: new Map() }
      this.#slots.push(slot)
      while (this.#slots[0].at < now - WINDOW) this.#slots.shift()
    }
    return slot
  }

  /** Of calls that ended in this slot and the one before. @param {number} now */
  #percentiles(now) {
    /** @type {Map<number, number>} */
    const all = new Map()
    for (const { at, times } of this.#slots.slice(-2)) {
      if (at < now - 2 * SLOT) continue
      for (const [bucket, count] of times) all.set(bucket, (all.get(bucket) ?? 0) + count)
    }
    const sorted = [...all].sort(([one], [other]) => one - other)
    const calls = sorted.reduce((sum, [, count]) => sum + count, 0)
    return [0.5, 0.9, 0.99].map((share) => {
      let seen = 0
      const found = sorted.find(([, count]) => (seen += count) >= share * calls)
      return found === undefined ? null : timeOf(found[0])
    })
  }

  /** Where the time went, by model, those first that took the most of it. */
  #time() {
    const from = clock() - WINDOW
    /** @type {Map<string, any>} */
    const models = new Map()
    for (const slot of this.#slots) {
      if (slot.at < from) continue
      for (const [name, sums] of slot.models) {
        const all = models.get(name)
        if (all === undefined) models.set(name, { name, ...sums })
        else
          for (const [key, value] of Object.entries(sums))
            all[key] = key === 'longest' ? Math.max(all[key], value) : all[key] + value
      }
    }
    const took = (/** @type {any} */ sums) => PARTS.reduce((sum, part) => sum + sums[part], 0)
    return [...models.values()]
      .sort((one, other) => took(other) - took(one))
      .slice(0, SHOWN_MODELS)
      .map(({ name, calls, failed, longest, ...sums }) => ({
        name,
        calls,
        failed,
        longest,
        mean: took(sums) / calls,
        ...Object.fromEntries(PARTS.map((part) => [part, sums[part] / calls])),
      }))
  }
}

/** @param {WeakRef<Watch>} weak @param {any} line */
function subscriberOf(weak, line) {
  const client = new WeakRef(line)
  const subscriber = (/** @type {any} */ message) => {
    const watch = weak.deref()
    if (watch === undefined) requests.end.unsubscribe(subscriber)
    else if (message.client === client.deref()) watch.told(message)
  }
  return subscriber
}

/** Of a sample, what others are compared with. @param {any} metrics @param {number} at */
function rawOf({ requests, queue, latency, tokens, pool, cost }, at) {
  const sum = (/** @type {any} */ { count, mean }) => count * mean
  const waiting = pool.origins.reduce((/** @type {number} */ sum, /** @type {any} */ origin) => sum + origin.waiting, 0)
  return {
    at,
    succeeded: requests.succeeded,
    failed: requests.failed,
    aborted: requests.aborted,
    calls: latency.count,
    took: sum(latency),
    waited: sum(queue.wait),
    turns: sum(queue.turns),
    output: tokens.output,
    cost,
    opened: pool.opened,
    reused: pool.reused,
    handshakes: sum(pool.handshake),
    busy: pool.connections.active + pool.connections.connecting,
    waiting,
    // With what wanted one and had none.
    wanted: pool.connections.active + pool.connections.connecting + waiting,
  }
}

/** @param {any} metrics @param {any} raw @param {any} last @param {(number | null)[]} percentiles */
function pointOf(metrics, raw, last, [p50, p90, p99]) {
  const seconds = last === undefined ? 0 : (raw.at - last.at) / 1000
  const rate = (/** @type {string} */ name) => (seconds > 0 ? Math.max(0, raw[name] - last[name]) / seconds : 0)
  const [found, opened] = [rate('reused'), rate('opened')]
  const depth = Object.values(metrics.queue.depth).reduce((sum, count) => sum + count, 0)
  return {
    at: raw.at,
    answered: rate('succeeded'),
    failed: rate('failed'),
    aborted: rate('aborted'),
    underWay: metrics.requests.inFlight,
    waiting: depth,
    p50,
    p90,
    p99,
    tokens: rate('output'),
    spending: rate('cost') * 3600,
    busy: raw.busy,
    // Null where no request went out.
    reuse: found + opened > 0 ? found / (found + opened) : null,
  }
}

/** Of a report of costs what is shown: the dearest models. @param {any} report */
function spending({ total, estimated, byModel, unpriced }) {
  const models = Object.entries(byModel)
    .map(([name, { requests, inputTokens, outputTokens, cost, unpriced }]) => ({
      name,
      requests,
      inputTokens,
      outputTokens,
      cost,
      unpriced,
    }))
    .sort((one, other) => other.cost - one.cost || other.requests - one.requests)
  return {
    total,
    estimated,
    models: models.slice(0, SHOWN_MODELS),
    more: Math.max(0, models.length - SHOWN_MODELS),
    unpriced: unpriced.slice(0, SHOWN_MODELS),
  }
}

/** What the time of a call was, in parts that together are all of it. @param {any} meta @param {boolean} failed @returns {any} */
function partsOf({ attempts, timings }, failed) {
  const { total } = timings
  const within = (/** @type {number} */ time, /** @type {number} */ most) =>
    Math.min(Math.max(0, time), Math.max(0, most))
  // All before the last attempt: others that failed, and the pauses between.
  const retried = attempts.length > 1 ? within(total - attempts.at(-1).duration, total) : 0
  let left = total - retried
  const firstByte = within(timings.firstByte, left)
  left -= firstByte
  const connecting = within(timings.dns + timings.connect + timings.tls, left)
  left -= connecting
  const queued = within(timings.queued, left)
  left -= queued
  // Of one whose first byte never came, the rest is the wait for it.
  if (failed && firstByte === 0) return { queued, connecting, retried, firstByte: left, rest: 0 }
  return { queued, connecting, retried, firstByte, rest: left }
}

/** @param {any} error @param {any} message @param {number} at */
function errorOf(error, { operation, model, meta }, at) {
  // The cause of a fetch's TypeError.
  /** @type {any} */
  const ours = [error, error?.cause].find((one) => one instanceof TrunklineError)
  const last = meta?.attempts.at(-1)
  const where = {
    at,
    operation,
    provider: ours?.provider || last?.provider || null,
    model: ours?.model || last?.model || model || null,
  }
  const attempts = meta?.attempts.length ?? 0
  if (ours === undefined) {
    // What somebody else wrote, the reason of an abort, may say anything: its name alone.
    const name = error instanceof Error || error instanceof DOMException ? String(error.name) : typeof error
    return {
      ...where,
      name: name.slice(0, 80),
      code: null,
      message: operation === 'fetch' ? 'the fetch failed, or was aborted' : 'aborted by the caller',
      status: null,
      attempts,
    }
  }
  const text = String(ours.message)
  const message = text.length > LONGEST_MESSAGE ? `${text.slice(0, LONGEST_MESSAGE)}…` : text
  return { ...where, name: ours.constructor.name, code: ours.code, message, status: ours.status || null, attempts }
}

/** Of times, in milliseconds: twenty for each doubling. @param {number} time */
function bucketOf(time) {
  return Math.round(Math.log2(Math.max(time, 0.001)) * 20)
}

/** @param {number} bucket */
function timeOf(bucket) {
  return 2 ** (bucket / 20)
}

module.exports = { Watch }
