'use strict'

const { AsyncResource } = require('node:async_hooks')
const { native, border, partiesOf, questions, news } = require('./border.js')
const { callerOf, classes, closedError, configError, errorOf, fromCaller, inMilliseconds } = require('./errors.js')
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
const { Batch } = require('./batch.js')
const { Emitter } = require('./emitter.js')
const money = require('./money.js')
const { LONGEST, only } = require('./options.js')
const { clearTimeout, queueMicrotask, setTimeout } = require('./timers.js')
const { isPublisher, isToldOfConnections, publishConnection, retire } = require('./channels.js')
const { Log } = require('./log.js')
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

/** What a header has before a key, and a key has not. */
const SCHEME = /^bearer\s/i
const WITH_SCHEME = "must be the key alone, without the 'Bearer ' before it, which is added"

/** How long `close` lets running calls finish, unless it is told. */
const DRAIN_TIMEOUT = 30_000

/**
 * Clients that get letters, since a key of theirs may be a function or somebody listens, by number; weakly, or none would ever be collected.
 * @type {Map<number, WeakRef<Trunkline>>}
 */
const reachable = new Map()
const collected = new FinalizationRegistry((/** @type {number} */ number) => reachable.delete(number))
/** Of clients that were collected: others write what they shared. */
const logs = new FinalizationRegistry((/** @type {InstanceType<typeof Log>} */ log) => log.end())
let clients = 0

questions.key = (number, fn) => reachable.get(number)?.deref()?.askKey(fn)
news.connections = (number, events, lost) => reachable.get(number)?.deref()?.connectionsChanged(events, lost)
news.events = (number, events, lost) => reachable.get(number)?.deref()?.callsChanged(events, lost)
news.logs = (number, records, lost) => reachable.get(number)?.deref()?.logged(records, lost)

/** Events of calls, by name. */
const OF_CALLS = ['retry', 'failover', 'circuit', 'alert', 'budget']

/** @param {number} lost @param {string} what */
function warnOfLost(lost, what) {
  process.emitWarning(`${lost} ${what} ${lost === 1 ? 'event was' : 'events were'} dropped while JavaScript was busy`, {
    code: 'TRUNKLINE_EVENTS_LOST',
  })
}

/** What Rust may know of the environment: it does not read it itself, which would race with writes to it. */
function environment() {
  const { env } = process
  return {
    baseUrl: firstFull(env, 'TRUNKLINE_BASE_URL', 'OPENAI_BASE_URL'),
    apiKey: firstFull(env, 'TRUNKLINE_API_KEY', 'OPENAI_API_KEY'),
    anthropicBaseUrl: firstFull(env, 'TRUNKLINE_BASE_URL', 'ANTHROPIC_BASE_URL'),
    anthropicApiKey: firstFull(env, 'TRUNKLINE_API_KEY', 'ANTHROPIC_API_KEY'),
    geminiBaseUrl: firstFull(env, 'TRUNKLINE_BASE_URL', 'GOOGLE_GEMINI_BASE_URL'),
    geminiApiKey: firstFull(env, 'TRUNKLINE_API_KEY', 'GEMINI_API_KEY'),
    extraCaCerts: env.NODE_EXTRA_CA_CERTS,
    sslCertFile: env.SSL_CERT_FILE,
    sslCertDir: env.SSL_CERT_DIR,
    httpsProxy: firstSet(env, 'https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY'),
    // In a CGI program HTTP_PROXY is a header that whoever calls it may send (httpoxy).
    httpProxy: firstSet(env, 'http_proxy', ...(env.REQUEST_METHOD ? [] : ['HTTP_PROXY']), 'all_proxy', 'ALL_PROXY'),
    noProxy: env.no_proxy ?? env.NO_PROXY,
  }
}

/**
 * Name and value of the first variable that is set, be it to nothing, which then holds.
 * @param {NodeJS.ProcessEnv} env @param {string[]} names
 */
