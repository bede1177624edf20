'use strict'

/** What follows for the pool from what was seen. Only what is to be other than by default. */

const { quoted } = require('./code.js')
const { many, time } = require('./screen.js')
const { sizeOf } = require('./size.js')

/** As the pool has them. */
const IDLE = 120_000
const STREAMS = 100
const PER_ORIGIN = 100

/** Connections that are worth warming where each call needs one. */
const FEW = 5

/** What a connection rests less than the server keeps it: what is on its way must not cross the server's close. */
const MARGIN = 0.8

/**
 * @param {{ steps: any, load: any, values: any, problems: any[] }} visit
 * @returns {{ isKnown: boolean, pool: any, rows: [string, unknown, string][], warmup: { connections: number, why: string } | null }}
 */
function settingsFor({ steps, load, values }) {
  const { http, rest, pool, tls } = steps
  // What does not come through has no need of settings.
  const isKnown = pool?.error === null
  if (!isKnown) return { isKnown, pool: {}, rows: [], warmup: null }
  const isH2 = (http?.protocol ?? pool.protocol) === 'h2'
  /** @type {[string, unknown, string][]} */
  const rows = []
  /** @type {number} */
  const streams = http?.maxConcurrentStreams ?? (isH2 ? STREAMS : 1)
  rows.push(...sizes(load, isH2 ? Math.min(STREAMS, streams) : 1))
  const idle = idleTime(http, rest)
  if (idle) rows.push(idle)
  if (isH2 && streams < STREAMS) rows.push(['maxStreamsPerConnection', streams, "the server's own limit"])
  if (values.h1) rows.push(['http2', quoted('never'), 'as --h1'])
  if (values.h2) rows.push(['http2', quoted('prior-knowledge'), 'as --h2'])
  /** @type {any} */
  const settings = Object.fromEntries(
    rows.map(([name, value]) => [name, typeof value === 'string' ? value.slice(1, -1) : value]),
  )
  if (values.ca) rows.push(['tls', `{ ca: readFileSync(${quoted(values.ca)}, 'utf8') }`, 'as --ca'])
  const warmup = warmupFor(isH2, http, pool?.handshake ?? tls?.ms ?? 0, settings)
  return { isKnown, pool: settings, rows, warmup }
}

/** @param {boolean} isH2 @param {any} http @param {number} handshake @param {any} settings */
function warmupFor(isH2, http, handshake, settings) {
  const connections = isH2 ? 1 : Math.min(FEW, settings.maxIdleConnections ?? FEW)
  // Of a warm connection that the server closes after each answer nothing is left; on loopback there is nothing to save.
  if (handshake < 1 || connections === 0 || http?.keepAlive?.closes) return null
  const why =
    connections === 1 ? `the first call saves ${time(handshake)}` : `the first calls save ${time(handshake)} each`
  return { connections, why }
}

/** @param {any} load @param {number} streams @returns {[string, unknown, string][]} */
function sizes(load, streams) {
  if (!load) return []
  const { pool, callsAtOnce } = sizeOf(load, streams)
  const needed = Math.ceil(pool.maxConnections / streams)
  const calls = `${many(Math.ceil(callsAtOnce), 'call')} at once and a tenth more`
  // One beside those that are needed, for when a server lets one go.
  const most = streams > 1 ? needed + 1 : needed
  const why = streams > 1 ? `${calls}, ${streams} on each, and one to spare` : calls
  /** @type {[string, unknown, string][]} */
  const rows = [['maxConnections', most, why]]
  if (most > PER_ORIGIN) rows.push(['maxConnectionsPerOrigin', most, `the default is ${PER_ORIGIN}`])
  rows.push([
    'maxIdleConnections',
    streams > 1 ? most : Math.min(most, pool.maxIdleConnections),
    streams > 1 ? 'all of them' : 'half of them kept warm',
  ])
  return rows
}

/** @param {any} http @param {any} rest @returns {[string, unknown, string] | undefined} */
function idleTime(http, rest) {
  const seen = rest?.closedAfter ?? null
  // A server that rounds down to 0 says nothing.
  const said = http?.keepAlive?.timeout ? http.keepAlive.timeout * 1000 : null
  if (seen === null && said === null) return undefined
  const kept = Math.min(seen ?? Number.POSITIVE_INFINITY, said ?? Number.POSITIVE_INFINITY)
  if (kept * MARGIN >= IDLE || kept * MARGIN < 1) return undefined
  const why = seen !== null && kept === seen ? `the server closes after ${time(seen)}` : `the server says ${time(kept)}`
  return ['idleTimeout', Math.floor(kept * MARGIN), why]
}

module.exports = { settingsFor }
