import assert from 'node:assert/strict'
import test from 'node:test'
import { ConfigError, InternalServerError, StreamInterruptedError, TrunklineError } from 'trunkline'
import { client, collect, REQUEST, rawServer, rejection, start, until } from './support.mjs'

test('post sends any JSON to a path and gives any JSON back', async (t) => {
  const { upstream, line } = await start(t)
  for (const value of [{ a: [1, null] }, [1], 'text', 5, null, true]) {
    upstream.reply({ path: '/anything' }, { raw: { body: JSON.stringify(value), contentType: 'application/json' } })
    assert.deepEqual(await line.post('/anything?x=1%202', value), value)
  }
  assert.deepEqual(upstream.requests[0].body, { a: [1, null] })
  assert.equal(upstream.requests[0].path, '/v1/anything?x=1%202')
  assert.equal(upstream.requests[0].method, 'POST')
})

test('post tells its meta, of any status below 300', async (t) => {
  const { upstream, line } = await start(t)
  upstream.reply({ path: '/x' }, { json: { id: 1 }, status: 201, headers: { 'x-own': 'yes' } })
  const { data, meta } = await line.post('/x', {}).withMeta()
  assert.deepEqual(data, { id: 1 })
  assert.equal(meta.status, 201)
  assert.equal(meta.headers.get('x-own'), 'yes')
})

test('get sends no body', async (t) => {
  const { upstream, line } = await start(t)
  const models = await line.get('/models')
  assert.equal(models.object, 'list')
  const [seen] = upstream.requests
  assert.deepEqual([seen.method, seen.path], ['GET', '/v1/models'])
  assert.equal(seen.headers['content-type'], undefined)
  assert.equal(seen.headers['transfer-encoding'], undefined)
  assert.equal(seen.headers.authorization, 'Bearer sk-test-key')
})

test('an empty answer of status 204 is null', async (t) => {
  const { url } = await rawServer(t, (socket) => socket.write('HTTP/1.1 204 No Content\r\n\r\n'))
  assert.equal(await client(t, url).post('/x', {}), null)
})

test('a get is repeated, a post only with an idempotency key', async (t) => {
  const { upstream, line } = await start(t, { retry: { strategy: 'immediate' } })
  upstream.fault({ kind: 'status', status: 500 })
  await line.get('/models')
  assert.equal(upstream.requests.length, 2)

  upstream.reset()
  upstream.reply({ path: '/x' }, { json: 1 }).fault({ kind: 'status', status: 500 })
  assert.ok((await rejection(line.post('/x', {}))) instanceof InternalServerError)
  assert.equal(upstream.requests.length, 1)

  upstream.reset()
  upstream.reply({ path: '/x' }, { json: 1 }).fault({ kind: 'status', status: 500 })
  assert.equal(await line.post('/x', {}, { idempotencyKey: 'once' }), 1)
  assert.deepEqual(
    upstream.requests.map(({ headers }) => headers['idempotency-key']),
    ['once', 'once'],
  )
})

test('a post that was not processed is sent again', async (t) => {
  const { upstream, line } = await start(t, { pool: { http2: 'prior-knowledge' } })
  upstream.reply({ path: '/x' }, { json: 1 }).fault({ kind: 'goaway', lastStream: 'refused' })
  assert.equal(await line.post('/x', {}), 1)
})

const EVENTS = [
  ': a comment',
  '',
  'event: start',
  'id: 1',
  'data: {"a":1}',
  '',
  'data: not json',
  '',
  'data: two',
  'data: lines',
  '',
  'event: end',
  'data: [DONE]',
  '',
  '',
].join('\n')

test('events gives the events as they come', async (t) => {
  const { upstream, line } = await start(t)
  upstream.reply({ path: '/events' }, { raw: { body: EVENTS, contentType: 'text/event-stream' } })
  const stream = line.events('/events', { question: 1 })
  assert.deepEqual(await collect(stream), [
    { event: 'start', id: '1', raw: '{"a":1}', data: { a: 1 } },
    { event: null, id: '1', raw: 'not json', data: 'not json' },
    { event: null, id: '1', raw: 'two\nlines', data: 'two\nlines' },
    { event: 'end', id: '1', raw: '[DONE]', data: '[DONE]' },
  ])
  assert.equal((await stream.meta).status, 200)
  const [seen] = upstream.requests
  assert.deepEqual([seen.method, seen.path, seen.body], ['POST', '/v1/events', { question: 1 }])
  assert.equal(seen.headers.accept, 'text/event-stream')
})

test('leaving a loop over events cancels the call', async (t) => {
  const { upstream, line } = await start(t, { upstream: { tokensPerSecond: 50 } })
  for await (const _ of line.events('/chat/completions', { ...REQUEST, stream: true })) break
  await until(() => upstream.connections.open === 0)
  await until(() => line.metrics().requests.aborted === 1)
})

test('events are read once, and cancelled by abort() and disposal', async (t) => {
  const { line } = await start(t, { upstream: { tokensPerSecond: 50 } })
  const stream = line.events('/chat/completions', { ...REQUEST, stream: true })
  const items = stream[Symbol.asyncIterator]()
  assert.throws(() => stream[Symbol.asyncIterator](), ConfigError)
  await items.next()
  const reason = new Error('enough')
  stream.abort(reason)
  assert.equal(await rejection(collect(items)), reason)
  const other = line.events('/chat/completions', { ...REQUEST, stream: true })
  await other[Symbol.asyncDispose]()
  assert.equal((await rejection(other.meta)).name, 'AbortError')
})

test('events that break are an error, and not an end', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  for (const fault of [
    { kind: 'cut', afterTokens: 3 },
    { kind: 'reset', after: 3 },
  ]) {
    upstream.fault(fault)
    const seen = []
    const error = await rejection(
      (async () => {
        for await (const event of line.events('/chat/completions', { ...REQUEST, stream: true })) seen.push(event)
      })(),
    )
    assert.ok(error instanceof TrunklineError, fault.kind)
    assert.ok(!(error instanceof StreamInterruptedError) || error.partial !== undefined)
  }
})

test('an error answer to events has its class', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream.fault({ kind: 'status', status: 503 })
  assert.ok((await rejection(collect(line.events('/chat/completions', REQUEST)))) instanceof InternalServerError)
})

test('the base URL keeps its path, with or without a slash at its end', async (t) => {
  const { upstream } = await start(t)
  upstream.reply({ path: '/deep/er/x' }, { json: 1 })
  for (const baseURL of [`${upstream.url}/v1/deep/er`, `${upstream.url}/v1/deep/er/`]) {
    assert.equal(await client(t, upstream, { baseURL }).get('/x'), 1)
  }
})
