'use strict'

/** Single looks at what is on the way: a name, a socket, a handshake, an exchange. Each has a limit of time, and leaves nothing behind. */

const dns = require('node:dns/promises')
const http = require('node:http')
const http2 = require('node:http2')
const net = require('node:net')
const tls = require('node:tls')
const { readFileSync } = require('node:fs')
const { portOf } = require('./place.js')

/** Of an answer's body, what is looked at. */
const MOST = 65_536
/** How long a ticket of TLS 1.3, which comes behind the handshake, is waited for. */
const TICKET = 2000
const ROUND_TRIPS = 3
const DAY = 86_400_000

/** @param {string} code @param {string} message */
function fault(code, message) {
  return Object.assign(new Error(message), { code })
}

/**
 * @template T @param {number} ms @param {(resolve: (value: T) => void, reject: (error: any) => void) => void} begin
 * @returns {Promise<T>}
 */
function within(ms, begin) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(fault('TIMEOUT', `nothing happened for ${ms} ms`)), ms)
    const ended = (/** @type {(value: any) => void} */ settle) => (/** @type {any} */ value) => {
      clearTimeout(timer)
      settle(value)
    }
    begin(ended(resolve), ended(reject))
  })
}

/** @param {string} host @param {number} timeout */
async function resolve(host, timeout) {
  const began = performance.now()
  const found = await within(timeout, (resolve, reject) =>
    dns.lookup(host, { all: true, verbatim: true }).then(resolve, reject),
  )
  const ms = performance.now() - began
  if (found.length === 0) throw fault('ENOTFOUND', 'no address')
  return { addresses: found, ms }
}

/**
 * Never rejects: which addresses are good is what is asked. @param {{ address: string, family: number }} to @param {number} port @param {number} timeout
 * @returns {Promise<{ address: string, family: number, ms: number, socket?: net.Socket, code?: string }>}
 */
async function connect({ address, family }, port, timeout) {
  const began = performance.now()
  const socket = net.connect({ host: address, port, noDelay: true })
  // Whoever has it next listens for itself.
  socket.on('error', () => {})
  try {
    await within(timeout, (resolve, reject) => socket.once('connect', resolve).once('error', reject))
    return { address, family, ms: performance.now() - began, socket }
  } catch (/** @type {any} */ error) {
    socket.destroy()
    return { address, family, ms: performance.now() - began, code: error.code }
  }
}

