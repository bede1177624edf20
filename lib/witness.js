'use strict'

/**
 * Who sees a call from outside: subscribers of channels, and the client's hooks. Most calls have nobody, and no witness. What is the
 * user's is called in the context of the call, and never while letters are delivered.
 */

const { AsyncResource } = require('node:async_hooks')
const { border } = require('./border.js')
const { requests, isToldOfAttempts, isToldOfRequests } = require('./channels.js')
const { configError } = require('./errors.js')
const { encodeOptions, kindOf } = require('./encode.js')
const { metaOf, metaOfNone } = require('./meta.js')
const { only } = require('./options.js')

/** Beside the kind of a call, as src/node/border.rs has them. */
const WATCHED = 0x100
const TOLD = 0x200
const ASKED = 0x400

/**
 * The hooks among a client's options, which Rust does not see; null for none.
 * @param {any} hooks @returns {import('../index.js').Hooks | null}
 */
function hooksOf(hooks) {
  if (hooks === undefined) return null
  const { beforeAttempt, afterCall } = only(hooks, ['beforeAttempt', 'afterCall'], 'hooks')
  for (const [name, hook] of Object.entries({ beforeAttempt, afterCall })) {
    if (hook !== undefined && typeof hook !== 'function')
      throw configError(`hooks.${name}: must be a function, got ${kindOf(hook)}`)
  }
  return beforeAttempt === undefined && afterCall === undefined ? null : { beforeAttempt, afterCall }
}

/** Whether a call needs a witness. @param {object | null} hooks */
function isWatched(hooks) {
  return hooks !== null || isToldOfRequests()
}

/**
 * Asks a hook what Rust asked before an attempt, and answers whatever becomes of it. Gives what it threw.
 * @param {number} question @param {string} text @param {(attempt: any) => unknown} hook
 */
async function answerQuestion(question, text, hook) {
  // Not among the letters.
  await null
  const attempt = JSON.parse(text)
  let isOpen = true
  Object.defineProperty(attempt, 'body', {
    configurable: true,
    enumerable: false,
    get() {
      if (!isOpen) throw new Error('hooks.beforeAttempt: the body can be read until the hook has ended')
      return border.hookBody(question) ?? ''
    },
  })
  try {
    await hook(attempt)
    border.answerHook(question, encodeOptions(attempt.headers, 'hooks.beforeAttempt.headers'))
    return null
  } catch (cause) {
    border.answerHook(question, undefined, cause instanceof Error ? cause.message : 'it threw no error')
    return { cause }
  } finally {
    isOpen = false
  }
}

/** Whether headers are an object, or none. @param {any} headers */
function isJoinable(headers) {
  if (headers === undefined || isHeaders(headers)) return true
  return typeof headers === 'object' && headers !== null && headers[Symbol.iterator] === undefined
}

/** Node's, or undici's. @param {any} headers */
function isHeaders(headers) {
  return headers?.[Symbol.toStringTag] === 'Headers'
}

/** What subscribers get: one for each call, from its start to its end. */
class RequestMessage {
  #witness
  /** @type {unknown} */
  #result
  /** @type {(() => any) | undefined} */
  #meta

  /** @param {Witness} witness @param {any} what */
  constructor(witness, { id, client, operation, stream, model, method, url, request }) {
    this.#witness = witness
    this.id = id
    this.client = client
    this.operation = operation
    this.stream = stream
    this.model = model
    this.method = method
    this.url = url
    this.request = request
    this.startTime = performance.timeOrigin + performance.now()
    /** @type {any[]} */
    this.attempts = []
    /** @type {unknown} */
    this.error = undefined
  }

