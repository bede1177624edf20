'use strict'

/** The dashboard: one page, live, with the client's own figures. It is for whoever runs the program: on loopback, unless it is told otherwise. */

const { createServer } = require('node:http')
const { isIP } = require('node:net')
const { kindOf, shown } = require('./encode.js')
const { configError } = require('./errors.js')
const { only } = require('./options.js')
const { page } = require('./dashboard/page.js')
const { Watch } = require('./dashboard/watch.js')

/** Who looks at one time. */
const MOST_VIEWERS = 64

const HEADERS = {
  'cache-control': 'no-store',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
}

const TEXT = 'text/plain; charset=utf-8'
const PROMETHEUS = 'text/plain; version=0.0.4; charset=utf-8'
const OPEN_METRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

/**
 * A server of its own. Resolves when it listens.
 * @param {any} line @param {any} [options]
 */
async function openDashboard(line, options = {}) {
  const {
    port = 0,
    host = '127.0.0.1',
    hosts,
    ref = false,
  } = only(options, ['port', 'host', 'hosts', 'ref'], 'dashboard')
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw configError(`dashboard.port: must be an integer from 0 to 65535, got ${shown(port)}`)
  if (typeof host !== 'string' || host === '')
    throw configError(`dashboard.host: must be a name or an address, got ${shown(host)}`)
  if (typeof ref !== 'boolean') throw configError(`dashboard.ref: must be a boolean, got ${kindOf(ref)}`)
  const handler = dashboardHandler(line, { hosts: [host, ...namesOf(hosts)] })
  const server = createServer(handler)
  if (!ref) {
    server.unref()
    server.on('connection', (socket) => socket.unref())
  }
  try {
    await listening(server, port, host)
  } catch (/** @type {any} */ error) {
    handler.close()
    throw refusal(error, port, host)
  }
  const address = /** @type {import('node:net').AddressInfo} */ (server.address())
  const closed = new Promise((resolve) => server.once('close', () => resolve(undefined)))
  const close = async () => {
    handler.close()
    if (server.listening) server.close()
    server.closeAllConnections()
    await closed
  }
  return { url: `http://${reachableAt(host)}:${address.port}/`, port: address.port, close, closed }
}

/**
 * To be mounted in a server of one's own: `(req, res, next?)`, with `close`.
 * @param {any} line @param {any} [options]
 */
