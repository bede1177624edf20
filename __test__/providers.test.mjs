// Several providers, by name: which one is asked, with which key, and what is said of options that are wrong.

import assert from 'node:assert/strict'
import test from 'node:test'
import { AuthenticationError, ConfigError, RateLimitError, Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { collect, own, REQUEST, rejection } from './support.mjs'

const keys = (upstream) => upstream.requests.map(({ headers }) => headers.authorization)

/** Upstreams, as many as asked for. */
async function upstreams(t, count) {
  const all = await Promise.all(Array.from({ length: count }, () => MockUpstream.start()))
  t.after(() => Promise.all(all.map((upstream) => upstream.close())))
  return all
}

function made(t, options) {
  const line = new Trunkline(own(options))
  t.after(() => line.close({ drainTimeout: 0 }))
  return line
}

function mistake(options) {
  try {
    new Trunkline(options)
  } catch (error) {
    assert.ok(error instanceof ConfigError, error)
    return error.message
  }
  assert.fail('it was taken')
}

test('models without a route go to the provider that is listed first, whatever its name', async (t) => {
  const [first, second] = await upstreams(t, 2)
  const line = made(t, {
    providers: {
      left: undefined,
      zeta: { baseURL: `${first.url}/v1`, apiKey: 'sk-zeta', headers: new Headers({ 'X-Title': 'z' }) },
      alpha: { baseURL: `${second.url}/v1`, apiKey: 'sk-alpha' },
    },
  })
  await line.chat(REQUEST)
  assert.deepEqual([keys(first), keys(second)], [['Bearer sk-zeta'], []])
  assert.equal(first.requests[0].headers['x-title'], 'z')
})

test('of many functions among the options, the one that is the key is asked for it', async (t) => {
  const [upstream] = await upstreams(t, 1)
  const asked = []
  const key = (name) => async () => {
    asked.push(name)
    return `sk-${name}`
  }
  const line = made(t, {
    routes: { hard: { select: () => assert.fail('this is no key') } },
    providers: {
      main: { baseURL: `${upstream.url}/v1`, apiKey: key('main') },
      spare: { baseURL: `${upstream.url}/v1`, apiKey: ['sk-text', key('spare')] },
    },
  })
  await Promise.all(Array.from({ length: 10 }, () => line.chat(REQUEST)))
  assert.deepEqual(asked, ['main'])
  assert.deepEqual(new Set(keys(upstream)), new Set(['Bearer sk-main']))
})

test('a key function is called on its own, and sees nothing of the client', async (t) => {
  const [upstream] = await upstreams(t, 1)
  let self = 'none'
  const line = made(t, {
    baseURL: `${upstream.url}/v1`,
    apiKey() {
      self = this
      return 'sk'
    },
  })
  await line.chat(REQUEST)
  assert.equal(self, undefined)
})

test('a mistake names the provider or the route, and the place', () => {
  const one = (more) => ({ providers: { main: { baseURL: 'https://a.example', ...more } } })
  const routed = (fast) => ({ ...one(), routes: { fast } })
  const table = [
    [{ providers: [] }, 'providers: must be an object, got an array'],
    [{ providers: 5 }, 'providers: must be an object, got a number (5)'],
    [{ providers: {} }, 'providers: must name at least one provider'],
    [{ providers: { main: null } }, 'providers.main: must be an object, got null'],
    [{ providers: { main: () => {} } }, 'providers.main: must be an object, got a function'],
    [{ ...one(), apiKey: () => 'k' }, 'apiKey: must not be given with providers, each of which has its own'],
    [one({ apiKey: [Symbol('k')] }), 'providers.main.apiKey[0]: must be a string or a function, got a symbol'],
    [
      one({ timeouts: { idle: NaN } }),
      'providers.main.timeouts.idle: must be a positive number of milliseconds, got NaN',
    ],
    [routed([]), 'routes.fast: must not be empty'],
    [
      routed([{ provider: 'main' }, { provider: 'mian' }]),
      'routes.fast[1].provider: is no provider; there are main; did you mean main?',
    ],
    [routed({ provider: 'main', weight: -1 }), 'routes.fast.weight: must be a number of 0 or more, got -1'],
    [routed({ select: 'main' }), 'routes.fast.select: must be a function, got a string'],
    [routed(() => 'main'), 'routes.fast: must be an object, got a function'],
  ]
  for (const [options, message] of table) assert.equal(mistake(options), message)
})

test('the environment has a key for each protocol', (t) => {
  const names = ['TRUNKLINE_API_KEY', 'OPENAI_API_KEY', 'ANTHROPIC_API_KEY', 'GEMINI_API_KEY']
  const before = names.map((name) => process.env[name])
  t.after(() => {
    for (const [n, name] of names.entries()) {
      if (before[n] === undefined) delete process.env[name]
      else process.env[name] = before[n]
    }
  })
  for (const name of names) delete process.env[name]
  const protocols = { openai: 'OPENAI_API_KEY', anthropic: 'ANTHROPIC_API_KEY', gemini: 'GEMINI_API_KEY' }
  // What no header can have is refused by the variable's name: so it is known which was read.
  for (const [protocol, name] of Object.entries(protocols)) {
    process.env[name] = 'é'
    assert.equal(mistake({ protocol }), `${name}: must be visible ASCII without line breaks`)
    delete process.env[name]
  }
  process.env.TRUNKLINE_API_KEY = 'é'
  for (const protocol of Object.keys(protocols)) assert.match(mistake({ protocol }), /^TRUNKLINE_API_KEY: /)
})

const TOOLS = [
  { type: 'function', function: { name: 'weather', parameters: { type: 'object', properties: { city: {} } } } },
]
const CALL = { id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Oslo"}' } }
const RESULT = { role: 'tool', tool_call_id: 'call_1', content: '{"celsius":7}' }
const USAGE = { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 }
const VECTORS = { model: 'vectors', input: ['one', 'two'] }

/** All that differs between providers. */
const WAYS = {
  openai: { path: '/v1', header: 'authorization', value: 'Bearer sk-1', options: {} },
  anthropic: { path: '', header: 'x-api-key', value: 'sk-1', options: { protocol: 'anthropic' } },
  gemini: { path: '', header: 'x-goog-api-key', value: 'sk-1', options: { protocol: 'gemini' } },
}

for (const [protocol, { path, header, value, options }] of Object.entries(WAYS)) {
  test(`${protocol}: a user changes baseURL and protocol and nothing else`, async (t) => {
    const [upstream] = await upstreams(t, 1)
    const line = made(t, { baseURL: `${upstream.url}${path}`, apiKey: 'sk-1', ...options })
    upstream.reply({ model: 'said' }, { content: 'One two three.', usage: USAGE })
    const request = { ...REQUEST, model: 'said' }

    const { data, meta } = await line.chat(request).withMeta()
    assert.deepEqual(
      [data.object, data.model, data.choices[0].message.content, data.choices[0].finish_reason],
      ['chat.completion', 'said', 'One two three.', 'stop'],
    )
    const { prompt_tokens, completion_tokens, total_tokens } = data.usage
    assert.deepEqual([prompt_tokens, completion_tokens, total_tokens], [7, 3, 10])
    assert.deepEqual([meta.provider, meta.model, meta.usage, meta.dropped], ['default', 'said', data.usage, []])

    const chunks = await collect(line.stream({ ...request, stream_options: { include_usage: true } }))
    assert.ok(chunks.every(({ object, id }) => object === 'chat.completion.chunk' && id === chunks[0].id))
    assert.equal(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join(''), 'One two three.')
    assert.deepEqual(chunks.filter(({ choices }) => choices[0]?.finish_reason).length, 1)
    assert.equal(chunks.at(-1).usage.total_tokens, 10)
    assert.equal((await collect(line.stream(request).text())).join(''), 'One two three.')
    const whole = await line.stream(request).final()
    assert.deepEqual([whole.choices[0].message.content, whole.usage.total_tokens], ['One two three.', 10])

    upstream.reply({ model: 'tools' }, { toolCalls: [CALL] })
    const tools = { ...REQUEST, model: 'tools', tools: TOOLS }
    for (const answer of [await line.chat(tools), await line.stream(tools).final()]) {
      const [{ message, finish_reason }] = answer.choices
      assert.deepEqual([message.tool_calls, finish_reason], [[CALL], 'tool_calls'])
      // The message goes back as it came.
      const messages = [...REQUEST.messages, message, RESULT]
      upstream.reply({ model: 'said' }, 'Seven degrees.')
      const next = await line.chat({ model: 'said', messages, tools: TOOLS })
      assert.equal(next.choices[0].message.content, 'Seven degrees.')
    }
    const embedded = protocol === 'anthropic' ? await rejection(line.embed(VECTORS)) : await line.embed(VECTORS)
    if (protocol === 'anthropic') assert.match(embedded.message, /Anthropic's protocol, which has no embeddings/)
    else assert.deepEqual([embedded.data.length, embedded.data[1].index], [2, 1])

    assert.ok(upstream.requests.every(({ headers }) => headers[header] === value))
    upstream.fault({ kind: 'status', status: 429 })
    const limited = await rejection(line.chat(request, { retry: false }))
    assert.ok(limited instanceof RateLimitError)
    assert.deepEqual([limited.status, limited.provider, limited.model], [429, 'default', 'said'])
  })
}

test('what a provider has no words for is told, or refused by its place', async (t) => {
  const [upstream] = await upstreams(t, 1)
  const claude = made(t, { baseURL: upstream.url, apiKey: 'k', protocol: 'anthropic' })
  const { meta } = await claude.chat({ ...REQUEST, seed: 1, logit_bias: { 5: 1 } }).withMeta()
  assert.deepEqual(new Set(meta.dropped), new Set(['seed', 'logit_bias']))
  const error = await rejection(claude.chat({ ...REQUEST, n: 2 }))
  assert.ok(error instanceof ConfigError)
  assert.match(error.message, /^request\.n: /)
  assert.deepEqual([error.provider, error.model], ['default', REQUEST.model])
  assert.equal(upstream.requests.length, 1)
})

test('the native shapes of a provider are reached by post and events', async (t) => {
  const [upstream] = await upstreams(t, 1)
  const line = made(t, {
    providers: {
      main: { baseURL: `${upstream.url}/v1` },
      claude: { baseURL: `${upstream.url}/v1`, protocol: 'anthropic', apiKey: 'sk-a' },
    },
  })
  const body = { model: 'claude', max_tokens: 50, messages: REQUEST.messages }
  const message = await line.post('/messages', body, { provider: 'claude' })
  assert.deepEqual([message.type, message.content[0].type], ['message', 'text'])
  const events = await collect(line.events('/messages', { ...body, stream: true }, { provider: 'claude' }))
  assert.deepEqual([events[0].event, events.at(-1).event], ['message_start', 'message_stop'])
  assert.deepEqual(new Set(upstream.requests.map(({ headers }) => headers['x-api-key'])), new Set(['sk-a']))
})

test('Azure is reached by its path, its api-version and its header', async (t) => {
  const [upstream] = await upstreams(t, 1)
  const line = made(t, {
    providers: {
      azure: {
        baseURL: `${upstream.url}/openai/deployments/four`,
        query: { 'api-version': '2024-10-21' },
        headers: { 'api-key': 'k' },
      },
    },
  })
  await line.chat(REQUEST)
  assert.equal(await line.stream(REQUEST).finalText(), (await line.chat(REQUEST)).choices[0].message.content)
  const [{ path, headers }] = upstream.requests
  assert.equal(path, '/openai/deployments/four/chat/completions?api-version=2024-10-21')
  assert.deepEqual([headers['api-key'], headers.authorization], ['k', undefined])
})

test('the provider option sends a call to that provider alone, with the model as it is named', async (t) => {
  const [first, second] = await upstreams(t, 2)
  const line = made(t, {
    retry: false,
    providers: { first: { baseURL: `${first.url}/v1` }, second: { baseURL: `${second.url}/v1` } },
    routes: {
      smart: [{ provider: 'first', model: 'one' }, { provider: 'second' }],
      chosen: { select: () => assert.fail('no route is asked') },
    },
  })
  for (const model of ['smart', 'chosen', 'other']) {
    const options = { provider: 'second' }
    const { meta } = await line.chat({ ...REQUEST, model }, options).withMeta()
    assert.deepEqual([meta.provider, meta.model], ['second', model])
    await line.stream({ ...REQUEST, model }, options).final()
    await line.embed({ model, input: 'a' }, options)
    const [batched] = await line.batch([{ ...REQUEST, model }], options)
    assert.equal(batched.meta.provider, 'second')
  }
  assert.deepEqual([first.requests.length, second.requests.length], [0, 12])
  second.fault({ kind: 'status', status: 503 })
  assert.equal((await rejection(line.chat({ ...REQUEST, model: 'smart' }, { provider: 'second' }))).status, 503)
  assert.equal(first.requests.length, 0)
})

test('a provider that there is not is refused, without its name, which may be a key', async (t) => {
  const [upstream] = await upstreams(t, 1)
  const url = `${upstream.url}/v1`
  const line = made(t, { providers: { main: { baseURL: url }, spare: { baseURL: url } } })
  const provider = 'sk-secret'
  const said = 'provider: is no provider; there are main, spare'
  const calls = [
    line.chat(REQUEST, { provider }),
    line.stream(REQUEST, { provider }).final(),
    line.post('/x', {}, { provider }),
    line.get('/models', { provider }),
    line.embed({ model: 'e', input: 'a' }, { provider }),
    collect(line.events('/x', {}, { provider })),
    line.warmup({ provider }),
    (async () => line.rotateKey(provider, 'k'))(),
  ]
  for (const error of await Promise.all(calls.map(rejection))) {
    assert.ok(error instanceof ConfigError, error)
    assert.equal(error.message, said)
  }
  assert.equal(upstream.requests.length, 0)
  await line.chat(REQUEST)
})

test('warmup opens connections to the provider that is named', async (t) => {
  const [first, second] = await upstreams(t, 2)
  const line = made(t, { providers: { first: { baseURL: first.url }, second: { baseURL: second.url } } })
  await line.warmup({ provider: 'second', connections: 2 })
  assert.deepEqual([first.connections.opened, second.connections.opened], [0, 2])
})

test('several keys are used in turn, and one that is limited rests while the others work', async (t) => {
  const [upstream] = await upstreams(t, 1)
  const line = made(t, { providers: { main: { baseURL: `${upstream.url}/v1`, apiKey: ['a', 'b'] } } })
  await line.chat(REQUEST)
  await line.chat(REQUEST)
  assert.deepEqual(keys(upstream), ['Bearer a', 'Bearer b'])
  upstream.fault({ kind: 'status', status: 429, headers: { 'retry-after': '30' } }, { key: 'a' })
  const { meta } = await line.chat(REQUEST).withMeta()
  assert.deepEqual(
    meta.attempts.map(({ error, billed }) => [error, billed]),
    [
      ['ERR_RATE_LIMIT', 'no'],
      [null, 'yes'],
    ],
  )
  for (let n = 0; n < 4; n++) await line.chat(REQUEST)
  assert.deepEqual(keys(upstream).slice(2), ['Bearer a', ...Array(5).fill('Bearer b')])
})

test('rotateKey changes the key of calls that start from then on, and drops no connection', async (t) => {
  const [upstream] = await upstreams(t, 1)
  const line = made(t, { baseURL: `${upstream.url}/v1`, apiKey: 'old' })
  await line.chat(REQUEST)
  line.rotateKey('default', 'new')
  await line.chat(REQUEST)
  line.rotateKey('default', async () => 'asked')
  await line.chat(REQUEST)
  line.rotateKey('default', ['x', () => 'y'])
  await line.chat(REQUEST)
  await line.chat(REQUEST)
  const used = ['old', 'new', 'asked', 'x', 'y'].map((key) => `Bearer ${key}`)
  assert.deepEqual([keys(upstream), upstream.connections.opened], [used, 1])
})

test('rotateKey takes no wrong key, and keeps the one that is there', async (t) => {
  const [upstream] = await upstreams(t, 1)
  const line = made(t, { baseURL: `${upstream.url}/v1`, apiKey: 'good' })
  const table = [
    [['default', ''], 'key: must not be empty'],
    [['default', 'a\nb'], 'key: must be visible ASCII without line breaks'],
    [['default', []], 'key: must not be empty'],
    [['default', ['a', 5]], 'key[1]: must be a string or a function, got a number (5)'],
    [['default', null], 'key: must be a string or a function, or an array of them, got null'],
    [['default', undefined], /^key: /],
    [['default', { key: 'k' }], /^key: must be a string or a function, or an array of them, got an object/],
    [['default', Array(65).fill('k')], 'key: must hold at most 64 keys, got 65'],
    [[5, 'k'], 'provider: must be a string, got a number'],
  ]
  for (const [args, said] of table) {
    assert.throws(
      () => line.rotateKey(...args),
      (error) => {
        assert.ok(error instanceof ConfigError, error)
        if (typeof said === 'string') assert.equal(error.message, said)
        else assert.match(error.message, said)
        return true
      },
    )
  }
  await line.chat(REQUEST)
  assert.deepEqual(keys(upstream), ['Bearer good'])
})

test('a key that is refused goes to no other provider', async (t) => {
  const [first, second] = await upstreams(t, 2)
  const line = made(t, {
    providers: {
      first: { baseURL: `${first.url}/v1`, apiKey: 'sk-first' },
      second: { baseURL: `${second.url}/v1`, apiKey: 'sk-second' },
    },
    routes: { m: [{ provider: 'first' }, { provider: 'second' }] },
  })
  first.fault({ kind: 'status', status: 401 }, { times: 9 })
  await line.chat({ ...REQUEST, model: 'm' })
  assert.deepEqual([keys(first), keys(second)], [['Bearer sk-first'], ['Bearer sk-second']])
  // Its only key rests: it is asked last.
  second.fault({ kind: 'status', status: 401 }, { times: 9 })
  const error = await rejection(line.chat({ ...REQUEST, model: 'm' }))
  assert.ok(error instanceof AuthenticationError)
  assert.deepEqual(
    error.attempts.map(({ provider }) => provider),
    ['second', 'first'],
  )
  assert.deepEqual([new Set(keys(first)).size, new Set(keys(second)).size], [1, 1])
})
