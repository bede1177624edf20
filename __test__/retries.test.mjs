import assert from 'node:assert/strict'
import test from 'node:test'
import { ConnectionError, InternalServerError, RateLimitError } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { COMPLETION, client, collect, http, REQUEST, rawServer, rejection, start, until } from './support.mjs'

const quickly = { strategy: 'immediate' }

const good = [
  ['a 500', { kind: 'status', status: 500 }, ['ERR_INTERNAL_SERVER', null]],
  ['a 429 without a time', { kind: 'status', status: 429 }, ['ERR_RATE_LIMIT', null]],
  ['a 408', { kind: 'status', status: 408 }, ['ERR_API', null]],
  ['a reset', { kind: 'reset' }, ['ERR_CONNECTION', null]],
  ['a reset after the head', { kind: 'reset', after: 'headers' }, ['ERR_CONNECTION', null]],
  ['a cut body', { kind: 'cut', afterTokens: 0 }, ['ERR_CONNECTION', null]],
  ['garbage', { kind: 'garbage' }, ['ERR_CONNECTION', null]],
]
for (const [name, fault, errors] of good) {
  for (const [how, options] of [
    ['HTTP/1.1', {}],
    ['HTTP/2', { pool: { http2: 'prior-knowledge' } }],
  ]) {
    test(`${name} is never seen over ${how}, where the next attempt is good`, async (t) => {
      const { upstream, line } = await start(t, { retry: quickly, ...options })
      upstream.fault(fault)
      const { data, meta } = await line.chat(REQUEST).withMeta()
      assert.equal(data.object, 'chat.completion')
      assert.deepEqual(
        meta.attempts.map(({ error }) => error),
        errors,
      )
      assert.equal(line.metrics().requests.retried, 1)

      upstream.fault(fault)
      assert.equal((await line.stream(REQUEST).final()).object, 'chat.completion')
    })
  }
}

test('an answer that came in part is not repeated once a piece was handed over', async (t) => {
  const { upstream, line } = await start(t, { retry: quickly, upstream: { tokensPerSecond: 50 } })
  upstream.fault({ kind: 'cut', afterTokens: 3 })
  assert.equal((await rejection(collect(line.stream(REQUEST)))).name, 'StreamInterruptedError')
  assert.equal(upstream.requests.length, 1)
})

test('an answer that came in part is repeated while nobody has seen it', async (t) => {
  const { upstream, line } = await start(t, { retry: quickly })
  upstream.fault({ kind: 'cut', afterTokens: 3 })
  const stream = line.stream(REQUEST)
  const whole = await stream.final()
  assert.equal(whole.choices[0].finish_reason, 'stop')
  assert.deepEqual(whole, await line.chat(REQUEST))
  assert.equal((await stream.meta).attempts.length, 2)
})

test('retry-after-ms is waited for', async (t) => {
  const { upstream, line } = await start(t, { retry: quickly })
  upstream.fault({ kind: 'status', status: 429, headers: { 'retry-after-ms': '120', 'retry-after': '60' } })
  await line.chat(REQUEST)
  const [first, second] = upstream.requests
  assert.ok(second.at - first.at >= 115, `${second.at - first.at}`)
})

test('a rate limit of the upstream’s own is kept without an error', async (t) => {
  const { upstream, line } = await start(t, {
    upstream: { rateLimit: { requestsPerSecond: 40, burst: 1 } },
    retry: { maxRetries: 10 },
  })
  const calls = Array.from({ length: 10 }, () => line.chat(REQUEST))
  await Promise.all(calls)
  assert.ok(upstream.requests.length >= calls.length)
})

test('a wait that is too long is not begun', async (t) => {
  const { upstream, line } = await start(t, { retry: { maxRetryAfter: 1000 } })
  upstream.fault({ kind: 'status', status: 429, headers: { 'retry-after': '2' } })
  const error = await rejection(line.chat(REQUEST))
  assert.ok(error instanceof RateLimitError)
  assert.equal(error.retryAfter, 2000)
  assert.equal(upstream.requests.length, 1)
})

test('retries end after their number, and the error tells of all attempts', async (t) => {
  const { upstream, line } = await start(t, { retry: { ...quickly, maxRetries: 3 } })
  upstream.fault({ kind: 'status', status: 500 }, { times: 9 })
  const error = await rejection(line.chat(REQUEST))
  assert.ok(error instanceof InternalServerError)
  assert.equal(error.attempts.length, 4)
  assert.equal(upstream.requests.length, 4)
})

test('two retries are the default', async (t) => {
  const { upstream, line } = await start(t, { retry: { baseDelay: 1, maxDelay: 2 } })
  upstream.fault({ kind: 'status', status: 503 }, { times: 9 })
  await rejection(line.chat(REQUEST))
  assert.equal(upstream.requests.length, 3)
})

test('retry: false repeats nothing that may have been processed, for a client or a call', async (t) => {
  for (const [options, callOptions] of [
    [{ retry: false }, undefined],
    [{ retry: quickly }, { retry: false }],
  ]) {
    const { upstream, line } = await start(t, options)
    for (const fault of [{ kind: 'status', status: 500 }, { kind: 'reset' }, { kind: 'cut', afterTokens: 1 }]) {
      upstream.reset()
      upstream.fault(fault)
      await rejection(line.chat(REQUEST, callOptions))
      assert.equal(upstream.requests.length, 1, fault.kind)
    }
  }
})

test('a call’s retries take the place of its client’s, one by one', async (t) => {
  const { upstream, line } = await start(t, { retry: { ...quickly, maxRetries: 1, statuses: [500, 418] } })
  upstream.fault({ kind: 'status', status: 418 }, { times: 9 })
  await rejection(line.chat(REQUEST, { retry: { maxRetries: 4 } }))
  assert.equal(upstream.requests.length, 5)
})

