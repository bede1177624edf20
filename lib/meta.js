'use strict'

const { inMilliseconds } = require('./errors.js')

/**
 * What is known of how an answer came about: Rust writes a list without names (`Meta` in `src/client/record.rs`).
 * @param {string} text
 * @param {number} number
 */
function metaOf(text, number) {
  const [provider, model, status, names, tries, connection, times, usage, dropped, source, cost, usageEstimated] =
    JSON.parse(text)
  const headers = new Headers()
  for (let at = 0; at < names.length; at += 2) headers.append(names[at], names[at + 1])
  // A number is the time of the only one, which went well.
  const attempts = Array.isArray(tries)
    ? tries
    : [{ provider, model, status, error: null, duration: tries, billed: 'yes' }]
  const [queued, dns, connect, tls, firstByte, total] = times.map((/** @type {number} */ micros) => micros / 1000)
  return {
    id: `call-${number}`,
    provider,
    model,
    status,
    headers,
    requestId: headers.get('x-request-id') ?? headers.get('request-id'),
    cached: source === 1,
    coalesced: source === 2,
    attempts: inMilliseconds(attempts),
    connection: connection && { id: connection[0], protocol: connection[1], reused: connection[2] },
    timings: { queued, dns, connect, tls, firstByte, total },
    usage,
    usageEstimated,
    cost,
    dropped,
  }
}

/**
 * Of a call that Rust says nothing of: it was aborted, or refused before it began.
 * @param {number} number @param {string | null} model @param {number} total
 */
function metaOfNone(number, model, total) {
  return {
    id: `call-${number}`,
    provider: '',
    model: model ?? '',
    status: 0,
    headers: new Headers(),
    requestId: null,
    cached: false,
    coalesced: false,
    attempts: [],
    connection: null,
    timings: { queued: 0, dns: 0, connect: 0, tls: 0, firstByte: 0, total },
    usage: null,
    usageEstimated: false,
    cost: null,
    dropped: [],
  }
}

module.exports = { metaOf, metaOfNone }
