// `trunkline/testing`, as its users see it. What it does on the wire is tested in Rust.

import assert from 'node:assert/strict'
import test from 'node:test'
import { MockUpstream } from 'trunkline/testing'
import { REQUEST, rejection, start, until } from './support.mjs'

const contentOf = async (line, request = REQUEST) => (await line.chat(request)).choices[0].message.content

test('the last reply that matches wins', async (t) => {
  const { upstream, line } = await start(t)
  assert.equal(
    upstream
      .reply({}, 'any')
      .reply({ model: 'gpt-test' }, 'by model')
      .reply({ messages: [{ content: 'Bye' }] }, 'by message')
      .reply((request) => request.headers['x-own'] === '1', 'by function'),
    upstream,
  )
  assert.equal(await contentOf(line, { ...REQUEST, model: 'other' }), 'any')
  assert.equal(await contentOf(line), 'by model')
  assert.equal(await contentOf(line, { model: 'gpt-test', messages: [{ role: 'user', content: 'Bye' }] }), 'by message')
  assert.equal((await line.chat(REQUEST, { headers: { 'x-own': '1' } })).choices[0].message.content, 'by function')
})

test('an answer may be anything', async (t) => {
  const { upstream, line } = await start(t)
  upstream.reply({ path: '/json' }, { json: { a: 1 }, headers: { 'x-a': 'b' }, status: 202 })
  const { data, meta } = await line.get('/json').withMeta()
  assert.deepEqual([data, meta.status, meta.headers.get('x-a')], [{ a: 1 }, 202, 'b'])
  upstream.reply({ path: '/raw' }, { raw: { body: '<html>', contentType: 'text/html' } })
  assert.match((await rejection(line.get('/raw'))).message, /text\/html/)
  const usage = { prompt_tokens: 5, completion_tokens: 6, total_tokens: 11 }
  upstream.reply({ model: 'gpt-test' }, { content: 'x', usage, finishReason: 'length' })
  const answer = await line.chat(REQUEST)
  assert.deepEqual([answer.usage, answer.choices[0].finish_reason], [usage, 'length'])
})

test('a JSON answer may be null', async (t) => {
  const { upstream, line } = await start(t)
  upstream.reply({ path: '/null' }, { json: null })
  assert.equal(await line.get('/null'), null)
})

test('a fault is met as often, as long and by whom it says', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  const outcome = (request = REQUEST) =>
    line.chat(request).then(
      () => 200,
      (error) => error.status,
    )
  assert.equal(upstream.fault({ kind: 'status', status: 500 }), upstream)
  upstream
    .fault({ kind: 'status', status: 503 }, { times: 2 })
    .fault({ kind: 'status', status: 400 }, { model: 'other' })
  assert.deepEqual([await outcome(), await outcome(), await outcome(), await outcome()], [500, 503, 503, 200])
  assert.deepEqual(
    [await outcome({ ...REQUEST, model: 'other' }), await outcome({ ...REQUEST, model: 'other' })],
    [400, 200],
  )
  upstream.fault({ kind: 'status', status: 500 }, { for: 50 })
  assert.equal(await outcome(), 500)
  await until(async () => (await outcome()) === 200)
})

test('equal seeds give equal answers, and others others', async (t) => {
  const texts = []
  for (const seed of [1, 1, 2]) texts.push(await contentOf((await start(t, { upstream: { seed } })).line))
  assert.equal(texts[0], texts[1])
  assert.notEqual(texts[0], texts[2])
})

test('reset() forgets replies, faults and requests', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream
    .reply({}, 'mine')
    .reply(() => true, 'mine too')
    .fault({ kind: 'status', status: 500 })
  upstream.reset()
  assert.notEqual(await contentOf(line), 'mine too')
  assert.equal(upstream.requests.length, 1)
  assert.equal(upstream.connections.opened, 1)
})