/** Through a proxy, by CONNECT. @param {net.Socket} socket @param {URL} url @param {URL} proxy @param {number} timeout */
async function tunnel(socket, url, proxy, timeout) {
  const to = `${url.hostname}:${portOf(url)}`
  const user = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`
  const credentials = proxy.username ? `proxy-authorization: Basic ${Buffer.from(user).toString('base64')}\r\n` : ''
  socket.write(`CONNECT ${to} HTTP/1.1\r\nhost: ${to}\r\n${credentials}\r\n`)
  const head = await headOf(socket, timeout)
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1])
  if (!(status >= 200 && status < 300)) throw Object.assign(fault('PROXY', 'refused'), { status: status || null })
}

/** The first bytes until an empty line. @param {net.Socket} socket @param {number} timeout @returns {Promise<string>} */
async function headOf(socket, timeout) {
  let text = ''
  const onData = (/** @type {(text: string) => void} */ resolve) => (/** @type {Buffer} */ data) => {
    text += data.toString('latin1')
    if (text.includes('\r\n\r\n') || text.length > MOST) resolve(text)
  }
  /** @type {any} */
  let listener
  try {
    return await within(timeout, (resolve, reject) => {
      listener = onData(resolve)
      socket.on('data', listener).once('error', reject)
      socket.once('close', () => reject(fault('ECONNRESET', 'closed')))
    })
  } finally {
    socket.off('data', listener)
    socket.pause()
  }
}

/**
 * A handshake, whatever the certificate: whether it is good is what is asked.
 * @param {net.Socket} socket @param {{ host: string, ca?: string, protocols: string[], timeout: number, session?: Buffer }} options
 */
async function secure(socket, { host, ca, protocols, timeout, session }) {
  const began = performance.now()
  const secured = tls.connect({
    socket,
    servername: net.isIP(host) ? '' : host,
    ...(net.isIP(host) ? { checkServerIdentity: (_, certificate) => tls.checkServerIdentity(host, certificate) } : {}),
    ALPNProtocols: protocols,
    rejectUnauthorized: false,
    ...(ca ? { ca: [...tls.rootCertificates, ...extra(), ca] } : {}),
    ...(session ? { session } : {}),
  })
  secured.on('error', () => {})
  /** @type {Promise<Buffer>} */
  const ticket = new Promise((resolve) => secured.once('session', resolve))
  try {
    await within(timeout, (resolve, reject) => {
      secured.once('secureConnect', resolve).once('error', reject)
      secured.once('close', () => reject(fault('ECONNRESET', 'closed in the middle of the handshake')))
    })
  } catch (error) {
    secured.destroy()
    throw error
  }
  const ms = performance.now() - began
  const { authorizationError } = secured
  return {
    socket: secured,
    ms,
    version: String(secured.getProtocol()).replace('TLSv', 'TLS '),
    cipher: secured.getCipher().name,
    alpn: secured.alpnProtocol || null,
    isResumed: secured.isSessionReused(),
    error: secured.authorized ? null : String(/** @type {any} */ (authorizationError)?.code ?? authorizationError),
    certificate: certificateOf(secured.getPeerCertificate()),
    session: () => within(TICKET, (resolve) => ticket.then(resolve)).catch(() => undefined),
  }
}

/** @returns {string[]} */
function extra() {
  try {
    return process.env.NODE_EXTRA_CA_CERTS ? [readFileSync(process.env.NODE_EXTRA_CA_CERTS, 'utf8')] : []
  } catch {
    return []
  }
}

/** @param {tls.PeerCertificate} certificate */
function certificateOf(certificate) {
  if (!certificate?.valid_to) return null
  const name = (/** @type {any} */ { CN, O }) =>
    [CN, O === CN ? undefined : O].filter(Boolean).join(', ') || '(no name)'
  const [from, to] = [new Date(certificate.valid_from), new Date(certificate.valid_to)]
  return {
    subject: name(certificate.subject ?? {}),
    issuer: name(certificate.issuer ?? {}),
    names: certificate.subjectaltname?.split(', ') ?? [],
    validFrom: from.toISOString(),
    validTo: to.toISOString(),
    daysLeft: Math.floor((to.getTime() - Date.now()) / DAY),
  }
}

/** @param {net.Socket} socket @param {URL} url @param {number} timeout */
async function answersPlainHttp(socket, url, timeout) {
  try {
    socket.write(`HEAD / HTTP/1.1\r\nhost: ${url.host}\r\nconnection: close\r\n\r\n`)
    return (await headOf(socket, timeout)).startsWith('HTTP/1.')
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

/** @typedef {{ path: string, headers: Record<string, string>, timeout: number }} Ask */

/** @param {any} socket @param {URL} url @param {Ask} ask */
async function talkH1(socket, url, { path, headers, timeout }) {
  const agent = new http.Agent({ keepAlive: true })
  Object.assign(agent, { createConnection: () => socket })
  // Node's own closes a connection shortly before the server said that it would: how long that keeps it is what is asked.
  agent.keepSocketAlive = () => true
  // No HEAD: Node closes a connection behind an answer to one that says no length.
  /** @param {string} path @param {Record<string, string>} headers @returns {Promise<{ response: http.IncomingMessage, body: Buffer }>} */
  const exchange = (path, headers) =>
    within(timeout, (resolve, reject) => {
      const own = { ...headers, host: url.host, accept: 'application/json', 'user-agent': 'trunkline-doctor' }
      const request = http.request({ agent, path, headers: own })
      request.on('error', reject)
      request.on('response', (response) =>
        // Once the connection is free again.
        bodyOf(response).then((body) => setImmediate(() => resolve({ response, body })), reject),
      )
      request.end()
    })
  try {
    const began = performance.now()
    const { response, body } = await exchange(path, headers)
    const firstMs = performance.now() - began
    return {
      protocol: 'h1',
      ...answer(Number(response.statusCode), response.headers, body),
      keepAlive: { ...hint(response.headers['keep-alive']), closes: isClosing(response, socket) },
      roundTrip: await median(() => exchange(url.pathname, {}), isClosing(response, socket) ? 0 : ROUND_TRIPS, firstMs),
      rest: restOf(socket, () => {
        agent.destroy()
        socket.destroy()
      }),
    }
  } catch (error) {
    agent.destroy()
    throw error
  }
}

/** @param {any} socket @param {URL} url @param {Ask} ask */
async function talkH2(socket, url, { path, headers, timeout }) {
  const session = http2.connect(url.origin, { createConnection: () => socket })
  /** @type {(error: Error) => void} */
  let fail = () => {}
  session.on('error', (error) => fail(error))
  try {
    const settings = await within(timeout, (/** @type {(settings: http2.Settings) => void} */ resolve, reject) => {
      fail = reject
      session.once('remoteSettings', resolve)
      session.once('close', () => reject(fault('ECONNRESET', 'closed before its settings came')))
    })
    const own = {
      ...headers,
      ':path': path,
      ':method': 'GET',
      accept: 'application/json',
      'user-agent': 'trunkline-doctor',
    }
    const { head, body } = await within(timeout, (/** @type {(seen: any) => void} */ resolve, reject) => {
      fail = reject
      const stream = session.request(own)
      stream.on('error', reject)
      stream.on('response', (head) => bodyOf(stream).then((body) => resolve({ head, body }), reject))
    })
    const ping = () =>
      within(timeout, (/** @type {(value: void) => void} */ resolve, reject) => {
        session.ping((error) => (error ? reject(error) : resolve()))
      })
    const most = settings.maxConcurrentStreams
    return {
      protocol: 'h2',
      ...answer(Number(head[':status']), head, body),
      maxConcurrentStreams: most === undefined || most >= 2 ** 31 ? null : most,
      initialWindowSize: settings.initialWindowSize ?? null,
      roundTrip: await median(ping, ROUND_TRIPS, 0),
      rest: restOf(socket, () => session.destroy(), session),
    }
  } catch (error) {
    session.destroy()
    throw error
  }
}

/** @param {any} stream @returns {Promise<Buffer>} */
async function bodyOf(stream) {
  const pieces = []
  let length = 0
  for await (const piece of stream) {
    if (length < MOST) pieces.push(piece)
    length += piece.length
  }
  return Buffer.concat(pieces)
}

/** @param {number} status @param {any} headers @param {Buffer} body */
function answer(status, headers, body) {
  const date = Date.parse(headers.date ?? '')
  return {
    status,
    contentType: headers['content-type'] ?? null,
    location: headers.location ?? null,
    server: headers.server ?? null,
    isHtml:
      /^text\/html/i.test(headers['content-type'] ?? '') ||
      /^\s*<(!doctype|html)/i.test(body.toString('latin1', 0, 200)),
    /** How far this clock is behind the server's. */
    skew: Number.isNaN(date) ? null : date - Date.now(),
  }
}

/** `Keep-Alive: timeout=5, max=100`, in seconds and requests. @param {string | string[] | undefined} field */
function hint(field) {
  const number = (/** @type {string} */ name) => {
    const found = new RegExp(`(?:^|[,;\\s])${name}\\s*=\\s*"?(\\d{1,9})`, 'i').exec(String(field ?? ''))
    return found ? Number(found[1]) : null
  }
  return { timeout: number('timeout'), max: number('max') }
}

