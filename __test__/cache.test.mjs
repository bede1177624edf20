import assert from 'node:assert/strict'
import test from 'node:test'
import { NotCachedError, Trunkline } from 'trunkline'
import { collect, occupied, own, REQUEST, rejection, start, until } from './support.mjs'

const COLD = { ...REQUEST, temperature: 0 }

test('the same question is answered from memory: the same answer, and a meta that says so', async (t) => {
  const { upstream, line } = await start(t, { cache: {} })
  const first = await line.chat(COLD).withMeta()
  const again = await line
    .chat({ temperature: 0, messages: [{ content: 'Hello', role: 'user' }], model: REQUEST.model })
    .withMeta()
  assert.deepEqual(again.data, first.data)
  assert.notEqual(again.data, first.data, 'nobody shares an object')
  assert.equal(upstream.requests.length, 1)
  const { cached, coalesced, attempts, connection, headers, requestId, usage, timings } = again.meta
  assert.deepEqual(
    { cached, coalesced, attempts, connection },
    { cached: true, coalesced: false, attempts: [], connection: null },
  )
  assert.deepEqual([requestId, usage], [first.meta.requestId, first.meta.usage])
  assert.deepEqual([first.meta.cached, first.meta.coalesced, first.meta.headers.get('age')], [false, false, null])
  assert.match(headers.get('age'), /^\d+$/)
  assert.ok(timings.total > 0 && timings.queued === 0 && timings.connect === 0)
  const { requests, cache } = line.metrics()
  assert.deepEqual([requests.started, requests.succeeded, requests.cached, requests.coalesced], [2, 2, 1, 0])
  assert.deepEqual([cache.entries, cache.hits, cache.misses, cache.maxBytes], [1, 1, 1, 67_108_864])
})

test('without the option nothing is kept, and no figure is there', async (t) => {
  const { upstream, line } = await start(t)
  await Promise.all([line.chat(COLD), line.chat(COLD, { cache: false })])
  const { meta } = await line.chat(COLD).withMeta()
  assert.deepEqual([upstream.requests.length, line.metrics().cache, meta.cached], [3, null, false])
})

test('a stream from memory is read in every way as the one that came', async (t) => {
  const { upstream, line } = await start(t, { cache: {} })
  const chunks = await collect(line.stream(COLD))
  const final = await line.stream(COLD).final()
  const again = line.stream(COLD)
  assert.deepEqual(await collect(again), chunks)
  assert.equal((await again.meta).cached, true)
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')
  assert.deepEqual(
    [(await collect(line.stream(COLD).text())).join(''), await line.stream(COLD).finalText()],
    [text, text],
  )
  assert.equal(final.choices[0].message.content, text)
  const lines = await new Response(line.stream(COLD).toReadableStream()).text()
  assert.deepEqual(
    lines
      .trim()
      .split('\n')
      .map((one) => JSON.parse(one)),
    chunks,
  )
  for await (const _ of line.stream(COLD)) break
  assert.equal(upstream.requests.length, 1)
  // One that began before its reader came.
  const late = line.stream(COLD)
  await late.meta
  assert.deepEqual(await collect(late), chunks)
})

test('calls in flight share one exchange; one that is aborted leaves it to the others', async (t) => {
  const { upstream, line, free } = await occupied(t, { cache: {}, concurrency: { max: 1 } })
  const leave = new AbortController()
  const calls = [line.chat(COLD, { signal: leave.signal }), line.chat(COLD), line.chat(COLD)]
  const gone = rejection(calls[0])
  await until(() => line.metrics().requests.coalesced === 2)
  leave.abort(new Error('enough'))
  assert.equal((await gone).message, 'enough')
  await free()
  const rest = await Promise.all([calls[1].withMeta(), calls[2].withMeta()])
  assert.deepEqual(rest[0].data, rest[1].data)
  assert.deepEqual(
    rest.map(({ meta }) => [meta.cached, meta.coalesced]),
    [
      [false, true],
      [false, true],
    ],
  )
  assert.equal(upstream.requests.length, 2)
})

test('each gets an error of its own for an exchange that fails', async (t) => {
  const { upstream, line } = await start(t, { cache: {}, retry: false })
  upstream.fault({ kind: 'status', status: 503 }, { times: 10 })
  const errors = await Promise.all([1, 2, 3].map(() => rejection(line.chat(COLD))))
  assert.equal(new Set(errors).size, 3)
  for (const error of errors) {
    assert.deepEqual([error.name, error.status, error.attempts.length], ['InternalServerError', 503, 1])
    assert.match(error.stack, /cache\.test\.mjs/)
  }
  assert.equal(line.metrics().cache.entries, 0)
})

test('the items of a batch that are the same are asked once', async (t) => {
  const { upstream, line } = await start(t, { cache: {} })
  const items = Array.from({ length: 50 }, (_, n) => ({ ...COLD, user: String(n % 5) }))
  const results = await line.batch(items, { concurrency: 10 })
  assert.ok(results.every(({ status }) => status === 'fulfilled') && results.length === 50)
  assert.equal(upstream.requests.length, 5)
})

test('a caller says what it takes, and what is wrong is refused with its path', async (t) => {
  const { line } = await start(t, { cache: {} })
  const missing = await rejection(line.chat(COLD, { cache: { control: 'only-if-cached' } }))
  assert.ok(missing instanceof NotCachedError)
  assert.deepEqual([missing.code, missing.billed, missing.attempts], ['ERR_NOT_CACHED', 'no', []])
  const wrong = [
    [{ cache: { control: 'no-cash' } }, /^cache\.control: must be of no-store, no-cache/],
    [{ cache: { maxBytes: 1 } }, /^cache\.maxBytes: is the client's/],
    [{ cache: { ttl: -1 } }, /^cache\.ttl: must be a positive number of milliseconds, got -1/],
    [{ cache: true }, /^cache: must be an object or false, got a boolean/],
  ]
  for (const [options, message] of wrong) {
    const error = await rejection(line.chat(COLD, options))
    assert.deepEqual([error.name, message.test(error.message)], ['ConfigError', true], error.message)
  }
  assert.throws(() => new Trunkline(own({ cache: { maxBytes: '1 GB' } })), {
    name: 'ConfigError',
    message: /^cache\.maxBytes: /,
  })
  assert.throws(() => new Trunkline(own({ ttl: 5 })), { message: /did you mean cache\.ttl\?/ })
})
