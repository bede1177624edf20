import assert from 'node:assert/strict'
import test from 'node:test'
import { client, REQUEST, start } from './support.mjs'

test('a chat gives the whole answer in OpenAI’s shape', async (t) => {
  const { upstream, line } = await start(t)
  upstream.reply({ model: 'gpt-test' }, 'Hi there')
  const completion = await line.chat(REQUEST)
  assert.equal(completion.object, 'chat.completion')
  assert.equal(completion.choices[0].message.content, 'Hi there')
  assert.equal(completion.choices[0].finish_reason, 'stop')
  assert.equal(completion.usage.total_tokens, completion.usage.prompt_tokens + completion.usage.completion_tokens)
})

test('a request arrives as it was given, with its key and types', async (t) => {
  const { upstream, line } = await start(t)
  const request = { ...REQUEST, temperature: 0.25, top_k: 7, metadata: { ü: '☃ "quoted"\n' } }
  await line.chat(request)
  const [seen] = upstream.requests
  assert.deepEqual(seen.body, request)
  assert.equal(seen.method, 'POST')
  assert.equal(seen.path, '/v1/chat/completions')
  assert.equal(seen.headers.authorization, 'Bearer sk-test-key')
  assert.equal(seen.headers['content-type'], 'application/json')
  assert.equal(seen.headers.accept, 'application/json')
})

test('chat asks for one answer even where the request says stream', async (t) => {
  const { upstream, line } = await start(t)
  const completion = await line.chat({ ...REQUEST, stream: true })
  assert.equal(completion.object, 'chat.completion')
  assert.equal(upstream.requests[0].body.stream, false)
})

test('a call is a promise, and what its then makes is one', async (t) => {
  const { line } = await start(t)
  const call = line.chat(REQUEST)
  assert.ok(call instanceof Promise)
  const then = call.then((completion) => completion.object)
  assert.equal(await then, 'chat.completion')
  assert.equal(then.withMeta, undefined)
  let finished = false
  await call.finally(() => (finished = true))
  assert.ok(finished)
  const both = await Promise.all([call, line.chat(REQUEST)])
  assert.equal(both.length, 2)
})

test('withMeta tells how the answer came about', async (t) => {
  const { line } = await start(t)
  const first = await line.chat(REQUEST).withMeta()
  assert.equal(first.data.object, 'chat.completion')
  const { meta } = first
  assert.match(meta.id, /./)
  assert.equal(meta.provider, 'default')
  assert.equal(meta.model, 'gpt-test')
  assert.equal(meta.status, 200)
  assert.ok(meta.headers instanceof Headers)
  assert.equal(meta.headers.get('x-request-id'), meta.requestId)
  assert.match(meta.requestId, /^req_/)
  assert.deepEqual(meta.usage, first.data.usage)
  assert.equal(meta.attempts.length, 1)
  const [attempt] = meta.attempts
  assert.deepEqual(
    { ...attempt, duration: 0 },
    { provider: 'default', model: 'gpt-test', status: 200, error: null, duration: 0, billed: 'yes' },
  )
  assert.ok(attempt.duration > 0)
  assert.deepEqual([meta.connection.protocol, meta.connection.reused], ['h1', false])
  for (const [name, time] of Object.entries(meta.timings)) assert.ok(time >= 0, name)
  assert.ok(meta.timings.connect > 0)
  assert.ok(meta.timings.total >= meta.timings.firstByte)

  const second = await line.chat(REQUEST).withMeta()
  assert.notEqual(second.meta.id, meta.id)
  assert.deepEqual(second.meta.connection, { id: meta.connection.id, protocol: 'h1', reused: true })
  assert.deepEqual([second.meta.timings.dns, second.meta.timings.connect, second.meta.timings.tls], [0, 0, 0])
})

test('withMeta tells of every attempt', async (t) => {
  const { upstream, line } = await start(t, { retry: { strategy: 'immediate' } })
  upstream.fault({ kind: 'status', status: 503 })
  const { meta } = await line.chat(REQUEST).withMeta()
  assert.deepEqual(
    meta.attempts.map(({ status, error, billed }) => [status, error, billed]),
    [
      [503, 'ERR_INTERNAL_SERVER', 'maybe'],
      [200, null, 'yes'],
    ],
  )
})

