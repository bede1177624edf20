import assert from 'node:assert/strict'
import test from 'node:test'
import { collect, REQUEST, rejection, start, until } from './support.mjs'

test('a client that did nothing has zeros', async (t) => {
  const { line } = await start(t)
  const metrics = line.metrics()
  assert.deepEqual(metrics.requests, {
    started: 0,
    succeeded: 0,
    failed: 0,
    aborted: 0,
    retried: 0,
    hedged: 0,
    cached: 0,
    coalesced: 0,
    failedOver: 0,
    inFlight: 0,
  })
  assert.deepEqual(metrics.latency, { count: 0, mean: 0, min: 0, max: 0, p50: 0, p90: 0, p99: 0 })
  assert.deepEqual(metrics.tokens, { input: 0, output: 0, perSecond: 0 })
  assert.deepEqual(
    [metrics.pool.opened, metrics.pool.reused, metrics.pool.reuseRate, metrics.pool.utilization],
    [0, 0, 0, 0],
  )
  assert.equal(metrics.pool.connections.max, 200)
  assert.ok(metrics.uptime >= 0)
})

test('metrics has the shape that is declared', async (t) => {
  const { line } = await start(t, { upstream: { tls: true } })
  await line.chat(REQUEST)
  const kinds = (value) =>
    Array.isArray(value)
      ? value.map(kinds)
      : value && typeof value === 'object'
        ? Object.fromEntries(
            Object.entries(value)
              .sort()
              .map(([name, inner]) => [name, kinds(inner)]),
          )
        : typeof value
  const numbers = (...names) => Object.fromEntries(names.sort().map((name) => [name, 'number']))
  const histogram = numbers('count', 'mean', 'min', 'max', 'p50', 'p90', 'p99')
  assert.deepEqual(kinds(line.metrics()), {
    bytes: numbers('sent', 'received'),
    cache: 'object',
    circuits: {
      default: { ...numbers('failures', 'transitions'), openedAt: 'object', state: 'string' },
      [`default/${REQUEST.model}`]: { ...numbers('failures', 'transitions'), openedAt: 'object', state: 'string' },
    },
    firstByte: histogram,
    latency: histogram,
    limits: {
      default: { requestsRemaining: 'object', tokensRemaining: 'object', resetAt: 'object', throttled: 'number' },
    },
    pool: {
      acquireWait: histogram,
      closed: numbers('idle', 'age', 'server', 'goaway', 'error', 'cancelled', 'evicted', 'clockJump', 'shutdown'),
      connections: numbers('active', 'idle', 'connecting', 'draining', 'peak', 'max'),
      handshake: histogram,
      handshakeTimeSaved: 'number',
      opened: 'number',
      origins: [
        {
          ...numbers('active', 'idle', 'connecting', 'waiting', 'streams', 'opened', 'reused', 'closed'),
          origin: 'string',
          provider: 'string',
          protocol: 'string',
          lane: 'object',
          tenant: 'object',
        },
      ],
      reuseRate: 'number',
      reused: 'number',
      streams: numbers('active', 'capacity', 'perConnection'),
      tlsResumed: 'number',
      utilization: 'number',
    },
    queue: {
      depth: numbers('critical', 'interactive', 'batch', 'background'),
      refused: 'number',
      turns: histogram,
      wait: histogram,
    },
    requests: numbers(
      'started',
      'succeeded',
      'failed',
      'aborted',
      'retried',
      'failedOver',
      'hedged',
      'cached',
      'coalesced',
      'inFlight',
    ),
    cost: 'number',
    tokens: numbers('input', 'output', 'perSecond'),
    uptime: 'number',
  })
})

