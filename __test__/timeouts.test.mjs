import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { QueueFullError, StreamInterruptedError, TimeoutError } from 'trunkline'
import { client, collect, REQUEST, rejection, start, until } from './support.mjs'

/** A TimeoutError of this phase and limit; never sooner than the limit. */
async function timesOut(phase, limit, call) {
  const started = performance.now()
  const error = await rejection(call())
  assert.ok(error instanceof TimeoutError, `${error.name}: ${error.message}`)
  assert.deepEqual([error.code, error.phase, error.limit], ['ERR_TIMEOUT', phase, limit])
  assert.ok(error.message.includes(`timeouts.${phase} (${limit} ms)`), error.message)
  assert.ok(performance.now() - started >= limit - 2)
  return error
}

test('connect: a server that accepts and says nothing in TLS', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    t.after(() => socket.destroy())
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const url = `https://127.0.0.1:${server.address().port}`
  const line = client(t, url, { timeouts: { connect: 40 }, retry: false })
  const error = await timesOut('connect', 40, () => line.chat(REQUEST))
  assert.deepEqual([error.billed, error.retryable], ['no', true])
  await timesOut('connect', 40, () => line.warmup())
})

test('queue: no socket came free', async (t) => {
  const { upstream, line } = await start(t, { pool: { maxConnections: 1 }, timeouts: { queue: 40 } })
  upstream.fault({ kind: 'silence', for: 200 })
  const first = line.chat(REQUEST)
  await until(() => upstream.requests.length === 1)
  const error = await timesOut('queue', 40, () => line.chat(REQUEST))
  assert.equal(error.billed, 'no')
  await first
  assert.equal(upstream.requests.length, 1)
})

test('queue: no stream came free', async (t) => {
  const { upstream, line } = await start(t, {
    upstream: { maxConcurrentStreams: 1 },
    pool: { http2: 'prior-knowledge', maxConnections: 1 },
    timeouts: { queue: 40 },
  })
  await line.chat(REQUEST)
  upstream.fault({ kind: 'silence', for: 200 })
  const first = line.chat(REQUEST)
  await until(() => upstream.requests.length === 2)
  await timesOut('queue', 40, () => line.chat(REQUEST))
  await first
})

test('one call more than may wait is refused at once', async (t) => {
  const { upstream, line } = await start(t, { pool: { maxConnections: 1 }, concurrency: { maxQueue: 2 } })
  upstream.fault({ kind: 'silence', for: 100 })
  const first = line.chat(REQUEST)
  await until(() => upstream.requests.length === 1)
  const all = await Promise.allSettled([first, ...Array.from({ length: 4 }, () => line.chat(REQUEST))])
  const refused = all.filter(({ status }) => status === 'rejected')
  assert.equal(refused.length, 2)
  for (const { reason } of refused) {
    assert.ok(reason instanceof QueueFullError)
    assert.deepEqual([reason.code, reason.billed, reason.attempts.length], ['ERR_QUEUE_FULL', 'no', 1])
  }
})

test('a queue of no places still takes what needs none', async (t) => {
  const { line } = await start(t, { concurrency: { maxQueue: 0 } })
  await line.chat(REQUEST)
  await line.chat(REQUEST)
})

test('firstByte: a stream whose head does not come', async (t) => {
  const { upstream, line } = await start(t, { timeouts: { firstByte: 40 } })
  upstream.fault({ kind: 'silence' })
  const error = await timesOut('firstByte', 40, () => collect(line.stream(REQUEST)))
  assert.equal(error.billed, 'maybe')
  // A silent provider is not asked again.
  assert.equal(upstream.requests.length, 1)
})

test('firstByte: a stream that says nothing after its head', async (t) => {
  const { upstream, line } = await start(t, { timeouts: { firstByte: 40, idle: 10 } })
  upstream.fault({ kind: 'stall', afterTokens: 0, for: 60_000 })
  await timesOut('firstByte', 40, () => line.stream(REQUEST).final())
})

test('firstByte: does not hold for an answer that comes whole', async (t) => {
  const { line } = await start(t, { upstream: { latency: 80 }, timeouts: { firstByte: 10 } })
  assert.equal((await line.chat(REQUEST)).object, 'chat.completion')
})

