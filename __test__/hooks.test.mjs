// The hooks of a client: what is sent is what they make of it, or nothing.

import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { createHmac } from 'node:crypto'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigError, HookError, TimeoutError, Trunkline, TrunklineError } from 'trunkline'
import { REQUEST, rejection, run, start, until } from './support.mjs'

test('what a hook makes of the headers is sent: added, changed, removed, replaced', async (t) => {
  const hooks = { beforeAttempt: (attempt) => change(attempt) }
  const { upstream, line } = await start(t, { hooks, headers: { 'x-client': 'c', 'x-gone': 'g' } })
  let change = ({ headers }) => {
    assert.equal(headers['x-call'], 'é')
    headers['x-client'] += '+'
    headers['X-Added'] = 'a'
    delete headers['x-gone']
  }
  await line.chat(REQUEST, { headers: { 'x-call': 'é' } })
  const [{ headers }] = upstream.requests
  assert.equal(headers['x-client'], 'c+')
  assert.equal(headers['x-added'], 'a')
  assert.ok(!('x-gone' in headers))
  assert.equal(headers.authorization, 'Bearer sk-test-key')
  assert.equal(headers['content-type'], 'application/json')
  assert.equal(headers.host, new URL(upstream.url).host)
  assert.equal(headers['content-length'], String(Buffer.byteLength(JSON.stringify(REQUEST))))
  change = (attempt) => {
    attempt.headers = { authorization: 'AWS4-HMAC-SHA256 …'.slice(0, 16), 'content-type': 'application/json' }
  }
  await line.chat(REQUEST)
  const last = upstream.requests.at(-1).headers
  assert.equal(last.authorization, 'AWS4-HMAC-SHA256')
  assert.ok(!('x-client' in last) && !('accept' in last))
})

test('a hook knows what is sent and where, so that it can be signed, and waits as long as it must', async (t) => {
  const [seen, bodies] = [[], []]
  const hooks = {
    async beforeAttempt(attempt) {
      seen.push({ ...attempt, headers: { ...attempt.headers } })
      await sleep(5)
      const { method, path, body } = attempt
      bodies.push(body)
      attempt.headers['x-signature'] = createHmac('sha256', 'secret')
        .update(`${method}\n${path}\n${body}`)
        .digest('hex')
    },
  }
  const { upstream, line } = await start(t, { hooks })
  const calls = [
    () => line.chat(REQUEST),
    () => line.stream({ ...REQUEST, model: 'ünï' }).final(),
    () => line.embed({ model: 'e', input: 'x' }),
    () => line.post('/audio?voice=a', { say: 'ß' }).catch(() => {}),
    () => line.get('/models?limit=2').catch(() => {}),
  ]
  for (const call of calls) {
    await call()
    const { method, path, body, headers } = upstream.requests.at(-1)
    const said = bodies.at(-1)
    assert.equal(
      headers['x-signature'],
      createHmac('sha256', 'secret').update(`${method}\n${path}\n${said}`).digest('hex'),
    )
    if (method === 'GET') assert.equal(said, '')
    else {
      assert.deepEqual(JSON.parse(said), body)
      assert.equal(headers['content-length'], String(Buffer.byteLength(said)))
    }
  }
  assert.deepEqual(
    seen.map(({ attempt, provider, model, method, url, path }) => [attempt, provider, model, method, url, path]),
    [
      ['gpt-test', 'POST', '/v1/chat/completions'],
      ['ünï', 'POST', '/v1/chat/completions'],
      ['e', 'POST', '/v1/embeddings'],
      ['', 'POST', '/v1/audio?voice=a'],
      ['', 'GET', '/v1/models?limit=2'],
    ].map(([model, method, path]) => [1, 'default', model, method, upstream.url + path, path]),
  )
  for (const { headers } of seen) {
    assert.ok(!/sk-test-key/.test(JSON.stringify(headers)), 'the key is added after it')
    assert.deepEqual(
      Object.keys(headers).filter((name) => /^(host|content-length|connection)$/.test(name)),
      [],
    )
  }
})

