'use strict'

/**
 * The body of a response. Taken whole by whoever asks for its text, JSON or bytes, without a stream; a stream only for those who ask for one.
 */

/** Knows the web's streams too, which its typings do not say. @type {(stream: any) => boolean} */
const isDisturbed = /** @type {any} */ (require('node:stream')).isDisturbed
const { PIECES, TEXT, BYTES } = require('./exchange.js')

/** @typedef {InstanceType<typeof import('./exchange.js').Exchange>} Exchange */

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** Where the bytes of a body come from: an exchange, and what is there of it in one. */
class Feed {
  /** @param {Exchange | null} exchange @param {string | ArrayBuffer} whole @param {AbortSignal | undefined} signal of the fetch */
  constructor(exchange, whole, signal) {
    this.exchange = exchange
    this.whole = whole
    this.signal = signal
  }

  /** The next piece, or a promise of it; undefined at the end. @returns {ArrayBuffer | undefined | Promise<ArrayBuffer | undefined>} */
  next() {
    const { exchange } = this
    if (this.signal?.aborted && !this.isThrough) return Promise.reject(this.signal.reason)
    const piece = exchange?.take()
    if (piece !== undefined) return piece
    if (exchange !== null && !exchange.ended) {
      return new Promise((resolve) => {
        exchange.waiting = () => resolve(undefined)
      }).then(() => this.next())
    }
    if (exchange !== null && exchange.failure !== null) {
      // The pieces before it may be on their way through a chain of streams, each of which drops what it holds when it is told of an error.
      return new Promise((resolve, reject) => setImmediate(() => exchange.tellFailure(resolve, reject)))
    }
    if (this.isThrough) return undefined
    const { whole } = this
    this.whole = ''
    return bytesOf(whole)
  }

  /** Whether all of it is here, and has been given away. */
  get isThrough() {
    if (!this.settle()) return false
    return (typeof this.whole === 'string' ? this.whole.length : this.whole.byteLength) === 0
  }

  /** Whether all of it is here. */
  settle() {
    const { exchange } = this
    if (exchange === null) return true
    if (!exchange.ended || exchange.failure !== null || exchange.hasPieces) return false
    this.whole = exchange.whole ?? ''
    this.exchange = null
    return true
  }

  /** Nobody wants the rest. @param {unknown} reason */
  leave(reason) {
    this.exchange?.cancel(reason)
    this.whole = ''
  }

  /** Keeps something from being collected while somebody waits. @param {unknown} holder */
  hold(holder) {
    if (this.exchange !== null) this.exchange.holder = holder
  }
}

class Body {
  /** @param {Feed | null} feed where it is no stream of somebody else's @param {ReadableStream | null} [stream] */
  constructor(feed, stream = null) {
    this.feed = feed
    this.stream_ = stream
    this.taken = false
  }

  get isNull() {
    return this.feed === null && this.stream_ === null
  }

  get isUsed() {
    return this.taken || (this.stream_ !== null && isDisturbed(this.stream_))
  }

  get isUnusable() {
    return this.isUsed || this.stream_?.locked === true
  }

  /** The reason of an abort before anybody began to read. @returns {{ reason: unknown } | null} */
  whyAborted() {
    const signal = this.feed?.signal
    return signal?.aborted && !this.isUnusable ? { reason: signal.reason } : null
  }

  /** All of it. @param {number} how TEXT or BYTES @param {unknown} holder @returns {Promise<any>} a string, or an ArrayBuffer */
  async take(how, holder) {
    if (this.isNull) return how === TEXT ? '' : new ArrayBuffer(0)
    if (this.isUnusable) throw new TypeError('Body is unusable: Body has already been read')
    const { feed } = this
    if (feed === null) {
      const all = new Response(this.stream_)
      return how === TEXT ? all.text() : all.arrayBuffer()
    }
    this.taken = true
    // What was looked at as a stream cannot be read as one any more.
    if (this.stream_ !== null) {
      this.stream_.getReader()
      return this.#gathered(feed, how, holder)
    }
    const { exchange } = feed
    if (exchange !== null && !exchange.ended) {
      exchange.choose(how)
      exchange.holder = holder
      await new Promise((resolve) => {
        exchange.waitingWhole = () => resolve(undefined)
      })
    }
    if (!feed.settle()) return this.#gathered(feed, how, holder)
    const { whole } = feed
    feed.whole = ''
    if (how === BYTES) return bytesOf(whole)
    return typeof whole === 'string' ? whole : decoder.decode(whole)
  }

