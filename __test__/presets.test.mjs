// Help with sizes: recommendPool and presets.

import assert from 'node:assert/strict'
import test from 'node:test'
import { ConfigError, presets, recommendPool, Trunkline } from 'trunkline'
import { client, REQUEST, start } from './support.mjs'

const load = (peakConcurrent, responseTime, requestInterval) => ({ peakConcurrent, responseTime, requestInterval })

test('recommendPool: peak × response time ÷ interval, plus a tenth, half of it warm', () => {
  const table = [
    [load(50, 2_000, 1_000), 110, 55],
    [load(10, 300, 1_000), 4, 2],
    [load(100, 30_000, 60_000), 55, 28],
    [load(1, 5_000, 1_000), 6, 3],
    [load(3, 1_000, 1_000), 4, 2],
    // Exactly: floating point adds no connection.
    [load(10, 1_000, 1_000), 11, 6],
    [load(1_000, 1_000, 1_000), 1_100, 550],
    [load(30, 1_000.1, 1_000.1), 33, 17],
    [load(70, 100.3, 100.3), 77, 39],
    // A rate of 2,000 calls a second.
    [load(1, 100, 0.5), 220, 110],
    // At least one.
    [load(1, 1, 2 ** 31 - 1), 1, 1],
    [load(59_577, 1_000, 1_000), 65_535, 32_768],
  ]
  for (const [given, maxConnections, maxIdleConnections] of table) {
    assert.deepEqual(recommendPool(given), { maxConnections, maxIdleConnections }, JSON.stringify(given))
  }
  for (let tens = 1; tens < 5_000; tens++) assert.equal(recommendPool(load(10 * tens, 7, 7)).maxConnections, 11 * tens)
})

test('what recommendPool gives is an option of the pool', async (t) => {
  const { line } = await start(t, { pool: recommendPool(load(20, 2_000, 1_000)) })
  assert.equal(line.metrics().pool.connections.max, 44)
})

test('recommendPool refuses what is wrong, by its name', () => {
  const time = 'must be a positive number of milliseconds, got'
  const table = [
    [undefined, 'load: must be an object, got undefined'],
    [null, 'load: must be an object, got null'],
    [[1, 2, 3], 'load: must be an object, got an array'],
    [5, 'load: must be an object, got a number'],
    [{}, 'peakConcurrent: must be a positive integer, got undefined'],
    [load('50', 1, 1), 'peakConcurrent: must be a positive integer, got a string'],
    [load(0, 1, 1), 'peakConcurrent: must be a positive integer, got 0'],
    [load(-5, 1, 1), 'peakConcurrent: must be a positive integer, got -5'],
    [load(2.5, 1, 1), 'peakConcurrent: must be a positive integer, got 2.5'],
    [load(Number.NaN, 1, 1), 'peakConcurrent: must be a positive integer, got NaN'],
    [load(Number.POSITIVE_INFINITY, 1, 1), 'peakConcurrent: must be a positive integer, got Infinity'],
    [load(5n, 1, 1), 'peakConcurrent: must be a positive integer, got a bigint'],
    [{ peakConcurrent: 5, requestInterval: 5 }, `responseTime: ${time} undefined`],
    [load(5, Number.NaN, 5), `responseTime: ${time} NaN`],
    [load(5, -1, 5), `responseTime: ${time} -1`],
    [load(5, '2s', 5), `responseTime: ${time} a string`],
    [load(5, Number.POSITIVE_INFINITY, 5), `responseTime: ${time} Infinity`],
    [load(5, 2 ** 31, 5), 'responseTime: must be at most 2147483647 ms, got 2147483648'],
    [load(5, 0.8, 5), 'responseTime: must be at least 1 ms, got 0.8: milliseconds are wanted, not seconds'],
    [load(5, 5, 0), `requestInterval: ${time} 0`],
    [load(5, 5, -0), `requestInterval: ${time} 0`],
    [load(5, 5, null), `requestInterval: ${time} null`],
    [load(5, 5, Number.NaN), `requestInterval: ${time} NaN`],
    [load(5, 5, 1e300), 'requestInterval: must be at most 2147483647 ms, got 1e+300'],
    [
      load(59_578, 1_000, 1_000),
      'load: would need 6.55e+4 connections, and a host has ports for 65535: are both times in milliseconds?',
    ],
    [
      load(Number.MAX_SAFE_INTEGER, 2 ** 31 - 1, Number.MIN_VALUE),
      'load: would need Infinity connections, and a host has ports for 65535: are both times in milliseconds?',
    ],
    [{ ...load(5, 5, 5), responsetime: 5 }, 'responsetime: is not an option; did you mean responseTime?'],
  ]
  for (const [given, message] of table) {
    assert.throws(() => recommendPool(given), { name: 'ConfigError', code: 'ERR_CONFIG', message })
    assert.throws(() => recommendPool(given), ConfigError)
  }
})

const seconds = (count) => count * 1_000

test('presets by workload have the figures of the guides', () => {
  assert.deepEqual(presets.cli, { pool: { maxConnections: 5, idleTimeout: seconds(30) } })
  assert.deepEqual(presets.backend, { pool: { maxConnections: 30, idleTimeout: seconds(120) } })
  assert.deepEqual(presets.batch, {
    pool: { maxConnections: 80, idleTimeout: seconds(60), lanes: { streaming: { maxConnections: 20 } } },
  })
  assert.deepEqual(presets.multiTenant, {
    pool: { maxConnections: 200, maxConnectionsPerOrigin: 200 },
    tenants: { maxConnections: 10 },
  })
})

test('presets by scale have the figures of the guides', () => {
  const table = {
    development: [10, 60, 30, 2],
    startup: [25, 45, 45, 3],
    growth: [50, 30, 60, 3],
    enterprise: [200, 20, 90, 4],
  }
  for (const [name, [connections, idle, attempt, retries]] of Object.entries(table)) {
    const { pool, timeouts, retry } = presets[name]
    assert.deepEqual([pool.maxConnections, pool.idleTimeout], [connections, seconds(idle)], name)
    assert.equal(pool.maxConnectionsPerOrigin, connections, `${name}: one provider may have them all`)
    assert.deepEqual([timeouts.firstByte, timeouts.idle], [seconds(attempt), seconds(attempt)], name)
    assert.equal(timeouts.total, seconds(attempt) * (retries + 1), name)
    assert.deepEqual(retry, { maxRetries: retries }, name)
  }
  assert.equal(Object.keys(presets).length, 8)
})

for (const name of ['cli', 'backend', 'batch', 'multiTenant', 'development', 'startup', 'growth', 'enterprise']) {
  test(`a client takes the preset as it is, and calls: ${name}`, async (t) => {
    const { upstream } = await start(t)
    const line = client(t, upstream, { ...presets[name], pool: { ...presets[name].pool, maxAge: 299_999 } })
    assert.equal((await line.chat(REQUEST)).object, 'chat.completion')
    assert.equal(line.metrics().pool.connections.max, presets[name].pool.maxConnections)
    new Trunkline(presets[name])
  })
}

test('presets are frozen, all the way down', () => {
  const frozen = (value) =>
    typeof value !== 'object' || (Object.isFrozen(value) && Object.values(value).every((inner) => frozen(inner)))
  assert.ok(frozen(presets))
  assert.throws(() => {
    presets.cli.pool.maxConnections = 500
  }, TypeError)
})
