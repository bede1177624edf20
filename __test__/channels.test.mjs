// What is published on diagnostics channels: all of a call, in its context, and nothing that nobody hears.

import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { channel } from 'node:diagnostics_channel'
import { createServer } from 'node:http'
import test from 'node:test'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { client, collect, own, REQUEST, rejection, run, start, until } from './support.mjs'

const REQUESTS = ['start', 'attempt', 'sent', 'firstByte', 'attemptEnd', 'error', 'end']
const store = new AsyncLocalStorage()

/** Hears channels until the test ends: `[name, message, store]` each. */
function hear(t, names = REQUESTS.map((name) => `request:${name}`), each = () => {}) {
  const heard = []
  for (const name of names) {
    const at = channel(`trunkline:${name}`)
    const listener = (message) => {
      heard.push([name.split(':')[1], message, store.getStore()])
      each(name, message)
    }
    at.subscribe(listener)
    t.after(() => at.unsubscribe(listener))
  }
  return heard
}

const names = (heard) => heard.map(([name]) => name)

test('a call is told of from its start to its end, by one message, in the context of the call', async (t) => {
  const { upstream, line } = await start(t)
  const heard = hear(t)
  const before = Date.now()
  const { data, meta } = await store.run('mine', () => line.chat(REQUEST).withMeta())
  assert.deepEqual(names(heard), ['start', 'attempt', 'sent', 'firstByte', 'attemptEnd', 'end'])
  assert.deepEqual([...new Set(heard.map(([, , context]) => context))], ['mine'])
  const [[, message], [, { request, attempt }]] = heard
  assert.equal(heard.at(-1)[1], message)
  assert.equal(request, message)
  assert.equal(message.client, line)
  assert.equal(message.request, REQUEST)
  assert.equal(message.result, data)
  assert.deepEqual(message.meta, meta)
  assert.ok(message.startTime >= before - 1 && message.startTime <= Date.now() + 1)
  const { id, operation, stream, model, method, url, error } = message
  assert.deepEqual(
    { id, operation, stream, model, method, url, error },
    { id: meta.id, operation: 'chat', stream: false, model: 'gpt-test', method: 'POST', url: null, error: undefined },
  )
  assert.deepEqual(message.attempts, [attempt])
  const { startedAt, sentAt, firstByteAt, endedAt, queued, dns, connect, tls, ...rest } = attempt
  assert.deepEqual(rest, {
    number: 1,
    provider: 'default',
    model: 'gpt-test',
    protocol: 'openai',
    origin: upstream.url,
    connection: meta.connection,
    status: 200,
    error: null,
    billed: 'yes',
  })
  assert.ok(0 <= startedAt && startedAt <= sentAt && sentAt <= firstByteAt && firstByteAt <= endedAt)
  assert.deepEqual(
    { dns, connect, tls },
    { dns: meta.timings.dns, connect: meta.timings.connect, tls: meta.timings.tls },
  )
  assert.ok(Math.abs(queued - meta.timings.queued) < 0.01)
})

test('each attempt is told of, failed ones too, and what a call fails with before its end', async (t) => {
  const { upstream, line } = await start(t, { retry: { strategy: 'immediate', maxRetries: 1 } })
  const heard = hear(t)
  const one = ['attempt', 'sent', 'firstByte', 'attemptEnd']
  upstream.fault({ kind: 'status', status: 503 }, { times: 1 })
  await line.chat(REQUEST)
  assert.deepEqual(names(heard), ['start', ...one, ...one, 'end'])
  heard.length = 0
  upstream.fault({ kind: 'status', status: 503 }, { times: 2 })
  const last = await store.run('failing', () => rejection(line.chat(REQUEST)))
  assert.deepEqual(names(heard), ['start', ...one, ...one, 'error', 'end'])
  assert.ok(heard.every(([, , context]) => context === 'failing'))
  const [, message] = heard.at(-1)
  assert.equal(message.error, last, 'the very error that the caller gets')
  assert.deepEqual(
    message.attempts.map(({ number, status, error }) => ({ number, status, error })),
    [1, 2].map((number) => ({ number, status: 503, error: 'ERR_INTERNAL_SERVER' })),
  )
  assert.deepEqual(message.meta.attempts, last.attempts)
  assert.equal(message.meta.status, 503)
  assert.ok(message.meta.timings.total > 0)
})

