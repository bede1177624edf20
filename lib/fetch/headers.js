'use strict'

/**
 * The headers of a response, as they crossed. They are `Headers` to whoever asks, and cost nothing until somebody does: a genuine one is
 * filled name by name, which takes longer than all else that JavaScript does for an answer.
 */

const { inspect } = require('node:util')

const TOKEN = /^[!#$%&'*+\-.^_`|~A-Za-z0-9]+$/

/** @type {unique symbol} */
const LINES = Symbol('lines')
/** @type {unique symbol} */
const SORTED = Symbol('sorted')

/** @this {any} @param {string[]} lines names, in lower case, and values in turn */
function ResponseHeaders(lines) {
  this[LINES] = lines
  /** @type {[string, string][] | null} */
  this[SORTED] = null
}

/** @param {any} headers @returns {string[]} */
function linesOf(headers) {
  const lines = headers?.[LINES]
  if (lines === undefined) throw new TypeError('Illegal invocation')
  return lines
}

/** Names in order, values of equal names joined, but for cookies: as fetch iterates. @param {any} headers */
function sortedOf(headers) {
  if (headers[SORTED] !== null) return headers[SORTED]
  const lines = linesOf(headers)
  /** @type {Map<string, string>} */
  const joined = new Map()
  /** @type {[string, string][]} */
  const cookies = []
  for (let at = 0; at < lines.length; at += 2) {
    const [name, value] = [lines[at], lines[at + 1]]
    const before = joined.get(name)
    if (name === 'set-cookie') cookies.push([name, value])
    else joined.set(name, before === undefined ? value : `${before}, ${value}`)
  }
  headers[SORTED] = [...joined, ...cookies].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return headers[SORTED]
}

/** @param {unknown} name @param {string} method */
function lower(name, method) {
  const text = String(name)
  if (TOKEN.test(text)) return text.toLowerCase()
  throw new TypeError(`Headers.${method}: ${text} is an invalid header name.`)
}

function immutable() {
  throw new TypeError('immutable')
}

/** @type {any} */
const methods = {
  /** @param {string} name */
  get(name) {
    const lines = linesOf(this)
    const wanted = lower(name, 'get')
    /** @type {string | null} */
    let found = null
    for (let at = 0; at < lines.length; at += 2) {
      if (lines[at] === wanted) found = found === null ? lines[at + 1] : `${found}, ${lines[at + 1]}`
    }
    return found
  },
  /** @param {string} name */
  has(name) {
    const lines = linesOf(this)
    const wanted = lower(name, 'has')
    for (let at = 0; at < lines.length; at += 2) if (lines[at] === wanted) return true
    return false
  },
  getSetCookie() {
    const lines = linesOf(this)
    return lines.filter((_, at) => at % 2 === 1 && lines[at - 1] === 'set-cookie')
  },
  append: immutable,
  set: immutable,
  delete: immutable,
  /** @param {(value: string, name: string, headers: any) => void} callback @param {unknown} [that] */
  forEach(callback, that) {
    if (typeof callback !== 'function') {
      throw new TypeError("Failed to execute 'forEach' on 'Headers': parameter 1 is not of type 'Function'.")
    }
    for (const [name, value] of sortedOf(this)) callback.call(that, value, name, this)
  },
  entries() {
    return sortedOf(this)
      .map((/** @type {[string, string]} */ pair) => [...pair])
      .values()
  },
  keys() {
    return sortedOf(this)
      .map((/** @type {[string, string]} */ pair) => pair[0])
      .values()
  },
  values() {
    return sortedOf(this)
      .map((/** @type {[string, string]} */ pair) => pair[1])
      .values()
  },
  /** @param {number} _depth @param {object} options */
  [inspect.custom](_depth, options) {
    return `Headers ${inspect(Object.fromEntries(sortedOf(this)), options)}`
  },
}
methods[Symbol.iterator] = methods.entries

// What a later Node adds.
for (const name of Object.getOwnPropertyNames(Headers.prototype)) {
  const { value } = /** @type {PropertyDescriptor} */ (Object.getOwnPropertyDescriptor(Headers.prototype, name))
  if (name === 'constructor' || Object.hasOwn(methods, name) || typeof value !== 'function') continue
  methods[name] = /** @param {any[]} args @this {any} */ function (...args) {
    return value.apply(new Headers(this), args)
  }
}

ResponseHeaders.prototype = Object.create(
  Headers.prototype,
  Object.fromEntries(
    Reflect.ownKeys(methods).map((name) => [name, { value: methods[name], writable: true, configurable: true }]),
  ),
)

/** @param {any} headers */
function isOurs(headers) {
  return headers[LINES] !== undefined
}

module.exports = { ResponseHeaders, TOKEN, isOurs }
