'use strict'

/** What Rust tells a client, or asks it, that belongs to no single call: connections, events of calls, records for its log, and a key. */

const { AsyncResource } = require('node:async_hooks')
const { questions, news } = require('./border.js')
const { isPublisher, isToldOfConnections, publishConnection, retire } = require('./channels.js')
const { inMilliseconds } = require('./errors.js')
const { queueMicrotask } = require('./timers.js')

/** @typedef {InstanceType<typeof import('./log.js').Log>} Log */
/** @typedef {InstanceType<typeof import('./emitter.js').Emitter> & { askKey(fn: number): unknown }} Client */

/**
 * Clients that get letters, since a key of theirs may be a function or somebody listens, by number; weakly, or none would ever be collected.
 * @type {Map<number, WeakRef<News>>}
 */
const reachable = new Map()
const collected = new FinalizationRegistry((/** @type {number} */ number) => reachable.delete(number))
/** Of clients that were collected: others write what they shared. */
const logs = new FinalizationRegistry((/** @type {Log} */ log) => log.end())

questions.key = (number, fn) => reachable.get(number)?.deref()?.askKey(fn)
news.connections = (number, events, lost) => reachable.get(number)?.deref()?.connectionsChanged(events, lost)
news.events = (number, events, lost) => reachable.get(number)?.deref()?.callsChanged(events, lost)
news.logs = (number, records, lost) => reachable.get(number)?.deref()?.logged(records, lost)

/** Events of calls, by name. */
const OF_CALLS = ['retry', 'failover', 'circuit', 'alert', 'budget']

class News {
  #client
  #native
  #number
  #log
  /** That in which the client is made, as with a server or a socket of Node's: its events belong to no call, and are emitted there. */
  #context = new AsyncResource('Trunkline')
  /** Whether Rust tells of connections, and of calls. */
  #listening = false
  #listeningToCalls = false
  /** Whether the channels of connections had subscribers when it was last looked. */
  #publishing = false
  #ended = false

  /** @param {Client} client @param {any} native @param {number} number by which Rust names the client @param {Log} log */
  constructor(client, native, number, log) {
    this.#client = client
    this.#native = native
    this.#number = number
    this.#log = log
    this.look()
    if (log.level > 0) this.#logAt(log.level)
    logs.register(this, log)
  }

  /** It may get letters. */
  becomeReachable() {
    if (reachable.has(this.#number)) return
    reachable.set(this.#number, new WeakRef(this))
    collected.register(this, this.#number)
  }

  /** Nobody tells when channels get or lose subscribers: it is looked at where something begins. */
  look() {
    if (isToldOfConnections() !== this.#publishing && !this.#ended) this.listenersChanged()
  }

  listenersChanged() {
    this.#publishing = !this.#ended && isToldOfConnections()
    const listening = this.#publishing || (!this.#ended && this.#client.listenerCount('connection') > 0)
    const toCalls = !this.#ended && OF_CALLS.some((name) => this.#client.listenerCount(name) > 0)
    if (listening || toCalls) this.becomeReachable()
    if (listening !== this.#listening) {
      this.#listening = listening
      if (!listening) retire(this, this.#native.pool)
      this.#native.listen(listening)
    }
    if (toCalls !== this.#listeningToCalls) {
      this.#listeningToCalls = toCalls
      this.#native.listenToCalls(toCalls)
    }
  }

  /** @param {string} events @param {number} lost */
  connectionsChanged(events, lost) {
    const { pool } = this.#native
    const publishes = this.#publishing && isPublisher(this, pool)
    for (const event of JSON.parse(events)) {
      this.#tell('connection', event)
      if (publishes) this.#later(() => publishConnection(event, pool))
    }
    if (lost > 0) warnOfLost(lost, 'connection')
  }

  /** @param {string} events @param {number} lost */
  callsChanged(events, lost) {
    for (const { event: name, ...event } of JSON.parse(events)) {
      if (name === 'retry') inMilliseconds([event.attempt])
      this.#tell(name, event)
    }
    if (lost > 0) warnOfLost(lost, 'call')
  }

  /**
   * In a microtask of its own: a listener that throws is an uncaught exception, and takes no other event with it.
   * @param {string} name @param {object} event
   */
  #tell(name, event) {
    this.#later(() => {
      if (!this.#ended) this.#client.emit(name, event)
    })
  }

  /** @param {string} records @param {number} lost */
  logged(records, lost) {
    this.#later(() => this.#log.write(JSON.parse(records), lost))
  }

  /** @param {unknown} level */
  setLogLevel(level) {
    const number = this.#log.setLevel(level)
    if (this.#ended) this.#log.end()
    else this.#logAt(number)
  }

  /** @param {number} level */
  #logAt(level) {
    if (level > 0) this.becomeReachable()
    this.#native.setLogLevel(level)
  }

  /** The client has closed. */
  end() {
    this.#ended = true
    this.#log.end()
    this.#native.setLogLevel(0)
    this.listenersChanged()
  }

  /** In the context of the client, and not among the letters. @param {() => void} run */
  #later(run) {
    this.#context.runInAsyncScope(queueMicrotask, undefined, run)
  }

  /** @param {number} fn */
  askKey(fn) {
    return this.#client.askKey(fn)
  }
}

/** @param {number} lost @param {string} what */
function warnOfLost(lost, what) {
  process.emitWarning(`${lost} ${what} ${lost === 1 ? 'event was' : 'events were'} dropped while JavaScript was busy`, {
    code: 'TRUNKLINE_EVENTS_LOST',
  })
}

module.exports = { News }