  /** All of what comes in pieces. @param {Feed} feed @param {number} how @param {unknown} holder */
  async #gathered(feed, how, holder) {
    const pieces = []
    for (;;) {
      feed.hold(holder)
      const piece = await feed.next()
      if (piece === undefined) break
      pieces.push(new Uint8Array(piece))
    }
    feed.hold(null)
    const bytes = Buffer.concat(pieces)
    return how === TEXT ? decoder.decode(bytes) : bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)
  }

  /** @param {unknown} holder */
  stream(holder) {
    const { feed } = this
    if (this.stream_ === null && feed !== null) {
      if (feed.exchange !== null) feed.exchange.choose(PIECES)
      const stream = new ReadableStream(new Source(feed, holder), { highWaterMark: 0 })
      this.stream_ = stream
      // Whoever iterates it needs no machinery between: what a stream is mostly used for then costs a third.
      const value = (/** @type {any} */ options) => this.#iterate(stream, options)
      Object.defineProperty(stream, Symbol.asyncIterator, { value, configurable: true, writable: true })
      if (this.taken) this.stream_.getReader()
    }
    return this.stream_
  }

  /** @param {ReadableStream} stream @param {any} options */
  #iterate(stream, options) {
    const { feed } = this
    if (feed === null || this.isUsed || options !== undefined) return stream.values(options)
    return new Pieces(stream, this, feed)
  }

  /** Another body of the same bytes. @param {unknown} holder */
  clone(holder) {
    if (this.isNull) return this
    const { feed } = this
    if (this.stream_ === null && feed?.settle()) return new Body(new Feed(null, feed.whole, feed.signal))
    const [one, other] = /** @type {ReadableStream} */ (this.stream(holder)).tee()
    this.feed = null
    this.stream_ = one
    return new Body(null, other)
  }
}

/** @param {string | ArrayBuffer} whole @returns {ArrayBuffer} */
function bytesOf(whole) {
  if (typeof whole !== 'string') return whole
  const bytes = encoder.encode(whole)
  return bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer
}

/** What a body's stream is made of: it takes a piece when its reader wants one. */
class Source {
  /** @type {'bytes'} */
  type = 'bytes'
  #feed
  /** Kept from being collected for as long as the stream is not. */
  #holder

  /** @param {Feed} feed @param {unknown} holder */
  constructor(feed, holder) {
    this.#feed = feed
    this.#holder = holder
  }

  /** @param {ReadableByteStreamController} controller */
  start(controller) {
    const { exchange, signal } = this.#feed
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (exchange === null) return
    if (!exchange.ended) exchange.stream = new WeakRef(controller)
    else if (exchange.failure !== null && !exchange.hasPieces) {
      return new Promise((resolve, reject) => exchange.tellFailure(resolve, reject))
    }
  }

  /** @param {ReadableByteStreamController} controller */
  async pull(controller) {
    const feed = this.#feed
    feed.hold([this.#holder, controller])
    const piece = await feed.next()
    feed.hold(null)
    if (piece !== undefined) return controller.enqueue(new Uint8Array(piece))
    controller.close()
    controller.byobRequest?.respond(0)
  }

  /** @param {unknown} reason */
  cancel(reason) {
    this.#feed.leave(reason)
  }
}

/** Iterates over a body. Its stream is locked meanwhile, as with any iterator of a stream. */
class Pieces {
  #body
  #feed
  #reader
  /** What `next` gave last; each waits for the one before. @type {Promise<any>} */
  #last = Promise.resolve()
  #running = 0
  #done = false

  /** @param {ReadableStream} stream @param {Body} body @param {Feed} feed */
  constructor(stream, body, feed) {
    this.#reader = stream.getReader()
    this.#body = body
    this.#feed = feed
  }

  /** @returns {Promise<IteratorResult<Uint8Array, undefined>>} */
  next() {
    const step = () => this.#step()
    this.#last = this.#running++ === 0 ? step() : this.#last.then(step, step)
    return this.#last
  }

  /** @returns {Promise<IteratorResult<Uint8Array, undefined>>} */
  async #step() {
    try {
      if (!this.#done) {
        this.#body.taken = true
        this.#feed.hold(this)
        const piece = await this.#feed.next()
        if (piece !== undefined && !this.#done) return { value: new Uint8Array(piece), done: false }
        this.#finish()
      }
      return { value: undefined, done: true }
    } catch (error) {
      this.#finish()
      throw error
    } finally {
      this.#running--
    }
  }

  /** Leaving the loop cancels the exchange. @param {unknown} [value] */
  async return(value) {
    this.#finish()
    return { value, done: true }
  }

  #finish() {
    if (this.#done) return
    this.#done = true
    this.#feed.hold(null)
    // Of what has ended there is nothing to cancel.
    this.#reader.cancel().catch(() => {})
    this.#reader.releaseLock()
  }

  [Symbol.asyncIterator]() {
    return this
  }
}

module.exports = { Body, Feed, TEXT, BYTES }
