// Routes: which target is asked, what is asked of the next, and how a stream that breaks goes on.

import assert from 'node:assert/strict'
import test from 'node:test'
import {
  ConfigError,
  ContentFilterError,
  ContextLengthError,
  InternalServerError,
  StreamInterruptedError,
  Trunkline,
} from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { own, REQUEST, rawServer, rejection, until } from './support.mjs'

const models = (upstream) => upstream.requests.map(({ body }) => body.model)
const asks = (model, more) => ({ ...REQUEST, model, ...more })

/** Two upstreams, and a client that has them as `first` and `second`. `options`: of the client; `how`: of the upstreams. */
async function pair(t, options, how = []) {
  const [first, second] = await Promise.all([0, 1].map((n) => MockUpstream.start(how[n])))
  const line = new Trunkline(
    own({
      retry: { baseDelay: 1, maxDelay: 1 },
      ...options,
      providers: { first: { baseURL: `${first.url}/v1` }, second: { baseURL: `${second.url}/v1` } },
    }),
  )
  t.after(() => Promise.all([line.close({ drainTimeout: 0 }), first.close(), second.close()]))
  return { first, second, line }
}

const BOTH = {
  smart: [
    { provider: 'first', model: 'a' },
    { provider: 'second', model: 'b' },
  ],
}

test('a route of one target gives its model another name', async (t) => {
  const { first, second, line } = await pair(t, { routes: { small: { provider: 'second', model: 'mini-7' } } })
  const { data, meta } = await line.chat(asks('small')).withMeta()
  assert.deepEqual([data.model, meta.provider, meta.model], ['mini-7', 'second', 'mini-7'])
  assert.equal((await line.stream(asks('small')).final()).model, 'mini-7')
  assert.equal((await line.embed({ model: 'small', input: 'a' })).model, 'mini-7')
  assert.deepEqual([models(first), models(second)], [[], Array(3).fill('mini-7')])
})

test('a target that fails is given up for the next after its retries, and that is told', async (t) => {
  const { first, second, line } = await pair(t, { routes: BOTH })
  const told = []
  line.on('failover', (event) => told.push(event))
  first.fault({ kind: 'status', status: 503 }, { times: 99 })
  const { data, meta } = await line.chat(asks('smart')).withMeta()
  assert.deepEqual([data.model, meta.provider, meta.model], ['b', 'second', 'b'])
  assert.deepEqual(
    meta.attempts.map(({ provider, model, status }) => [provider, model, status]),
    [
      ['first', 'a', 503],
      ['first', 'a', 503],
      ['first', 'a', 503],
      ['second', 'b', 200],
    ],
  )
  assert.equal(await line.stream(asks('smart')).finalText(), data.choices[0].message.content)
  await until(() => told.length === 2)
  assert.deepEqual(told[0], { from: 'first/a', to: 'second/b', reason: 'ERR_INTERNAL_SERVER' })
  assert.equal(line.metrics().requests.failedOver, 2)
  assert.deepEqual(new Set(models(second)), new Set(['b']))
})

test('where all fail, the error is the last one’s, and has the attempts at all', async (t) => {
  const { first, second, line } = await pair(t, { routes: BOTH, retry: false })
  for (const upstream of [first, second]) upstream.fault({ kind: 'status', status: 500 }, { times: 9 })
  const error = await rejection(line.chat(asks('smart')))
  assert.ok(error instanceof InternalServerError)
  assert.deepEqual(
    [error.provider, error.model, error.attempts.map(({ provider }) => provider)],
    ['second', 'b', ['first', 'second']],
  )
})

test('a mistake of the caller’s is asked of nobody else', async (t) => {
  const { first, second, line } = await pair(t, { routes: BOTH })
  first.fault({ kind: 'status', status: 400 })
  assert.equal((await rejection(line.chat(asks('smart')))).status, 400)
  assert.equal(second.requests.length, 0)
})