test('each attempt asks: repetitions, other targets, rivals and parts', async (t) => {
  const seen = []
  const hooks = {
    beforeAttempt({ attempt, provider, model, headers }) {
      seen.push([attempt, provider, model])
      headers['x-attempt'] = `${attempt}`
    },
  }
  const { upstream, line } = await start(t, { hooks, retry: { strategy: 'immediate', maxRetries: 1 } })
  upstream.fault({ kind: 'status', status: 500 }, { times: 1 })
  await line.chat(REQUEST)
  assert.deepEqual(seen.splice(0), [
    [1, 'default', 'gpt-test'],
    [2, 'default', 'gpt-test'],
  ])
  assert.deepEqual(
    upstream.requests.map(({ headers }) => headers['x-attempt']),
    ['1', '2'],
  )
  await line.embed({ model: 'e', input: Array.from({ length: 5_000 }, (_, n) => `${n}`) })
  assert.equal(seen.splice(0).length, 3)

  const providers = {
    one: { baseURL: `${upstream.url}/v1`, apiKey: 'a' },
    two: { baseURL: `${upstream.url}/v1`, apiKey: 'b' },
  }
  const routes = {
    any: [
      { provider: 'one', model: 'm1' },
      { provider: 'two', model: 'm2' },
    ],
  }
  const more = new Trunkline({ providers, routes, hooks, retry: false })
  t.after(() => more.close({ drainTimeout: 0 }))
  upstream.fault({ kind: 'status', status: 500 }, { times: 1 })
  await more.chat({ ...REQUEST, model: 'any' })
  assert.deepEqual(seen.splice(0), [
    [1, 'one', 'm1'],
    [2, 'two', 'm2'],
  ])
  const racing = new Trunkline({ providers, routes, hooks, hedge: { delay: 20, maxHedges: 1, budget: 1 } })
  t.after(() => racing.close({ drainTimeout: 0 }))
  upstream.fault({ kind: 'silence', for: 60_000 }, { times: 1 })
  await racing.chat({ ...REQUEST, model: 'any' })
  assert.deepEqual(seen.splice(0), [
    [1, 'one', 'm1'],
    [2, 'one', 'm1'],
  ])
})

test('a hook that throws ends the call with its reason, and nothing is sent', async (t) => {
  let reason
  const hooks = {
    async beforeAttempt() {
      throw reason
    },
  }
  const { upstream, line } = await start(t, { hooks })
  for (reason of [new RangeError('no credentials'), 'a string', undefined]) {
    for (const call of [() => line.chat(REQUEST), () => line.stream(REQUEST).final(), () => line.get('/models')]) {
      const error = await rejection(call())
      assert.ok(error instanceof HookError && error instanceof TrunklineError)
      assert.equal(error.name, 'HookError')
      assert.equal(error.code, 'ERR_HOOK')
      assert.equal(error.message, 'hooks.beforeAttempt: threw')
      assert.equal(error.cause, reason)
      assert.deepEqual([error.billed, error.retryable, error.provider], ['no', false, 'default'])
      assert.equal(error.attempts.length, 1)
    }
  }
  assert.equal(upstream.requests.length, 0)
  assert.equal(line.metrics().requests.retried, 0)
})

for (const [what, headers, message] of [
  ['host', { Host: 'x' }, 'hooks.beforeAttempt.headers.Host: is set by the connection, and cannot be given'],
  ['content-length', { 'content-length': '1' }, /content-length: is set by the connection/],
  ['transfer-encoding', { 'Transfer-Encoding': 'chunked' }, /Transfer-Encoding: is set by the connection/],
  ['connection', { connection: 'close' }, /connection: is set by the connection/],
  ['a line break', { 'x-a': 'b\r\nx-c: d' }, /headers.x-a: must hold no line breaks/],
  ['no name', { 'a b': 'c' }, /headers.a b: is no name of a header/],
  ['a number', { 'x-n': 1 }, 'hooks.beforeAttempt.headers.x-n: must be a string, got a number (1)'],
  ['a function', { 'x-f': () => {} }, /headers.x-f: must be a string, got a function/],
  ['null', null, /hooks.beforeAttempt.headers: must be an object/],
  ['a list', ['a'], /hooks.beforeAttempt.headers: must be an object, got an array/],
]) {
  test(`headers that cannot be sent are refused, and nothing is sent: ${what}`, async (t) => {
    const hooks = {
      beforeAttempt(attempt) {
        attempt.headers = headers
      },
    }
    const { upstream, line } = await start(t, { hooks })
    const error = await rejection(line.chat(REQUEST))
    assert.ok(error instanceof HookError)
    if (typeof message === 'string') assert.equal(error.message, message)
    else assert.match(error.message, message)
    assert.equal(upstream.requests.length, 0)
  })
}

test('a hook that never ends is ended by timeouts.total and by the signal, and what it says later harms nobody', async (t) => {
  const waiting = []
  const hooks = { beforeAttempt: () => new Promise((resolve) => waiting.push(resolve)) }
  const { upstream, line } = await start(t, { hooks })
  const late = await rejection(line.chat(REQUEST, { timeouts: { total: 30 } }))
  assert.ok(late instanceof TimeoutError && late.phase === 'total')
  assert.equal(late.billed, 'no')
  const holder = new AbortController()
  const aborted = rejection(line.chat(REQUEST, { signal: holder.signal }))
  await until(() => waiting.length === 2)
  holder.abort()
  assert.equal((await aborted).name, 'AbortError')
  for (const resolve of waiting.splice(0)) resolve()
  const good = line.chat(REQUEST)
  await until(() => waiting.length === 1)
  waiting[0]()
  await good
  assert.equal(upstream.requests.length, 1)
})

