'use strict'

/** `MockUpstream` of `trunkline/testing`: the stand-in of src/mock/ under JavaScript's names. */

const { native, border, questions } = require('./border.js')
const { configError } = require('./errors.js')
const { encodeOptions, kindOf } = require('./encode.js')
const { Call } = require('./call.js')
const { queueMicrotask } = require('./timers.js')

/** The party of a call that is no client's. */
const nobody = { callStarted() {}, callEnded() {}, look() {} }

/** Those that serve: like any server, each does until it is closed, whoever holds it. @type {Set<object>} */
const serving = new Set()

/** Functions that decide whether a request matches, by number. @type {Map<number, { mock: any, matches: (request: any) => boolean }>} */
const matchers = new Map()
let numbers = 0

questions.match = (question, matcher, request) => {
  const asked = matchers.get(matcher)
  if (asked === undefined) return
  let matches = false
  try {
    matches = Boolean(asked.matches(JSON.parse(request)))
  } catch (error) {
    // The test's own mistake is the process's to report; the request goes on to the next reply.
    queueMicrotask(() => {
      throw error
    })
  }
  asked.mock.answer(question, matches)
}

class MockUpstream {
  #native
  /** @type {number[]} */
  #matchers = []
  /** @type {Promise<void> | null} */
  #closing = null

  /** @param {any} [options] */
  static async start(options) {
    return new MockUpstream(options)
  }

  /** @param {any} options */
  constructor(options) {
    this.#native = refusing(() => new native.Mock(border, encodeOptions(options ?? {}, 'options')))
    this.url = this.#native.url
    this.ca = this.#native.ca ?? undefined
    serving.add(this)
  }

  get requests() {
    return JSON.parse(this.#native.requests())
  }

  get connections() {
    return JSON.parse(this.#native.connections())
  }

  /** @param {any} match @param {any} answer */
  reply(match, answer) {
    const text = JSON.stringify(this.#matcherOf(match))
    refusing(() => this.#native.reply(text, encoded(answer, 'answer')))
    return this
  }

  /** @param {any} fault @param {any} [options] */
  fault(fault, options) {
    refusing(() => this.#native.fault(encoded(fault, 'fault'), encodeOptions(options ?? {}, 'options')))
    return this
  }

  reset() {
    this.#forget()
    this.#native.reset()
  }

  /** @returns {Promise<void>} */
  close() {
    this.#forget()
    // Once closed it stays so, and whoever asks again waits for the same.
    this.#closing ??= Call.start(nobody, undefined, (id) => {
      this.#native.close(id)
      return null
    }).then(() => void serving.delete(this))
    return this.#closing
  }

  async [Symbol.asyncDispose]() {
    await this.close()
  }

  /** @param {any} match */
  #matcherOf(match) {
    if (typeof match === 'function') {
      const number = ++numbers
      matchers.set(number, { mock: this.#native, matches: match })
      this.#matchers.push(number)
      return { ask: number }
    }
    if (typeof match !== 'object' || match === null) {
      throw configError(`match: must be an object or a function, got ${kindOf(match)}`)
    }
    const { path, ...rest } = match
    return typeof path === 'string' && Object.keys(rest).length === 0 ? { path } : { fields: match }
  }

  #forget() {
    for (const number of this.#matchers.splice(0)) matchers.delete(number)
  }
}

/** @param {unknown} value @param {string} what */
function encoded(value, what) {
  if (value === undefined || typeof value === 'function') throw configError(`${what}: cannot be ${kindOf(value)}`)
  return encodeOptions(value, what)
}

/** @template T @param {() => T} call */
function refusing(call) {
  try {
    return call()
  } catch (error) {
    throw configError(error instanceof Error ? error.message : String(error))
  }
}

module.exports = { MockUpstream }
