'use strict'

const { border, enter, leave } = require('./border.js')
const { errorOf, configError } = require('./errors.js')
const { failureBefore, nextNumber } = require('./call.js')
const { metaOf } = require('./meta.js')
const abort = require('./abort.js')

/** As src/node/border.rs has them. */
const OBJECTS = 1
const TEXT = 2
const LINES = 3
const WHOLE = 4

/** What was read is told to Rust once it is this much: a quarter of the window in src/client/outlet.rs. */
const ACKNOWLEDGE = 16 * 1024

/** A queue with nothing in it; never pushed to. @type {any[]} */
const NOTHING = []

/** @typedef {{ resolve: (result: any) => void, reject: (reason: unknown) => void }} Waiter */

/**
 * A stream's state. Rust knows it by its number; the handle that users hold knows it, and not the other way round, so
 * that a handle which nobody holds can be collected.
 */
class Flow {
  /** @param {any} client @param {AbortSignal | undefined} signal @param {InstanceType<typeof import('./witness.js').Witness> | null} [witness] */
  constructor(client, signal, witness = null) {
    this.client = client
    this.signal = signal
    this.witness = witness
    this.number = witness === null ? nextNumber() : witness.number
    this.id = -1
    this.mode = 0
    /** Items that came, as they came, and from `head` on were not taken. @type {any[]} */
    this.queue = NOTHING
    this.head = 0
    this.unread = 0
    /** @type {any} */
    this.pattern = undefined
    /** What came of a stream that ended before its reader came, as objects. */
    this.early = ''
    /** Whoever waits for the next item, of which there is none then. @type {Waiter[]} */
    this.waiting = []
    /** Made once, since it is called for each item. @type {(resolve: (result: any) => void, reject: (reason: unknown) => void) => void} */
    this.wait = (resolve, reject) => this.waiting.push({ resolve, reject })
    /** @type {'running' | 'ended' | 'failed' | 'aborted'} */
    this.state = 'running'
    this.left = false
    this.body = ''
    this.meta = ''
    /** @type {string} */
    this.description = ''
    /** The error that a witness has seen, which is then everybody's. @type {Promise<never> | null} */
    this.seen = null
    /** @type {unknown} */
    this.reason = undefined
    /** Told of the end, whatever it is. @type {(() => void)[]} */
    this.atEnd = []
  }

  /** @param {string} body @param {string} meta */
  answered(body, meta) {
    if (this.state === 'running') {
      this.body = body
      this.meta = meta
      // Of other events than a chat's there is no whole.
      this.witness?.answered(body === '' ? undefined : () => JSON.parse(body), meta)
      this.#end('ended')
    }
    this.#leave()
  }

  /** @param {string} description */
  failed(description) {
    if (this.state === 'running') {
      this.description = description
      if (this.witness !== null) this.seen = failureBefore(description, this.witness)
      this.#end('failed')
    }
    this.#leave()
  }

  aborted() {
    this.cancel(undefined)
    this.#leave()
  }

  /** @param {string} text @param {number} bytes */
  pieces(text, bytes) {
    if (this.state !== 'running') return
    if (this.mode === 0) {
      this.early += text
      return
    }
    if (this.mode === OBJECTS) {
      this.#came(JSON.parse(text), bytes)
    } else if (this.head < this.queue.length) {
      // Texts that wait are one.
      this.unread += bytes
      this.queue[this.queue.length - 1] += text
    } else {
      this.#came([text], bytes)
    }
  }

  /** The last pattern with another text. @param {string} text @param {number} bytes */
  piece(text, bytes) {
    if (this.state === 'running') this.#came([text], bytes)
  }

  /** @param {any[]} items @param {number} bytes */
  #came(items, bytes) {
    this.unread += bytes
    if (this.head === this.queue.length) this.queue = items
    else for (const item of items) this.queue.push(item)
    const { waiting } = this
    while (waiting.length > 0 && this.head < this.queue.length) {
      const waiter = /** @type {Waiter} */ (waiting.length === 1 ? waiting.pop() : waiting.shift())
      waiter.resolve({ value: this.#take(), done: false })
    }
  }

  /**
   * An element of the array that objects cross in, as src/client/outlet.rs has them: `[chunk]` is a chunk and a pattern,
   * a string is the last pattern with another text, anything else is itself. What is handed over is never the pattern.
   * @param {any} item
   */
  #object(item) {
    if (typeof item === 'string') return withText(this.pattern, item)
    if (!Array.isArray(item)) return item
    this.pattern = item[0]
    return withText(this.pattern, this.pattern.choices[0].delta.content)
  }