test('a request is recorded with all there is to know', async (t) => {
  const { upstream, line } = await start(t)
  const before = Date.now()
  await line.post('/x?y=1', { a: 1 }).catch(() => {})
  const [seen] = upstream.requests
  assert.deepEqual(Object.keys(seen).sort(), ['at', 'body', 'connection', 'headers', 'method', 'path', 'stream'])
  assert.deepEqual(
    [seen.method, seen.path, seen.body, seen.connection, seen.stream],
    ['POST', '/v1/x?y=1', { a: 1 }, 1, null],
  )
  assert.ok(seen.at >= before - 1 && seen.at <= Date.now() + 1)
})

test('other clients may use it: fetch and the openai package', async (t) => {
  const { upstream } = await start(t)
  upstream.reply({ model: 'm' }, 'Hello')
  const { default: OpenAI } = await import('openai')
  const openai = new OpenAI({ baseURL: `${upstream.url}/v1`, apiKey: 'k' })
  const answer = await openai.chat.completions.create({ model: 'm', messages: [] })
  assert.equal(answer.choices[0].message.content, 'Hello')
  const models = await (await fetch(`${upstream.url}/v1/models`)).json()
  assert.equal(models.object, 'list')
})

test('wrong options, answers and faults are refused by name', async (t) => {
  const { upstream } = await start(t)
  const table = [
    [() => upstream.fault({ kind: 'explode' }), /explode/],
    [() => upstream.fault({ kind: 'status' }), /status/],
    [() => upstream.fault({ kind: 'stall', afterTokens: 1, for: 'long' }), /fault/],
    [() => upstream.fault({ kind: 'reset', after: 'lunch' }), /lunch/],
    [() => upstream.fault({ kind: 'reset' }, { time: 1 }), /time/],
    [() => upstream.reply({}, { text: 'x' }), /text/],
    [() => upstream.reply({}, { status: 99 }), /^answer\.?.*status/],
    [() => upstream.reply({}, { headers: { 'a b': 'c' } }), /headers/],
    [() => upstream.reply(5, 'x'), /match/],
    [() => upstream.reply(null, 'x'), /match/],
    [() => upstream.fault(), /^fault: cannot be undefined$/],
    [() => upstream.reply({}), /^answer: cannot be undefined$/],
  ]
  for (const [call, message] of table) {
    assert.throws(call, { name: 'ConfigError', message })
    assert.throws(call, ({ message }) => !/line \d/.test(message))
  }
  for (const [options, message] of [
    [5, /^options: /],
    [{ tls: 1 }, /^tls: .* expected a boolean$/],
    [{ nonsense: 1 }, /nonsense/],
    [{ latency: -1 }, /^latency: must be 0 or more, got -1$/],
    [{ rateLimit: { burst: 'x' } }, /^rateLimit\.burst: .* expected f64$/],
    [{ port: 70_000 }, /^port: /],
    [{ port: Number(new URL(upstream.url).port) }, /^port: \d+ cannot be had: .* in use/],
  ]) {
    const error = await rejection(MockUpstream.start(options))
    assert.equal(error.name, 'ConfigError')
    assert.match(error.message, message)
    // Nobody wrote the text that Rust reads.
    assert.doesNotMatch(error.message, /line \d/)
  }
})

test('close() ends every connection, and resolves when the port is free', async () => {
  for (let n = 0; n < 50; n++) {
    const upstream = await MockUpstream.start()
    await upstream.close()
    const again = await MockUpstream.start({ port: Number(new URL(upstream.url).port) })
    await again[Symbol.asyncDispose]()
  }
})

const ANTHROPIC = { path: '/v1/messages', headers: { 'x-api-key': 'k', 'anthropic-version': '2023-06-01' } }
const GEMINI = { path: '/v1beta/models/gpt-test:generateContent', headers: { 'x-goog-api-key': 'k' } }

