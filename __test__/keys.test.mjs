// Keys and headers: where they go, and where they never show.

import assert from 'node:assert/strict'
import test from 'node:test'
import { inspect } from 'node:util'
import { AuthenticationError, ConfigError, Trunkline } from 'trunkline'
import { client, collect, REQUEST, rawServer, rejection, start, until } from './support.mjs'

const keys = (upstream) => upstream.requests.map(({ headers }) => headers.authorization)

test('a key function is asked once, however many calls wait for it', async (t) => {
  let asked = 0
  const apiKey = async () => {
    asked++
    await new Promise((resolve) => setTimeout(resolve, 20))
    return 'sk-asked'
  }
  const { upstream, line } = await start(t, { apiKey })
  await Promise.all([
    ...Array.from({ length: 50 }, () => line.chat(REQUEST)),
    ...Array.from({ length: 50 }, () => line.stream(REQUEST).final()),
  ])
  await line.chat(REQUEST)
  assert.equal(asked, 1)
  assert.deepEqual(new Set(keys(upstream)), new Set(['Bearer sk-asked']))
})

test('a key function is not asked before a call needs it', async (t) => {
  let asked = 0
  const { line } = await start(t, { apiKey: () => `${++asked}` })
  await line.warmup()
  assert.equal(asked, 0)
  await line.chat(REQUEST)
  assert.equal(asked, 1)
})

test('a key function may answer at once', async (t) => {
  const { upstream, line } = await start(t, { apiKey: () => 'sk-sync' })
  await line.chat(REQUEST)
  assert.deepEqual(keys(upstream), ['Bearer sk-sync'])
})

test('a refused key is asked for again, once, and the call goes on with the new one', async (t) => {
  let asked = 0
  const { upstream, line } = await start(t, { apiKey: () => `sk-${++asked}`, retry: false })
  upstream.reply((request) => request.headers.authorization === 'Bearer sk-1', {
    json: { error: { message: 'expired' } },
    status: 401,
  })
  const all = await Promise.all(Array.from({ length: 20 }, () => line.chat(REQUEST).withMeta()))
  assert.ok(all.every(({ meta }) => meta.attempts.length === 2))
  assert.equal(asked, 2)
  await line.chat(REQUEST)
  assert.equal(asked, 2)

  upstream.reset()
  upstream.fault({ kind: 'status', status: 401 }, { times: 9 })
  const error = await rejection(line.chat(REQUEST))
  assert.ok(error instanceof AuthenticationError)
  assert.equal(error.attempts.length, 2)
  assert.equal(upstream.requests.length, 2)
})

test('a 401 says so where no key was sent', async (t) => {
  const { OPENAI_API_KEY, TRUNKLINE_API_KEY } = process.env
  t.after(() => {
    for (const [name, value] of Object.entries({ OPENAI_API_KEY, TRUNKLINE_API_KEY })) {
      if (value !== undefined) process.env[name] = value
    }
  })
  delete process.env.OPENAI_API_KEY
  delete process.env.TRUNKLINE_API_KEY
  const { upstream, line } = await start(t, { apiKey: undefined, retry: false })
  upstream.fault({ kind: 'status', status: 401 }, { times: 9 })
  const calls = [
    (of, options) => of.chat(REQUEST, options),
    (of, options) => of.stream(REQUEST, options).final(),
    (of, options) => of.get('/models', options),
  ]
  for (const call of calls) {
    const error = await rejection(call(line))
    assert.ok(error instanceof AuthenticationError)
    assert.match(error.message, / 401 .*; no key was sent: the options of this provider have no apiKey$/)
    const own = await rejection(call(line, { headers: { 'x-api-key': 'k' } }))
    const keyed = await rejection(call(client(t, upstream, { retry: false })))
    for (const error of [own, keyed]) assert.doesNotMatch(error.message, /no key/)
  }
})

test('a fixed key that is refused is not tried again', async (t) => {
  const { upstream, line } = await start(t)
  upstream.fault({ kind: 'status', status: 401 })
  assert.ok((await rejection(line.chat(REQUEST))) instanceof AuthenticationError)
  assert.equal(upstream.requests.length, 1)
})

test('a key function that fails fails those who wait with its reason, and is asked again by the next', async (t) => {
  const answers = [
    () => {
      throw new Error('the vault is sealed')
    },
    () => Promise.reject(new Error('the vault is on fire')),
    () => 5,
    () => undefined,
    () => '',
    () => 'a\nb',
    () => Promise.reject('no error'),
    () => 'sk-good',
  ]
  const causes = [
    /sealed/,
    /on fire/,
    /it gave a number/,
    /it gave undefined/,
    /must not be empty/,
    /without line breaks/,
    /threw no error/,
  ]
  let asked = 0
  const { upstream, line } = await start(t, { apiKey: () => answers[asked++]() })
  for (const cause of causes) {
    const error = await rejection(line.chat(REQUEST))
    assert.ok(error instanceof ConfigError)
    assert.equal(error.message, 'apiKey: the function gave no key')
    assert.match(error.cause.message, cause)
  }
  assert.equal(upstream.requests.length, 0)
  await line.chat(REQUEST)
  assert.equal(asked, 8)
})

