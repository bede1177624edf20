'use strict'

/** What crosses the border goes as JSON text. */

const { configError } = require('./errors.js')

/** As src/config/section.rs has them: what a value is that JSON has not; and an object whose order counts, which JSON's have not there. */
const KIND = '\u0000kind'
const ENTRIES = '\u0000entries'

/** By their tags, what JSON makes an empty object of, whatever is in it. */
const EMPTY = new Set([
  'AsyncGenerator',
  'Blob',
  'File',
  'FormData',
  'Generator',
  'Headers',
  'Map',
  'Promise',
  'ReadableStream',
  'Set',
  'URLSearchParams',
  'WeakMap',
  'WeakSet',
])

/** @this {any} @param {string} key @param {unknown} value */
function named(key, value) {
  // As it was: a Buffer comes here as what its `toJSON` gives.
  if (ArrayBuffer.isView(this[key])) return { [KIND]: "bytes; text is wanted, as a Buffer's toString() gives it" }
  switch (typeof value) {
    case 'function':
      return { [KIND]: 'a function' }
    case 'symbol':
      return { [KIND]: 'a symbol' }
    case 'bigint':
      return { [KIND]: `a bigint (${value})` }
    case 'number':
      return Number.isFinite(value) ? value : { [KIND]: String(value) }
    case 'object': {
      if (value === null) return value
      // By its tag: naming `Headers` would load Node's whole fetch for those who never use it.
      const tag = /** @type {any} */ (value)[Symbol.toStringTag]
      if (tag === 'Headers') return Object.fromEntries(/** @type {Headers} */ (value))
      if (tag === 'Map') return { [KIND]: 'a Map; an object is wanted, as Object.fromEntries(map) makes it' }
      return EMPTY.has(tag) ? { [KIND]: `a ${tag}` } : value
    }
    default:
      return value
  }
}

/**
 * Options as text, with the kinds of values that JSON has not. @param {unknown} options @param {string} path
 */
function encodeOptions(options, path) {
  return encodeWith(options, path, named)
}

/**
 * The same of a call's options, which are mostly a text or two: those JSON has, and a replacer would cost several times as much as they do.
 * @param {Record<string, unknown>} options
 */
function encodeCallOptions(options) {
  for (const name in options) {
    const value = options[name]
    if (typeof value !== 'string' && typeof value !== 'boolean') return encodeOptions(options, 'options')
  }
  return JSON.stringify(options)
}

/** @param {unknown} options @param {string} path @param {(this: any, key: string, value: any) => any} replacer */
function encodeWith(options, path, replacer) {
  try {
    return JSON.stringify(options, replacer) ?? JSON.stringify({ [KIND]: typeof options })
  } catch (cause) {
    throw configError(`${path}: cannot be written as JSON: ${why(cause)}`, cause)
  }
}

/**
 * The options of a client as text, and the functions among them. Rust asks for a function by its index here, with which it is
 * written: which option it is, only Rust needs to know.
 * @param {any} options @returns {{ text: string, functions: Function[] }}
 */
function encodeClientOptions(options) {
  /** @type {Function[]} */
  const functions = []
  const numbered = withNumbers(functions)
  const text = encodeWith(options, 'options', function (key, value) {
    // The first provider is the default one.
    if (key === 'providers' && this === options && isPlain(value)) {
      return { [ENTRIES]: Object.entries(value).filter(([, provider]) => provider !== undefined) }
    }
    return numbered.call(this, key, value)
  })
  return { text, functions }
}

/**
 * As `named`, but functions are written with the number that they get among those which Rust knows.
 * @param {Function[]} functions @returns {(this: any, key: string, value: unknown) => unknown}
 */
function withNumbers(functions) {
  return function (key, value) {
    if (typeof value === 'function') return { [KIND]: 'a function', function: functions.push(value) - 1 }
    return named.call(this, key, value)
  }
}

/**
 * Keys as text: a string, a function, or several of both. Functions join those that Rust knows already. One that is among them gets a
 * number of its own again, since calls may still ask it for the key before.
 * @param {any} keys @param {Function[]} functions
 */
function encodeKeys(keys, functions) {
  return encodeWith(keys, 'key', withNumbers(functions))
}

/** @param {unknown} value */
function isPlain(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)
}

/**
 * A request's body as text. @param {unknown} body @param {string} path
 */
function encodeBody(body, path) {
  const kind = typeof body === 'object' && body !== null ? kindBeyondJson(body) : undefined
  if (kind !== undefined) throw configError(`${path}: cannot be written as JSON: got ${kind}`)
  /** @type {string | undefined} */
  let text
  try {
    text = JSON.stringify(body)
  } catch (cause) {
    throw configError(`${path}: cannot be written as JSON: ${why(cause)}`, cause)
  }
  if (text === undefined) throw configError(`${path}: cannot be written as JSON: got ${kindOf(body)}`)
  return text
}

/**
 * What a body is that JSON would lose, and what to do about it; undefined for all else.
 * @param {any} body
 */
function kindBeyondJson(body) {
  const prototype = Object.getPrototypeOf(body)
  if (prototype === Object.prototype || prototype === null || Array.isArray(body)) return undefined
  const other = 'line.fetch sends what is no JSON'
  if (Buffer.isBuffer(body)) return `a Buffer; ${other}`
  const tag = body[Symbol.toStringTag]
  if (ArrayBuffer.isView(body) || tag === 'ArrayBuffer' || tag === 'SharedArrayBuffer') return `bytes; ${other}`
  // Whoever says what it is as JSON is taken by his word.
  if (typeof body.toJSON === 'function') return undefined
  if (tag === 'Promise' || typeof body.then === 'function') return 'a Promise; is an await missing?'
  if (tag === 'Map') return `a Map; Object.fromEntries(map) makes an object of it, and ${other}`
  if (tag === 'Set') return `a Set; [...set] makes an array of it, and ${other}`
  if (EMPTY.has(tag)) return `${/^[AEIO]/.test(tag) ? 'an' : 'a'} ${tag}; ${other}`
  return typeof body.pipe === 'function' ? `a stream; ${other}` : undefined
}

/** A request that is an object. @param {unknown} request @param {string} path */
function encodeRequest(request, path) {
  if (typeof request !== 'object' || request === null || Array.isArray(request)) {
    throw configError(`${path}: must be an object, got ${kindOf(request)}`)
  }
  return encodeBody(request, path)
}

/** V8's message names the classes and properties on the way round, and no values. @param {unknown} error */
function why(error) {
  if (!(error instanceof TypeError)) return 'its toJSON threw'
  return /circular/i.test(error.message) ? 'it is circular' : 'it holds a bigint or a toJSON that throws'
}

/** @param {unknown} value */
function kindOf(value) {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'undefined') return 'undefined'
  return `${typeof value === 'object' ? 'an' : 'a'} ${typeof value}`
}

/** A wrong value, for an error: only of numbers more than the kind. @param {unknown} value */
function shown(value) {
  return typeof value === 'number' ? String(value) : kindOf(value)
}

module.exports = {
  encodeBody,
  encodeCallOptions,
  encodeClientOptions,
  encodeKeys,
  encodeOptions,
  encodeRequest,
  kindOf,
  shown,
}
