'use strict'

const { native, border, partiesOf } = require('./border.js')
const { callerOf, classes, closedError, configError, errorOf, fromCaller } = require('./errors.js')
const {
  encodeBody,
  encodeCallOptions,
  encodeClientOptions,
  encodeKeys,
  encodeOptions,
  encodeRequest,
  kindOf,
  shown,
} = require('./encode.js')
const { Call, nextNumber, signalOf } = require('./call.js')
const { ChatStream, EventStream, Flow, Stream } = require('./stream.js')
const { Emitter } = require('./emitter.js')
const { LONGEST, only } = require('./options.js')
const { clearTimeout, setTimeout } = require('./timers.js')
const { environment } = require('./environment.js')
const { askKey, bound, checkKey, checkKeys } = require('./keys.js')
const { Log } = require('./log.js')
const { News } = require('./news.js')
const { Witness, hooksOf, isWatched } = require('./witness.js')

/** Node's own, for what is no HTTP: taken before anybody puts ours in its place, or what calls ours. To name it loads nothing. */
const nodeFetch = globalThis.fetch

/** As src/node/client.rs has them. */
const CHAT = 0
const EMBEDDINGS = 1
// From here on with a path.
const POST = 2
const GET = 3

/** By their kinds, as channels name them. */
const OPERATIONS = ['chat', 'embed', 'post', 'get']

/** How long `close` lets running calls finish, unless it is told. */
const DRAIN_TIMEOUT = 30_000

let clients = 0

class Trunkline extends Emitter {
  #native
  /** Calls of this client that have a number. */
  #running = 0
  /** @type {(() => void)[]} */
  #drained = []
  /** @type {Promise<void> | null} */
  #closing = null
  /** Those among the options, by the number under which Rust knows them. @type {Function[]} */
  #functions = []
  /** Those of its routes. @type {InstanceType<typeof import('./routes.js').Selects> | null} */
  #selects = null
  #news
  #hooks
  /** @type {typeof globalThis.fetch | null} */
  #fetch = null
  /** @type {string[]} */
  #providers
  /** Of its dashboards, what ends them. @type {Set<() => unknown>} */
  #dashboards = new Set()
  /** Whether `close` has come to its end. */
  #ended = false