test('a key function that fails is asked once by those who wait together', async (t) => {
  let [asked, fail] = [0, () => {}]
  const { upstream, line } = await start(t, {
    apiKey: () => {
      asked++
      return new Promise((_, reject) => (fail = reject))
    },
  })
  const calls = [rejection(line.chat(REQUEST)), rejection(line.stream(REQUEST).final()), rejection(line.get('/models'))]
  await until(() => asked === 1 && line.metrics().requests.inFlight === 3)
  await new Promise((resolve) => setTimeout(resolve, 10))
  fail(new Error('sealed'))
  for (const error of await Promise.all(calls)) assert.match(error.cause.message, /sealed/)
  assert.deepEqual([asked, upstream.requests.length], [1, 0])
})

test('a call is aborted while it waits for the key', async (t) => {
  const { line } = await start(t, { apiKey: () => new Promise(() => {}) })
  const signal = AbortSignal.timeout(20)
  assert.equal(await rejection(line.chat(REQUEST, { signal })), signal.reason)
})

test('a wait for the key counts against the total limit', async (t) => {
  const { line } = await start(t, { apiKey: () => new Promise(() => {}), timeouts: { total: 30 } })
  const error = await rejection(line.chat(REQUEST))
  assert.deepEqual([error.name, error.phase], ['TimeoutError', 'total'])
})

test('without a key none is sent', async (t) => {
  const { upstream } = await start(t)
  const { OPENAI_API_KEY, TRUNKLINE_API_KEY } = process.env
  delete process.env.OPENAI_API_KEY
  delete process.env.TRUNKLINE_API_KEY
  const line = client(t, upstream, { apiKey: undefined })
  Object.assign(process.env, OPENAI_API_KEY && { OPENAI_API_KEY }, TRUNKLINE_API_KEY && { TRUNKLINE_API_KEY })
  await line.chat(REQUEST)
  assert.deepEqual(keys(upstream), [undefined])
})

test('headers of the client and of the call are sent, the call’s in place of the client’s', async (t) => {
  const { upstream, line } = await start(t, { headers: { 'X-Client': 'c', 'x-both': 'c', 'user-agent': 'mine/1' } })
  await line.chat(REQUEST, { headers: new Headers({ 'x-call': 'k', 'X-Both': 'k', 'x-latin': 'é' }) })
  await line.chat(REQUEST)
  const [first, second] = upstream.requests.map(({ headers }) => headers)
  assert.deepEqual(
    [first['x-client'], first['x-both'], first['x-call'], first['user-agent']],
    ['c', 'k', 'k', 'mine/1'],
  )
  assert.deepEqual([second['x-both'], second['x-call']], ['c', undefined])
})

test('an authorization of the caller’s takes the place of the key', async (t) => {
  const { upstream, line } = await start(t)
  await line.chat(REQUEST, { headers: { authorization: 'Basic abc' } })
  await client(t, upstream, { headers: { Authorization: 'Custom x' } }).chat(REQUEST)
  assert.deepEqual(keys(upstream), ['Basic abc', 'Custom x'])
})

test('a redirect is not followed, and so the key goes nowhere else', async (t) => {
  const { upstream: other } = await start(t)
  const { url } = await rawServer(t, (socket) =>
    socket.write(
      `HTTP/1.1 307 Temporary Redirect\r\nlocation: ${other.url}/v1/chat/completions\r\ncontent-length: 0\r\n\r\n`,
    ),
  )
  const error = await rejection(client(t, url).chat(REQUEST))
  assert.deepEqual([error.name, error.status], ['APIError', 307])
  assert.equal(other.requests.length, 0)
})