test('a prompt that is too long goes to a target that takes more, and to no other', async (t) => {
  const short = { models: { a: { maxInputTokens: 5 }, c: { maxInputTokens: 5 } } }
  const { first, second, line } = await pair(
    t,
    {
      routes: {
        known: [
          { provider: 'first', model: 'a', maxInputTokens: 5 },
          { provider: 'first', model: 'c', maxInputTokens: 5 },
          { provider: 'second', model: 'b', maxInputTokens: 1000 },
        ],
        unknown: [
          { provider: 'first', model: 'a' },
          { provider: 'second', model: 'b' },
        ],
      },
    },
    [short],
  )
  const messages = [{ role: 'user', content: 'long '.repeat(50) }]
  const { meta } = await line.chat(asks('known', { messages })).withMeta()
  assert.deepEqual([meta.model, models(first)], ['b', ['a']])
  const error = await rejection(line.chat(asks('unknown', { messages })))
  assert.ok(error instanceof ContextLengthError)
  assert.equal(second.requests.length, 1)
})

test('what a content filter refuses goes on only where the route says so', async (t) => {
  const targets = BOTH.smart
  const { first, second, line } = await pair(t, {
    routes: { smart: targets, any: { targets, onContentFilter: 'next' } },
  })
  const body = { error: { message: 'no', type: 'invalid_request_error', code: 'content_filter' } }
  first.fault({ kind: 'status', status: 400, body }, { times: 9 })
  assert.ok((await rejection(line.chat(asks('smart')))) instanceof ContentFilterError)
  assert.equal(second.requests.length, 0)
  assert.equal((await line.chat(asks('any'))).model, 'b')
})

test('weights share the calls out, and a weight of 0 is a fall-back alone', async (t) => {
  const targets = [
    { provider: 'first', weight: 3 },
    { provider: 'second', weight: 0 },
  ]
  const { first, second, line } = await pair(t, { routes: { m: { targets, strategy: 'weighted' } }, retry: false })
  for (let n = 0; n < 20; n++) await line.chat(asks('m'))
  assert.deepEqual([first.requests.length, second.requests.length], [20, 0])
  first.fault({ kind: 'status', status: 503 })
  assert.equal((await line.chat(asks('m')).withMeta()).meta.provider, 'second')
})

test('the cheapest target goes first, by the prices for this request', async (t) => {
  const targets = [{ provider: 'first' }, { provider: 'second' }]
  const { line } = await pair(t, {
    routes: { m: { targets, strategy: 'lowest-cost' } },
    pricing: { m: { input: 1, output: 10 }, 'second/m': { input: 5, output: 1 } },
  })
  const provider = async (request) => (await line.chat(asks('m', request)).withMeta()).meta.provider
  assert.equal(await provider({ max_tokens: 1, messages: [{ role: 'user', content: 'x'.repeat(4000) }] }), 'first')
  assert.equal(await provider({ max_tokens: 4000 }), 'second')
})

test('select is given the request, and names a route or a model', async (t) => {
  const seen = []
  const { first, second, line } = await pair(t, {
    routes: {
      auto: {
        select: (request) => {
          seen.push(request)
          return request.messages.length > 1 ? 'hard' : 'plain-model'
        },
      },
      hard: { provider: 'second', model: 'big' },
      around: { select: () => 'auto' },
    },
  })
  const one = asks('auto')
  const more = asks('auto', { messages: [...REQUEST.messages, ...REQUEST.messages] })
  assert.equal((await line.chat(one)).model, 'plain-model')
  assert.equal((await line.stream(more).final()).model, 'big')
  const [batched] = await line.batch([more])
  assert.equal(batched.value.model, 'big')
  assert.equal((await line.chat({ ...one, model: 'around' })).model, 'plain-model')
  assert.deepEqual(
    [models(first), models(second)],
    [
      ['plain-model', 'plain-model'],
      ['big', 'big'],
    ],
  )
  assert.equal(seen[0], one)
  assert.deepEqual([one.model, more.model], ['auto', 'auto'])
})

