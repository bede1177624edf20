import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import test from 'node:test'
import { collect, REQUEST, rejection, start, until } from './support.mjs'

const kinds = {
  chat: (line, signal) => line.chat(REQUEST, { signal }),
  'chat with meta': (line, signal) => line.chat(REQUEST, { signal }).withMeta(),
  embed: (line, signal) => line.embed({ model: 'e', input: 'x' }, { signal }),
  post: (line, signal) => line.post('/chat/completions', REQUEST, { signal }),
  get: (line, signal) => line.get('/models', { signal }),
  stream: (line, signal) => collect(line.stream(REQUEST, { signal })),
  'stream text': (line, signal) => collect(line.stream(REQUEST, { signal }).text()),
  'stream final': (line, signal) => line.stream(REQUEST, { signal }).final(),
  'stream meta': (line, signal) => line.stream(REQUEST, { signal }).meta,
  'readable stream': (line, signal) => new Response(line.stream(REQUEST, { signal }).toReadableStream()).text(),
  events: (line, signal) => collect(line.events('/chat/completions', { ...REQUEST, stream: true }, { signal })),
}

for (const [kind, call] of Object.entries(kinds)) {
  test(`${kind}: aborted before, nothing is sent`, async (t) => {
    const { upstream, line } = await start(t)
    const reason = new Error('before')
    assert.equal(await rejection(call(line, AbortSignal.abort(reason))), reason)
    assert.equal((await rejection(call(line, AbortSignal.abort()))).name, 'AbortError')
    assert.equal(upstream.requests.length, 0)
    assert.equal(line.metrics().requests.started, 0)
  })

  test(`${kind}: aborted while it runs, it is cancelled at the upstream`, async (t) => {
    const { upstream, line } = await start(t, { upstream: { latency: 60_000 } })
    const controller = new AbortController()
    const reason = { mine: true }
    const ended = rejection(call(line, controller.signal))
    await until(() => upstream.requests.length === 1)
    controller.abort(reason)
    assert.equal(await ended, reason)
    await until(() => upstream.connections.open === 0)
    await until(() => line.metrics().requests.aborted === 1)
    assert.equal(getEventListeners(controller.signal, 'abort').length, 0)
  })

  test(`${kind}: aborted after, nothing changes`, async (t) => {
    const { line } = await start(t)
    const controller = new AbortController()
    if (kind !== 'stream meta') {
      await call(line, controller.signal)
      assert.equal(getEventListeners(controller.signal, 'abort').length, 0)
      controller.abort()
      assert.equal(line.metrics().requests.aborted, 0)
    }
  })
}

test('a signal that times out gives its own reason', async (t) => {
  const { line } = await start(t, { upstream: { latency: 60_000 } })
  const signal = AbortSignal.timeout(20)
  const error = await rejection(line.chat(REQUEST, { signal }))
  assert.equal(error, signal.reason)
  assert.equal(error.name, 'TimeoutError')
})

test('an abort in the same turn as the call sends nothing that is answered', async (t) => {
  const { line } = await start(t)
  const controller = new AbortController()
  const call = line.chat(REQUEST, { signal: controller.signal })
  controller.abort()
  assert.equal((await rejection(call)).name, 'AbortError')
  await until(() => line.metrics().requests.inFlight === 0)
})

test('a call that waits in the queue, or to retry, is aborted too', async (t) => {
  const { upstream, line } = await start(t, {
    pool: { maxConnections: 1 },
    retry: { baseDelay: 60_000, maxDelay: 60_000 },
  })
  upstream.fault({ kind: 'silence' })
  const controller = new AbortController()
  const { signal } = controller
  const first = line.chat(REQUEST, { signal })
  await until(() => upstream.requests.length === 1)
  const waiting = line.chat(REQUEST, { signal })
  await until(() => line.metrics().pool.origins[0].waiting === 1)
  controller.abort()
  for (const call of [first, waiting]) assert.equal((await rejection(call)).name, 'AbortError')

  upstream.fault({ kind: 'status', status: 500 })
  const again = new AbortController()
  const retrying = line.chat(REQUEST, { signal: again.signal })
  await until(() => line.metrics().requests.retried === 1)
  again.abort()
  assert.equal((await rejection(retrying)).name, 'AbortError')
  // The one that waited may have come to the socket that the first left, and so to an answer that nobody waited for.
  await until(() => line.metrics().requests.inFlight === 0)
  assert.ok(line.metrics().requests.aborted >= 2)
})

test('one signal cancels all calls that share it', async (t) => {
  const { upstream, line } = await start(t, { upstream: { latency: 60_000 }, pool: { http2: 'prior-knowledge' } })
  const controller = new AbortController()
  const calls = Array.from({ length: 100 }, () => line.chat(REQUEST, { signal: controller.signal }))
  assert.equal(getEventListeners(controller.signal, 'abort').length, 1)
  await until(() => upstream.requests.length === 100)
  controller.abort()
  const all = await Promise.allSettled(calls)
  assert.ok(all.every(({ reason }) => reason === controller.signal.reason))
  await until(() => line.metrics().requests.aborted === 100)
  assert.equal(line.metrics().pool.streams.active, 0)
})

test('thousands of calls on one signal leave no listener, however they end', async (t) => {
  const { upstream, line } = await start(t, { retry: false, pool: { http2: 'prior-knowledge' } })
  const controller = new AbortController()
  const { signal } = controller
  let warned
  process.on('warning', (warning) => (warned = warning))
  upstream.fault({ kind: 'status', status: 500 }, { times: 50 })
  for (let n = 0; n < 10; n++) {
    await Promise.allSettled([
      ...Array.from({ length: 500 }, () => line.chat(REQUEST, { signal })),
      ...Array.from({ length: 20 }, () => line.stream(REQUEST, { signal }).final()),
      ...Array.from({ length: 20 }, () => line.chat({}, { signal })),
    ])
    assert.equal(getEventListeners(signal, 'abort').length, 0)
  }
  const streams = Array.from({ length: 20 }, () => line.stream(REQUEST, { signal }))
  for (const stream of streams) stream.abort()
  assert.equal(getEventListeners(signal, 'abort').length, 0)
  assert.equal(warned, undefined)
  controller.abort()
})

test('thousands of aborted calls leave nothing behind', async (t) => {
  const { line } = await start(t, { upstream: { latency: 5 }, pool: { maxConnections: 4 } })
  for (let n = 0; n < 20; n++) {
    const controller = new AbortController()
    const calls = Array.from({ length: 200 }, () => line.chat(REQUEST, { signal: controller.signal }))
    await new Promise((resolve) => setTimeout(resolve, n))
    controller.abort()
    await Promise.allSettled(calls)
  }
  await until(() => line.metrics().requests.inFlight === 0)
  assert.equal((await line.chat(REQUEST)).object, 'chat.completion')
  const { connections, origins } = line.metrics().pool
  assert.deepEqual([connections.active, connections.connecting, origins[0].waiting], [0, 0, 0])
})