function dashboardHandler(line, options = {}) {
  const { hosts, path = '/' } = only(options, ['hosts', 'path'], 'dashboard')
  if (typeof path !== 'string' || !/^\/[^?#]*$/.test(path))
    throw configError(`dashboard.path: must be a path that begins with '/', got ${shown(path)}`)
  const base = path.replace(/\/+$/, '')
  const names = new Set(namesOf(hosts).map((name) => name.toLowerCase()))
  const watch = new Watch(line)
  let isClosed = false
  /** @type {Set<import('node:http').ServerResponse>} */
  const streams = new Set()

  /**
   * @param {import('node:http').IncomingMessage} req @param {import('node:http').ServerResponse} res
   * @param {(error?: unknown) => void} [next]
   */
  const handler = (req, res, next) => {
    const route = routeOf(req, base)
    if (route === undefined) {
      if (next !== undefined) return next()
      return say(res, 404, 'not found\n')
    }
    // Before all else: a page of somebody else's, whose name now leads here, learns nothing.
    if (!isKnown(req, names))
      return say(res, 403, "this dashboard is not known by that name: add it to the option 'hosts' if it should be\n")
    if (req.method !== 'GET' && req.method !== 'HEAD') {
      res.setHeader('allow', 'GET, HEAD')
      return say(res, 405, 'GET alone\n')
    }
    if (isClosed) return say(res, 503, 'the dashboard was closed\n')
    switch (route) {
      case 'page':
        return showPage(req, res)
      case 'data':
        return stream(req, res)
      case 'snapshot':
        return say(res, 200, JSON.stringify(watch.snapshot()), 'application/json; charset=utf-8')
      default:
        return showMetrics(req, res)
    }
  }

  /** @param {import('node:http').IncomingMessage} req @param {import('node:http').ServerResponse} res */
  function showPage(req, res) {
    // What the page asks for is beside it, so its own address must end as a folder's does.
    const asked = String(/** @type {any} */ (req).originalUrl ?? req.url).split('?')[0]
    if (!asked.endsWith('/')) {
      res.setHeader('location', `./${asked.slice(asked.lastIndexOf('/') + 1)}/`)
      return say(res, 302, '')
    }
    const { html, policy } = page()
    res.setHeader('content-security-policy', policy)
    res.setHeader('x-frame-options', 'DENY')
    return say(res, 200, html, 'text/html; charset=utf-8')
  }

  /** @param {import('node:http').IncomingMessage} req @param {import('node:http').ServerResponse} res */
  function stream(req, res) {
    if (watch.viewers >= MOST_VIEWERS) return say(res, 503, 'too many look at once\n')
    res.writeHead(200, { ...HEADERS, 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no' })
    if (req.method === 'HEAD') return void res.end()
    const snapshot = JSON.stringify(watch.snapshot())
    res.write(`retry: 2000\nevent: history\ndata: ${JSON.stringify(watch.history())}\n\ndata: ${snapshot}\n\n`)
    // Who does not read gets the next one that there is room for.
    const leave = watch.look((text) => {
      if (!res.writableNeedDrain) res.write(`data: ${text}\n\n`)
    })
    streams.add(res)
    res.on('close', () => {
      leave()
      streams.delete(res)
    })
  }

  /** @param {import('node:http').IncomingMessage} req @param {import('node:http').ServerResponse} res */
  function showMetrics(req, res) {
    if (typeof line.prometheus !== 'function') return say(res, 501, 'this version has no figures for Prometheus\n')
    const isOpen = /\bapplication\/openmetrics-text\b/.test(req.headers.accept ?? '')
    const text = line.prometheus({ format: isOpen ? 'openmetrics' : 'prometheus' })
    return say(res, 200, text, isOpen ? OPEN_METRICS : PROMETHEUS)
  }

  handler.close = () => {
    isClosed = true
    watch.end()
    for (const res of streams) res.end()
  }
  return handler
}

/**
 * What is asked for; undefined if it is nothing of ours.
 * @param {import('node:http').IncomingMessage} req @param {string} base
 */
function routeOf(req, base) {
  let path = String(req.url).split('?')[0]
  // Express has taken off already what it is mounted under.
  if (base !== '' && /** @type {any} */ (req).baseUrl !== base) {
    if (path !== base && !path.startsWith(`${base}/`)) return undefined
    path = path.slice(base.length)
  }
  switch (path) {
    case '':
    case '/':
      return 'page'
    case '/data':
      return 'data'
    case '/snapshot':
      return 'snapshot'
    case '/metrics':
      return 'metrics'
    default:
      return undefined
  }
}

/**
 * Whether the request names this machine as somebody who runs it would: as localhost, by the address that it came in on, or as the options
 * have it. A name that was made to lead here (DNS rebinding) is none of these.
 * @param {import('node:http').IncomingMessage} req @param {Set<string>} names
 */
function isKnown(req, names) {
  const name = /^(\[[^\]]*\]|[^:]*)(:\d+)?$/.exec(req.headers.host ?? '')?.[1].toLowerCase() ?? ''
  const host = name.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '')
  if (host === '') return false
  if (host === 'localhost' || host.endsWith('.localhost') || names.has(host)) return true
  if (isIP(host) === 0) return false
  const local = (req.socket.localAddress ?? '').replace(/^::ffff:/, '')
  return host === '::1' || (isIP(host) === 4 && host.startsWith('127.')) || host === local
}

/** @param {any} hosts @returns {string[]} */
function namesOf(hosts) {
  if (hosts === undefined) return []
  if (!Array.isArray(hosts)) throw configError(`dashboard.hosts: must be an array of names, got ${kindOf(hosts)}`)
  return hosts.map((name, at) => {
    if (typeof name !== 'string' || !/^[^\s/:[\]]+$|^[\da-f:.]+$/i.test(name))
      throw configError(`dashboard.hosts[${at}]: must be a name or an address without a port, got ${shown(name)}`)
    return name
  })
}

/** @param {import('node:http').ServerResponse} res @param {number} status @param {string} text @param {string} [type] */
function say(res, status, text, type = TEXT) {
  const length = Buffer.byteLength(text)
  // Node leaves the body out where HEAD was asked.
  res.writeHead(status, { ...HEADERS, 'content-type': type, 'content-length': length }).end(text)
}

/** @param {import('node:http').Server} server @param {number} port @param {string} host */
function listening(server, port, host) {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, host }, () => {
      server.off('error', reject)
      // What goes wrong with one connection is that one's alone.
      server.on('error', () => {})
      resolve(undefined)
    })
  })
}

/** @param {any} error @param {number} port @param {string} host */
function refusal(error, port, host) {
  switch (error?.code) {
    case 'EADDRINUSE':
      return configError(`dashboard.port: ${port} is in use on ${host}`, error)
    case 'EACCES':
      return configError(`dashboard.port: this process may not listen on ${port}`, error)
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return configError(`dashboard.host: '${host}' is no address of this machine`, error)
    default:
      return configError(`dashboard: cannot listen on ${host}:${port}`, error)
  }
}

/** How a browser on this machine gets there. @param {string} host */
function reachableAt(host) {
  if (host === '0.0.0.0' || host === '') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return isIP(host) === 6 ? `[${host}]` : host
}

module.exports = { openDashboard, dashboardHandler }