test('a stream ends on its channel when it ends, with the whole of what it said', async (t) => {
  const { upstream, line } = await start(t)
  upstream.reply({}, { content: 'one two three' })
  const heard = hear(t)
  await collect(line.stream(REQUEST))
  assert.deepEqual(names(heard), ['start', 'attempt', 'sent', 'firstByte', 'attemptEnd', 'end'])
  const [, message] = heard.at(-1)
  assert.equal(message.result.choices[0].message.content, 'one two three')
  assert.equal(message.stream, true)
  assert.ok(message.meta.timings.firstByte > 0)
  heard.length = 0
  upstream.fault({ kind: 'stall', afterTokens: 1, for: 60_000 })
  for await (const _ of line.stream(REQUEST)) break
  await until(() => names(heard).includes('end'))
  assert.deepEqual(names(heard).slice(-2), ['error', 'end'])
  assert.equal(heard.at(-1)[1].error.name, 'AbortError')
})

test('a call that is aborted or refused ends on its channel, once', async (t) => {
  const { upstream, line } = await start(t)
  upstream.fault({ kind: 'silence', for: 60_000 }, { times: 1 })
  const heard = hear(t)
  const holder = new AbortController()
  const aborted = rejection(line.chat(REQUEST, { signal: holder.signal }))
  await until(() => names(heard).includes('sent'))
  holder.abort(new Error('enough'))
  assert.equal((await aborted).message, 'enough')
  await rejection(line.chat(REQUEST, { signal: AbortSignal.abort('never') }).then())
  await rejection(line.chat({ messages: [] }))
  await rejection(line.chat('no object'))
  await rejection(line.post('no-slash', {}))
  await rejection(line.stream(REQUEST, { nonsense: 1 }).final())
  const ends = heard
    .filter(([name]) => name === 'end')
    .map(([, { error, meta }]) => [error.message ?? error, meta.attempts])
  assert.deepEqual(
    ends.map(([error]) => String(error).split(':')[0]),
    ['enough', 'never', 'request.model', 'request', 'path', 'nonsense'],
  )
  assert.ok(ends.every(([, attempts]) => attempts.length === 0))
  assert.equal(names(heard).filter((name) => name === 'error').length, ends.length)
  assert.equal(names(heard).filter((name) => name === 'start').length, ends.length)
})

test('a race tells of each rival, and of those that were given up', async (t) => {
  const { upstream, line } = await start(t, { hedge: { delay: 20, maxHedges: 1, budget: 1 } })
  upstream.fault({ kind: 'silence', for: 60_000 }, { times: 1 })
  const heard = hear(t)
  await line.chat(REQUEST)
  const { attempts } = heard.at(-1)[1]
  assert.deepEqual(
    attempts.map(({ number, error }) => [number, error]),
    [
      [1, 'ERR_HEDGED'],
      [2, null],
    ],
  )
})

test('headers that are added at the start go with every attempt, and replace those of that name', async (t) => {
  const { upstream, line } = await start(t, { retry: { strategy: 'immediate' }, headers: { 'x-own': 'client' } })
  upstream.fault({ kind: 'status', status: 500 }, { times: 1 })
  let late
  hear(t, ['request:start', 'request:end'], (name, message) => {
    if (name === 'request:start') message.addHeader('Traceparent', '00-1')
    if (name === 'request:start') message.addHeader('x-own', 'subscriber')
    else
      try {
        message.addHeader('x', 'y')
      } catch (error) {
        late = error
      }
  })
  await line.chat(REQUEST, { headers: { 'X-Call': '1', 'X-Own': 'call' } })
  await line.stream(REQUEST).final()
  const url = `${upstream.url}/v1/chat/completions`
  await line.fetch(url, {
    method: 'POST',
    body: JSON.stringify(REQUEST),
    headers: { 'x-own': 'fetch', traceparent: '0' },
  })
  assert.equal(upstream.requests.length, 4)
  for (const { headers } of upstream.requests) {
    assert.equal(headers.traceparent, '00-1')
    assert.equal(headers['x-own'], 'subscriber')
  }
  assert.equal(upstream.requests[0].headers['x-call'], '1')
  assert.match(late.message, /^addHeader: the request has begun/)
})

