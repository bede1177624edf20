'use strict'

/** `line.batchFile`: a job of many calls from a file to a file. All of it is Rust's; this tells how far it is, and ends it. */

const path = require('node:path')
const { fileURLToPath } = require('node:url')
const { AsyncResource } = require('node:async_hooks')
const abort = require('./abort.js')
const { border, enter, leave } = require('./border.js')
const { encodeOptions, kindOf } = require('./encode.js')
const { configError, errorOf, fromCaller } = require('./errors.js')
const { signalOf } = require('./call.js')
const { clearTimeout, queueMicrotask, setTimeout } = require('./timers.js')
const { ASKED_ONLY, answerQuestion } = require('./witness.js')

/** Milliseconds between two looks that are told of. */
const INTERVAL = 1000

/** Options that are the job's own; the others are of its calls. */
const OWN = [
  'errors',
  'concurrency',
  'tries',
  'badLines',
  'onlyRoutes',
  'retryFailed',
  'onBudget',
  'patience',
  'grace',
  'queue',
  'providerBatch',
]

/**
 * `works`: it has no files, and works on a job that another process feeds; `selected`: models that a function of the client's selects another for; `beforeAttempt`: its hook.
 * @typedef {{
 *   start: (id: number, options: string, call: string, flags: number) => string | null | undefined,
 *   works?: boolean, selected: string[], beforeAttempt: ((attempt: any) => unknown) | undefined, client: any, above: Function
 * }} Starter
 */

class BatchFile {
  #id = -1
  /** The last that was seen. @type {any} */
  #progress = progressOf({})
  #ended = false
  /** @type {AbortSignal | undefined} */
  #signal
  /** Why it was cancelled. @type {{ reason: unknown } | null} */
  #cancelled = null
  /** @type {((progress: any) => void) | undefined} */
  #tell
  /** @type {NodeJS.Timeout | undefined} */
  #timer
  #promise
  /** @type {(value: any) => void} */
  #resolve = () => {}
  /** @type {(reason: unknown) => void} */
  #reject = () => {}
  #party

