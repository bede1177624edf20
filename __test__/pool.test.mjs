import assert from 'node:assert/strict'
import test from 'node:test'
import { collect, occupied, REQUEST, rejection, start, until } from './support.mjs'

/** A client whose one connection is taken until `free` is called. */
const taken = (t, options) => occupied(t, { ...options, pool: { maxConnections: 1, ...options?.pool } })

test('the more urgent call goes first, and the metrics tell who waits', async (t) => {
  const { upstream, line, free } = await taken(t)
  const order = ['background', 'batch', 'interactive', 'critical', 'critical', undefined]
  const calls = order.map((priority, at) => line.chat({ ...REQUEST, user: String(at) }, { priority }))
  const { queue } = await until(() => {
    const metrics = line.metrics()
    return metrics.pool.origins[0]?.waiting === 6 && metrics
  })
  assert.deepEqual(queue.depth, { critical: 2, interactive: 2, batch: 1, background: 1 })
  await free()
  await Promise.all(calls)
  const served = upstream.requests.slice(1).map((request) => request.body.user)
  assert.deepEqual(served, ['3', '4', '2', '5', '1', '0'])
  assert.deepEqual(line.metrics().queue.depth, { critical: 0, interactive: 0, batch: 0, background: 0 })
})

test('a full queue refuses at once, by its own error, and is counted', async (t) => {
  const { line, free } = await taken(t, { concurrency: { maxQueue: 2 } })
  const calls = [line.chat(REQUEST), line.chat(REQUEST)]
  await until(() => line.metrics().pool.origins[0]?.waiting === 2)
  const error = await rejection(line.chat(REQUEST))
  assert.deepEqual([error.name, error.code, error.billed], ['QueueFullError', 'ERR_QUEUE_FULL', 'no'])
  assert.equal(line.metrics().queue.refused, 1)
  await free()
  await Promise.all(calls)
})

test('streams keep no short call waiting where there are lanes', async (t) => {
  const { upstream, line } = await start(t, {
    pool: { maxConnections: 3, lanes: { streaming: { maxConnections: 2 } } },
  })
  upstream.fault({ kind: 'stall', afterTokens: 1, for: 60_000 }, { times: 2 })
  const stop = new AbortController()
  const streams = Array.from({ length: 4 }, () => rejection(collect(line.stream(REQUEST, { signal: stop.signal }))))
  await until(() => line.metrics().pool.origins[0]?.waiting === 2)
  for (let n = 0; n < 20; n++) await line.chat(REQUEST)
  const origins = line
    .metrics()
    .pool.origins.map(({ lane, active, waiting, opened }) => [lane, active, waiting, opened])
  assert.deepEqual(origins.sort(), [
    ['streaming', 2, 2, 2],
    ['unary', 0, 0, 1],
  ])
  stop.abort()
  await Promise.all(streams)
})

for (const http2 of [false, true]) {
  test(`tenants share no connection (${http2 ? 'HTTP/2' : 'HTTP/1.1'})`, async (t) => {
    const { upstream, line } = await start(t, { upstream: { tls: true, http2 }, tenants: { maxConnections: 2 } })
    const names = ['a', 'b', 'c', undefined]
    await Promise.all(
      Array.from({ length: 80 }, (_, n) => line.chat({ ...REQUEST, user: names[n % 4] }, { tenant: names[n % 4] })),
    )
    const owners = new Map()
    for (const { connection, body } of upstream.requests) {
      owners.set(connection, (owners.get(connection) ?? new Set()).add(body.user))
    }
    assert.ok([...owners.values()].every((tenants) => tenants.size === 1))
    const origins = line.metrics().pool.origins
    assert.deepEqual(origins.map(({ tenant }) => tenant).sort(), ['a', 'b', 'c', null])
    assert.ok(origins.every(({ tenant, opened }) => tenant === null || opened <= 2))
    assert.ok(origins.every(({ provider }) => provider === 'default'))
  })
}

for (const how of [{}, { tls: true, http2: true }]) {
  test(`the figures of the pool are what the upstream counted: ${JSON.stringify(how)}`, async (t) => {
    const { upstream, line } = await start(t, {
      upstream: { ...how, requestsPerConnection: 20, maxConcurrentStreams: 8 },
      pool: { maxConnections: 10 },
      retry: { strategy: 'immediate', maxRetries: 5 },
    })
    // From then on the server's limit of streams is known: what it refuses, it does not record.
    await line.chat(REQUEST)
    for (let round = 0; round < 5; round++) {
      upstream.fault({ kind: 'status', status: 500 }, { times: 3 })
      upstream.fault({ kind: 'reset', after: 'headers' }, { times: 2 })
      const left = AbortSignal.timeout(20)
      const calls = Array.from({ length: 100 }, (_, n) =>
        n % 10 === 0 ? line.chat(REQUEST, { signal: left }).catch(() => {}) : line.chat(REQUEST).catch(() => {}),
      )
      const streams = Array.from({ length: 20 }, async () => {
        for await (const _ of line.stream(REQUEST)) break
      })
      await Promise.allSettled([...calls, ...streams])
    }
    // What was cut short is still on its way out.
    const { pool } = await until(() => {
      const metrics = line.metrics()
      const { active, connecting, draining, idle } = metrics.pool.connections
      const still = active + connecting + draining === 0 && idle === upstream.connections.open
      return still && metrics
    })
    const closed = Object.values(pool.closed).reduce((sum, n) => sum + n, 0)
    assert.equal(pool.opened, upstream.connections.opened)
    assert.equal(closed, upstream.connections.closed)
    assert.equal(pool.opened - closed, pool.connections.idle)
    assert.ok(pool.connections.peak <= 10, `${pool.connections.peak}`)
    const [origin] = pool.origins
    assert.deepEqual(
      [origin.opened, origin.closed, origin.reused, origin.idle, origin.waiting, origin.streams],
      [pool.opened, closed, pool.reused, pool.connections.idle, 0, 0],
    )
    // Each request used a connection that was there, or one that was opened for it; what left early may have got no further.
    const requests = upstream.requests.length
    assert.ok(pool.reused + pool.opened >= requests, `${pool.reused} + ${pool.opened} < ${requests}`)
    assert.ok(pool.reused <= requests + 50, `${pool.reused} > ${requests}`)
    assert.equal(pool.reuseRate, pool.reused / (pool.reused + pool.opened))
    assert.equal(pool.handshake.count, pool.opened)
    const { requests: calls } = line.metrics()
    assert.equal(calls.started, calls.succeeded + calls.failed + calls.aborted)
    assert.equal(calls.started, 601)
  })
}
