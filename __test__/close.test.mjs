import assert from 'node:assert/strict'
import { connect, createServer } from 'node:net'
import test from 'node:test'
import { ClosedError } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { client, collect, REQUEST, rejection, start, until } from './support.mjs'

test('close() lets running calls finish', async (t) => {
  const { upstream, line } = await start(t, { upstream: { latency: 50 } })
  const calls = [line.chat(REQUEST), line.stream(REQUEST).final(), collect(line.stream(REQUEST).text())]
  await until(() => upstream.requests.length === 3)
  let closed = false
  const closing = line.close().then(() => (closed = true))
  assert.equal((await rejection(line.chat(REQUEST))).name, 'ClosedError')
  const [whole] = await Promise.all(calls.map((call) => call.finally(() => assert.equal(closed, false))))
  assert.equal(whole.object, 'chat.completion')
  await closing
  assert.equal(upstream.requests.length, 3)
  assert.equal(line.metrics().requests.aborted, 0)
})

test('after close() no socket is open', async (t) => {
  for (const options of [{}, { upstream: { tls: true } }, { pool: { http2: 'prior-knowledge' } }]) {
    const { upstream, line } = await start(t, options)
    await Promise.all(Array.from({ length: 10 }, () => line.chat(REQUEST)))
    assert.ok(line.metrics().pool.connections.idle > 0)
    await line.close()
    const { connections, opened, closed } = line.metrics().pool
    assert.deepEqual([connections.idle, connections.active, connections.draining], [0, 0, 0])
    assert.equal(closed.shutdown, opened)
    await until(() => upstream.connections.open === 0)
  }
})

for (const [how, latency, options] of [
  ['HTTP/1.1', 60_000, {}],
  ['HTTP/2', 60_000, { pool: { http2: 'prior-knowledge' } }],
]) {
  test(`what still runs after drainTimeout rejects with a ClosedError over ${how}`, async (t) => {
    const { upstream, line } = await start(t, { upstream: { latency }, ...options })
    const stream = line.stream(REQUEST)
    const calls = [
      line.chat(REQUEST),
      line.chat(REQUEST).withMeta(),
      line.embed({ model: 'e', input: 'x' }),
      stream.final(),
      stream.meta,
      collect(line.stream(REQUEST)),
      collect(line.events('/chat/completions', { ...REQUEST, stream: true })),
      line.batch([REQUEST]),
    ]
    const ended = Promise.allSettled(calls)
    await until(() => upstream.requests.length === 7)
    await line.close({ drainTimeout: 30 })
    const outcomes = await ended
    const batch = outcomes.pop()
    for (const { reason } of outcomes) {
      assert.ok(reason instanceof ClosedError, `${reason}`)
      assert.match(reason.message, /while the call ran/)
    }
    assert.ok(batch.value[0].reason instanceof ClosedError)
    await until(() => upstream.connections.open === 0)
    assert.equal(line.metrics().requests.inFlight, 0)
    assert.equal(line.metrics().requests.aborted, 7)
  })
}

test('drainTimeout 0 aborts at once', async (t) => {
  const { line } = await start(t, { upstream: { latency: 60_000 } })
  const call = rejection(line.chat(REQUEST))
  await line.close({ drainTimeout: 0 })
  assert.ok((await call) instanceof ClosedError)
})

test('a call that was made right before close() is a running one', async (t) => {
  const { line } = await start(t)
  const calls = Array.from({ length: 200 }, () => [
    line.chat(REQUEST),
    line.stream(REQUEST).final(),
    line.get('/models'),
  ]).flat()
  const closing = line.close()
  const outcomes = await Promise.allSettled(calls)
  await closing
  assert.equal(outcomes.filter(({ status }) => status === 'rejected').length, 0)
})

test('close() twice is one end', async (t) => {
  const { upstream, line } = await start(t, { upstream: { latency: 30 } })
  const call = line.chat(REQUEST)
  await until(() => upstream.requests.length === 1)
  await Promise.all([line.close(), line.close(), line.close({ drainTimeout: 0 })])
  assert.equal((await call).object, 'chat.completion')
  await line.close()
})

test('close() of a client that was never used resolves', async (t) => {
  const { line } = await start(t)
  await line.close()
  await line[Symbol.asyncDispose]()
})

test('close() ends calls that wait in the queue, for a retry or for the key', async (t) => {
  const { upstream, line } = await start(t, {
    pool: { maxConnections: 1 },
    retry: { baseDelay: 60_000, maxDelay: 60_000 },
  })
  upstream.fault({ kind: 'silence' })
  const queued = [line.chat(REQUEST), line.chat(REQUEST)]
  const keyless = client(t, upstream, { apiKey: () => new Promise(() => {}) })
  const asking = keyless.chat(REQUEST)
  const retrying = client(t, upstream, { retry: { baseDelay: 60_000, maxDelay: 60_000 } })
  const calls = Promise.allSettled([...queued, asking])
  await until(() => line.metrics().pool.origins[0]?.waiting === 1)
  upstream.fault({ kind: 'status', status: 500 })
  const again = rejection(retrying.chat(REQUEST))
  await until(() => retrying.metrics().requests.retried === 1)
  await Promise.all([
    line.close({ drainTimeout: 1 }),
    keyless.close({ drainTimeout: 1 }),
    retrying.close({ drainTimeout: 1 }),
  ])
  for (const { reason } of await calls) assert.ok(reason instanceof ClosedError)
  assert.ok((await again) instanceof ClosedError)
})

