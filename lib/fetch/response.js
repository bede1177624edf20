'use strict'

/**
 * The response of a fetch. It is a `Response` to whoever asks: by `instanceof`, by its constructor, which makes genuine ones, and by all that
 * it answers. A genuine one cannot be told its URL, and its stream and headers would be made whether anybody reads them or not.
 */

const { inspect } = require('node:util')
const { Body, Feed, TEXT, BYTES } = require('./body.js')
const { ResponseHeaders } = require('./headers.js')
const { collected } = require('./exchange.js')
const { isWhole } = require('./integrity.js')

/** @typedef {InstanceType<typeof import('./exchange.js').Exchange>} Exchange */

/** What a response knows. @typedef {{ status: number, head: string, url: string, redirected: boolean, body: InstanceType<typeof Body>, headers: any }} State */

/** @type {unique symbol} */
const STATE = Symbol('state')

/** @this {any} @param {State} state */
function Fetched(state) {
  this[STATE] = state
}

/** @param {any} response @returns {State} */
function stateOf(response) {
  const state = response?.[STATE]
  if (state === undefined) throw new TypeError('Illegal invocation')
  return state
}

/**
 * What a method that reads the body gives. What was aborted is told at once, though all of it be here.
 * @param {any} response @param {(state: State) => Promise<any>} run
 */
function consumed(response, run) {
  try {
    const state = stateOf(response)
    const aborted = state.body.whyAborted()
    return aborted === null ? run(state) : Promise.reject(aborted.reason)
  } catch (error) {
    return Promise.reject(error)
  }
}

/** A genuine response of these bytes, for what only it can read. @param {any} response @param {State} state */
async function genuine(response, state) {
  const type = headersOf(state).get('content-type')
  const bytes = await state.body.take(BYTES, response)
  return new Response(bytes, type === null ? undefined : { headers: { 'content-type': type } })
}

/** @param {State} state */
function headersOf(state) {
  if (state.headers === null) {
    const lines = state.head.split('\n')
    lines.shift()
    state.headers = new /** @type {any} */ (ResponseHeaders)(lines)
  }
  return state.headers
}

/** @type {Record<string | symbol, PropertyDescriptor & ThisType<any>>} */
const members = {
  type: { get: () => 'basic' },
  url: getter((state) => state.url),
  redirected: getter((state) => state.redirected),
  status: getter((state) => state.status),
  ok: getter((state) => state.status >= 200 && state.status <= 299),
  statusText: getter((state) => state.head.split('\n', 1)[0]),
  headers: getter(headersOf),
  body: getter((state, response) => state.body.stream(response)),
  bodyUsed: getter((state) => state.body.isUsed),
  text: method(function () {
    return consumed(this, (state) => state.body.take(TEXT, this))
  }),
  json: method(function () {
    return consumed(this, async (state) => JSON.parse(await state.body.take(TEXT, this)))
  }),
  arrayBuffer: method(function () {
    return consumed(this, (state) => state.body.take(BYTES, this))
  }),
  bytes: method(function () {
    return consumed(this, async (state) => new Uint8Array(await state.body.take(BYTES, this)))
  }),
  blob: method(function () {
    return consumed(this, async (state) => (await genuine(this, state)).blob())
  }),
  formData: method(function () {
    return consumed(this, async (state) => (await genuine(this, state)).formData())
  }),
  clone: method(function () {
    const state = stateOf(this)
    if (state.body.isUnusable) throw new TypeError('Response.clone: Body has already been consumed.')
    const body = state.body.clone(this)
    return new /** @type {any} */ (Fetched)({ ...state, headers: null, body })
  }),
}

const shown = ['status', 'statusText', 'headers', 'body', 'bodyUsed', 'ok', 'redirected', 'type', 'url']
members[inspect.custom] = method(function (/** @type {number} */ _depth, /** @type {object} */ options) {
  // A look makes no stream.
  const { body } = stateOf(this)
  const plain = Object.fromEntries(shown.map((name) => [name, name === 'body' ? body.stream_ : this[name]]))
  return `Response ${inspect(plain, options)}`
})

/** @param {(state: State, response: any) => any} get @returns {PropertyDescriptor} */
function getter(get) {
  return {
    get() {
      return get(stateOf(this), this)
    },
    enumerable: true,
    configurable: true,
  }
}

/** @param {(this: any, ...args: any[]) => any} value @returns {PropertyDescriptor} */
function method(value) {
  return { value, writable: true, configurable: true }
}

// What a later Node adds it would find nothing for in ours: a genuine one of the same stream has it.
for (const name of Object.getOwnPropertyNames(Response.prototype)) {
  const { value, get } = /** @type {PropertyDescriptor} */ (Object.getOwnPropertyDescriptor(Response.prototype, name))
  if (name === 'constructor' || Object.hasOwn(members, name)) continue
  if (typeof value === 'function') {
    members[name] = method(function (...args) {
      return value.apply(twin(this, this.body), args)
    })
  } else if (get !== undefined) members[name] = getter((_, response) => get.call(twin(response, null)))
}

/** @param {any} response @param {ReadableStream | null} body @returns {Response} */
function twin(response, body) {
  const { status, statusText, headers } = response
  return new Response(body, { status, statusText, headers })
}

Fetched.prototype = Object.create(Response.prototype, members)

/** @typedef {{ url: string, redirected: boolean, isBodiless: boolean, signal: AbortSignal | undefined }} More */

/**
 * @param {Exchange} exchange @param {number} status @param {string} head @param {More} more
 * @returns {Response}
 */
function responseOf(exchange, status, head, { url, redirected, isBodiless, signal }) {
  const body = new Body(isBodiless ? null : new Feed(exchange, '', signal))
  const response = new /** @type {any} */ (Fetched)({ status, head, url, redirected, body, headers: null })
  if (!exchange.ended) collected.register(response, exchange, exchange)
  return response
}

/**
 * A response all of whose bytes are here, and are those that the metadata says: https://www.w3.org/TR/SRI/#does-response-match-metadatalist.
 * @param {Exchange} exchange @param {number} status @param {string} head @param {More} more @param {string} integrity
 * @returns {Promise<Response>}
 */
async function checkedResponseOf(exchange, status, head, { url, redirected, isBodiless, signal }, integrity) {
  const bytes = await new Body(isBodiless ? null : new Feed(exchange, '', signal)).take(BYTES, null)
  if (isBodiless || !isWhole(bytes, integrity)) throw new Error('integrity mismatch')
  const body = new Body(new Feed(null, bytes, signal))
  return new /** @type {any} */ (Fetched)({ status, head, url, redirected, body, headers: null })
}

module.exports = { responseOf, checkedResponseOf }
