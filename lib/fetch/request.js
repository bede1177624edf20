'use strict'

/**
 * What fetch is called with, made plain. The usual request (a URL, a method, headers, a text or bytes) is read here, since a genuine
 * `Request` costs more than all the rest. Whatever is not usual, and whatever is wrong, goes through a genuine one: its errors, its
 * boundaries and its rules are the platform's own.
 */

const { TOKEN, isOurs } = require('./headers.js')
const { setImmediate } = require('../timers.js')

/**
 * @typedef {{
 *   method: string,
 *   url: URL | ParsedUrl,
 *   headers: string[],
 *   body: string | Uint8Array | ReadableStream | null,
 *   length: number | undefined,
 *   signal: AbortSignal | undefined,
 *   redirect: string,
 *   staysHome?: boolean,
 *   integrity?: string,
 * }} Plan `headers`: names and values in turn. `length`: of a stream, where a header says it. `staysHome`: another origin is an error.
 */

/** What of a URL is used. @typedef {{ href: string, origin: string, hash: string }} ParsedUrl */

const METHODS = new Set(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'])
const REDIRECTS = new Set(['follow', 'manual', 'error'])
/** Of an init, what a genuine Request is to look at. */
const UNUSUAL = ['mode', 'credentials', 'cache', 'referrer', 'referrerPolicy', 'integrity', 'keepalive', 'window']
/** As fetch refuses them, https://fetch.spec.whatwg.org/#port-blocking. */
const BAD_PORTS = new Set(
  (
    '0 1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 123 ' +
    '135 137 139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 990 993 ' +
    '995 1719 1720 1723 2049 3659 4045 4190 5060 5061 6000 6566 6665 6666 6667 6668 6669 6679 6697 10080'
  ).split(' '),
)

/** The URL's own is sent, whatever is given: as Node's fetch does. */
const HOST = 'host'
const BAD_VALUE = /[\0\r\n\u0100-\uffff]/
const SPACE_AROUND = /^[\t\n\r ]+|[\t\n\r ]+$/g

/** URLs that were used of late: an SDK has few. @type {Map<string, URL>} */
const urls = new Map()
const MAX_URLS = 64
const LONGEST_URL = 1024

/** How much of a Request's body is gathered, so that its length can be told, and for how many turns of the event loop. */
const GATHERED = 1024 * 1024
const TURNS = 3

/** @param {string} text @returns {URL | null} */
function urlOf(text) {
  const known = urls.get(text)
  if (known !== undefined) return known
  if (!URL.canParse(text)) return null
  const url = new URL(text)
  if (urls.size >= MAX_URLS) urls.clear()
  if (text.length <= LONGEST_URL) urls.set(text, url)
  return url
}

/** The URL of what fetch was called with, if it is one. @param {unknown} input @returns {URL | null} */
function target(input) {
  if (typeof input === 'string') return urlOf(input)
  if (input instanceof URL) return urlOf(input.href)
  return input instanceof Request ? urlOf(input.url) : null
}

/** The plan of a usual request; null for any other. @param {URL | null} url @param {any} input @param {any} init @returns {Plan | null} */
function usual(url, input, init) {
  if (url === null || url.username !== '' || url.password !== '' || input instanceof Request) return null
  if (init === undefined || init === null) {
    return { method: 'GET', url, headers: [], body: null, length: undefined, signal: undefined, redirect: 'follow' }
  }
  if (typeof init !== 'object') return null
  const { method = 'GET', redirect = 'follow', signal } = init
  if (!METHODS.has(method) || !REDIRECTS.has(redirect)) return null
  if (signal !== undefined && signal !== null && !(signal instanceof AbortSignal)) return null
  for (const name of UNUSUAL) if (init[name] !== undefined) return null
  if (init.duplex !== undefined && init.duplex !== 'half') return null
  const headers = usualHeaders(init.headers)
  if (headers === null) return null
  let { body } = init
  /** @type {string | null} */
  let type = null
  if (body === undefined || body === null) body = null
  else if (method === 'GET' || method === 'HEAD') return null
  else if (typeof body === 'string') type = 'text/plain;charset=UTF-8'
  else if (ArrayBuffer.isView(body)) {
    if (!(body.buffer instanceof ArrayBuffer)) return null
    if (!(body instanceof Uint8Array)) body = new Uint8Array(body.buffer, body.byteOffset, body.byteLength)
  } else if (body instanceof ArrayBuffer) body = new Uint8Array(body)
  else return null
  if (type !== null && !has(headers, 'content-type')) headers.push('content-type', type)
  return { method, url, headers, body, length: undefined, signal: signal ?? undefined, redirect }
}

/** Names and values in turn; null where a genuine Headers is to look at them. @param {any} headers @returns {string[] | null} */
function usualHeaders(headers) {
  /** @type {string[]} */
  const lines = []
  if (headers === undefined) return lines
  if (typeof headers !== 'object' || headers === null) return null
  if (headers instanceof Headers) {
    // By the platform's own, which gives what it has checked. Those of our responses are no such Headers.
    if (isOurs(headers)) return null
    Headers.prototype.forEach.call(headers, (value, name) => {
      if (name !== HOST) lines.push(name, value)
    })
    return lines
  }
  const iterates = headers[Symbol.iterator] !== undefined
  if (iterates && !Array.isArray(headers)) return null
  for (const pair of iterates ? headers : Object.entries(headers)) {
    if (!Array.isArray(pair) || pair.length !== 2) return null
    const [name, value] = pair
    if (typeof name !== 'string' || typeof value !== 'string' || !TOKEN.test(name)) return null
    const trimmed = value.replace(SPACE_AROUND, '')
    if (BAD_VALUE.test(trimmed)) return null
    const lower = name.toLowerCase()
    // Values of one name are joined, and how is the platform's to know.
    if (has(lines, lower)) return null
    if (lower !== HOST) lines.push(lower, trimmed)
  }
  return lines
}

/** @param {string[]} headers @param {string} name */
function has(headers, name) {
  for (let at = 0; at < headers.length; at += 2) if (headers[at] === name) return true
  return false
}

/**
 * The plan of any request. Throws what fetch rejects with.
 * @param {any} input @param {any} init @returns {Promise<Plan>}
 */
async function unusual(input, init) {
  const request = new Request(input, init)
  const given = init?.body ?? null
  const headers = usualHeaders(request.headers) ?? []
  for (const [name, value] of cacheHeaders(request.cache)) if (!has(headers, name)) headers.push(name, value)
  const own = init?.signal
  const signal = own !== undefined ? own : input instanceof Request ? input.signal : undefined
  if (signal?.aborted) {
    request.body?.cancel(signal.reason).catch(() => {})
    throw signal.reason
  }
  /** @type {Plan} */
  const plan = {
    method: request.method,
    url: new URL(request.url),
    headers,
    body: null,
    length: undefined,
    signal: signal ?? undefined,
    redirect: request.redirect,
    staysHome: request.mode === 'same-origin',
    integrity: request.integrity,
  }
  if (request.body === null) return plan
  if (given === null) plan.body = await gathered(request.body)
  else if (isStream(given)) plan.body = request.body
  else plan.body = new Uint8Array(await request.arrayBuffer())
  if (plan.body instanceof ReadableStream) {
    const at = headers.indexOf('content-length')
    if (at >= 0 && /^\d+$/.test(headers[at + 1])) plan.length = Number(headers[at + 1])
  }
  return plan
}

/** Whether a body has no length that could be known. @param {any} body */
function isStream(body) {
  if (body instanceof ReadableStream) return true
  return typeof body === 'object' && typeof body[Symbol.asyncIterator] === 'function' && !(body instanceof Blob)
}

/** @param {string} cache @returns {[string, string][]} */
function cacheHeaders(cache) {
  if (cache === 'no-cache') return [['cache-control', 'max-age=0']]
  if (cache !== 'no-store' && cache !== 'reload') return []
  return [
    ['pragma', 'no-cache'],
    ['cache-control', 'no-cache'],
  ]
}

/**
 * The body of a Request does not tell whether it was a text or is a stream: if it is there at once it is taken as a whole.
 * @param {ReadableStream} body @returns {Promise<Uint8Array | ReadableStream>}
 */
async function gathered(body) {
  const reader = body.getReader()
  /** @type {Uint8Array[]} */
  const pieces = []
  let size = 0
  for (;;) {
    const reading = reader.read()
    reading.catch(() => {})
    const read = await soon(reading)
    if (read === null || size > GATHERED || (!read.done && !(read.value instanceof Uint8Array))) {
      return continued(pieces, read === null ? reading : Promise.resolve(read), reader)
    }
    if (read.done) return Buffer.concat(pieces)
    size += read.value.length
    pieces.push(read.value)
  }
}

/** What a promise gives within some turns of the event loop. @template T @param {Promise<T>} promise @returns {Promise<T | null>} */
function soon(promise) {
  return new Promise((resolve, reject) => {
    promise.then(resolve, reject)
    let turns = TURNS
    const wait = () => (turns-- > 0 ? setImmediate(wait) : resolve(null))
    wait()
  })
}

/**
 * @param {Uint8Array[]} pieces @param {Promise<any>} next @param {ReadableStreamDefaultReader} reader
 */
function continued(pieces, next, reader) {
  /** @type {Promise<any>[]} */
  const early = [...pieces.map((value) => Promise.resolve({ value, done: /** @type {false} */ (false) })), next]
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await (early.shift() ?? reader.read())
        if (done) controller.close()
        else controller.enqueue(value)
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
}

/** @param {URL | ParsedUrl} url */
function isBadPort(url) {
  return BAD_PORTS.has(/** @type {URL} */ (url).port)
}

module.exports = { target, usual, unusual, has, isBadPort }
