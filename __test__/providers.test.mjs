// Several providers, by name: which one is asked, with which key, and what is said of options that are wrong.

import assert from 'node:assert/strict'
import test from 'node:test'
import { ConfigError, Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { own, REQUEST } from './support.mjs'

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