test('no connection waits for a hook', async (t) => {
  let go
  const hooks = {
    beforeAttempt: ({ headers }) => (headers['x-slow'] ? new Promise((resolve) => (go = resolve)) : undefined),
  }
  const { line } = await start(t, { hooks, pool: { maxConnections: 1 } })
  const slow = line.chat(REQUEST, { headers: { 'x-slow': '1' } })
  await until(() => go)
  await line.chat(REQUEST)
  go()
  await slow
})

test('the body can be read until the hook has ended', async (t) => {
  let kept
  const hooks = {
    beforeAttempt: (attempt) => {
      kept = attempt
      assert.ok(!Object.keys(attempt).includes('body'), 'it is not made unless it is wanted')
    },
  }
  const { line } = await start(t, { hooks })
  await line.chat(REQUEST)
  assert.throws(() => kept.body, /until the hook has ended/)
})

test('after each call its meta is told once, with the error where it failed, before the caller goes on', async (t) => {
  const ends = []
  const hooks = { afterCall: (meta, error) => ends.push({ meta, error }) }
  const { upstream, line } = await start(t, { hooks, retry: false })
  const { meta } = await line.chat(REQUEST).withMeta()
  assert.equal(ends.length, 1)
  assert.deepEqual(ends.shift(), { meta, error: undefined })
  const stream = line.stream(REQUEST)
  const [streamed] = await Promise.all([stream.meta, stream.final()])
  assert.deepEqual(ends.shift(), { meta: streamed, error: undefined })
  upstream.fault({ kind: 'status', status: 429 })
  const failed = await rejection(line.chat(REQUEST))
  const [{ meta: told, error }] = ends.splice(0)
  assert.equal(error, failed)
  assert.deepEqual([told.status, told.provider, told.model], [429, 'default', 'gpt-test'])
  assert.deepEqual(told.attempts, failed.attempts)
  assert.ok(told.connection.reused && told.timings.total > 0)
  upstream.fault({ kind: 'status', status: 500 })
  const broken = await rejection(line.stream(REQUEST).final())
  assert.equal(ends.shift().error, broken)
  const aborted = await rejection(line.chat(REQUEST, { signal: AbortSignal.abort() }))
  const last = ends.shift()
  assert.equal(last.error, aborted)
  assert.deepEqual([last.meta.provider, last.meta.model, last.meta.attempts], ['', 'gpt-test', []])
  for await (const _ of line.batch([REQUEST, REQUEST]));
  assert.equal(ends.splice(0).length, 2)
  await line.fetch(upstream.url).then((response) => response.text())
  assert.equal(ends.length, 0, 'of a fetch none is told')
})

test('what afterCall throws is an uncaught exception, and the call is as it was', async (t) => {
  const { upstream } = await start(t)
  const script = `
    import { Trunkline } from 'trunkline'
    process.on('uncaughtException', (error) => console.log('uncaught', error.message))
    const hooks = { afterCall() { throw new Error('mine') } }
    const line = new Trunkline({ baseURL: process.env.UPSTREAM + '/v1', apiKey: 'k', hooks })
    const answer = await line.chat(${JSON.stringify(REQUEST)})
    console.log(answer.object)
    await line.close()`
  const { stdout } = await run(script, { url: upstream.url })
  assert.deepEqual(stdout.trim().split('\n').sort(), ['chat.completion', 'uncaught mine'])
})

test('hooks run in the context of the call', async (t) => {
  const store = new AsyncLocalStorage()
  const seen = []
  const look = () => seen.push(store.getStore())
  const hooks = {
    beforeAttempt: async () => {
      look()
      await sleep(1)
      look()
    },
    afterCall: look,
  }
  const { upstream, line } = await start(t, { hooks, retry: false })
  await Promise.all(['a', 'b'].map((name) => store.run(name, () => line.chat(REQUEST))))
  upstream.fault({ kind: 'status', status: 500 })
  await store.run('c', () => rejection(line.stream(REQUEST).final()))
  assert.deepEqual(seen.sort(), ['a', 'a', 'a', 'b', 'b', 'b', 'c', 'c', 'c'])
})

test('hooks that are none are refused by their path', () => {
  for (const [hooks, message] of [
    ['x', 'hooks: must be an object, got a string'],
    [null, 'hooks: must be an object, got null'],
    [{ beforeAttempt: 1 }, 'hooks.beforeAttempt: must be a function, got a number'],
    [{ afterCall: {} }, 'hooks.afterCall: must be a function, got an object'],
    [{ before: () => {} }, /^hooks\.before: is not an option; did you mean hooks\.beforeAttempt\?$/],
  ]) {
    assert.throws(
      () => new Trunkline({ hooks }),
      (error) => {
        assert.ok(error instanceof ConfigError)
        if (typeof message === 'string') assert.equal(error.message, message)
        else assert.match(error.message, message)
        return true
      },
    )
  }
  assert.throws(() => new Trunkline({ hoks: {} }), /did you mean hooks/)
})