test('requests agree with what the upstream counted', async (t) => {
  const { upstream, line } = await start(t, { retry: { strategy: 'immediate', maxRetries: 1 } })
  let [input, output, sent] = [0, 0, 0]
  const count = (usage) => {
    input += usage.prompt_tokens
    output += usage.completion_tokens
  }
  for (let n = 0; n < 10; n++) count((await line.chat(REQUEST)).usage)
  for (let n = 0; n < 5; n++) count((await line.stream(REQUEST).final()).usage)
  upstream.fault({ kind: 'status', status: 500 })
  count((await line.chat(REQUEST)).usage)
  upstream.fault({ kind: 'status', status: 400 })
  await rejection(line.chat(REQUEST))
  upstream.fault({ kind: 'status', status: 500 }, { times: 2 })
  await rejection(line.chat(REQUEST))
  upstream.fault({ kind: 'stall', afterTokens: 2, for: 60_000 })
  for await (const _ of line.stream(REQUEST)) break
  await until(() => line.metrics().requests.aborted === 1)

  const metrics = line.metrics()
  assert.deepEqual(metrics.requests, {
    started: 19,
    succeeded: 16,
    failed: 2,
    aborted: 1,
    retried: 2,
    hedged: 0,
    cached: 0,
    coalesced: 0,
    failedOver: 0,
    inFlight: 0,
  })
  assert.equal(upstream.requests.length, metrics.requests.started + metrics.requests.retried)
  for (const { headers } of upstream.requests) sent += Number(headers['content-length'])
  assert.equal(metrics.bytes.sent, sent)
  assert.ok(metrics.bytes.received > 0)
  assert.deepEqual(metrics.tokens, { input, output, perSecond: metrics.tokens.perSecond })
  assert.ok(metrics.tokens.perSecond > 0 && metrics.tokens.perSecond <= output)
  assert.equal(metrics.latency.count, 18)
  const { min, p50, p90, p99, max, mean } = metrics.latency
  assert.ok(0 < min && min <= p50 && p50 <= p90 && p90 <= p99 && p99 <= max && mean <= max)
})

test('connections agree with what the upstream counted', async (t) => {
  const { upstream, line } = await start(t)
  await line.warmup({ connections: 2 })
  for (let n = 0; n < 48; n++) await line.chat(REQUEST)
  const { pool } = line.metrics()
  assert.equal(pool.opened, upstream.connections.opened)
  assert.deepEqual([pool.opened, pool.reused, pool.reuseRate], [2, 48, 0.96])
  assert.equal(pool.handshake.count, 2)
  assert.ok(pool.handshakeTimeSaved > 0)
  assert.deepEqual([pool.connections.idle, pool.connections.peak], [upstream.connections.open, 2])
  const [origin] = pool.origins
  assert.equal(origin.origin, upstream.url)
  assert.deepEqual([origin.opened, origin.reused, origin.protocol], [2, 48, 'h1'])
})

test('what runs shows while it runs', async (t) => {
  const { upstream, line } = await start(t, { upstream: { tls: true, latency: 60_000 }, pool: { maxConnections: 50 } })
  const controller = new AbortController()
  const calls = Array.from({ length: 25 }, () => line.chat(REQUEST, { signal: controller.signal }))
  await until(() => upstream.requests.length === 25)
  const { requests, pool } = line.metrics()
  assert.equal(requests.inFlight, 25)
  assert.deepEqual([pool.connections.active, pool.connections.idle], [1, 0])
  assert.deepEqual(pool.streams, { active: 25, capacity: 100, perConnection: 25 })
  assert.equal(pool.utilization, 1 / 50)
  controller.abort()
  await Promise.allSettled(calls)
  await until(() => line.metrics().pool.streams.active === 0)
  const after = line.metrics()
  assert.deepEqual([after.requests.inFlight, after.requests.aborted, after.pool.connections.idle], [0, 25, 1])
})

test('sockets that close say why', async (t) => {
  const table = [
    ['idle', { pool: { idleTimeout: 10 } }, (line) => line.chat(REQUEST)],
    ['server', { upstream: { keepAliveTimeout: 10 } }, (line) => line.chat(REQUEST)],
    [
      'cancelled',
      { upstream: { tokensPerSecond: 20 } },
      async (line) => {
        for await (const _ of line.stream(REQUEST)) break
      },
    ],
    ['evicted', { pool: { maxIdleConnections: 0 } }, (line) => line.chat(REQUEST)],
    [
      'shutdown',
      {},
      async (line) => {
        await line.chat(REQUEST)
        await line.close()
      },
    ],
    ['goaway', { pool: { http2: 'prior-knowledge' }, fault: { kind: 'goaway' } }, (line) => line.chat(REQUEST)],
  ]
  for (const [reason, { fault, ...options }, act] of table) {
    const { upstream, line } = await start(t, options)
    if (fault) upstream.fault(fault)
    await act(line)
    await until(() => line.metrics().pool.closed[reason] === 1, `a socket closes: ${reason}`)
    await until(() => upstream.connections.open === 0)
  }
})

test('a snapshot is plain and one’s own', async (t) => {
  const { line } = await start(t)
  await collect(line.stream(REQUEST))
  const metrics = line.metrics()
  assert.deepEqual(JSON.parse(JSON.stringify(metrics)), metrics)
  metrics.requests.started = 99
  assert.equal(line.metrics().requests.started, 1)
})