  /** @param {any} [options] */
  constructor(options = {}) {
    super()
    /** @type {InstanceType<typeof Log> | undefined} */
    let log
    try {
      const { hooks, logger, logLevel, known } = taken(options)
      this.#hooks = hooksOf(hooks)
      checkKeys(known)
      log = new Log(logger, logLevel, process.env)
      const { text, functions } = encodeClientOptions(known)
      this.#functions = functions.map(bound)
      this.#selects = selectsOf(options?.routes)
      const number = ++clients
      this.#native = new native.Client(border, number, text, JSON.stringify(environment()))
      this.#news = new News(this, this.#native, number, log)
      this.#providers = options?.providers === undefined ? ['default'] : Object.keys(options.providers)
    } catch (error) {
      log?.end()
      throw thrown(error)
    }
    if (this.#functions.length > 0) this.#news.becomeReachable()
    const problem = this.#native.problem()
    if (problem) process.emitWarning(problem, { code: 'TRUNKLINE_BUDGET_STATE' })
    if (options?.pool?.tls?.rejectUnauthorized === false) {
      process.emitWarning('pool.tls.rejectUnauthorized is false: the servers of this client are not verified', {
        code: 'TRUNKLINE_INSECURE_TLS',
      })
    }
  }

  /** A method that was taken off its client has none. @param {any} self @param {string} name */
  static #checkReceiver(self, name) {
    if (typeof self === 'object' && self !== null && #native in self) return
    throw new TypeError(`Trunkline.${name} was called without its client: call line.${name}(…), or bind it`)
  }

  /** @param {any} request @param {any} [options] */
  chat(request, options) {
    Trunkline.#checkReceiver(this, 'chat')
    const encode = () => encodeRequest(this.#routed(request, options), 'request')
    return this.#call(CHAT, encode, undefined, options, request)
  }

  /** @param {any} request @param {any} [options] */
  embed(request, options) {
    Trunkline.#checkReceiver(this, 'embed')
    const encode = () => encodeRequest(this.#routed(request, options), 'request')
    return this.#call(EMBEDDINGS, encode, undefined, options, request)
  }

  /** @param {string} path @param {unknown} body @param {any} [options] */
  post(path, body, options) {
    Trunkline.#checkReceiver(this, 'post')
    return this.#call(POST, () => encodeBody(body, 'body'), path, options, body)
  }

  /** @param {string} path @param {any} [options] */
  get(path, options) {
    Trunkline.#checkReceiver(this, 'get')
    return this.#call(GET, () => '', path, options, undefined)
  }

  /** @param {any} request @param {any} [options] */
  stream(request, options) {
    Trunkline.#checkReceiver(this, 'stream')
    const restarts = options?.recover === 'restart'
    const encode = () => encodeRequest(this.#routed(request, options), 'request')
    return new ChatStream(this.#stream(CHAT, encode, undefined, options, request), restarts)
  }

  /** @param {string} path @param {unknown} body @param {any} [options] */
  events(path, body, options) {
    Trunkline.#checkReceiver(this, 'events')
    return new EventStream(this.#stream(POST, () => encodeBody(body, 'body'), path, options, body))
  }

  /** @param {any} requests @param {any} [options] */
  batch(requests, options) {
    Trunkline.#checkReceiver(this, 'batch')
    const check = (/** @type {object} */ rest) => {
      const refused = this.#native.checkBatch(encodeOptions(rest, 'options'))
      if (refused) throw errorOf(refused, Trunkline.prototype.batch)
    }
    /** @type {import('./batch.js').Starter['start']} */
    const start = (item, callOptions) => this.#item(item, callOptions)
    const { Batch } = /** @type {typeof import('./batch.js')} */ (require('./batch.js'))
    return new Batch({ start, check, caller: callerOf(Trunkline.prototype.batch) }, requests, options)
  }

  /** @param {any} input @param {any} output @param {any} [options] */
  batchFile(input, output, options) {
    Trunkline.#checkReceiver(this, 'batchFile')
    if (this.#closing !== null) throw closedError()
    this.look()
    const { BatchFile } = /** @type {typeof import('./job.js')} */ (require('./job.js'))
    const starter = {
      start: (/** @type {[number, string, string, number]} */ ...job) => this.#native.job(...job),
      selected: this.#selects?.names ?? [],
      beforeAttempt: this.#hooks?.beforeAttempt,
      client: this,
      above: Trunkline.prototype.batchFile,
    }
    return new BatchFile(starter, input, output, options)
  }

  /** @param {any} options */
  batchWork(options) {
    Trunkline.#checkReceiver(this, 'batchWork')
    this.look()
    const { BatchFile } = /** @type {typeof import('./job.js')} */ (require('./job.js'))
    const starter = {
      start: (/** @type {[number, string, string, number]} */ ...work) => this.#native.work(...work),
      works: true,
      selected: [],
      beforeAttempt: this.#hooks?.beforeAttempt,
      client: this,
      above: Trunkline.prototype.batchWork,
    }
    return new BatchFile(starter, undefined, undefined, options)
  }

  /** Bound, and one for good. Its files are read when it is first asked for. */
  get fetch() {
    if (this.#fetch === null) {
      const { fetchOf } = /** @type {typeof import('./fetch.js')} */ (require('./fetch.js'))
      this.#fetch = fetchOf(this, this.#native, nodeFetch)
    }
    return this.#fetch
  }

  metrics() {
    Trunkline.#checkReceiver(this, 'metrics')
    return JSON.parse(this.#native.metrics())
  }

  /** @param {any} [options] */
  prometheus(options = {}) {
    Trunkline.#checkReceiver(this, 'prometheus')
    return this.#export(options, false)
  }

  /** @param {any} register @param {any} [options] */
  registerMetrics(register, options = {}) {
    Trunkline.#checkReceiver(this, 'registerMetrics')
    const { labels = {} } = only(options, ['labels'])
    const read = () => JSON.parse(this.#export({ labels }, true))
    const { registerWith } = /** @type {typeof import('./prom-client.js')} */ (require('./prom-client.js'))
    return registerWith(register, read, labels)
  }

  /** @param {any} options @param {boolean} asJson */
  #export(options, asJson) {
    try {
      return this.#native.export(encodeOptions(options, 'options'), asJson)
    } catch (error) {
      throw thrown(error)
    }
  }

  /** @param {any} [options] */
  costs(options = {}) {
    Trunkline.#checkReceiver(this, 'costs')
    const { costReport, windowOf } = /** @type {typeof import('./money.js')} */ (require('./money.js'))
    const { window, before } = windowOf(options)
    return costReport(this.#native.costs(window, before), window, before)
  }

  /** @param {any} [options] */
  savings(options = {}) {
    Trunkline.#checkReceiver(this, 'savings')
    const { savingsReport } = /** @type {typeof import('./money.js')} */ (require('./money.js'))
    return savingsReport(this.#native.savings(), options)
  }

  /** @param {any} [options] */
  async dashboard(options) {
    Trunkline.#checkReceiver(this, 'dashboard')
    if (this.#ended) throw closedError()
    const { openDashboard } = /** @type {typeof import('./dashboard.js')} */ (require('./dashboard.js'))
    const dashboard = await openDashboard(this, options)
    const { close } = dashboard
    // It may have been closed meanwhile.
    if (this.#ended) {
      await close()
      throw closedError()
    }
    this.#dashboards.add(close)
    dashboard.closed.then(() => this.#dashboards.delete(close))
    return { url: dashboard.url, port: dashboard.port, close }
  }

  /** @param {any} [options] */
  dashboardHandler(options) {
    Trunkline.#checkReceiver(this, 'dashboardHandler')
    if (this.#ended) throw closedError()
    const { dashboardHandler } = /** @type {typeof import('./dashboard.js')} */ (require('./dashboard.js'))
    const handler = dashboardHandler(this, options)
    // Whoever mounts it holds it; one that nobody holds ends.
    const weak = new WeakRef(handler)
    this.#dashboards.add(() => weak.deref()?.close())
    return handler
  }

  /** @param {any} [options] */
  async warmup(options = {}) {
    Trunkline.#checkReceiver(this, 'warmup')
    const { connections, provider, signal } = warmupOf(options)
    this.look()
    await Call.start(this, signal, (id) => {
      this.#native.warm(id, connections, provider)
      return null
    })
  }

  /** @param {string} provider @param {any} key */
  rotateKey(provider, key) {
    Trunkline.#checkReceiver(this, 'rotateKey')
    if (this.#ended) throw closedError()
    if (typeof provider !== 'string') throw configError(`provider: must be a string, got ${kindOf(provider)}`)
    try {
      checkKey(key, 'key')
    } catch (error) {
      throw fromCaller(error, Trunkline.prototype.rotateKey)
    }
    const known = this.#functions.length
    const text = encodeKeys(key, this.#functions)
    const refused = this.#native.rotateKey(provider, text)
    if (refused) {
      this.#functions.length = known
      throw errorOf(refused, Trunkline.prototype.rotateKey)
    }
    for (let at = known; at < this.#functions.length; at++) this.#functions[at] = bound(this.#functions[at])
    if (this.#functions.length > 0) this.#news.becomeReachable()
  }

  /** @param {any} [options] */
  async close(options = {}) {
    Trunkline.#checkReceiver(this, 'close')
    if (this.#closing === null) {
      const { drainTimeout = DRAIN_TIMEOUT } = only(options, ['drainTimeout'])
      if (typeof drainTimeout !== 'number' || !(drainTimeout >= 0 && drainTimeout <= LONGEST)) {
        throw configError(
          `drainTimeout: must be a number of milliseconds from 0 to ${LONGEST}, got ${shown(drainTimeout)}`,
        )
      }
      this.#closing = this.#close(drainTimeout)
    }
    await this.#closing
  }

  async [Symbol.asyncDispose]() {
    await this.close()
  }

  /** @param {any} level */
  setLogLevel(level) {
    Trunkline.#checkReceiver(this, 'setLogLevel')
    this.#news.setLogLevel(level)
  }

  // What lib/ itself calls.

  /** As meta has them. */
  get providerNames() {
    return this.#providers
  }

  callStarted() {
    this.#running++
  }

  callEnded() {
    this.#running--
    if (this.#running === 0) for (const tell of this.#drained.splice(0)) tell()
  }

  look() {
    this.#news.look()
  }

  listenersChanged() {
    this.#news.listenersChanged()
  }

  /** @param {number} fn */
  askKey(fn) {
    return askKey(this.#native, fn, this.#functions[fn])
  }

  /** The request with the model that its route selects, unless the caller names a provider. @param {any} request @param {any} options */
  #routed(request, options) {
    const selects = this.#selects
    return selects === null || options?.provider !== undefined ? request : selects.routed(request)
  }

  /** Who sees a call from outside; null for nobody. @param {number} kind @param {boolean} stream @param {string | undefined} path @param {any} request */
  #witness(kind, stream, path, request) {
    this.look()
    if (!isWatched(this.#hooks)) return null
    const operation = OPERATIONS[kind]
    const model = typeof request?.model === 'string' ? request.model : null
    const method = kind === GET ? 'GET' : 'POST'
    const what = { client: this, operation, stream, model, method, url: path ?? null, request }
    return new Witness(this.#hooks, nextNumber(), what)
  }

  /** @param {number} kind @param {() => string} encode @param {string | undefined} path @param {any} options @param {any} request */
  #call(kind, encode, path, options, request) {
    const witness = this.#witness(kind, false, path, request)
    if (witness === null) return this.#begin(kind, encode, path, options, null)
    return witness.start(() => this.#begin(kind, encode, path, witness.withHeaders(options), witness))
  }

  /**
   * @param {number} kind @param {() => string} encode @param {string | undefined} path @param {any} options
   * @param {InstanceType<typeof Witness> | null} witness
   */
  #begin(kind, encode, path, options, witness) {
    try {
      if (kind >= POST) checkPath(path)
      const what = witness === null ? kind : kind | witness.flags
      if (options === undefined && path === undefined) {
        const body = encode()
        return Call.start(
          this,
          undefined,
          (id) => this.#native.call(id, what, body, undefined, undefined),
          witness,
          METHODS[kind],
        )
      }
      const { signal, rest } = split(options)
      const body = encode()
      return Call.start(this, signal, (id) => this.#native.call(id, what, body, path, rest), witness, METHODS[kind])
    } catch (error) {
      fromCaller(error, METHODS[kind])
      witness?.refused(error)
      return Call.refuse(error)
    }
  }

  /** @param {number} kind @param {() => string} encode @param {string | undefined} path @param {any} options @param {any} request */
  #stream(kind, encode, path, options, request) {
    const witness = this.#witness(kind, true, path, request)
    if (witness === null) return this.#beginStream(kind, encode, path, options, null)
    return witness.start(() => this.#beginStream(kind, encode, path, witness.withHeaders(options), witness))
  }

  /**
   * @param {number} kind @param {() => string} encode @param {string | undefined} path @param {any} options
   * @param {InstanceType<typeof Witness> | null} witness
   */
  #beginStream(kind, encode, path, options, witness) {
    const above = STREAMS[kind]
    try {
      if (kind >= POST) checkPath(path)
      const what = witness === null ? kind : kind | witness.flags
      const { signal, rest } = split(options)
      const body = encode()
      return Stream.flow(this, signal, (id) => this.#native.stream(id, what, body, path, rest), witness, above)
    } catch (error) {
      return Stream.refuse(new Flow(this, undefined, witness), fromCaller(error, above))
    }
  }

  /** One item of a batch. @param {any} item @param {any} options */
  #item(item, options) {
    if (typeof item !== 'object' || item === null) {
      return Call.refuse(configError(`request: must be an object, got ${kindOf(item)}`))
    }
    const { customId, ...request } = item
    if (customId !== undefined && typeof customId !== 'string') {
      return Call.refuse(configError(`customId: must be a string, got ${kindOf(customId)}`))
    }
    return 'path' in request ? this.post(request.path, request.body, options) : this.chat(request, options)
  }

  /** @param {number} drainTimeout */
  async #close(drainTimeout) {
    this.#native.beginClose()
    if (this.#running > 0) {
      /** @type {NodeJS.Timeout | undefined} */
      let timer
      const late = new Promise((resolve) => {
        timer = setTimeout(resolve, drainTimeout)
      })
      const drained = new Promise((resolve) => this.#drained.push(() => resolve(undefined)))
      await Promise.race([drained, late])
      clearTimeout(timer)
      for (const party of partiesOf(this)) party?.cancel(closedError('the client was closed while the call ran'))
    }
    try {
      await Call.start(this, undefined, (id) => {
        this.#native.finishClose(id)
        return null
      })
    } finally {
      this.#ended = true
      for (const close of this.#dashboards) close()
      this.#dashboards.clear()
      this.#news.end()
    }
  }
}

/** By the kinds of their calls: the stack of what is wrong with one begins at their caller. @type {Function[]} */
const METHODS = [Trunkline.prototype.chat, Trunkline.prototype.embed, Trunkline.prototype.post, Trunkline.prototype.get]

/** @type {Record<number, Function>} */
const STREAMS = { [CHAT]: Trunkline.prototype.stream, [POST]: Trunkline.prototype.events }

/** Routes that ask a function of the user's; their file is read where a client has routes. @param {any} routes */
function selectsOf(routes) {
  if (routes === undefined || routes === null) return null
  const { Selects } = /** @type {typeof import('./routes.js')} */ (require('./routes.js'))
  return Selects.of(routes)
}

/** What of a client's options Rust does not see, and the rest. @param {any} options @returns {any} */
function taken(options) {
  // Whatever else it is, Rust says what is wrong with it.
  if (typeof options !== 'object' || options === null || Array.isArray(options)) return { known: options }
  const { hooks, logger, logLevel, ...known } = options
  return { hooks, logger, logLevel, known }
}

/** @param {any} options */
function split(options) {
  if (options === undefined || options === null) return { signal: undefined, rest: undefined }
  if (typeof options !== 'object') throw configError(`options: must be an object, got ${kindOf(options)}`)
  const { signal, ...rest } = options
  const none = Object.keys(rest).length === 0
  return { signal: signalOf(signal), rest: none ? undefined : encodeCallOptions(rest) }
}

/** @param {any} options */
function warmupOf(options) {
  try {
    const { connections = 1, provider, signal } = only(options, ['connections', 'provider', 'signal'])
    if (provider !== undefined && typeof provider !== 'string')
      throw configError(`provider: must be a string, got ${kindOf(provider)}`)
    if (!Number.isInteger(connections) || connections < 1)
      throw configError(`connections: must be a positive integer, got ${shown(connections)}`)
    return { connections, provider, signal: signalOf(signal) }
  } catch (error) {
    throw fromCaller(error, Trunkline.prototype.warmup)
  }
}

/** @param {unknown} path */
function checkPath(path) {
  if (typeof path !== 'string') throw configError(`path: must be a string, got ${kindOf(path)}`)
}

/** What a native constructor threw: our description of an error, or something of napi's. @param {any} error */
function thrown(error) {
  if (error instanceof classes.TrunklineError) return fromCaller(error, Trunkline)
  if (typeof error?.message !== 'string' || error.message[0] !== '{') return error
  return errorOf(error.message, Trunkline)
}

module.exports = { Trunkline }
