'use strict'

const { border, enter, leave } = require('./border.js')
const { errorOf, configError } = require('./errors.js')
const { metaOf } = require('./meta.js')
const abort = require('./abort.js')

/** Whose calls they are. @typedef {{ callStarted(): void, callEnded(): void, look(): void }} Owner */

let calls = 0

/**
 * An error made two turns of the microtask queue later, when this promise has been tied to the call's: then V8 follows the
 * promises back to whoever awaits, and the stack names the caller, at no cost to calls that end well.
 * @param {string} description
 * @returns {Promise<never>}
 */
async function failure(description) {
  await null
  await null
  throw errorOf(description, failure)
}

/**
 * The same, seen by a witness if there is one. @param {string} description @param {InstanceType<typeof import('./witness.js').Witness> | null} witness
 * @returns {Promise<never>}
 */
function failureBefore(description, witness) {
  const error = failure(description)
  witness?.failed(description, error)
  return error
}

/** One call whose answer comes whole. */
class Pending {
  /** @param {Owner} client @param {AbortSignal | undefined} signal @param {InstanceType<typeof import('./witness.js').Witness> | null} witness */
  constructor(client, signal, witness) {
    this.client = client
    this.signal = signal
    this.witness = witness
    this.number = witness === null ? ++calls : witness.number
    this.id = -1
    this.meta = ''
    this.settled = false
    /** @type {(value: any) => void} */
    this.resolve = noop
    /** @type {(reason: unknown) => void} */
    this.reject = noop
  }

  /** @param {string} body @param {string} meta */
  answered(body, meta) {
    if (this.settled) return this.#left()
    this.meta = meta
    try {
      const answer = JSON.parse(body)
      this.witness?.answered(answer, meta)
      this.#settle(this.resolve, answer)
    } catch (cause) {
      // Rust has read it as JSON; V8 may still refuse a text that is too long for it.
      this.witness?.refused(cause)
      this.#settle(this.reject, cause)
    }
    this.#left()
  }

  /** @param {string} description */
  failed(description) {
    if (!this.settled) this.#settle(this.resolve, failureBefore(description, this.witness))
    this.#left()
  }

  aborted() {
    if (!this.settled) this.#stop(abort.reasonOf(undefined))
    this.#left()
  }

  pieces() {}

  /** @param {unknown} reason */
  cancel(reason) {
    if (this.settled) return
    this.#stop(abort.reasonOf(reason))
    border.cancel(this.id)
  }

  /** @param {unknown} reason */
  #stop(reason) {
    this.witness?.refused(reason)
    this.#settle(this.reject, reason)
  }

  /** @param {(value: any) => void} how @param {unknown} value */
  #settle(how, value) {
    this.settled = true
    // It holds the context, and the call's promise may live on.
    this.witness = null
    if (this.signal !== undefined) abort.unwatch(this.signal, this)
    how(value)
  }

  #left() {
    this.client.callEnded()
  }
}

function noop() {}

/**
 * A promise that also knows how its answer came about.
 * @template T
 * @extends {Promise<T>}
 */
class Call extends Promise {
  /** @type {Pending | null} */
  #pending = null

  /**
   * Starts a call: `begin(id)` returns the description of an error where it cannot be begun.
   * @param {Owner} client
   * @param {AbortSignal | undefined} signal
   * @param {(id: number) => string | null | undefined} begin
   * @param {InstanceType<typeof import('./witness.js').Witness> | null} [witness]
   * @param {Function} [above] whose caller the stack of such an error begins with
   */
  static start(client, signal, begin, witness = null, above = undefined) {
    const pending = new Pending(client, signal, witness)
    const call = new Call((resolve, reject) => {
      pending.resolve = resolve
      pending.reject = reject
    })
    call.#pending = pending
    if (signal?.aborted) {
      pending.settled = true
      witness?.refused(signal.reason)
      pending.reject(signal.reason)
      return call
    }
    pending.id = enter(pending)
    const refused = begin(pending.id)
    if (refused) {
      leave(pending.id)
      pending.settled = true
      const error = errorOf(refused, above)
      witness?.refused(error)
      pending.reject(error)
      return call
    }
    client.callStarted()
    if (signal !== undefined) abort.watch(signal, pending)
    return call
  }

  /** A call that could not be begun. @param {unknown} error @returns {Call<any>} */
  static refuse(error) {
    return new Call((_resolve, reject) => reject(error))
  }

  withMeta() {
    const pending = /** @type {Pending} */ (this.#pending)
    // `then` makes this promise handled; the one it returns is the only one left to be. A call that was refused never gets there.
    return this.then((data) => ({ data, meta: metaOf(pending.meta, pending.number) }))
  }
}

// What `then` makes is a plain promise, and `await` takes a call as one, without wrapping it: it asks for the constructor.
Object.defineProperty(Call.prototype, 'constructor', { value: Promise, configurable: true, writable: true })

/** The signal among a call's options. @param {unknown} signal @returns {AbortSignal | undefined} */
function signalOf(signal) {
  if (signal === undefined || signal === null) return undefined
  if (typeof signal !== 'object' || typeof (/** @type {any} */ (signal).addEventListener) !== 'function') {
    throw configError('signal: must be an AbortSignal')
  }
  return /** @type {AbortSignal} */ (signal)
}

module.exports = { Call, Pending, failureBefore, signalOf, nextNumber: () => ++calls }
