import assert from 'node:assert/strict'
import test from 'node:test'
import { BadRequestError } from 'trunkline'
import { rejection, start, until } from './support.mjs'

const inputs = (count) => Array.from({ length: count }, (_, n) => `input ${n}`)

test('embeddings come in the order of the inputs', async (t) => {
  const { upstream, line } = await start(t)
  const { data, meta } = await line.embed({ model: 'e', input: ['a', 'b', 'a'], dimensions: 4 }).withMeta()
  assert.equal(data.object, 'list')
  assert.deepEqual(
    data.data.map(({ index }) => index),
    [0, 1, 2],
  )
  assert.ok(data.data.every(({ embedding }) => embedding.length === 4))
  assert.deepEqual(data.data[0].embedding, data.data[2].embedding)
  assert.equal(upstream.requests[0].path, '/v1/embeddings')
  assert.deepEqual(upstream.requests[0].body, { model: 'e', input: ['a', 'b', 'a'], dimensions: 4 })
  assert.equal(meta.status, 200)
})

test('one text, tokens and base64 are taken', async (t) => {
  const { upstream, line } = await start(t)
  assert.equal((await line.embed({ model: 'e', input: 'one' })).data.length, 1)
  const tokens = Array.from({ length: 3000 }, (_, n) => n)
  assert.equal((await line.embed({ model: 'e', input: tokens })).data.length, 1)
  const { data } = await line.embed({ model: 'e', input: 'one', encoding_format: 'base64' })
  assert.equal(typeof data[0].embedding, 'string')
  assert.equal(upstream.requests.length, 3)
})

test('2,048 inputs are one request', async (t) => {
  const { upstream, line } = await start(t)
  await line.embed({ model: 'e', input: inputs(2048) })
  assert.equal(upstream.requests.length, 1)
})

test('more than 2,048 inputs are split, and joined in order with their usage', async (t) => {
  const { upstream, line } = await start(t)
  const all = inputs(10_000)
  const answer = await line.embed({ model: 'e', input: all, dimensions: 2 })
  assert.equal(upstream.requests.length, 5)
  assert.ok(upstream.requests.every(({ body }) => body.input.length <= 2048 && body.dimensions === 2))
  assert.deepEqual(
    answer.data.map(({ index }) => index),
    all.map((_, index) => index),
  )
  assert.equal(answer.model, 'e')
  assert.ok(answer.usage.prompt_tokens > 10_000)
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens)
  for (const at of [0, 2047, 2048, 9999]) {
    const alone = await line.embed({ model: 'e', input: all[at], dimensions: 2 })
    assert.deepEqual(answer.data[at].embedding, alone.data[0].embedding, `input ${at}`)
  }
})

test('lists of tokens are split as texts are', async (t) => {
  const { upstream, line } = await start(t)
  const { data } = await line.embed({ model: 'e', input: Array.from({ length: 2049 }, (_, n) => [n, 1]) })
  assert.equal(data.length, 2049)
  assert.equal(upstream.requests.length, 2)
})

test('the meta of a split call is of the whole', async (t) => {
  const { line } = await start(t)
  const { data, meta } = await line.embed({ model: 'e', input: inputs(4100) }).withMeta()
  assert.equal(meta.usage.prompt_tokens, data.usage.prompt_tokens)
  assert.equal(meta.attempts.length, 3)
})

test('the total limit is of the whole split call', async (t) => {
  // Five parts, four of them side by side: two turns of 150 ms.
  const { line } = await start(t, { upstream: { latency: 150 }, timeouts: { total: 230 } })
  const error = await rejection(line.embed({ model: 'e', input: inputs(10_000) }))
  assert.deepEqual([error.name, error.phase], ['TimeoutError', 'total'])
})

test('the parts of a split call share no idempotency key', async (t) => {
  const { upstream, line } = await start(t)
  await line.embed({ model: 'e', input: inputs(4100) }, { idempotencyKey: 'key' })
  assert.equal(new Set(upstream.requests.map(({ headers }) => headers['idempotency-key'])).size, 3)
})

test('a part that fails fails the call once, and cancels the others', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream.reply((request) => request.body.input.includes('input 5000'), {
    json: { error: { message: 'bad' } },
    status: 400,
  })
  // Whichever comes first: if that is the one that fails, it does so later.
  upstream.fault({ kind: 'silence', for: 1000 })
  const error = await rejection(line.embed({ model: 'e', input: inputs(6000) }))
  assert.ok(error instanceof BadRequestError)
  await until(() => line.metrics().requests.inFlight === 0)
  assert.equal((await line.embed({ model: 'e', input: 'next' })).data.length, 1)
})

test('a split call is retried in its parts', async (t) => {
  const { upstream, line } = await start(t, { retry: { strategy: 'immediate' } })
  upstream.fault({ kind: 'status', status: 500 })
  assert.equal((await line.embed({ model: 'e', input: inputs(3000) })).data.length, 3000)
  assert.equal(upstream.requests.length, 3)
})

test('an aborted split call is cancelled in all its parts', async (t) => {
  const { upstream, line } = await start(t, { upstream: { latency: 60_000 } })
  const controller = new AbortController()
  const call = line.embed({ model: 'e', input: inputs(6000) }, { signal: controller.signal })
  await until(() => upstream.requests.length === 3)
  controller.abort()
  assert.equal((await rejection(call)).name, 'AbortError')
  await until(() => upstream.connections.open === 0)
  assert.equal(line.metrics().requests.inFlight, 0)
})