  /** @param {Starter} starter @param {any} input @param {any} output @param {any} options */
  constructor({ start, works = false, selected, beforeAttempt, client, above }, input, output, options) {
    this.#promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Whoever awaits gets the error; a job that nobody holds is no unhandled rejection.
    this.#promise.catch(() => {})
    try {
      if (options !== undefined && (typeof options !== 'object' || options === null))
        throw configError(`options: must be an object, got ${kindOf(options)}`)
      const { signal, onProgress, idempotencyKey, ...rest } = options ?? {}
      if (idempotencyKey !== undefined)
        throw configError('idempotencyKey: belongs to one call; a batch with one would get the first answer for all')
      if (onProgress !== undefined && typeof onProgress !== 'function')
        throw configError(`onProgress: must be a function, got ${kindOf(onProgress)}`)
      this.#signal = signalOf(signal)
      this.#tell = onProgress
      const own = Object.fromEntries(OWN.filter((name) => name in rest).map((name) => [name, rest[name]]))
      for (const name of OWN) delete rest[name]
      if (own.errors !== undefined) own.errors = fileOf(own.errors, 'errors')
      const files = works ? {} : { input: fileOf(input, 'input'), output: fileOf(output, 'output'), selected }
      const job = encodeOptions({ ...own, ...files }, 'options')
      const call = encodeOptions({ ...rest, priority: rest.priority ?? 'background' }, 'options')
      this.#party = this.#partyOf(client, beforeAttempt)
      if (this.#signal?.aborted) {
        this.#ended = true
        this.#reject(this.#signal.reason)
        return
      }
      this.#id = enter(this.#party)
      const refused = start(this.#id, job, call, beforeAttempt ? ASKED_ONLY : 0)
      if (refused) {
        leave(this.#id)
        throw errorOf(refused)
      }
    } catch (error) {
      throw fromCaller(error, above)
    }
    client.callStarted()
    if (this.#signal) abort.watch(this.#signal, this.#gently)
    if (this.#tell) this.#later()
  }

  /** How far it is. */
  get progress() {
    if (!this.#ended) this.#look()
    return { ...this.#progress, usage: { ...this.#progress.usage } }
  }

  /** @param {{ now?: boolean, cancelBatches?: boolean }} [options] */
  stop({ now = false, cancelBatches = false } = {}) {
    if (!this.#ended) border.stopJob(this.#id, now, cancelBatches)
    return this
  }

  /** @param {((result: any) => any) | null} [onfulfilled] @param {((reason: unknown) => any) | null} [onrejected] */
  then(onfulfilled, onrejected) {
    return this.#promise.then(onfulfilled, onrejected)
  }

  /** @param {((reason: unknown) => any) | null} [onrejected] */
  catch(onrejected) {
    return this.#promise.catch(onrejected)
  }

  /** @param {(() => void) | null} [onfinally] */
  finally(onfinally) {
    return this.#promise.finally(onfinally)
  }

  get [Symbol.toStringTag]() {
    return 'BatchFile'
  }

  /** What the signal does. */
  #gently = {
    cancel: (/** @type {unknown} */ reason) => {
      this.#cancelled ??= { reason: abort.reasonOf(reason) }
      this.stop()
    },
  }

  /** @param {any} client @param {((attempt: any) => unknown) | undefined} beforeAttempt @returns {any} */
  #partyOf(client, beforeAttempt) {
    const hook = beforeAttempt && AsyncResource.bind(beforeAttempt)
    const end = (/** @type {() => void} */ settle) => {
      this.#ended = true
      clearTimeout(this.#timer)
      if (this.#signal) abort.unwatch(this.#signal, this.#gently)
      client.callEnded()
      settle()
    }
    return {
      client,
      // Who is asked before each attempt of each of its calls.
      witness: hook && {
        asked: (/** @type {number} */ question, /** @type {string} */ text) => answerQuestion(question, text, hook),
      },
      pieces() {},
      answered: (/** @type {string} */ body) => {
        const result = resultOf(JSON.parse(body))
        this.#progress = result.progress
        end(() => {
          this.#announce()
          if (this.#cancelled) this.#reject(this.#cancelled.reason)
          else this.#resolve(result)
        })
      },
      failed: (/** @type {string} */ description) => {
        end(() => this.#reject(this.#cancelled ? this.#cancelled.reason : errorOf(description)))
      },
      aborted: () => end(() => this.#reject(this.#cancelled ? this.#cancelled.reason : abort.reasonOf(undefined))),
      // The client closes, and will wait no longer.
      cancel: (/** @type {unknown} */ reason) => {
        this.#cancelled ??= { reason }
        this.stop({ now: true })
      },
    }
  }

  #look() {
    const text = border.jobProgress(this.#id)
    if (text) this.#progress = progressOf(JSON.parse(text))
  }

  #later() {
    this.#timer = setTimeout(() => {
      if (this.#ended) return
      this.#look()
      this.#announce()
      this.#later()
    }, INTERVAL)
  }

  #announce() {
    const tell = this.#tell
    if (tell === undefined) return
    const { progress } = this
    // A listener's own mistake is the process's to report.
    queueMicrotask(() => tell(progress))
  }
}

/** The path of a file: a string, or a file URL. @param {unknown} file @param {string} name */
function fileOf(file, name) {
  if (file instanceof URL) {
    if (file.protocol !== 'file:') throw configError(`${name}: must be the path of a file, got a URL that is none`)
    return fileURLToPath(file)
  }
  if (typeof file !== 'string') throw configError(`${name}: must be the path of a file, got ${kindOf(file)}`)
  return file === '' ? file : path.resolve(file)
}

/** @param {any} told As Rust has it. */
function progressOf(told) {
  const { inputTokens = 0, outputTokens = 0 } = told
  return {
    phase: told.phase ?? 'checking',
    total: told.total ?? 0,
    succeeded: told.succeeded ?? 0,
    failed: told.failed ?? 0,
    resumed: told.resumed ?? 0,
    inFlight: told.inFlight ?? 0,
    repeated: told.repeated ?? 0,
    twice: told.twice ?? 0,
    workers: told.workers ?? 0,
    retried: told.retried ?? 0,
    checkedBytes: told.checkedBytes ?? 0,
    inputBytes: told.inputBytes ?? 0,
    usage: {
      prompt_tokens: inputTokens,
      completion_tokens: outputTokens,
      total_tokens: inputTokens + outputTokens,
    },
    cost: told.cost ?? 0,
    elapsed: told.elapsed ?? 0,
    waiting: told.waiting ?? null,
    batches: told.batches ?? [],
  }
}

/** @param {any} told */
function resultOf(told) {
  const { status, error, resumesAt, output, errors, badLines, someBad } = told
  return {
    status,
    error: error === null ? null : errorOf(error),
    resumesAt: resumesAt === null ? null : new Date(resumesAt),
    output: output || null,
    errors,
    badLines: {
      count: badLines,
      first: someBad.map((/** @type {[number, string]} */ [line, message]) => ({ line, message })),
    },
    progress: progressOf(told),
  }
}

module.exports = { BatchFile }
