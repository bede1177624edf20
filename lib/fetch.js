'use strict'

/**
 * WHATWG's fetch over a client's pool. It begins where a client's `fetch` is first asked for, since naming `Response` loads Node's own.
 */

const { target, usual, unusual, has, isBadPort } = require('./fetch/request.js')
const { Exchange, failure } = require('./fetch/exchange.js')
const { responseOf, checkedResponseOf } = require('./fetch/response.js')
const { nextNumber } = require('./call.js')
const { Witness, isWatched } = require('./witness.js')

/** @typedef {import('./fetch/request.js').Plan} Plan */
/** @typedef {InstanceType<typeof import('./fetch/exchange.js').Exchange>} Exchange */

const MAX_REDIRECTS = 20
const REDIRECTS = new Set([301, 302, 303, 307, 308])
const BODILESS = new Set([204, 205, 304])
/** What fetch calls a priority, and we. */
const PRIORITIES = new Map([
  ['high', 'critical'],
  ['low', 'batch'],
])
/** What tells of a body, and goes with it. */
const OF_BODIES = ['content-encoding', 'content-language', 'content-location', 'content-type', 'content-length']
/** What another origin must not see. */
const OF_ORIGINS = ['authorization', 'proxy-authorization', 'cookie']

/**
 * The fetch of a client.
 * @param {import('./call.js').Owner} client @param {any} native @param {typeof globalThis.fetch} nodeFetch for what is no HTTP
 */
function fetchOf(client, native, nodeFetch) {
  /** @param {any} input @param {any} [init] @returns {Promise<Response>} */
  return function fetch(input, init) {
    try {
      const url = target(input)
      if (url !== null && url.protocol !== 'http:' && url.protocol !== 'https:') return nodeFetch(input, init)
      const plan = usual(url, input, init)
      if (plan === null) return fetchUnusual(client, native, input, init)
      prioritise(plan, init)
      return send(client, native, plan)
    } catch (error) {
      return Promise.reject(error)
    }
  }
}

/** @param {import('./call.js').Owner} client @param {any} native @param {any} input @param {any} init @returns {Promise<Response>} */
async function fetchUnusual(client, native, input, init) {
  const plan = await unusual(input, init)
  prioritise(plan, init)
  return send(client, native, plan)
}

/** @param {import('./call.js').Owner} client @param {any} native @param {Plan} plan @returns {Promise<Response>} */
function send(client, native, plan) {
  client.look()
  const begin = (/** @type {InstanceType<typeof Witness> | null} */ witness) =>
    new Promise((resolve, reject) => new Hops(client, native, plan, resolve, reject, witness).go())
  // Hooks are of attempts at providers.
  if (!isWatched(null)) return begin(null)
  const { method, url } = plan
  const what = { client, operation: 'fetch', stream: false, model: null, method, url: url.href, request: undefined }
  const witness = new Witness(null, nextNumber(), what)
  return witness.start(() => {
    const added = witness.headers.map(([name]) => name)
    const kept = plan.headers.filter((_, at) => !added.includes(plan.headers[at - (at % 2)]))
    plan.headers = [...kept, ...witness.headers.flat()]
    return begin(witness)
  })
}

/** Fetch's own word for it, where ours is not given. @param {Plan} plan @param {any} init */
function prioritise({ headers }, init) {
  const priority = PRIORITIES.get(init?.priority)
  if (priority !== undefined && !has(headers, 'trunkline-priority')) headers.push('trunkline-priority', priority)
}

/** One fetch: an exchange, and those that it is redirected to. */
class Hops {
  /**
   * @param {import('./call.js').Owner} client @param {any} native @param {Plan} plan
   * @param {(response: any) => void} resolve @param {(reason: unknown) => void} reject
   * @param {InstanceType<typeof Witness> | null} witness
   */
  constructor(client, native, plan, resolve, reject, witness) {
    this.witness = witness
    this.client = client
    this.native = native
    this.plan = plan
    this.resolve = resolve
    this.reject = reject
    this.redirects = 0
  }