test('what a subscriber binds to the start is the store of all that follows in the call, and of nothing after it', async (t) => {
  const { line } = await start(t)
  const begun = channel('trunkline:request:start')
  begun.bindStore(store, ({ id }) => `span of ${id}`)
  t.after(() => begun.unbindStore(store))
  const heard = hear(t, ['request:attempt', 'request:end'])
  await store.run('outer', async () => {
    await line.chat(REQUEST)
    assert.equal(store.getStore(), 'outer')
  })
  const { id } = heard.at(-1)[1]
  assert.deepEqual(
    heard.map(([, , context]) => context),
    [`span of ${id}`, `span of ${id}`],
  )
})

test('a subscriber that throws harms no call', async (t) => {
  const { upstream } = await start(t)
  const script = `
    import { channel } from 'node:diagnostics_channel'
    import { Trunkline } from 'trunkline'
    const thrown = []
    process.on('uncaughtException', (error) => thrown.push(error.message))
    for (const name of ${JSON.stringify(REQUESTS)}) {
      channel('trunkline:request:' + name).subscribe(() => { throw new Error(name) })
    }
    const line = new Trunkline({ baseURL: process.env.UPSTREAM + '/v1', apiKey: 'k' })
    await line.chat(${JSON.stringify(REQUEST)})
    await line.close()
    console.log(JSON.stringify(thrown))`
  const { stdout } = await run(script, { url: upstream.url })
  assert.deepEqual(JSON.parse(stdout), ['start', 'attempt', 'sent', 'firstByte', 'attemptEnd', 'end'])
})

test('fetch is told of too: its redirects are attempts of one request, which ends with its body', async (t) => {
  const line = new Trunkline(own())
  t.after(() => line.close({ drainTimeout: 0 }))
  const server = createServer(({ url }, response) => {
    if (url === '/moved') response.writeHead(307, { location: '/there' })
    response.end('here')
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const origin = `http://127.0.0.1:${server.address().port}`
  const heard = hear(t)
  const url = `${origin}/moved`
  const response = await store.run('mine', () => line.fetch(url))
  assert.equal(await response.text(), 'here')
  const one = ['attempt', 'sent', 'firstByte', 'attemptEnd']
  assert.deepEqual(names(heard), ['start', ...one, ...one, 'end'])
  assert.ok(heard.every(([, , context]) => context === 'mine'))
  const [, message] = heard.at(-1)
  assert.deepEqual(
    [message.operation, message.method, message.url, message.meta, message.error],
    ['fetch', 'GET', url, null, undefined],
  )
  assert.deepEqual(
    message.attempts.map(({ number, status, origin, provider }) => ({ number, status, origin, provider })),
    [
      { number: 1, status: 307, origin, provider: null },
      { number: 2, status: 200, origin, provider: null },
    ],
  )
  assert.ok(message.attempts[1].startedAt >= message.attempts[0].endedAt - 1)
  heard.length = 0
  const failed = await rejection(line.fetch('http://127.0.0.1:1/'))
  assert.ok(failed instanceof TypeError)
  await rejection(line.fetch(url, { redirect: 'error' }))
  await rejection(line.fetch(url, { signal: AbortSignal.abort() }))
  const ends = heard.filter(([name]) => name === 'end').map(([, { error }]) => error)
  assert.equal(ends.length, 3)
  assert.equal(ends[0], failed)
  assert.equal(ends[2].name, 'AbortError')
})

test('connections are published once each, however many clients share their pool', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const shared = own().pool
  const one = client(t, upstream, { pool: shared })
  const other = client(t, upstream, { pool: shared })
  const heard = hear(t, ['connection:opened', 'connection:closed'])
  const emitted = []
  other.on('connection', (event) => emitted.push(event))
  await one.chat(REQUEST)
  await other.chat(REQUEST)
  await one.close()
  await other.chat(REQUEST)
  await other.close()
  assert.deepEqual(names(heard), ['opened', 'closed'])
  const [[, opened], [, closed]] = heard
  assert.ok(opened.handshake > 0 && opened.pool > 0)
  const { id, pool, origin, protocol } = opened
  assert.deepEqual(closed, { id, pool, origin, protocol, reason: 'shutdown' })
  assert.deepEqual(emitted.length, 2)
})

test('who comes later is told of the calls that begin then, and who leaves of none', async (t) => {
  const { line } = await start(t)
  const early = line.chat(REQUEST)
  const heard = hear(t)
  await early
  assert.deepEqual(heard, [])
  const at = channel('trunkline:request:end')
  const gone = () => assert.fail('it has left')
  at.subscribe(gone)
  at.unsubscribe(gone)
  await line.chat(REQUEST)
  assert.equal(names(heard).filter((name) => name === 'end').length, 1)
})
