'use strict'

/**
 * Many calls, bounded, in order, one failure never losing another's result. It takes its items from any iterable, and so
 * lives on JavaScript's side; the calls are Rust's.
 */

const { configError, withCaller } = require('./errors.js')
const { kindOf, shown } = require('./encode.js')
const { signalOf } = require('./call.js')
const abort = require('./abort.js')
const { queueMicrotask } = require('./timers.js')

const DEFAULT_CONCURRENCY = 32

/**
 * `check` throws for options that no call takes; `caller` is the stack of whoever asked.
 * @typedef {{
 *   start: (item: any, options: object) => import('../index.js').Call<any>,
 *   check: (options: object) => void, caller: string
 * }} Starter
 */

class Batch {
  #started = performance.now()
  #progress = {
    total: /** @type {number | null} */ (null),
    started: 0,
    succeeded: 0,
    failed: 0,
    inFlight: 0,
    usage: { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 },
    cost: 0,
  }
  /** Settled and not yet iterated, in the order of completion. @type {any[]} */
  #completed = []
  /** In the order of the requests; kept unless the batch is iterated. @type {any[] | null} */
  #results = []
  #iterated = false
  #stop = new AbortController()
  /** @type {() => void} */
  #changed = () => {}
  /** Ends the wait for the source. @type {() => void} */
  #stopTaking = () => {}
  #ended = false
  /** @type {unknown} */
  #error
  #failed = false
  /** @type {Promise<void>} */
  #run

  /** None of the calls knows it. */
  #caller

  /**
   * @param {Starter} starter @param {any} requests @param {any} options
   */
  constructor({ start, check, caller }, requests, options) {
    this.#caller = caller
    if (options !== undefined && (typeof options !== 'object' || options === null)) {
      throw configError(`options: must be an object, got ${kindOf(options)}`)
    }
    if (options?.idempotencyKey !== undefined) {
      throw configError('idempotencyKey: belongs to one call; a batch with one would get the first answer for all')
    }
    const { concurrency = DEFAULT_CONCURRENCY, onProgress, failFast = false, signal, ...rest } = options ?? {}
    if (!Number.isInteger(concurrency) || concurrency < 1) {
      throw configError(`concurrency: must be a positive integer, got ${shown(concurrency)}`)
    }
    if (onProgress !== undefined && typeof onProgress !== 'function') {
      throw configError(`onProgress: must be a function, got ${kindOf(onProgress)}`)
    }
    if (typeof failFast !== 'boolean') throw configError(`failFast: must be a boolean, got ${kindOf(failFast)}`)
    const outer = signalOf(signal)
    check(rest)
    const iterator = requests?.[Symbol.asyncIterator]?.() ?? requests?.[Symbol.iterator]?.()
    if (iterator === undefined || typeof requests === 'string') {
      const next = kindOf(requests) === 'an object' ? '; a single one goes into an array' : ''
      throw configError(`requests: must be an iterable of requests, got ${kindOf(requests)}${next}`)
    }
    if (Array.isArray(requests)) this.#progress.total = requests.length
    else if (typeof requests.size === 'number') this.#progress.total = requests.size
    const callOptions = { ...rest, signal: this.#stop.signal }
    this.#run = this.#drive(start, iterator, { concurrency, onProgress, failFast, outer, callOptions })
    // Whoever awaits or iterates gets the error; a batch that nobody holds is no unhandled rejection.
    this.#run.catch(() => {})
  }

  get progress() {
    return { ...this.#progress, usage: { ...this.#progress.usage }, elapsed: performance.now() - this.#started }
  }

  /** @param {unknown} [reason] */
  abort(reason) {
    this.#stop.abort(abort.reasonOf(reason))
    this.#changed()
    this.#stopTaking()
  }

  /**
   * @param {((results: any[]) => any) | null} [onfulfilled] @param {((reason: unknown) => any) | null} [onrejected]
   */
  then(onfulfilled, onrejected) {
    if (this.#iterated) return Promise.reject(consumed()).then(onfulfilled, onrejected)
    const all = () => {
      if (this.#results === null) throw consumed()
      return this.#results
    }
    return this.#run.then(all).then(onfulfilled, onrejected)
  }

  async *[Symbol.asyncIterator]() {
    if (this.#iterated) throw consumed()
    this.#iterated = true
    this.#results = null
    this.#changed()
    let whole = false
    try {
      for (;;) {
        while (this.#completed.length > 0) {
          const result = this.#completed.shift()
          this.#changed()
          yield result
        }
        if (this.#ended) break
        await new Promise((resolve) => this.#waiters.push(resolve))
      }
      whole = true
      if (this.#failed) throw this.#error
    } finally {
      // Leaving the loop cancels what runs.
      if (!whole) this.abort()
    }
  }

  /** @type {((value?: unknown) => void)[]} */
  #waiters = []

  /** @param {Starter['start']} start @param {any} iterator @param {any} how */
  async #drive(start, iterator, { concurrency, onProgress, failFast, outer, callOptions }) {
    /** @type {Set<Promise<void>>} */
    const running = new Set()
    const cancellable = { cancel: (/** @type {unknown} */ reason) => this.abort(reason) }
    if (outer?.aborted) this.abort(outer.reason)
    else if (outer) abort.watch(outer, cancellable)
    let index = 0
    let [exhausted, silent] = [false, false]
    try {
      while (!this.#stop.signal.aborted && !(failFast && this.#progress.failed > 0)) {
        // A loop that does not take its results takes no further calls either.
        if (running.size >= concurrency || (this.#iterated && this.#completed.length >= concurrency)) {
          await Promise.race([...running, new Promise((resolve) => (this.#changed = () => resolve(undefined)))])
          continue
        }
        const step = await this.#next(iterator)
        if (step === undefined) {
          silent = true
          break
        }
        if (step.done) {
          exhausted = true
          break
        }
        if (this.#stop.signal.aborted) break
        const one = this.#one(start, step.value, index++, callOptions, onProgress).then(() => {
          running.delete(one)
          if (failFast && this.#progress.failed > 0) this.#stopTaking()
        })
        running.add(one)
      }
    } catch (error) {
      // The source failed: what runs is not lost by it.
      exhausted = true
      this.#failed = true
      this.#error = error
    }
    await Promise.all(running)
    if (!exhausted) {
      const closed = close(iterator)
      // A generator that waits for something is left only when that comes.
      if (!silent) await closed
    }
    if (outer) abort.unwatch(outer, cancellable)
    if (this.#stop.signal.aborted) {
      this.#failed = true
      this.#error = this.#stop.signal.reason
    }
    this.#ended = true
    this.#wake()
    if (this.#failed) throw this.#error
  }

  /** The next item of the source; undefined where the batch stops while it waits for one. @param {any} iterator */
  #next(iterator) {
    return new Promise((resolve, reject) => {
      this.#stopTaking = () => resolve(undefined)
      Promise.resolve(iterator.next()).then(resolve, reject)
    })
  }

  /** @param {Starter['start']} start @param {any} item @param {number} index @param {object} callOptions @param {any} onProgress */
  async #one(start, item, index, callOptions, onProgress) {
    const progress = this.#progress
    const customId = item?.customId ?? null
    progress.started++
    progress.inFlight++
    let result
    try {
      const { data, meta } = await start(item, callOptions).withMeta()
      progress.succeeded++
      add(progress.usage, meta.usage)
      progress.cost += meta.cost ?? 0
      result = { index, customId, meta, status: 'fulfilled', value: data }
    } catch (reason) {
      progress.failed++
      result = { index, customId, meta: null, status: 'rejected', reason: withCaller(reason, this.#caller) }
    }
    progress.inFlight--
    if (this.#results !== null) this.#results[index] = result
    this.#completed.push(result)
    this.#wake()
    // In the same turn as the counts, so that each count is told once.
    tell(onProgress, this.progress)
  }

  #wake() {
    for (const wake of this.#waiters.splice(0)) wake()
  }
}

/** @param {any} sum @param {any} usage */
function add(sum, usage) {
  for (const key of Object.keys(sum)) sum[key] += usage?.[key] ?? 0
}

/** A listener's own mistake is the process's to report, not the batch's to fail on. @param {any} listener @param {any} progress */
function tell(listener, progress) {
  try {
    listener?.(progress)
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

/** @param {any} iterator */
async function close(iterator) {
  try {
    await iterator.return?.()
  } catch {
    // The batch has its results; what the source says on leaving changes nothing.
  }
}

function consumed() {
  return configError('a batch is read once: awaited, or iterated')
}

module.exports = { Batch }
