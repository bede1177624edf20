'use strict'

/**
 * Logging: Rust's records on their way to the user's logger. Off by default; then Rust makes none. `src/telemetry/log.rs` says which record
 * goes to which client.
 */

const { Console } = require('node:console')
const { configError } = require('./errors.js')
const { kindOf } = require('./encode.js')

/** By the numbers under which Rust knows them. */
const LEVELS = ['off', 'error', 'warn', 'info', 'debug', 'trace']
/** Those without which a logger is none. */
const NEEDED = ['error', 'warn', 'info', 'debug']

/** @typedef {(level: string, message: string, fields: object) => void} Write */

/** Logs that are on, in the order of their clients: of several with one logger, the first writes what clients share. @type {Set<Log>} */
const running = new Set()

class Log {
  /** The logger itself. @type {unknown} */
  #logger
  #write
  #level

  /** @param {unknown} logger @param {unknown} level @param {NodeJS.ProcessEnv} env */
  constructor(logger, level, env) {
    this.#write = writerOf(logger)
    this.#logger = logger
    const fallback = logger === undefined ? 'off' : 'info'
    if (level !== undefined) this.#level = numberOf(level, 'logLevel')
    else if (env.TRUNKLINE_LOG) this.#level = numberOf(env.TRUNKLINE_LOG, 'TRUNKLINE_LOG')
    else this.#level = LEVELS.indexOf(fallback)
    this.#changed()
  }

  get level() {
    return this.#level
  }

  /** @param {unknown} level */
  setLevel(level) {
    this.#level = numberOf(level, 'level')
    this.#changed()
    return this.#level
  }

  /** The client has ended. */
  end() {
    running.delete(this)
  }

  /** Writes what has come; each on its own, so that a logger that throws loses no other. @param {any[]} records @param {number} lost */
  write(records, lost) {
    for (const { level, message, shared, fields } of records) {
      const number = LEVELS.indexOf(level)
      // The level may have been lowered since.
      if (number > this.#level || (shared && this.#isWrittenByAnother(number))) continue
      this.#attempt(level, message, fields)
    }
    if (lost > 0) this.#attempt('warn', 'records were dropped while JavaScript was busy', { target: 'log', lost })
  }

  /** @param {string} level @param {string} message @param {object} fields */
  #attempt(level, message, fields) {
    try {
      this.#write(level, message, fields)
    } catch (error) {
      // The logger's own mistake is the process's to report.
      queueMicrotask(() => {
        throw error
      })
    }
  }

  /** @param {number} level */
  #isWrittenByAnother(level) {
    for (const log of running) if (log.#logger === this.#logger && log.#level >= level) return log !== this
    return false
  }

  #changed() {
    if (this.#level > 0) running.add(this)
    else running.delete(this)
  }
}

/** @param {unknown} level @param {string} path */
function numberOf(level, path) {
  const number = LEVELS.indexOf(/** @type {string} */ (level))
  if (number < 0) {
    const got = typeof level === 'string' ? JSON.stringify(level) : kindOf(level)
    throw configError(`${path}: must be one of ${LEVELS.join(', ')}, got ${got}`)
  }
  return number
}

/** How a logger wants what it is told. @param {any} logger @returns {Write} */
function writerOf(logger) {
  // To standard error: what a program says on standard output is its own.
  if (logger === undefined) return (level, message, fields) => console.error(`trunkline ${level}: ${message}`, fields)
  const missing = NEEDED.find((name) => typeof logger?.[name] !== 'function')
  if (missing !== undefined) {
    const what = typeof logger === 'object' && logger !== null ? `it has no ${missing}` : `got ${kindOf(logger)}`
    throw configError(`logger: must have the methods ${NEEDED.join(', ')}; ${what}`)
  }
  const methodOf = (/** @type {string} */ level) => (typeof logger[level] === 'function' ? level : 'debug')
  if (logger === globalThis.console || logger instanceof Console) {
    // Whose \`trace\` writes a stack.
    return (level, message, fields) => logger[level === 'trace' ? 'debug' : level](`trunkline: ${message}`, fields)
  }
  // Winston takes the message first, or all in one.
  if (typeof logger.log === 'function' && typeof logger.add === 'function' && 'transports' in logger) {
    const known = (/** @type {string} */ level) =>
      level in (logger.levels ?? {}) ? level : level === 'trace' ? 'silly' : level
    return (level, message, fields) => logger.log({ level: known(level), message, ...fields })
  }
  return (level, message, fields) => logger[methodOf(level)](fields, message)
}

module.exports = { Log, LEVELS }