  /** @param {string} name @param {string} value */
  addHeader(name, value) {
    if (this.#witness.hasBegun) throw configError('addHeader: the request has begun; headers are added at its start')
    this.#witness.headers.push([name.toLowerCase(), value])
  }

  /** Made when it is looked at. */
  get result() {
    if (typeof this.#result === 'function') this.#result = this.#result()
    return this.#result
  }

  /** As the call's own; null until its end. */
  get meta() {
    return this.#meta === undefined ? null : this.#meta()
  }

  /** @param {RequestMessage} message @param {unknown} result @param {(() => any) | null} meta */
  static complete(message, result, meta) {
    message.#result = result
    if (meta === null) return
    /** @type {any} */
    let made
    message.#meta = () => (made ??= meta())
  }
}

class Witness {
  /** That of the call, from its start on. @type {AsyncResource | null} */
  #context = null
  #hooks
  #told = isToldOfAttempts()
  /** By their numbers. @type {Map<number, any>} */
  #attempts = new Map()
  /** What a hook threw. @type {{ cause: unknown } | null} */
  #thrown = null
  #ended = false
  hasBegun = false
  /** Those that subscribers add. @type {[string, string][]} */
  headers = []

  /** @param {import('../index.js').Hooks | null} hooks @param {number} number @param {any} what */
  constructor(hooks, number, what) {
    this.#hooks = hooks
    this.number = number
    this.message = new RequestMessage(this, { ...what, id: `call-${number}` })
  }

  /** To be added to the kind of the call. */
  get flags() {
    return WATCHED | (this.#told ? TOLD : 0) | (this.#hooks?.beforeAttempt !== undefined ? ASKED : 0)
  }

  /** Runs what begins the call; what subscribers bind to the start holds for all of it. @template T @param {() => T} run @returns {T} */
  start(run) {
    const begin = () => {
      // Not `AsyncLocalStorage.snapshot()`, which in Node 20 costs as much as the rest of the call.
      this.#context = new AsyncResource('TrunklineCall')
      this.hasBegun = true
      return run()
    }
    return requests.start.hasSubscribers ? requests.start.runStores(this.message, begin) : begin()
  }

  /** Options with the headers that were added. @param {any} options */
  withHeaders(options) {
    // What cannot be joined is refused as without them.
    if (this.headers.length === 0 || !isJoinable(options?.headers)) return options
    const given = isHeaders(options?.headers) ? Object.fromEntries(options.headers) : options?.headers
    const added = Object.fromEntries(this.headers)
    const kept = Object.entries(given ?? {}).filter(([name]) => !(name.toLowerCase() in added))
    return { ...options, headers: { ...Object.fromEntries(kept), ...added } }
  }

  /**
   * Something has happened to an attempt. Of one of several exchanges, their numbers go on from `before`, and their time.
   * @param {string} text @param {number} [before] @param {number} [later]
   */
  told(text, before = 0, later = 0) {
    const { event, attempt: number, at, ...rest } = JSON.parse(text)
    const attempt = this.#attemptOf(before + number)
    const time = later + at / 1000
    switch (event) {
      case 'attempt':
        Object.assign(attempt, {
          provider: rest.provider || null,
          model: rest.model || null,
          protocol: rest.protocol,
          origin: rest.origin,
          startedAt: time,
        })
        return this.#publish('attempt', attempt)
      case 'sent': {
        const [id, protocol, reused] = rest.connection
        for (const name of ['queued', 'dns', 'connect', 'tls']) attempt[name] = rest[name] / 1000
        Object.assign(attempt, { connection: { id, protocol, reused }, sentAt: time })
        return this.#publish('sent', attempt)
      }
      case 'firstByte':
        Object.assign(attempt, { status: rest.status, firstByteAt: time })
        return this.#publish('firstByte', attempt)
      default:
        Object.assign(attempt, { status: rest.status, error: rest.error, billed: rest.billed, endedAt: time })
        return this.#publish('attemptEnd', attempt)
    }
  }

  /**
   * Rust asks before an attempt. It is answered whatever becomes of the hook.
   * @param {number} question @param {string} text
   */
  async asked(question, text) {
    const hook = (/** @type {any} */ attempt) =>
      this.#context?.runInAsyncScope(() => this.#hooks?.beforeAttempt?.(attempt))
    this.#thrown = (await answerQuestion(question, text, hook)) ?? this.#thrown
  }

  /** @param {unknown} result what it came to, or what makes it @param {string} meta */
  answered(result, meta) {
    this.#end(result, undefined, meta === '' ? null : () => metaOf(meta, this.number))
  }

  /**
   * Rust's description of an error has come; `error` is made of it.
   * @param {string} description @param {Promise<never>} error
   */
  failed(description, error) {
    error.catch((reason) => {
      // What the hook threw itself, in the place of its words.
      if (this.#thrown !== null && reason?.code === 'ERR_HOOK' && reason.cause !== undefined)
        reason.cause = this.#thrown.cause
      const { meta } = JSON.parse(description)
      this.refused(reason, meta)
    })
  }

  /** It ends with this, be it an error or the reason of an abort. @param {unknown} reason @param {string} [meta] */
  refused(reason, meta) {
    const total = performance.timeOrigin + performance.now() - this.message.startTime
    const { model } = this.message
    const known = () => (meta ? metaOf(meta, this.number) : metaOfNone(this.number, model, total))
    this.#end(undefined, reason, this.message.operation === 'fetch' ? null : known)
  }

  /** @param {unknown} result @param {unknown} error @param {(() => any) | null} meta of a fetch there is none */
  #end(result, error, meta) {
    if (this.#ended) return
    this.#ended = true
    const { message } = this
    const tell = () => {
      RequestMessage.complete(message, result, meta)
      message.error = error
      if (error !== undefined && requests.error.hasSubscribers) requests.error.publish(message)
      if (requests.end.hasSubscribers) requests.end.publish(message)
      this.#hooks?.afterCall?.(message.meta, error)
    }
    this.#later(tell)
  }

  /** @param {'attempt' | 'sent' | 'firstByte' | 'attemptEnd'} what @param {object} attempt */
  #publish(what, attempt) {
    if (this.#ended || !requests[what].hasSubscribers) return
    this.#later(() => requests[what].publish({ request: this.message, attempt }))
  }

  /** In the context of the call, and not among the letters. @param {() => void} run */
  #later(run) {
    this.#context?.runInAsyncScope(queueMicrotask, undefined, run)
  }

  /** @param {number} number */
  #attemptOf(number) {
    let attempt = this.#attempts.get(number)
    if (attempt === undefined) {
      attempt = { number, status: null, error: null, billed: null, connection: null }
      this.#attempts.set(number, attempt)
      this.message.attempts.push(attempt)
    }
    return attempt
  }
}

/** Of calls of which nothing is told, and whose hook is asked. */
const ASKED_ONLY = WATCHED | ASKED

module.exports = { ASKED_ONLY, Witness, answerQuestion, hooksOf, isWatched }