test('a select that gives its own name means the targets beside it', async (t) => {
  const { line } = await pair(t, {
    routes: {
      smart: { targets: BOTH.smart, select: ({ messages }) => (messages.length > 1 ? 'hard' : 'smart') },
      hard: { provider: 'second', model: 'big' },
    },
  })
  assert.equal((await line.chat(asks('smart'))).model, 'a')
  const messages = [...REQUEST.messages, ...REQUEST.messages]
  assert.equal((await line.chat(asks('smart', { messages }))).model, 'big')
})

test('a select that goes round, throws or gives no name is an error of that call alone', async (t) => {
  const thrown = new Error('out of ideas')
  const { first, line } = await pair(t, {
    routes: {
      a: { select: () => 'b' },
      b: { select: () => 'c' },
      c: { select: () => 'a' },
      self: { select: () => 'self' },
      throws: {
        select: () => {
          throw thrown
        },
      },
      number: { select: () => 5 },
      nothing: { select: () => '' },
      // Its rejection is none that nobody handles.
      later: {
        select: async () => {
          throw thrown
        },
      },
    },
  })
  const table = {
    a: 'routes.c.select: goes round: a, b, c, a',
    self: 'routes.self.select: goes round: self, self',
    throws: 'routes.throws.select: threw',
    number: 'routes.number.select: must give the name of a route or a model, got a number',
    nothing: 'routes.nothing.select: must give the name of a route or a model, got an empty string',
    later: 'routes.later.select: must give the name of a route or a model, got an object',
  }
  for (const [model, said] of Object.entries(table)) {
    const calls = [line.chat(asks(model)), line.stream(asks(model)).final(), line.embed({ model, input: 'a' })]
    for (const error of await Promise.all(calls.map(rejection))) {
      assert.ok(error instanceof ConfigError, error)
      assert.equal(error.message, said)
    }
  }
  assert.equal((await rejection(line.chat(asks('throws')))).cause, thrown)
  const [failed] = await line.batch([asks('throws')])
  assert.equal(failed.reason.message, table.throws)
  assert.equal(first.requests.length, 0)
  await line.chat(REQUEST)
})

/**
 * A client whose first target breaks each stream after `pieces`, at the word of whoever has seen them; the second one answers `reply`.
 * `target`: what else is said of that.
 */
async function breaking(t, pieces, reply, target) {
  const event = (delta) => `data: ${JSON.stringify({ id: 'c', model: 'a', choices: [{ index: 0, delta }] })}\n\n`
  const body = pieces.map((content) => event({ content })).join('')
  const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n'
  const server = await rawServer(t, (socket) => socket.write(head + body))
  const upstream = await MockUpstream.start()
  upstream.reply({}, reply)
  const line = new Trunkline(
    own({
      retry: false,
      providers: { first: { baseURL: server.url }, second: { baseURL: `${upstream.url}/v1` } },
      routes: {
        smart: [
          { provider: 'first', model: 'a' },
          { provider: 'second', model: 'b', ...target },
        ],
      },
    }),
  )
  t.after(() => Promise.all([line.close({ drainTimeout: 0 }), upstream.close()]))
  const cut = () => {
    for (const socket of server.sockets) socket.destroy()
  }
  return { line, upstream, cut }
}

test('a reader who follows the restart ends with the answer once', async (t) => {
  const { line, cut } = await breaking(t, ['one ', 'two '], 'one two three')
  let answer = ''
  const signals = []
  for await (const chunk of line.stream(asks('smart'), { recover: 'restart' })) {
    if (chunk.trunkline?.restart) {
      signals.push([chunk.object, chunk.choices, answer])
      answer = ''
    }
    answer += chunk.choices[0]?.delta.content ?? ''
    if (answer === 'one two ') cut()
  }
  assert.equal(answer, 'one two three')
  assert.deepEqual(signals, [['chat.completion.chunk', [], 'one two ']])
})

