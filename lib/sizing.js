'use strict'

/** How large a pool should be: arithmetic on what the caller knows of the load, which never crosses the border. */

const { configError } = require('./errors.js')
const { shown } = require('./encode.js')
const { LONGEST, only } = require('./options.js')

/** A host has no more ports, so a pool with one provider no more sockets. */
const MOST = 65_535

/**
 * Little's law, L = λW: calls come at a rate of peak ÷ interval, each is there for the response time, and so many are there at
 * once. A tenth more for bursts; half of all that kept warm.
 * @param {any} load
 */
function recommendPool(load) {
  const { peakConcurrent, responseTime, requestInterval } = only(
    load,
    ['peakConcurrent', 'responseTime', 'requestInterval'],
    'load',
    '',
  )
  if (!Number.isSafeInteger(peakConcurrent) || peakConcurrent < 1)
    throw configError(`peakConcurrent: must be a positive integer, got ${shown(peakConcurrent)}`)
  checkTime('responseTime', responseTime)
  checkTime('requestInterval', requestInterval)
  // No provider answers in less: this is a time in seconds.
  if (responseTime < 1)
    throw configError(`responseTime: must be at least 1 ms, got ${responseTime}: milliseconds are wanted, not seconds`)
  const connections = (peakConcurrent * responseTime * 11) / (requestInterval * 10)
  // What binary fractions add is not rounded up.
  const maxConnections = Math.max(1, Math.ceil(connections * (1 - 4 * Number.EPSILON)))
  if (!(maxConnections <= MOST))
    throw configError(
      `load: would need ${connections.toPrecision(3)} connections, and a host has ports for ${MOST}: are both times in milliseconds?`,
    )
  return { maxConnections, maxIdleConnections: Math.ceil(maxConnections / 2) }
}

/** @param {string} name @param {any} time */
function checkTime(name, time) {
  if (typeof time !== 'number' || !(time > 0) || time === Number.POSITIVE_INFINITY)
    throw configError(`${name}: must be a positive number of milliseconds, got ${shown(time)}`)
  if (time > LONGEST) throw configError(`${name}: must be at most ${LONGEST} ms, got ${time}`)
}

module.exports = { recommendPool }