/** @param {http.IncomingMessage} response @param {any} socket */
function isClosing({ headers, httpVersion }, socket) {
  const field = headers.connection?.toLowerCase() ?? ''
  return socket.destroyed || /\bclose\b/.test(field) || (httpVersion === '1.0' && !field.includes('keep-alive'))
}

/** @param {() => Promise<unknown>} look @param {number} times @param {number} otherwise */
async function median(look, times, otherwise) {
  const took = []
  for (let n = 0; n < times; n++) {
    const began = performance.now()
    await look()
    took.push(performance.now() - began)
  }
  return took.sort((a, b) => a - b)[took.length >> 1] ?? otherwise
}

/** A connection that has nothing to do. @param {any} socket @param {() => void} end @param {any} [session] */
function restOf(socket, end, session) {
  const began = performance.now()
  return {
    end,
    /** After how many milliseconds the server closed it; null where it did not in that time. @param {number} ms @returns {Promise<number | null>} */
    closed: (ms) =>
      new Promise((resolve) => {
        const timer = setTimeout(() => resolve(null), ms)
        const closed = () => {
          clearTimeout(timer)
          resolve(performance.now() - began)
        }
        if (socket.destroyed || socket.readableEnded) return closed()
        socket.once('end', closed).once('close', closed)
        session?.once('goaway', closed).once('close', closed)
      }),
  }
}

/** The package's own way: what it makes of proxies, roots and addresses counts. @param {URL} url @param {{ ca?: string, http2: any, timeout: number }} options */
async function pool(url, { ca, http2, timeout }) {
  const { Trunkline } = require('../client.js')
  const line = new Trunkline({
    baseURL: url.origin,
    timeouts: { connect: timeout, queue: timeout },
    pool: { http2, ...(ca ? { tls: { ca } } : {}) },
  })
  /** @type {any} */
  let opened
  line.on('connection', (/** @type {any} */ event) => {
    if (event.event === 'opened') opened ??= event
  })
  const exchange = async () => {
    const began = performance.now()
    const response = await line.fetch(url.href, { redirect: 'manual', signal: AbortSignal.timeout(2 * timeout) })
    await response.arrayBuffer()
    return { status: response.status, ms: performance.now() - began }
  }
  try {
    const first = await exchange()
    const second = await exchange()
    const { opened: connections, handshake } = line.metrics().pool
    return {
      status: first.status,
      protocol: opened?.protocol ?? line.metrics().pool.origins[0]?.protocol ?? null,
      ms: first.ms,
      handshake: handshake.max,
      again: second.ms,
      connections,
      error: null,
    }
  } catch (/** @type {any} */ error) {
    const { cause = error } = error
    return {
      status: null,
      protocol: null,
      ms: null,
      handshake: null,
      again: null,
      connections: line.metrics().pool.opened,
      error: { code: cause.code ?? cause.name, message: cause.message },
    }
  } finally {
    await line.close({ drainTimeout: 1 })
  }
}

module.exports = { answersPlainHttp, connect, pool, resolve, secure, talkH1, talkH2, tunnel }
