'use strict'

/** The figures of clients among those of a registry of `prom-client`, which is the caller's: nothing of it is loaded here. */

const { configError } = require('./errors.js')
const { kindOf } = require('./encode.js')

/** What one process in place of several says, where `AggregatorRegistry` puts a cluster's together; the others are summed. */
const AGGREGATORS = /** @type {Record<string, string>} */ ({
  trunkline_build_info: 'first',
  trunkline_start_time_seconds: 'min',
  trunkline_circuit_state: 'max',
  trunkline_rate_limit_remaining: 'min',
})

/** @typedef {{ name: string, type: string, help: string, values: object[] }} Family */

/** Whose figures a registry has. @type {WeakMap<object, Source>} */
const sources = new WeakMap()

/** All families of the clients of one registry. */
class Source {
  /** How each client's are read, by its labels. @type {Map<string, () => Family[]>} */
  #readers = new Map()
  /** What was read for the scrape that is under way. @type {Map<string, Family> | null} */
  #read = null

  get isEmpty() {
    return this.#readers.size === 0
  }

  /** @param {string} key */
  has(key) {
    return this.#readers.has(key)
  }

  /** @param {string} key @param {() => Family[]} read */
  add(key, read) {
    this.#readers.set(key, read)
    this.#read = null
  }

  /** @param {string} key */
  delete(key) {
    this.#readers.delete(key)
    this.#read = null
  }

  /** @param {string} name @returns {Family} */
  family(name) {
    if (this.#read === null) {
      this.#read = this.#all()
      // A scrape asks for all families in one turn.
      queueMicrotask(() => {
        this.#read = null
      })
    }
    return /** @type {Family} */ (this.#read.get(name))
  }

  /** @returns {Map<string, Family>} */
  #all() {
    const all = new Map()
    for (const read of this.#readers.values()) {
      for (const family of read()) {
        const known = all.get(family.name)
        if (known === undefined) all.set(family.name, family)
        else known.values.push(...family.values)
      }
    }
    return all
  }
}

/** One family, as a registry takes it. */
class Metric {
  #source
  /** A registry takes the `_total` of counters off, where it writes OpenMetrics. */
  name
  #family

  /** @param {Source} source @param {Family} family */
  constructor(source, family) {
    this.#source = source
    this.#family = family.name
    this.name = family.name
    this.help = family.help
    this.type = family.type
    this.aggregator = AGGREGATORS[family.name] ?? 'sum'
  }

  async get() {
    const { values } = this.#source.family(this.#family)
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values }
  }

  /** What a client has counted stays counted. */
  reset() {}
}

/**
 * Puts a client's figures among those of a registry; gives what takes them out again.
 * @param {any} register @param {() => Family[]} read @param {Record<string, string>} labels by which they differ from another client's
 */
function registerWith(register, read, labels) {
  for (const name of ['registerMetric', 'removeSingleMetric']) {
    if (typeof register?.[name] !== 'function')
      throw configError(`register: must be a Registry of prom-client, got ${kindOf(register)}`)
  }
  const source = sources.get(register) ?? new Source()
  // Bad labels are refused here.
  const families = read()
  const key = JSON.stringify(Object.entries(labels).sort())
  if (source.has(key)) throw configError('labels: must be others than those of a client that the register has already')
  if (source.isEmpty)
    enter(
      register,
      families.map((family) => new Metric(source, family)),
    )
  source.add(key, read)
  sources.set(register, source)
  let isIn = true
  return () => {
    if (!isIn) return
    isIn = false
    source.delete(key)
    if (!source.isEmpty) return
    sources.delete(register)
    for (const { name } of families) {
      register.removeSingleMetric(name)
    }
  }
}

/** All of them, or none. @param {any} register @param {Metric[]} metrics */
function enter(register, metrics) {
  /** @type {Metric[]} */
  const entered = []
  try {
    for (const metric of metrics) {
      register.registerMetric(metric)
      entered.push(metric)
    }
  } catch (error) {
    for (const { name } of entered) register.removeSingleMetric(name)
    throw error
  }
}

module.exports = { registerWith }
