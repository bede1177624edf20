'use strict'

/** The channels of `node:diagnostics_channel` that this package publishes on; `docs/observability.md` says what. */

const { channel } = require('node:diagnostics_channel')

const requests = {
  start: channel('trunkline:request:start'),
  attempt: channel('trunkline:request:attempt'),
  sent: channel('trunkline:request:sent'),
  firstByte: channel('trunkline:request:firstByte'),
  attemptEnd: channel('trunkline:request:attemptEnd'),
  error: channel('trunkline:request:error'),
  end: channel('trunkline:request:end'),
}

const connections = {
  opened: channel('trunkline:connection:opened'),
  closed: channel('trunkline:connection:closed'),
}

/** Whether somebody hears what Rust alone knows of a request. */
function isToldOfAttempts() {
  const { attempt, sent, firstByte, attemptEnd } = requests
  return attempt.hasSubscribers || sent.hasSubscribers || firstByte.hasSubscribers || attemptEnd.hasSubscribers
}

/** Whether somebody hears anything of requests. */
function isToldOfRequests() {
  const { start, error, end } = requests
  return start.hasSubscribers || end.hasSubscribers || error.hasSubscribers || isToldOfAttempts()
}

function isToldOfConnections() {
  return connections.opened.hasSubscribers || connections.closed.hasSubscribers
}

/** Of several clients of a pool, the one that publishes what happens to its connections, by the number of the pool. @type {Map<number, WeakRef<object>>} */
const publishers = new Map()

/** Whether it is for this client to publish: where each did, each connection would be there several times. @param {object} client @param {number} pool */
function isPublisher(client, pool) {
  const publisher = publishers.get(pool)?.deref()
  if (publisher === undefined) publishers.set(pool, new WeakRef(client))
  return publisher === undefined || publisher === client
}

/** The client is told of connections no longer. @param {object} client @param {number} pool */
function retire(client, pool) {
  if (publishers.get(pool)?.deref() === client) publishers.delete(pool)
}

/** @param {any} event as the client emits it @param {number} pool */
function publishConnection({ event, ...rest }, pool) {
  const channel = event === 'opened' ? connections.opened : connections.closed
  if (channel.hasSubscribers) channel.publish({ ...rest, pool })
}

module.exports = {
  requests,
  isToldOfAttempts,
  isToldOfRequests,
  isToldOfConnections,
  isPublisher,
  retire,
  publishConnection,
}