test('without recovery a reader is told what came', async (t) => {
  const { line, upstream, cut } = await breaking(t, ['one ', 'two '], 'one two three')
  const reads = async () => {
    let answer = ''
    for await (const text of line.stream(asks('smart')).text()) {
      answer += text
      if (answer === 'one two ') cut()
    }
  }
  const error = await rejection(reads())
  assert.ok(error instanceof StreamInterruptedError)
  assert.equal(error.partial.choices[0].message.content, 'one two ')
  assert.equal(upstream.requests.length, 0)
})

test('who waits for the whole notices nothing of a break', async (t) => {
  const { first, line } = await pair(t, { routes: BOTH, retry: false })
  const whole = await line.chat(asks('smart'))
  first.fault({ kind: 'cut', afterTokens: 5 })
  assert.equal(await line.stream(asks('smart')).finalText(), whole.choices[0].message.content)
})

test('a stream goes on where it broke at a target that takes its beginning', async (t) => {
  const { line, upstream, cut } = await breaking(t, ['one ', 'two '], ' three four', { supportsPrefill: true })
  const stream = line.stream(asks('smart'), { recover: 'continue' })
  let answer = ''
  for await (const text of stream.text()) {
    answer += text
    if (answer === 'one two ') cut()
  }
  assert.equal(answer, 'one two three four')
  assert.equal(await stream.finalText(), answer)
  assert.deepEqual(upstream.requests[0].body.messages.at(-1), { role: 'assistant', content: 'one two' })
})

test('where no target takes a beginning, a stream that would go on is interrupted', async (t) => {
  const { line, upstream, cut } = await breaking(t, ['one '], 'two')
  const reads = async () => {
    for await (const text of line.stream(asks('smart'), { recover: 'continue' }).text()) if (text) cut()
  }
  assert.ok((await rejection(reads())) instanceof StreamInterruptedError)
  assert.equal(upstream.requests.length, 0)
})

test('a restart has no place in text() and toReadableStream(), which say so; final() needs no signal', async (t) => {
  const { first, line } = await pair(t, { routes: BOTH, retry: false })
  for (const reader of ['text', 'toReadableStream']) {
    const stream = line.stream(asks('smart'), { recover: 'restart' })
    assert.throws(() => stream[reader](), ConfigError)
    stream.abort()
  }
  first.fault({ kind: 'cut', afterTokens: 5 })
  assert.ok(await line.stream(asks('smart'), { recover: 'restart' }).finalText())
  const error = await rejection(line.stream(asks('smart'), { recover: 'again' }).final())
  assert.match(error.message, /^recover: must be /)
})

test('wire: "stream" asks for a stream and hands over the whole', async (t) => {
  const { first, line } = await pair(t, {})
  const shape = ({ id, created, system_fingerprint, ...rest }) => rest
  const unary = await line.chat(asks('m'), { wire: 'unary' })
  const streamed = await line.chat(asks('m'), { wire: 'stream' })
  assert.deepEqual(shape(streamed), shape(unary))
  await line.chat(asks('m', { max_tokens: 30_000 }))
  await line.chat(asks('m', { max_tokens: 30_000 }), { wire: 'unary' })
  await line.chat(asks('m'))
  assert.deepEqual(
    first.requests.map(({ body }) => body.stream ?? false),
    [false, true, true, false, false],
  )
  first.fault({ kind: 'cut', afterTokens: 5 })
  assert.deepEqual(shape(await line.chat(asks('m'), { wire: 'stream' })), shape(unary))
  const wrong = await rejection(line.chat(asks('m'), { wire: 'pigeon' }))
  assert.match(wrong.message, /^wire: must be /)
  assert.match((await rejection(line.stream(asks('m'), { wire: 'unary' }).final())).message, /^wire: /)
})
