'use strict'

/** One exchange: a request that went out, and what comes of it. */

const { AsyncResource } = require('node:async_hooks')
const { border, enter, leave } = require('../border.js')
const { errorOf } = require('../errors.js')
const abort = require('../abort.js')

/** As src/node/border.rs has them. */
const PIECES = 1
const TEXT = 2
const BYTES = 3

/** What was read is told to Rust once it is this much: a quarter of the window in src/client/fetch/drain.rs. */
const ACKNOWLEDGE = 16 * 1024

/** @typedef {import('./request.js').Plan} Plan */

/**
 * Who is told of its head or its failure.
 * @typedef {{
 *   head(exchange: Exchange, status: number, head: string): void,
 *   failed(exchange: Exchange, error: Promise<never>): void,
 *   cancelled(exchange: Exchange, reason: unknown): void
 * }} Listener
 */

/**
 * What fetch rejects with: made two turns of the microtask queue later, as the errors of other calls, so that its stack names the caller.
 * @param {string} message @param {string | { cause: unknown }} cause Rust's description of it, or another
 * @returns {Promise<never>}
 */
async function failure(message, cause) {
  await null
  await null
  const error = new TypeError(message, typeof cause === 'string' ? { cause: causeOf(cause) } : cause)
  Error.captureStackTrace(error, failure)
  throw error
}

/** Our own error, with the code by which Node's fetch tells of it. @param {string} description */
function causeOf(description) {
  const { nodeCode } = JSON.parse(description)
  const cause = errorOf(description, failure)
  if (nodeCode) cause.code = nodeCode
  return cause
}

/** @type {Listener} */
const NOBODY = { head() {}, failed() {}, cancelled() {} }

class Exchange {
  /**
   * @param {import('../call.js').Owner} client @param {Plan} plan @param {Listener} listener
   * @param {InstanceType<typeof import('../witness.js').Witness> | null} witness
   */
  constructor(client, plan, listener, witness) {
    /** @type {InstanceType<typeof import('../witness.js').Witness> | null} */
    this.witness = witness
    /** What had happened of the fetch before: exchanges, and time. */
    this.before = witness === null ? 0 : witness.message.attempts.length
    this.later = witness === null ? 0 : performance.timeOrigin + performance.now() - witness.message.startTime
    this.client = client
    this.signal = plan.signal
    /** @type {Listener} */
    this.listener = listener
    this.id = -1
    this.hasHead = false
    /** Whether nothing more comes. */
    this.ended = false
    /** The body as a whole, once it is there: text, bytes, or none. @type {string | ArrayBuffer | undefined} */
    this.whole = undefined
    /** Why there is no more of it: a reason, or what makes the error. @type {{ reason: unknown } | (() => Promise<never>) | null} */
    this.failure = null
    /** Pieces that nobody has read. @type {ArrayBuffer[]} */
    this.gathered = []
    this.unread = 0
    /** Told when a piece or the end has come. @type {(() => void) | null} */
    this.waiting = null
    /** Told when the whole has come, or never will. @type {(() => void) | null} */
    this.waitingWhole = null
    /** Told when there is no more to read, and it is not whole: by a weak hand. @type {WeakRef<{ error(reason: unknown): void }> | null} */
    this.stream = null
    /** What must not be collected while somebody waits. @type {unknown} */
    this.holder = null
    /** @type {Upload | null} */
    this.upload = null
  }

  /** Sends; where it cannot be begun, the listener is told. @param {any} native @param {Plan} plan */
  start(native, plan) {
    const { body } = plan
    const streams = body instanceof ReadableStream
    this.id = enter(this)
    /** @type {any} */
    let refused = null
    try {
      const text = typeof body === 'string' ? body : undefined
      const bytes = streams || typeof body === 'string' || body === null ? undefined : body
      refused = native.fetch(this.id, headOf(plan), text, bytes, streams, this.witness?.flags ?? 0)
    } catch (cause) {
      refused = { cause }
    }
    if (refused) {
      leave(this.id)
      this.ended = true
      const error = failure('fetch failed', refused)
      this.witness?.failed('{}', error)
      this.listener.failed(this, error)
      return
    }
    if (streams) this.upload = new Upload(this, body, plan.length)
    this.client.callStarted()
    if (this.signal !== undefined) abort.watch(this.signal, this)
  }

  // What the border calls.

  /** @param {string} text */
  told(text) {
    this.witness?.told(text, this.before, this.later)
  }

  /** @param {number} status @param {string} head */
  headed(status, head) {
    if (this.failure !== null) return
    this.hasHead = true
    const { listener } = this
    // Which knows the response, and it is to be collected if nobody else does.
    this.listener = NOBODY
    listener.head(this, status, head)
  }

  /** @param {ArrayBuffer} piece */
  bytes(piece) {
    if (this.failure !== null) return
    this.gathered.push(piece)
    this.#tell()
  }

  ask() {
    this.upload?.ask()
  }

  /** @param {number} status @param {string | undefined} head @param {string | ArrayBuffer | undefined} body */
  fetched(status, head, body) {
    if (this.failure === null) {
      this.whole = body
      this.#end()
      if (head !== undefined) this.headed(status, head)
      this.witness?.answered(undefined, '')
      this.witness = null
      this.#tell()
    }
    this.client.callEnded()
  }

