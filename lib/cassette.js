'use strict'

/** `cassette` of `trunkline/testing`: a file of recordings, by the number under which Rust knows it. */

const { resolve } = require('node:path')
const { fileURLToPath } = require('node:url')
const { native } = require('./border.js')
const { configError, errorOf } = require('./errors.js')
const { encodeOptions, kindOf } = require('./encode.js')
const { only } = require('./options.js')

/** As src/config/cassette.rs has it. */
const KIND = '\u0000kind'

const unused = new FinalizationRegistry((/** @type {number} */ number) => native.closeCassette(number))

/** Whether what is recorded is written at the end of the process. */
let isWatching = false

class Cassette {
  #number

  /** @param {number} number @param {string} path @param {string} mode */
  constructor(number, path, mode) {
    this.#number = number
    this.path = path
    this.mode = mode
    unused.register(this, number)
  }

  /** As options cross: what Rust needs to know of it. */
  toJSON() {
    return { [KIND]: 'a cassette', cassette: this.#number }
  }
}

/** @param {string | URL} path @param {any} [options] */
function cassette(path, options = {}) {
  const { mode = usualMode(), redact } = only(options, ['mode', 'redact'])
  const file = pathOf(path)
  if (!isWatching && mode !== 'replay') {
    isWatching = true
    process.once('exit', () => native.writeCassettes())
  }
  return new Cassette(open(encodeOptions({ path: file, mode, redact }, 'options')), file, mode)
}

/** @param {string} options @returns {number} */
function open(options) {
  try {
    return native.openCassette(options)
  } catch (error) {
    const message = error instanceof Error ? error.message : ''
    throw message[0] === '{' ? errorOf(message, cassette) : error
  }
}

/** @param {unknown} path */
function pathOf(path) {
  if (path instanceof URL) {
    try {
      return fileURLToPath(path)
    } catch (cause) {
      throw configError('path: must be the path or the file: URL of a file', cause)
    }
  }
  if (typeof path !== 'string' || path === '') {
    throw configError(`path: must be a string or a URL, got ${path === '' ? 'an empty string' : kindOf(path)}`)
  }
  return resolve(path)
}

/** What holds where the code does not say: in CI nothing is recorded. */
function usualMode() {
  const { TRUNKLINE_CASSETTE: mode, CI: ci } = process.env
  if (mode) {
    if (['replay', 'record', 'auto'].includes(mode)) return mode
    throw configError("TRUNKLINE_CASSETTE: must be one of 'replay', 'record', 'auto'")
  }
  return ci && ci !== 'false' && ci !== '0' ? 'replay' : 'auto'
}

module.exports = { cassette }