  go() {
    const { plan } = this
    if (plan.signal?.aborted) {
      if (plan.body instanceof ReadableStream) plan.body.cancel(plan.signal.reason).catch(() => {})
      this.witness?.refused(plan.signal.reason)
      return this.reject(plan.signal.reason)
    }
    if (isBadPort(plan.url)) return this.#refuse('bad port')
    new Exchange(this.client, plan, this, this.witness).start(this.native, plan)
  }

  /** @param {Exchange} exchange @param {number} status @param {string} head */
  head(exchange, status, head) {
    const { plan } = this
    if (REDIRECTS.has(status) && plan.redirect !== 'manual') {
      if (plan.redirect === 'error') {
        exchange.witness = null
        exchange.cancel(undefined)
        return this.#refuse('unexpected redirect')
      }
      const location = firstOf(head, 'location')
      if (location !== null) {
        // Its end is not that of the fetch.
        exchange.witness = null
        return this.#follow(status, location)
      }
    }
    const { href, hash } = plan.url
    const url = hash === '' && !href.endsWith('#') ? href : href.slice(0, href.indexOf('#'))
    const isBodiless = BODILESS.has(status) || plan.method === 'HEAD'
    const more = { url, redirected: this.redirects > 0, isBodiless, signal: plan.signal }
    if (!plan.integrity) return this.resolve(responseOf(exchange, status, head, more))
    checkedResponseOf(exchange, status, head, more, plan.integrity).then(this.resolve, (cause) => {
      if (plan.signal?.aborted) this.reject(plan.signal.reason)
      else this.#refuse('', cause)
    })
  }

  /** @param {Exchange} _ @param {Promise<never>} error */
  failed(_, error) {
    this.resolve(error)
  }

  /** @param {Exchange} _ @param {unknown} reason */
  cancelled(_, reason) {
    this.reject(reason)
  }

  /** As https://fetch.spec.whatwg.org/#http-redirect-fetch has it. @param {number} status @param {string} location */
  #follow(status, location) {
    const { plan } = this
    let url
    try {
      // Bytes that are no ASCII are UTF-8, as Node reads them.
      url = new URL(Buffer.from(location, 'latin1').toString(), plan.url.href)
    } catch (cause) {
      return this.#refuse('invalid location', cause)
    }
    if (url.hash === '' && plan.url.hash !== '') url.hash = plan.url.hash
    if (url.protocol !== 'http:' && url.protocol !== 'https:') {
      return this.#refuse('URL scheme must be a HTTP(S) scheme')
    }
    if (this.redirects === MAX_REDIRECTS) return this.#refuse('redirect count exceeded')
    this.redirects++
    if (url.username !== '' || url.password !== '') {
      return this.#refuse('cross origin not allowed for request mode "cors"')
    }
    if (plan.staysHome && url.origin !== plan.url.origin) {
      return this.#refuse('request mode cannot be "same-origin"')
    }
    // What came as a stream is gone.
    if (status !== 303 && plan.body instanceof ReadableStream) return this.#refuse('the body cannot be sent again')
    let { method, body, headers } = plan
    const drops = /** @type {string[]} */ ([])
    if (
      ((status === 301 || status === 302) && method === 'POST') ||
      (status === 303 && method !== 'GET' && method !== 'HEAD')
    ) {
      method = 'GET'
      body = null
      drops.push(...OF_BODIES)
    }
    if (url.origin !== plan.url.origin) drops.push(...OF_ORIGINS)
    if (drops.some((name) => has(headers, name))) {
      headers = headers.filter((_, at) => !drops.includes(headers[at - (at % 2)]))
    }
    this.plan = { ...plan, url, method, body, headers }
    this.go()
  }

  /** @param {string} message @param {unknown} [cause] */
  #refuse(message, cause) {
    const error = failure('fetch failed', { cause: cause ?? new Error(message) })
    this.witness?.failed('{}', error)
    this.resolve(error)
  }
}

/** The first value of a header in a head. @param {string} head @param {string} name */
function firstOf(head, name) {
  const lines = head.split('\n')
  for (let at = 1; at < lines.length; at += 2) if (lines[at] === name) return lines[at + 1]
  return null
}

module.exports = { fetchOf }