/** Asks it as a client of another protocol would. */
async function ask(upstream, { path, headers }, body) {
  const response = await fetch(`${upstream.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  return { status: response.status, headers: response.headers, body: await response.json() }
}

const message = (content, rest) => ({
  model: 'gpt-test',
  max_tokens: 5,
  messages: [{ role: 'user', content }],
  ...rest,
})
const contents = (text, rest) => ({ contents: [{ role: 'user', parts: [{ text }] }], ...rest })

test('one reply is said in the protocol of each request', async (t) => {
  const { upstream, line } = await start(t)
  upstream.reply(
    { model: 'gpt-test', messages: [{ content: 'Hello' }] },
    { content: 'Hi', usage: { prompt_tokens: 5, completion_tokens: 6, total_tokens: 11 }, finishReason: 'length' },
  )
  assert.equal(await contentOf(line), 'Hi')
  const anthropic = await ask(upstream, ANTHROPIC, message('Hello'))
  assert.deepEqual(anthropic.body.content, [{ type: 'text', text: 'Hi' }])
  assert.deepEqual([anthropic.body.stop_reason, anthropic.body.usage.output_tokens], ['max_tokens', 6])
  assert.match(anthropic.headers.get('request-id'), /^req_/)
  const gemini = await ask(upstream, GEMINI, contents('Hello'))
  const [candidate] = gemini.body.candidates
  assert.deepEqual([candidate.content.parts, candidate.finishReason], [[{ text: 'Hi' }], 'MAX_TOKENS'])
  assert.equal(gemini.body.usageMetadata.totalTokenCount, 11)
  // What is recorded is what was sent.
  assert.deepEqual(upstream.requests.at(-1).body, contents('Hello'))
})

test('what the real one refuses is refused, in its own shape and naming the place', async (t) => {
  const { upstream } = await start(t)
  const anthropic = await ask(upstream, ANTHROPIC, message('Hello', { max_tokens: undefined }))
  assert.deepEqual(
    [anthropic.status, anthropic.body.type, anthropic.body.error],
    [400, 'error', { type: 'invalid_request_error', message: 'max_tokens: Field required' }],
  )
  const gemini = await ask(upstream, GEMINI, contents('Hello', { stop: ['x'] }))
  assert.deepEqual([gemini.status, gemini.body.error.status], [400, 'INVALID_ARGUMENT'])
  assert.match(gemini.body.error.message, /Unknown name "stop"/)
  assert.equal((await ask(upstream, { path: ANTHROPIC.path }, message('Hello'))).status, 401)
})

test('keys are told apart, and faults may be for one alone', async (t) => {
  const keys = { good: {}, slow: { rateLimit: { requestsPerSecond: 0.01, burst: 1 } }, old: { revoked: true } }
  const { upstream } = await start(t, { upstream: { keys } })
  const outcome = async (key) =>
    (await ask(upstream, { ...ANTHROPIC, headers: { ...ANTHROPIC.headers, 'x-api-key': key } }, message('Hello')))
      .status
  assert.deepEqual([await outcome('good'), await outcome('old'), await outcome('who')], [200, 401, 401])
  assert.deepEqual([await outcome('slow'), await outcome('slow'), await outcome('good')], [200, 429, 200])
  upstream.fault({ kind: 'status', status: 401 }, { key: 'good' })
  assert.deepEqual([await outcome('slow'), await outcome('good'), await outcome('good')], [429, 401, 200])
})

test('models may be too small, or refuse the beginning of an answer', async (t) => {
  const models = { 'gpt-test': { maxInputTokens: 3, prefill: false } }
  const { upstream, line } = await start(t, { upstream: { models }, retry: false })
  const long = 'x'.repeat(100)
  const error = await rejection(line.chat({ ...REQUEST, messages: [{ role: 'user', content: long }] }))
  assert.equal(error.name, 'ContextLengthError')
  assert.match((await ask(upstream, ANTHROPIC, message(long))).body.error.message, /^prompt is too long: 25 tokens > 3/)
  assert.match((await ask(upstream, GEMINI, contents(long))).body.error.message, /input token count \(25\) exceeds/)
  const prefill = { messages: [...message('Hi').messages, { role: 'assistant', content: 'I' }] }
  assert.match((await ask(upstream, ANTHROPIC, message('', prefill))).body.error.message, /does not support .* prefill/)
  assert.equal((await ask(upstream, ANTHROPIC, message('', { ...prefill, model: 'other' }))).status, 200)
})