test('no key and no secret header shows in errors, metrics, meta or the client', async (t) => {
  const SECRET = 'sk-very-secret-0123456789'
  const options = { apiKey: SECRET, headers: { 'x-api-key': `${SECRET}-2` }, retry: false, circuitBreaker: false }
  const { upstream, line } = await start(t, options)
  const asking = client(t, upstream, { ...options, apiKey: () => SECRET })
  const shown = []
  const show = (value) =>
    shown.push(
      inspect(value, { depth: 12, showHidden: true }),
      JSON.stringify(value),
      String(value?.stack),
      String(value),
    )
  for (const fault of [
    { kind: 'status', status: 401 },
    { kind: 'status', status: 429 },
    { kind: 'reset' },
    { kind: 'garbage' },
    { kind: 'malformed', atEvent: 1 },
    { kind: 'cut', afterTokens: 2 },
  ]) {
    upstream.fault(fault, { times: 9 })
    for (const each of [line, asking]) {
      show(await rejection(each.chat(REQUEST)))
      show(await rejection(collect(each.stream(REQUEST))))
    }
    upstream.reset()
  }
  show(await rejection(line.chat(REQUEST, { headers: { authorization: `${SECRET}\n` } })))
  show(await rejection(line.chat(REQUEST, { apiKey: SECRET })))
  for (const wrong of [
    { apiKey: `${SECRET}\u0007` },
    { apiKey: { key: SECRET } },
    { baseURL: `https://u:${SECRET}@a.example` },
    { headers: { authorization: `${SECRET}\r\n` } },
  ]) {
    try {
      new Trunkline(wrong)
    } catch (error) {
      show(error)
    }
  }
  show((await line.chat(REQUEST).withMeta()).meta)
  for (const each of [line, asking]) {
    show(each.metrics())
    show(each)
    const stream = each.stream(REQUEST)
    show(stream)
    await stream.final()
  }
  await upstream.close()
  await until(() =>
    fetch(upstream.url).then(
      () => false,
      () => true,
    ),
  )
  show(await rejection(line.chat(REQUEST)))
  for (const text of shown) assert.ok(!text?.includes(SECRET), text)
  assert.ok(shown.length > 100)
})

const PROTOCOLS = ['openai', 'anthropic', 'gemini']

/** A client of one provider with these keys. */
async function keyed(t, protocol, apiKey, how, options) {
  const { upstream } = await start(t, { upstream: how })
  const baseURL = protocol === 'openai' ? `${upstream.url}/v1` : upstream.url
  const line = new Trunkline({
    providers: { p: { baseURL, protocol, apiKey } },
    retry: { maxRetries: 0 },
    timeouts: { total: 20_000 },
    ...options,
  })
  t.after(() => line.close({ drainTimeout: 0 }))
  const used = () =>
    upstream.requests.map(
      ({ headers }) =>
        headers.authorization?.slice('Bearer '.length) ?? headers['x-api-key'] ?? headers['x-goog-api-key'],
    )
  return { upstream, line, used }
}

for (const protocol of PROTOCOLS) {
  test(`several keys take turns, and one that is limited or revoked rests (${protocol})`, async (t) => {
    const known = { one: {}, two: {}, revoked: { revoked: true } }
    const { upstream, line, used } = await keyed(t, protocol, ['one', 'revoked', 'two'], { keys: known })
    const limited = { kind: 'status', status: 429, headers: { 'retry-after': '300' } }
    for (let n = 0; n < 9; n++) await line.chat(REQUEST)
    const count = (key) => used().filter((each) => each === key).length
    assert.deepEqual([count('one'), count('revoked'), count('two')].sort(), [1, 4, 5])
    assert.equal(count('revoked'), 1)
    upstream.fault(limited, { key: 'one', times: 99 })
    for (let n = 0; n < 9; n++) assert.ok((await line.chat(REQUEST).withMeta()).meta.attempts.length <= 2)
    assert.equal(line.metrics().limits['p/gpt-test'].throttled, 1)
  })

  test(`a function among several keys is asked again while the others work (${protocol})`, async (t) => {
    let asked = 0
    const apiKey = [async () => ['old', 'new'][asked++], 'fixed']
    const { line, used } = await keyed(t, protocol, apiKey, { keys: { new: {}, fixed: {} } })
    await Promise.all(Array.from({ length: 10 }, () => line.chat(REQUEST)))
    while (used().filter((key) => key === 'new').length < 2) await line.chat(REQUEST)
    assert.equal(asked, 2)
  })

  test(`after rotateKey new calls have the new key, and no connection goes (${protocol})`, async (t) => {
    const { upstream, line, used } = await keyed(t, protocol, 'old')
    await line.chat(REQUEST)
    const before = upstream.connections
    line.rotateKey('p', ['new', () => 'given'])
    await line.chat(REQUEST)
    await line.chat(REQUEST)
    line.rotateKey('p', async () => 'later')
    await line.chat(REQUEST)
    assert.deepEqual(used(), ['old', 'new', 'given', 'later'])
    assert.deepEqual(upstream.connections, before)
  })
}