test('close() lets idle sockets go at once, while calls still run', async (t) => {
  const { upstream, line } = await start(t, { upstream: { latency: 60_000 } })
  await line.warmup({ connections: 4 })
  const controller = new AbortController()
  const call = rejection(line.chat(REQUEST, { signal: controller.signal }))
  await until(() => upstream.requests.length === 1)
  const closing = line.close()
  await until(() => line.metrics().pool.closed.shutdown === 3, 'what rested is closed')
  await until(() => upstream.connections.open === 1, 'only the socket of the call is left')
  const { connections } = line.metrics().pool
  assert.deepEqual([connections.active, connections.idle], [1, 0])
  controller.abort(new Error('enough'))
  assert.equal((await call).message, 'enough')
  await closing
  assert.deepEqual([line.metrics().pool.closed.shutdown, line.metrics().pool.closed.cancelled], [3, 1])
})

test('close() of one client leaves the sockets that another shares', async (t) => {
  const { upstream, line } = await start(t, { pool: { maxAge: 111_111 } })
  const other = client(t, upstream, { pool: { maxAge: 111_111 } })
  await line.chat(REQUEST)
  await line.close()
  assert.equal(upstream.connections.open, 1)
  assert.ok((await other.chat(REQUEST).withMeta()).meta.connection.reused)
  await other.close()
  await until(() => upstream.connections.open === 0)
})

test('metrics() still tells after close()', async (t) => {
  const { line } = await start(t)
  await line.chat(REQUEST)
  await line.close()
  assert.equal(line.metrics().requests.succeeded, 1)
})

test('warmup opens connections ahead of the first request', async (t) => {
  const { upstream, line } = await start(t)
  assert.equal(await line.warmup({ connections: 4 }), undefined)
  // They are connected once the kernel says so; the upstream takes them after that.
  await until(() => upstream.connections.opened === 4)
  assert.equal(line.metrics().pool.connections.idle, 4)
  const { meta } = await line.chat(REQUEST).withMeta()
  assert.ok(meta.connection.reused)
  assert.equal(meta.timings.connect, 0)
  await line.warmup({ connections: 4 })
  assert.equal(upstream.connections.opened, 4)
  assert.equal(upstream.requests.length, 1)
})

for (const [how, upstreamOptions, pool, connections] of [
  ['HTTP/1.1', { tls: true, http2: false }, {}, 6],
  // As many as twelve calls at once need.
  ['HTTP/2', { tls: true }, { maxStreamsPerConnection: 2 }, 12],
]) {
  test(`warmup opens its connections side by side over ${how}`, async (t) => {
    const upstream = await MockUpstream.start(upstreamOptions)
    t.after(() => upstream.close())
    // Between the two: after the first connection, none comes through before five are there.
    const held = []
    let count = 0
    const gate = createServer((socket) => {
      const through = () => {
        const other = connect(new URL(upstream.url).port, '127.0.0.1')
        socket.pipe(other).pipe(socket)
        for (const end of [socket, other]) end.on('error', () => end.destroy())
      }
      if (++count === 1) return through()
      held.push(through)
      if (held.length === 5) for (const open of held) open()
    })
    await new Promise((resolve) => gate.listen(0, '127.0.0.1', resolve))
    t.after(() => gate.close())
    const line = client(t, `https://localhost:${gate.address().port}`, {
      pool: { ...pool, tls: { ca: upstream.ca } },
      timeouts: { connect: 60_000 },
    })
    await line.warmup({ connections })
    const { pool: after } = line.metrics()
    assert.deepEqual([after.opened, after.connections.idle, after.connections.connecting], [6, 6, 0])
    assert.equal(upstream.connections.opened, 6)
    // Twelve calls at once, where two fit on each, or six.
    const calls = Array.from({ length: connections }, () => line.chat(REQUEST).withMeta())
    for (const { meta } of await Promise.all(calls)) assert.ok(meta.connection.reused)
    assert.equal(line.metrics().pool.opened, 6)
    await line.close()
  })
}

test('warmup opens one connection by default, which is enough for HTTP/2', async (t) => {
  const { upstream, line } = await start(t, { upstream: { tls: true } })
  await line.warmup()
  await Promise.all(Array.from({ length: 20 }, () => line.chat(REQUEST)))
  assert.equal(upstream.connections.opened, 1)
})

test('warmup rejects as a call would, and can be aborted', async (t) => {
  const { upstream, line } = await start(t)
  await upstream.close()
  await until(() =>
    fetch(upstream.url).then(
      () => false,
      () => true,
    ),
  )
  const error = await rejection(line.warmup())
  assert.deepEqual([error.name, error.phase], ['ConnectionError', 'connect'])
  const reason = new Error('enough')
  assert.equal(await rejection(line.warmup({ signal: AbortSignal.abort(reason) })), reason)
  const slow = await start(t, { upstream: { tls: true, roundTrip: 30_000 }, timeouts: { connect: 60_000 } })
  const controller = new AbortController()
  const warming = rejection(slow.line.warmup({ signal: controller.signal }))
  controller.abort(reason)
  assert.equal(await warming, reason)
})
