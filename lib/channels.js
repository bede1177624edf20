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

module.exports = { requests, connections, isToldOfAttempts, isToldOfRequests, isToldOfConnections }