function firstSet(env, ...names) {
  const name = names.find((name) => env[name] !== undefined)
  return name === undefined ? undefined : [name, env[name]]
}

/**
 * Name and value of the first variable that says something.
 * @param {NodeJS.ProcessEnv} env @param {string[]} names
 */
function firstFull(env, ...names) {
  const name = names.find((name) => env[name])
  return name === undefined ? undefined : [name, env[name]]
}

/** The name that a route's own function gives. @param {Function} select @param {object} request @param {string} path */
function selected(select, request, path) {
  let model
  try {
    model = select(request)
  } catch (cause) {
    throw configError(`${path}: threw`, cause)
  }
  if (typeof model !== 'string' || model === '') {
    // One that was asynchronous and then fails is nobody's to handle.
    if (model instanceof Promise) model.catch(() => {})
    const kind = model === '' ? 'an empty string' : kindOf(model)
    throw configError(`${path}: must give the name of a route or a model, got ${kind}`)
  }
  return model
}

class Trunkline extends Emitter {
  #native
  #number = ++clients
  /** That in which the client is made, as with a server or a socket of Node's: its events belong to no call, and are emitted there. */
  #context = new AsyncResource('Trunkline')
  /** Calls of this client that have a number. */
  #running = 0
  /** @type {(() => void)[]} */
  #drained = []
  /** @type {Promise<void> | null} */
  #closing = null
  /** Those among the options, by the number under which Rust knows them. @type {Function[]} */
  #functions = []
  /** Of the routes that have one, by their names. @type {Map<string, { select: Function, hasTargets: boolean }>} */
  #selects = new Map()
  /** Whether Rust tells of connections, and of calls. */
  #listening = false
  #listeningToCalls = false
  /** Whether the channels of connections had subscribers when it was last looked. */
  #publishing = false
  #hooks
  /** @type {InstanceType<typeof Log> | undefined} */
  #log
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
    try {
      const { hooks, logger, logLevel, known } = taken(options)
      this.#hooks = hooksOf(hooks)
      checkKeys(known)
      this.#log = new Log(logger, logLevel, process.env)
      const { text, functions } = encodeClientOptions(known)
      this.#functions = functions.map(bound)
      for (const [name, route] of Object.entries(options?.routes ?? {})) {
        if (typeof route?.select !== 'function') continue
        this.#selects.set(name, { select: route.select, hasTargets: route.targets !== undefined })
      }
      this.#native = new native.Client(border, this.#number, text, JSON.stringify(environment()))
      this.#providers = options?.providers === undefined ? ['default'] : Object.keys(options.providers)
    } catch (error) {
      this.#log?.end()
      throw thrown(error)
    }
    if (this.#functions.length > 0) this.#becomeReachable()
    this.look()
    if (this.#log.level > 0) this.#logAt(this.#log.level)
    logs.register(this, this.#log)
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
      selected: [...this.#selects.keys()],
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
    const { window, before } = money.windowOf(options)
    return money.costReport(this.#native.costs(window, before), window, before)
  }

  /** @param {any} [options] */
  savings(options = {}) {
    Trunkline.#checkReceiver(this, 'savings')
    return money.savingsReport(this.#native.savings(), options)
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
    if (this.#functions.length > 0) this.#becomeReachable()
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
    const number = /** @type {InstanceType<typeof Log>} */ (this.#log).setLevel(level)
    if (this.#ended) this.#log?.end()
    else this.#logAt(number)
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

  /** @param {number} fn */
  async askKey(fn) {
    try {
      const ask = this.#functions[fn]
      const key = await ask?.()
      if (typeof key === 'string' && !SCHEME.test(key)) this.#native.setKey(fn, key, null)
      else if (typeof key === 'string') this.#native.setKey(fn, null, `what it gave ${WITH_SCHEME}`)
      else this.#native.setKey(fn, null, `it gave ${kindOf(key)} in place of a string`)
    } catch (error) {
      this.#native.setKey(fn, null, error instanceof Error ? error.message : 'it threw no error')
    }
  }

  /** Nobody tells when channels get or lose subscribers: it is looked at where something begins. */
  look() {
    if (isToldOfConnections() !== this.#publishing && !this.#ended) this.listenersChanged()
  }

  listenersChanged() {
    this.#publishing = !this.#ended && isToldOfConnections()
    const listening = this.#publishing || (!this.#ended && this.listenerCount('connection') > 0)
    const toCalls = !this.#ended && OF_CALLS.some((name) => this.listenerCount(name) > 0)
    if (listening || toCalls) this.#becomeReachable()
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
      if (!this.#ended) this.emit(name, event)
    })
  }

  /** @param {string} records @param {number} lost */
  logged(records, lost) {
    this.#later(() => this.#log?.write(JSON.parse(records), lost))
  }

  /** @param {number} level */
  #logAt(level) {
    if (level > 0) this.#becomeReachable()
    this.#native.setLogLevel(level)
  }

  /** In the context of the client, and not among the letters. @param {() => void} run */
  #later(run) {
    this.#context.runInAsyncScope(queueMicrotask, undefined, run)
  }

  #becomeReachable() {
    if (reachable.has(this.#number)) return
    reachable.set(this.#number, new WeakRef(this))
    collected.register(this, this.#number)
  }

  /** The request with the model that its route selects, unless the caller names a provider. @param {any} request @param {any} options */
  #routed(request, options) {
    if (options?.provider !== undefined) return request
    let routed = request
    /** @type {string[]} */
    const seen = []
    for (;;) {
      const name = routed?.model
      const route = this.#selects.get(name)
      if (route === undefined) return routed
      seen.push(name)
      const model = selected(route.select, routed, `routes.${name}.select`)
      if (model === name && route.hasTargets) return routed
      if (seen.includes(model)) {
        throw configError(`routes.${name}.select: goes round: ${[...seen, model].join(', ')}`)
      }
      routed = { ...routed, model }
    }
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
      this.#log?.end()
      this.#native.setLogLevel(0)
      this.listenersChanged()
    }
  }
}

/** By the kinds of their calls: the stack of what is wrong with one begins at their caller. @type {Function[]} */
const METHODS = [Trunkline.prototype.chat, Trunkline.prototype.embed, Trunkline.prototype.post, Trunkline.prototype.get]

/** @type {Record<number, Function>} */
const STREAMS = { [CHAT]: Trunkline.prototype.stream, [POST]: Trunkline.prototype.events }

/** What of a client's options Rust does not see, and the rest. @param {any} options @returns {any} */
function taken(options) {
  // Whatever else it is, Rust says what is wrong with it.
  if (typeof options !== 'object' || options === null || Array.isArray(options)) return { known: options }
  const { hooks, logger, logLevel, ...known } = options
  return { hooks, logger, logLevel, known }
}

/** Keys of a client, and of its providers. @param {any} options */
function checkKeys(options) {
  checkKey(options?.apiKey, 'apiKey')
  for (const [name, provider] of Object.entries(options?.providers ?? {}))
    checkKey(provider?.apiKey, `providers.${name}.apiKey`)
}

/** The scheme is added when a key is sent, and would be there twice. @param {any} key @param {string} path */
function checkKey(key, path) {
  const several = Array.isArray(key)
  for (const [at, one] of (several ? key : [key]).entries()) {
    if (typeof one === 'string' && SCHEME.test(one))
      throw configError(`${path}${several ? `[${at}]` : ''}: ${WITH_SCHEME}`)
  }
}

/** A key is everybody's: its function is called in the context of whoever gave it. @param {Function} fn */
function bound(fn) {
  return AsyncResource.bind(/** @type {(...args: unknown[]) => unknown} */ (fn))
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