test('idle: a stream that stalls', async (t) => {
  const { upstream, line } = await start(t, { timeouts: { idle: 40 } })
  upstream.fault({ kind: 'stall', afterTokens: 3, for: 60_000 })
  const seen = []
  const error = await rejection(
    (async () => {
      for await (const text of line.stream(REQUEST).text()) seen.push(text)
    })(),
  )
  assert.ok(error instanceof StreamInterruptedError)
  assert.match(error.message, /timeouts\.idle \(40 ms\)/)
  assert.equal(error.partial.choices[0].message.content, seen.join(''))
  assert.equal(upstream.requests.length, 1)
})

test('idle: a whole answer that stalls in its body', async (t) => {
  const { upstream, line } = await start(t, { timeouts: { idle: 40 } })
  upstream.fault({ kind: 'stall', afterTokens: 3, for: 60_000 })
  await timesOut('idle', 40, () => line.chat(REQUEST))
})

test('idle: does not run while the reader does not read', async (t) => {
  const { upstream, line } = await start(t, { timeouts: { idle: 30 } })
  upstream.reply({ model: 'gpt-test' }, { content: 'x'.repeat(400_000), chunks: 400 })
  let length = 0
  for await (const text of line.stream(REQUEST).text()) {
    if (length === 0) await sleep(100)
    length += text.length
  }
  assert.equal(length, 400_000)
})

test('total: of a whole answer, a stream, and a call that waits to retry', async (t) => {
  const { upstream, line } = await start(t, { timeouts: { total: 60 } })
  upstream.fault({ kind: 'silence' }, { times: 2 })
  const error = await timesOut('total', 60, () => line.chat(REQUEST))
  assert.deepEqual([error.billed, error.retryable, error.attempts.length], ['maybe', true, 1])
  assert.equal(error.attempts[0].error, 'ERR_TIMEOUT')
  await timesOut('total', 60, () => collect(line.stream(REQUEST)))
  upstream.reset()
  upstream.fault({ kind: 'slow', firstToken: 1, perToken: 30 })
  await timesOut('total', 60, () => collect(line.stream(REQUEST)))
})

test('total: counts waits in the queue', async (t) => {
  const { upstream, line } = await start(t, { pool: { maxConnections: 1 } })
  upstream.fault({ kind: 'silence', for: 200 })
  const first = line.chat(REQUEST)
  await until(() => upstream.requests.length === 1)
  await timesOut('total', 50, () => line.chat(REQUEST, { timeouts: { total: 50 } }))
  await first
})

test('total: a retry that would wait beyond it is not waited for', async (t) => {
  const { upstream, line } = await start(t, { timeouts: { total: 5_000 } })
  upstream.fault({ kind: 'status', status: 429, headers: { 'retry-after': '30' } })
  assert.equal((await rejection(line.chat(REQUEST))).name, 'RateLimitError')
})

test('a call’s limits take the place of its client’s, one by one', async (t) => {
  const { upstream, line } = await start(t, { timeouts: { total: 50, firstByte: 20 } })
  upstream.fault({ kind: 'silence', for: 100 }, { times: 2 })
  await line.chat(REQUEST, { timeouts: { total: 10_000 } })
  await timesOut('firstByte', 20, () => line.stream(REQUEST, { timeouts: { total: 10_000 } }).final())
})

test('a call that timed out gives its socket and its place back', async (t) => {
  const { upstream, line } = await start(t, { pool: { maxConnections: 2 }, timeouts: { total: 20 } })
  upstream.fault({ kind: 'silence' }, { times: 20 })
  await Promise.allSettled(Array.from({ length: 20 }, () => line.chat(REQUEST)))
  upstream.reset()
  const line2 = line.chat(REQUEST, { timeouts: { total: 20_000 } })
  assert.equal((await line2).object, 'chat.completion')
  const { connections, origins } = line.metrics().pool
  assert.deepEqual([connections.active, connections.connecting, origins[0].waiting], [0, 0, 0])
})