test('latency of the upstream shows in the timings', async (t) => {
  const { line } = await start(t, { upstream: { latency: 50 } })
  const { meta } = await line.chat(REQUEST).withMeta()
  assert.ok(meta.timings.firstByte >= 40, `${meta.timings.firstByte}`)
  assert.ok(meta.timings.total >= meta.timings.firstByte)
})

test('HTTP/2 is spoken over TLS, and one connection carries calls side by side', async (t) => {
  const { upstream, line } = await start(t, { upstream: { tls: true, latency: 20 } })
  const all = await Promise.all(Array.from({ length: 50 }, () => line.chat(REQUEST).withMeta()))
  assert.deepEqual(new Set(all.map(({ meta }) => meta.connection.protocol)), new Set(['h2']))
  assert.equal(upstream.connections.opened, 1)
  assert.equal(new Set(upstream.requests.map((request) => request.stream)).size, 50)
  assert.ok(all.some(({ meta }) => meta.timings.tls > 0))
})

test('HTTP/2 is spoken in plain text by prior knowledge', async (t) => {
  const { upstream, line } = await start(t, { pool: { http2: 'prior-knowledge' } })
  const { meta } = await line.chat(REQUEST).withMeta()
  assert.equal(meta.connection.protocol, 'h2')
  assert.equal(upstream.requests[0].stream, 1)
})

test('HTTP/1.1 is spoken over TLS where HTTP/2 is not wanted', async (t) => {
  const { line } = await start(t, { upstream: { tls: true }, pool: { http2: 'never' } })
  const { meta } = await line.chat(REQUEST).withMeta()
  assert.equal(meta.connection.protocol, 'h1')
  assert.ok(meta.timings.tls > 0)
})

test('HTTP/1.1 is spoken over TLS where the server has nothing else', async (t) => {
  const { line } = await start(t, { upstream: { tls: true, http2: false } })
  const { meta } = await line.chat(REQUEST).withMeta()
  assert.equal(meta.connection.protocol, 'h1')
})

test('a second connection resumes the TLS session of the first', async (t) => {
  const { upstream, line } = await start(t, {
    upstream: { tls: true, requestsPerConnection: 1 },
    pool: { http2: 'never' },
  })
  await line.chat(REQUEST)
  await line.chat(REQUEST)
  assert.equal(upstream.connections.opened, 2)
  assert.equal(upstream.connections.handshakesResumed, 1)
  assert.equal(line.metrics().pool.tlsResumed, 1)
})

test('several choices and tool calls come as they are', async (t) => {
  const { upstream, line } = await start(t)
  const call = { id: 'call_1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } }
  upstream.reply({ model: 'tools' }, { toolCalls: [call], finishReason: 'tool_calls' })
  const answer = await line.chat({ ...REQUEST, model: 'tools' })
  assert.equal(answer.choices[0].finish_reason, 'tool_calls')
  assert.deepEqual(answer.choices[0].message.tool_calls, [call])
  assert.equal((await line.chat({ ...REQUEST, n: 3 })).choices.length, 3)
})

test('an answer of many megabytes comes whole', async (t) => {
  const { upstream, line } = await start(t)
  const content = 'é☃ long '.repeat(1_000_000)
  upstream.reply({ model: 'gpt-test' }, content)
  assert.equal((await line.chat(REQUEST)).choices[0].message.content, content)
})

test('a thousand calls at once are all answered, each with its own answer', async (t) => {
  const { upstream, line } = await start(t, { pool: { maxConnections: 10 } })
  const requests = Array.from({ length: 1000 }, (_, n) => ({ model: `m${n}`, messages: REQUEST.messages }))
  const models = await Promise.all(requests.map(async (request) => (await line.chat(request)).model))
  assert.deepEqual(
    models,
    requests.map((request) => request.model),
  )
  assert.equal(line.metrics().pool.connections.peak, 10)
  assert.ok(upstream.connections.open <= 10)
})

test('clients of equal settings share connections', async (t) => {
  const { upstream, line } = await start(t, { pool: { maxAge: 123_456 } })
  await line.chat(REQUEST)
  const other = client(t, upstream, { pool: { maxAge: 123_456 }, timeouts: { total: 5_000 } })
  const { meta } = await other.chat(REQUEST).withMeta()
  assert.ok(meta.connection.reused)
  assert.equal(upstream.connections.opened, 1)
})