  /** @param {string} description */
  failed(description) {
    if (this.failure === null) this.#fail(description)
    this.client.callEnded()
  }

  aborted() {
    this.cancel(undefined)
    this.client.callEnded()
  }

  answered() {}
  pieces() {}

  // What JavaScript calls.

  /** Ends it: whoever waits is told this reason. @param {unknown} reason */
  cancel(reason) {
    if (this.ended) return
    this.failure = { reason: abort.reasonOf(reason) }
    this.witness?.refused(this.failure.reason)
    this.witness = null
    this.#leave()
    if (!this.hasHead) this.listener.cancelled(this, this.failure.reason)
  }

  /** The body of the request cannot be read on. @param {unknown} cause */
  cannotUpload(cause) {
    if (this.ended) return
    this.#fail({ cause })
    border.cancel(this.id)
  }

  /** Says how the body is taken, where nothing has. @param {number} how */
  choose(how) {
    if (!this.ended) border.choose(this.id, how)
  }

  get hasPieces() {
    return this.gathered.length > 0
  }

  /** The next piece, if it is there. */
  take() {
    const piece = this.gathered.shift()
    if (piece === undefined) return undefined
    this.unread += piece.byteLength
    if (this.unread >= ACKNOWLEDGE && !this.ended) {
      border.read(this.id, this.unread)
      this.unread = 0
    }
    return piece
  }

  /** Rejects a promise with why there is no more. @param {(value: any) => void} resolve @param {(reason: unknown) => void} reject */
  tellFailure(resolve, reject) {
    if (typeof this.failure === 'function') resolve(this.failure())
    else if (this.failure !== null) reject(this.failure.reason)
  }

  /** Whoever reads is told; if nobody does, nobody need be. @param {string | { cause: unknown }} cause */
  #fail(cause) {
    this.failure = () => failure('terminated', cause)
    const { witness } = this
    this.witness = null
    this.#end()
    if (!this.hasHead) {
      const error = failure('fetch failed', cause)
      witness?.failed('{}', error)
      this.listener.failed(this, error)
    } else witness?.failed('{}', failure('terminated', cause))
    this.#tell()
  }

  #leave() {
    this.gathered = []
    this.#end()
    border.cancel(this.id)
    this.#tell()
  }

  #end() {
    this.ended = true
    collected.unregister(this)
    if (this.signal !== undefined) abort.unwatch(this.signal, this)
    this.upload?.end(this.failure)
    this.upload = null
  }

  #tell() {
    const { waiting, waitingWhole } = this
    this.waiting = null
    if (this.ended) {
      this.waitingWhole = null
      this.holder = null
      waitingWhole?.()
    }
    waiting?.()
    // Nobody may be waiting, and yet want to know.
    if (this.failure !== null && !this.hasPieces) {
      const stream = this.stream?.deref()
      this.stream = null
      if (stream !== undefined)
        new Promise((...told) => this.tellFailure(...told)).catch((reason) => stream.error(reason))
    }
  }
}

/** Cancels exchanges whose response was collected before the end of its body: a safety net, not a promise in time. */
const collected = new FinalizationRegistry((/** @type {Exchange} */ exchange) => exchange.cancel(undefined))

/** As src/client/fetch/request.rs reads it. @param {Plan} plan */
function headOf({ method, url, headers, redirect }) {
  const { href, hash } = url
  const whole = hash === '' && !href.endsWith('#') ? href : href.slice(0, href.indexOf('#'))
  let head = `${method}\n${whole}\n${redirect === 'follow' ? 1 : 0}`
  for (const line of headers) head += `\n${line}`
  return head
}

/** The body of a request that is a stream: a piece is read when Rust asks for one, in the context of whoever fetches. */
class Upload {
  #context = new AsyncResource('TrunklineUpload')

  /** @param {Exchange} exchange @param {ReadableStream} stream @param {number | undefined} length */
  constructor(exchange, stream, length) {
    this.exchange = exchange
    this.reader = stream.getReader()
    this.left = length
    this.done = false
  }

  ask() {
    this.#context
      .runInAsyncScope(() => this.#next())
      .catch((error) => {
        this.done = true
        this.exchange.cannotUpload(error)
      })
  }

  async #next() {
    const { done, value } = await this.reader.read()
    if (this.exchange.ended) return
    if (!done && !(value instanceof Uint8Array)) throw new TypeError('Received non-Uint8Array chunk')
    if (this.left !== undefined) {
      this.left -= done ? 0 : value.byteLength
      if (this.left < 0 || (done && this.left > 0)) throw lengthMismatch()
    }
    this.done = done
    border.give(this.exchange.id, done ? undefined : value)
  }

  /** @param {Exchange['failure']} failure */
  end(failure) {
    if (this.done) return
    const reason = failure !== null && typeof failure !== 'function' ? failure.reason : undefined
    this.#context.runInAsyncScope(() => this.reader.cancel(reason)).catch(() => {})
  }
}

function lengthMismatch() {
  const error = new Error('Request body length does not match content-length header')
  return Object.assign(error, { code: 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH' })
}

module.exports = { Exchange, failure, collected, PIECES, TEXT, BYTES }