test('only the statuses that are named are asked again', async (t) => {
  const { upstream, line } = await start(t, { retry: { ...quickly, statuses: [418] } })
  for (const [status, requests] of [
    [418, 2],
    [500, 1],
    [429, 1],
  ]) {
    upstream.reset()
    upstream.fault({ kind: 'status', status })
    await line.chat(REQUEST).catch(() => {})
    assert.equal(upstream.requests.length, requests, `${status}`)
  }
})

test('the caller’s mistakes are never repeated', async (t) => {
  const { upstream, line } = await start(t, { retry: quickly })
  for (const status of [400, 401, 403, 404, 422, 501]) {
    upstream.reset()
    upstream.fault({ kind: 'status', status })
    await rejection(line.chat(REQUEST))
    assert.equal(upstream.requests.length, 1, `${status}`)
  }
})

test('x-should-retry wins', async (t) => {
  const { upstream, line } = await start(t, { retry: quickly })
  upstream.fault({ kind: 'status', status: 400, headers: { 'x-should-retry': 'true' } })
  await line.chat(REQUEST)
  upstream.reset()
  upstream.fault({ kind: 'status', status: 500, headers: { 'x-should-retry': 'false' } })
  await rejection(line.chat(REQUEST))
  assert.equal(upstream.requests.length, 1)
})

test('a connection that is refused is tried again, until the server is there', async (t) => {
  const { upstream, line } = await start(t, {
    retry: { maxRetries: 1000, strategy: 'linear', baseDelay: 2, maxDelay: 2 },
  })
  const port = Number(new URL(upstream.url).port)
  await upstream.close()
  const call = line.chat(REQUEST).withMeta()
  const again = await until(() => MockUpstream.start({ port }).catch(() => null), 'the port is free')
  t.after(() => again.close())
  const { meta } = await call
  assert.equal(meta.status, 200)
})

test('a connection that is reset before it says anything is tried again', async (t) => {
  const { upstream, line } = await start(t, { retry: quickly })
  upstream.fault({ kind: 'reset', after: 'accept' })
  await line.chat(REQUEST)
  assert.equal(upstream.connections.opened, 2)
})

test('a GOAWAY that refuses costs the caller nothing, not even a retry', async (t) => {
  const { upstream, line } = await start(t, { retry: false, pool: { http2: 'prior-knowledge' } })
  await line.chat(REQUEST)
  upstream.fault({ kind: 'goaway', lastStream: 'refused' })
  await line.chat(REQUEST)
  assert.equal(upstream.connections.opened, 2)
})

for (const [how, times, options] of [
  ['HTTP/1.1', 10, {}],
  ['HTTP/2', 1, { pool: { http2: 'prior-knowledge' } }],
]) {
  test(`a GOAWAY that lets its streams end disturbs none of many calls over ${how}`, async (t) => {
    const { upstream, line } = await start(t, { retry: false, ...options })
    upstream.fault({ kind: 'goaway' }, { times })
    const all = await Promise.all(Array.from({ length: 200 }, () => line.chat(REQUEST)))
    assert.ok(all.every(({ object }) => object === 'chat.completion'))
  })
}

test('a socket that the server closes behind an answer is never seen by the next caller', async (t) => {
  const { upstream, line } = await start(t)
  for (let n = 0; n < 300; n++) {
    upstream.fault({ kind: 'close-idle' })
    await line.chat(REQUEST)
    const answer = n % 2 ? await line.chat(REQUEST) : await line.stream(REQUEST).final()
    assert.equal(answer.object, 'chat.completion')
  }
  const { failed, succeeded } = line.metrics().requests
  assert.deepEqual([failed, succeeded], [0, 600])
})

test('a server that closes after every few requests disturbs none of many calls', async (t) => {
  for (const upstream of [
    { requestsPerConnection: 3 },
    { requestsPerConnection: 3, tls: true },
    { keepAliveTimeout: 1 },
  ]) {
    const { line } = await start(t, { upstream, pool: { maxConnections: 8 } })
    const all = await Promise.all(Array.from({ length: 500 }, () => line.chat(REQUEST)))
    assert.ok(all.every(({ object }) => object === 'chat.completion'))
    assert.equal(line.metrics().requests.failed, 0)
  }
})

test('an idle socket that was closed meanwhile is replaced', async (t) => {
  const { upstream, line } = await start(t, { retry: false, upstream: { keepAliveTimeout: 5 } })
  await line.chat(REQUEST)
  await until(() => upstream.connections.open === 0)
  await line.chat(REQUEST)
  assert.equal(upstream.connections.opened, 2)
})

test('a reused socket that dies without an answer is replaced at once, however slow retries are', async (t) => {
  const slowly = { maxRetries: 1, strategy: 'linear', baseDelay: 400_000, maxDelay: 400_000 }
  let dead = false
  const { url } = await rawServer(t, (socket, n) => {
    if (n === 2) dead = socket.destroy()
    else socket.write(http(COMPLETION))
  })
  const line = client(t, url, { retry: slowly })
  await line.chat(REQUEST)
  const { meta } = await line.chat(REQUEST).withMeta()
  assert.ok(dead)
  assert.deepEqual(
    meta.attempts.map(({ error, billed }) => [error, billed]),
    [
      ['ERR_CONNECTION', 'maybe'],
      [null, 'yes'],
    ],
  )
})

test('without retries, a reset is the caller’s to know', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream.fault({ kind: 'reset' })
  const error = await rejection(line.chat(REQUEST))
  assert.ok(error instanceof ConnectionError)
  assert.deepEqual([error.billed, error.retryable], ['maybe', true])
})