test('rotateKey refuses what is no key by its place, repeats nothing of it, and the old keys stay', async (t) => {
  const { line, used } = await keyed(t, 'openai', 'old')
  const SECRET = 'sk-very-secret-0123456789'
  const loop = []
  loop.push(loop)
  for (const [key, message] of [
    [undefined, /^key: must be a string or a function, or an array of them, got undefined$/],
    [null, /^key: .*got null$/],
    [5, /^key: .*got a number/],
    [{ apiKey: SECRET }, /^key: .*got an object$/],
    [[], /^key: must not be empty$/],
    [[SECRET, ''], /^key\[1\]: must not be empty$/],
    [[SECRET, `${SECRET}\n`, `${SECRET}\u0007`], /^key\[2\]: must be visible ASCII/],
    [[() => SECRET, [SECRET]], /^key\[1\]: must be a string or a function, got an array$/],
    [loop, /^key: cannot be written as JSON: it is circular$/],
    [5n, /^key: .*got a bigint/],
  ]) {
    assert.throws(
      () => line.rotateKey('p', key),
      (error) => {
        assert.ok(error instanceof ConfigError)
        assert.match(error.message, message)
        assert.ok(!inspect(error, { depth: 9, showHidden: true }).includes(SECRET))
        return true
      },
    )
  }
  for (const provider of [undefined, 5, 'q', SECRET, '']) {
    assert.throws(
      () => line.rotateKey(provider, 'k'),
      (error) => {
        assert.ok(error instanceof ConfigError && !String(error).includes(SECRET))
        return /^provider: /.test(error.message)
      },
    )
  }
  await line.chat(REQUEST)
  line.rotateKey('p', () => 'new')
  await line.chat(REQUEST)
  assert.deepEqual(used(), ['old', 'new'])
})

test('of a thousand calls across rotations none fails', async (t) => {
  const { upstream, line, used } = await keyed(t, 'openai', 'k0')
  for (let round = 1; round <= 10; round++) {
    const calls = Array.from({ length: 100 }, () => line.chat(REQUEST))
    line.rotateKey('p', round % 2 ? `k${round}` : [() => `k${round}`, `l${round}`])
    await Promise.all(calls)
  }
  assert.equal(used().length, 1000)
  assert.equal(upstream.connections.closed, 0)
})

test('a client that was made without a key sends the one it is given later', async (t) => {
  const { upstream, line, used } = await keyed(t, 'openai', undefined)
  await line.chat(REQUEST)
  line.rotateKey('p', 'k')
  await line.chat(REQUEST)
  assert.deepEqual(used(), [undefined, 'k'])
  assert.equal(upstream.connections.closed, 0)
})

test('a credential given with a call is not seen by the provider that it would fail over to', async (t) => {
  const [{ upstream: a }, { upstream: b }] = [await start(t), await start(t)]
  const line = new Trunkline({
    providers: { a: { baseURL: `${a.url}/v1`, apiKey: 'of-a' }, b: { baseURL: `${b.url}/v1`, apiKey: 'of-b' } },
    routes: { m: [{ provider: 'a' }, { provider: 'b' }] },
    retry: false,
  })
  t.after(() => line.close({ drainTimeout: 0 }))
  a.fault({ kind: 'status', status: 500 }, { times: 2 })
  const request = { ...REQUEST, model: 'm' }
  const error = await rejection(line.chat(request, { headers: { authorization: 'Bearer mine' } }))
  assert.equal(error.status, 500)
  await line.chat(request, { headers: { 'x-trace': '1' } })
  assert.deepEqual([keys(a), keys(b)], [['Bearer mine', 'Bearer of-a'], ['Bearer of-b']])
})

test('a key that takes the place of a limited one does not wait for what that was told', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream.fault({ kind: 'status', status: 429, headers: { 'retry-after': '50' } })
  assert.equal((await rejection(line.chat(REQUEST))).name, 'RateLimitError')
  line.rotateKey('default', 'another')
  await line.chat(REQUEST, { timeouts: { queue: 5000 } })
  assert.equal(upstream.requests[1].headers.authorization, 'Bearer another')
})

test("a key with 'Bearer ' before it is refused by its path, and is not in the message", async (t) => {
  const apiKey = 'Bearer sk-secret'
  for (const [options, path] of [
    [{ apiKey }, 'apiKey'],
    [{ apiKey: ['sk-a', apiKey.toLowerCase()] }, 'apiKey[1]'],
    [{ providers: { a: { baseURL: 'http://127.0.0.1:9', apiKey } } }, 'providers.a.apiKey'],
  ]) {
    const message = `${path}: must be the key alone, without the 'Bearer ' before it, which is added`
    assert.throws(() => new Trunkline(options), { name: 'ConfigError', message })
  }
  const { upstream, line } = await start(t, { apiKey: () => apiKey, retry: false })
  assert.throws(() => line.rotateKey('default', apiKey), {
    name: 'ConfigError',
    message: /^key: must be the key alone/,
  })
  const { cause } = await rejection(line.chat(REQUEST))
  assert.match(cause.message, /what it gave must be the key alone/)
  assert.ok(!cause.message.includes('secret'))
  assert.equal(upstream.requests.length, 0)
})