  /** @param {unknown} reason */
  cancel(reason) {
    if (this.state !== 'running') return
    this.reason = abort.reasonOf(reason)
    this.queue = NOTHING
    this.head = 0
    this.witness?.refused(this.reason)
    this.#end('aborted')
    if (this.id >= 0 && !this.left) border.cancel(this.id)
  }

  /** @param {'ended' | 'failed' | 'aborted'} state */
  #end(state) {
    this.state = state
    // It holds the context, and the handle may live on.
    this.witness = null
    // Or the registry would hold the flow, and all that it read, until the handle is collected.
    dropped.unregister(this)
    if (this.signal !== undefined) abort.unwatch(this.signal, this)
    for (const { resolve, reject } of this.waiting.splice(0)) this.#tellEnd(resolve, reject)
    for (const tell of this.atEnd.splice(0)) tell()
  }

  #leave() {
    this.left = true
    this.client.callEnded()
  }

  #take() {
    const item = this.queue[this.head++]
    if (this.head === this.queue.length) {
      this.queue = NOTHING
      this.head = 0
      if (this.unread >= ACKNOWLEDGE && !this.left) {
        border.read(this.id, this.unread)
        this.unread = 0
      }
    }
    return this.mode === OBJECTS ? this.#object(item) : item
  }

  /** @param {(value: any) => void} resolve @param {(reason: unknown) => void} reject */
  #tellEnd(resolve, reject) {
    if (this.state === 'ended') resolve({ value: undefined, done: true })
    else this.fail(resolve, reject)
  }

  /** @param {(value: any) => void} resolve @param {(reason: unknown) => void} reject */
  fail(resolve, reject) {
    if (this.state === 'failed') resolve(this.seen ?? failureBefore(this.description, null))
    else reject(this.reason)
  }

  /** Says what is wanted of each piece. @param {number} mode */
  choose(mode) {
    this.mode = mode
    if (this.early !== '') this.#readEarly()
    else if (this.id >= 0 && !this.left) border.choose(this.id, mode)
  }

  /** Makes of what came early what the reader wants. */
  #readEarly() {
    const items = JSON.parse(this.early)
    this.early = ''
    if (this.mode === OBJECTS) {
      this.queue = items
      return
    }
    const objects = items.map((/** @type {any} */ item) => this.#object(item))
    if (this.mode === TEXT) this.queue = [objects.map(textOf).join('')].filter((text) => text !== '')
    else if (this.mode === LINES)
      this.queue = [objects.map((/** @type {any} */ chunk) => `${JSON.stringify(chunk)}\n`).join('')]
  }

  /** The next item. @returns {Promise<IteratorResult<any, undefined>>} */
  next() {
    if (this.head < this.queue.length) return Promise.resolve({ value: this.#take(), done: false })
    if (this.state === 'running') return new Promise(this.wait)
    return new Promise((resolve, reject) => this.#tellEnd(resolve, reject))
  }

  /** Resolves with `of()` at a good end, and rejects at any other. @template T @param {() => T} of @returns {Promise<T>} */
  whole(of) {
    return new Promise((resolve, reject) => {
      const tell = () => {
        if (this.state === 'ended') resolve(of())
        else this.fail(resolve, reject)
      }
      if (this.state === 'running') this.atEnd.push(tell)
      else tell()
    })
  }
}

/** The text of a chunk's first choice. @param {any} chunk */
function textOf(chunk) {
  return chunk.choices?.find((/** @type {any} */ choice) => (choice.index ?? 0) === 0)?.delta?.content ?? ''
}

/** A copy of a chunk with another text; whatever else is in it is no object. @param {any} chunk @param {string} content */
function withText(chunk, content) {
  const choice = chunk.choices[0]
  return { ...chunk, choices: [{ ...choice, delta: { ...choice.delta, content } }] }
}

/** Cancels streams whose handle was collected before their end: a safety net, not a promise in time. */
const dropped = new FinalizationRegistry((/** @type {Flow} */ flow) => flow.cancel(undefined))

/** Iterates one flow. It holds the handle, so that a loop that goes on keeps its stream. */
class Items {
  #flow
  /** Held and never used, so that a loop which goes on keeps its stream from being collected. @type {unknown} */
  // biome-ignore lint/correctness/noUnusedPrivateClassMembers: see above
  #handle

  /** @param {Flow} flow @param {unknown} handle @param {(item: any) => any} [map] */
  constructor(flow, handle, map) {
    this.#flow = flow
    this.#handle = handle
    this.map = map
  }

  next() {
    const next = this.#flow.next()
    const { map } = this
    return map === undefined
      ? next
      : next.then((result) => (result.done ? result : { value: map(result.value), done: false }))
  }

  /** Leaving the loop cancels the exchange. */
  async return() {
    this.#flow.cancel(undefined)
    this.#handle = undefined
    return { value: undefined, done: true }
  }

  [Symbol.asyncIterator]() {
    return this
  }
}

/** What chats and other streams of events have in common. */
class Stream {
  #flow

  /** @param {Flow} flow */
  constructor(flow) {
    this.#flow = flow
    if (flow.state === 'running') dropped.register(this, flow, flow)
  }

  /**
   * Starts a stream: `begin(id)` returns the description of an error where it cannot be begun. An error waits for whoever
   * consumes the stream.
   * @param {any} client @param {AbortSignal | undefined} signal @param {(id: number) => string | null | undefined} begin
   * @param {InstanceType<typeof import('./witness.js').Witness> | null} [witness]
   * @param {Function} [above] whose caller the stack of such an error begins with
   * @returns {Flow}
   */
  static flow(client, signal, begin, witness = null, above = undefined) {
    const flow = new Flow(client, signal, witness)
    if (signal?.aborted) {
      flow.cancel(signal.reason)
      return flow
    }
    flow.id = enter(flow)
    const refused = begin(flow.id)
    if (refused) {
      leave(flow.id)
      return Stream.refuse(flow, errorOf(refused, above))
    }
    client.callStarted()
    if (signal !== undefined) abort.watch(signal, flow)
    return flow
  }

  /** @param {Flow} flow @param {unknown} error */
  static refuse(flow, error) {
    flow.left = true
    flow.cancel(error)
    return flow
  }

  get meta() {
    this.hold()
    const meta = this.#flow.whole(() => metaOf(this.#flow.meta, this.#flow.number))
    // Whoever reads the stream hears of its error: a meta that nobody awaits any more is no unhandled rejection.
    meta.catch(() => {})
    return meta
  }

  /** @param {unknown} [reason] */
  abort(reason) {
    this.#flow.cancel(reason)
  }

  async [Symbol.asyncDispose]() {
    this.#flow.cancel(undefined)
  }

  /** Somebody waits for the end: the stream runs to it, whether its handle is held or not. */
  hold() {
    dropped.unregister(this.#flow)
  }

  /** @param {number} mode */
  begin(mode) {
    if (this.#flow.mode !== 0) {
      throw configError('a stream is read once: by a loop, text(), toReadableStream() or final()')
    }
    this.#flow.choose(mode)
    return this.#flow
  }

  get flow() {
    return this.#flow
  }
}

class ChatStream extends Stream {
  #restarts

  /** @param {Flow} flow @param {boolean} restarts */
  constructor(flow, restarts) {
    super(flow)
    this.#restarts = restarts
  }

  /** @param {string} reader */
  #refuseRestart(reader) {
    if (!this.#restarts) return
    // Nobody will read it, and it would run to its end.
    this.abort()
    throw configError(`recover: 'restart' is told by a chunk, for which ${reader} has no room; read the chunks`)
  }

  [Symbol.asyncIterator]() {
    return new Items(this.begin(OBJECTS), this)
  }

  text() {
    this.#refuseRestart('text()')
    return new Items(this.begin(TEXT), this)
  }

  async final() {
    const { flow } = this
    if (flow.mode === 0) flow.choose(WHOLE)
    this.hold()
    return flow.whole(() => JSON.parse(flow.body))
  }

  async finalText() {
    const completion = await this.final()
    return completion.choices[0]?.message?.content ?? ''
  }

  toReadableStream() {
    this.#refuseRestart('toReadableStream()')
    const items = new Items(this.begin(LINES), this)
    const encoder = new TextEncoder()
    return new ReadableStream(
      {
        async pull(controller) {
          const { value, done } = await items.next()
          if (done) controller.close()
          else controller.enqueue(encoder.encode(value))
        },
        async cancel() {
          await items.return()
        },
      },
      { highWaterMark: 0 },
    )
  }
}

class EventStream extends Stream {
  [Symbol.asyncIterator]() {
    return new Items(this.begin(OBJECTS), this, (piece) => ({ ...piece, data: dataOf(piece.raw) }))
  }
}

/** The data of an event: JSON where it is JSON. @param {string} raw */
function dataOf(raw) {
  try {
    return JSON.parse(raw)
  } catch {
    return raw
  }
}

module.exports = { ChatStream, EventStream, Flow, Stream }
