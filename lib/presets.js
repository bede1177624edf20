'use strict'

/** Ready-made options: by workload, and by scale. Plain data; what is not said here has its default. */

const presets = {
  cli: { pool: { maxConnections: 5, idleTimeout: 30_000 } },
  backend: { pool: { maxConnections: 30, idleTimeout: 120_000 } },
  // A quarter of the connections are enough for streams, and no more than that can be taken by them.
  batch: { pool: { maxConnections: 80, idleTimeout: 60_000, lanes: { streaming: { maxConnections: 20 } } } },
  // All tenants may call one provider.
  multiTenant: { pool: { maxConnections: 200, maxConnectionsPerOrigin: 200 }, tenants: { maxConnections: 10 } },
  development: scale(10, 60_000, 30_000, 2),
  startup: scale(25, 45_000, 45_000, 3),
  growth: scale(50, 30_000, 60_000, 3),
  enterprise: scale(200, 20_000, 90_000, 4),
}

/**
 * There is no limit of an attempt as such. No attempt is silent for longer than `attempt`, and the call has time for all its attempts.
 * @param {number} connections @param {number} idleTimeout @param {number} attempt @param {number} maxRetries
 */
function scale(connections, idleTimeout, attempt, maxRetries) {
  return {
    // All of them to one provider, where the default stops at 100.
    pool: { maxConnections: connections, maxConnectionsPerOrigin: connections, idleTimeout },
    timeouts: { firstByte: attempt, idle: attempt, total: attempt * (maxRetries + 1) },
    retry: { maxRetries },
  }
}

/** @template T @param {T} value @returns {T} */
function frozen(value) {
  if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) frozen(inner)
  return Object.freeze(value)
}

module.exports = { presets: frozen(presets) }
