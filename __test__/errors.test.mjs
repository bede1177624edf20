import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { inspect } from 'node:util'
import * as trunkline from 'trunkline'
import { client, collect, REQUEST, rejection, root, start, until } from './support.mjs'

/** By name. */
const classes = { ...trunkline }
const { APIError, BadRequestError, ConnectionError, InternalServerError, InvalidResponseError } = trunkline
const { RateLimitError, StreamInterruptedError, TimeoutError, TrunklineError } = trunkline

const statuses = [
  [400, undefined, 'BadRequestError', 'ERR_BAD_REQUEST'],
  [400, { error: { code: 'context_length_exceeded' } }, 'ContextLengthError', 'ERR_CONTEXT_LENGTH'],
  [400, { error: { code: 'content_filter' } }, 'ContentFilterError', 'ERR_CONTENT_FILTER'],
  [401, undefined, 'AuthenticationError', 'ERR_AUTHENTICATION'],
  [402, undefined, 'RateLimitError', 'ERR_RATE_LIMIT'],
  [403, undefined, 'PermissionDeniedError', 'ERR_PERMISSION_DENIED'],
  [404, undefined, 'NotFoundError', 'ERR_NOT_FOUND'],
  [409, undefined, 'ConflictError', 'ERR_CONFLICT'],
  [418, undefined, 'APIError', 'ERR_API'],
  [422, undefined, 'UnprocessableEntityError', 'ERR_UNPROCESSABLE_ENTITY'],
  [429, undefined, 'RateLimitError', 'ERR_RATE_LIMIT'],
  [500, undefined, 'InternalServerError', 'ERR_INTERNAL_SERVER'],
  [503, 'just text', 'InternalServerError', 'ERR_INTERNAL_SERVER'],
  [529, undefined, 'InternalServerError', 'ERR_INTERNAL_SERVER'],
  [301, undefined, 'APIError', 'ERR_API'],
]

for (const [status, body, name, code] of statuses) {
  test(`a status ${status}${body ? ` (${JSON.stringify(body)})` : ''} is a ${name}, whole and streamed`, async (t) => {
    const { upstream, line } = await start(t, { retry: false })
    for (const call of [
      () => line.chat(REQUEST),
      () => line.stream(REQUEST).final(),
      () => collect(line.stream(REQUEST)),
    ]) {
      upstream.fault({ kind: 'status', status, body, headers: { 'x-own': 'yes' } })
      const error = await rejection(call())
      assert.ok(error instanceof classes[name] && error instanceof APIError && error instanceof TrunklineError)
      assert.ok(error instanceof Error)
      assert.deepEqual([error.name, error.code, error.status], [name, code, status])
      assert.equal(error.headers.get('x-own'), 'yes')
      assert.match(error.requestId, /^req_/)
      assert.deepEqual([error.provider, error.model], ['default', 'gpt-test'])
      assert.equal(error.attempts.length, 1)
      assert.deepEqual([error.attempts[0].status, error.attempts[0].error], [status, code])
      if (body) assert.deepEqual(error.body, body)
      else assert.equal(typeof error.body.error.message, 'string')
      assert.equal(error.retryable, [409, 429, 500, 503, 529].includes(status))
      assert.equal(error.billed, status >= 500 ? 'maybe' : 'no')
    }
  })
}

test('an API error has the fields of the provider’s error', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  const body = { error: { message: 'No: secret prompt', type: 'invalid_request_error', param: 'n', code: 'bad_n' } }
  upstream.fault({ kind: 'status', status: 400, body })
  const error = await rejection(line.chat(REQUEST))
  assert.deepEqual([error.type, error.param, error.body], ['invalid_request_error', 'n', body])
  assert.equal(error.message, `${new URL(upstream.url).host} answered 400 to POST /v1/chat/completions (bad_n)`)
})

test('a rate limit says in milliseconds when to come back', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  for (const [headers, retryAfter] of [
    [{ 'retry-after-ms': '1500' }, 1500],
    [{ 'retry-after': '3' }, 3000],
    [{}, null],
  ]) {
    upstream.fault({ kind: 'status', status: 429, headers })
    assert.equal((await rejection(line.chat(REQUEST))).retryAfter, retryAfter)
  }
})

test('credit that is gone is a rate limit that is not retryable', async (t) => {
  const { upstream, line } = await start(t)
  upstream.fault({ kind: 'status', status: 429, body: { error: { code: 'insufficient_quota' } } })
  const error = await rejection(line.chat(REQUEST))
  assert.ok(error instanceof RateLimitError)
  assert.equal(error.retryable, false)
  assert.equal(upstream.requests.length, 1)
})

const whole = [
  ['reset', { kind: 'reset' }, ConnectionError, 'receive'],
  ['reset after the head', { kind: 'reset', after: 'headers' }, ConnectionError, 'receive'],
  ['reset in the body', { kind: 'reset', after: 3 }, ConnectionError, 'receive'],
  ['cut', { kind: 'cut', afterTokens: 3 }, ConnectionError, 'receive'],
  ['clean cut', { kind: 'cut', afterTokens: 3, clean: true }, InvalidResponseError],
  ['malformed', { kind: 'malformed', atEvent: 1 }, InvalidResponseError],
  ['error in a 200', { kind: 'error-in-stream', afterTokens: 1, body: { error: { code: 503 } } }, InternalServerError],
  ['length too long', { kind: 'wrong-length', by: 10 }, ConnectionError, 'receive'],
  ['length too short', { kind: 'wrong-length', by: -10 }, InvalidResponseError],
  ['bad UTF-8', { kind: 'bad-utf8' }, InvalidResponseError],
  ['garbage', { kind: 'garbage' }, ConnectionError, 'receive'],
]
const streamed = [
  ['reset', { kind: 'reset' }, ConnectionError, 'receive'],
  ['reset after the head', { kind: 'reset', after: 'headers' }, ConnectionError, 'receive'],
  ['reset in the body', { kind: 'reset', after: 3 }, StreamInterruptedError],
  ['cut', { kind: 'cut', afterTokens: 3 }, StreamInterruptedError],
  ['cut before content', { kind: 'cut', afterTokens: 0 }, ConnectionError, 'receive'],
  ['clean cut', { kind: 'cut', afterTokens: 3, clean: true }, StreamInterruptedError],
  ['malformed', { kind: 'malformed', atEvent: 4 }, StreamInterruptedError],
  ['malformed at once', { kind: 'malformed', atEvent: 1 }, ConnectionError, 'receive'],
  [
    'error in the stream',
    { kind: 'error-in-stream', afterTokens: 3, body: { error: { code: 503 } } },
    StreamInterruptedError,
  ],
  [
    'error before content',
    { kind: 'error-in-stream', afterTokens: 0, body: { error: { code: 400 } } },
    BadRequestError,
  ],
  ['bad UTF-8', { kind: 'bad-utf8' }, ConnectionError, 'receive'],
  ['garbage', { kind: 'garbage' }, ConnectionError, 'receive'],
]
for (const [how, table, call] of [
  ['whole', whole, (line) => line.chat(REQUEST)],
  ['streamed', streamed, (line) => collect(line.stream(REQUEST))],
]) {
  for (const [name, fault, Class, phase] of table) {
    test(`${name} is a ${Class.name}, ${how}, and the next call works`, async (t) => {
      const { upstream, line } = await start(t, { retry: false })
      upstream.fault(fault)
      const error = await rejection(call(line))
      assert.ok(error instanceof Class, `${error.name}: ${error.message}`)
      assert.equal(error.name, Class.name)
      if (phase) assert.equal(error.phase, phase)
      if (Class === StreamInterruptedError) {
        assert.equal(error.partial.object, 'chat.completion')
        assert.equal(error.partial.choices[0].finish_reason, null)
        assert.ok(error.partial.choices[0].message.content.length > 0)
      }
      await call(line)
    })
  }
}

test('a stream that ends without [DONE] after its finish reason has ended well', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream.fault({ kind: 'no-done' })
  assert.equal((await line.stream(REQUEST).final()).choices[0].finish_reason, 'stop')
})

test('a stream that the provider ends with an error has its words, and no status that was not answered', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  const body = { error: { message: 'x', type: 'overloaded_error' } }
  upstream.fault({ kind: 'error-in-stream', afterTokens: 3, body })
  const error = await rejection(collect(line.stream(REQUEST)))
  assert.ok(error instanceof StreamInterruptedError)
  assert.deepEqual([error.body, error.attempts[0].status], [body, 200])
  assert.ok(!('status' in error) && !error.message.includes('529'), error.message)
  upstream.fault({ kind: 'cut', afterTokens: 3 })
  assert.equal((await rejection(collect(line.stream(REQUEST)))).body, null)
})

test('a refused connection is a ConnectionError of phase connect, with its cause', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  await upstream.close()
  await until(() =>
    fetch(upstream.url).then(
      () => false,
      () => true,
    ),
  )
  const error = await rejection(line.chat(REQUEST))
  assert.ok(error instanceof ConnectionError)
  assert.deepEqual([error.code, error.phase, error.billed, error.retryable], ['ERR_CONNECTION', 'connect', 'no', true])
  assert.ok(error.cause instanceof Error)
  assert.match(error.cause.message, /refused/i)
  assert.equal(error.message, `default: no connection to ${new URL(upstream.url).host}: connection refused`)
  assert.equal(error.requestId, null)
})

test('a name that does not resolve is a ConnectionError of phase dns', async (t) => {
  const { line } = await start(t, { retry: false, baseURL: 'http://no-such-host.invalid/v1' })
  const error = await rejection(line.chat(REQUEST))
  assert.equal(error.phase, 'dns')
  assert.match(error.message, /no-such-host\.invalid/)
})

test('a certificate that is not trusted is a ConnectionError of phase tls, and not tried again', async (t) => {
  const { upstream } = await start(t, { upstream: { tls: true } })
  const line = client(t, upstream.url)
  const error = await rejection(line.chat(REQUEST))
  assert.deepEqual([error.name, error.phase, error.retryable], ['ConnectionError', 'tls', false])
  assert.ok(error.message.includes(new URL(upstream.url).host) && error.message.includes('pool.tls.ca'), error.message)
  assert.equal(error.attempts.length, 1)
  assert.equal(upstream.requests.length, 0)
})

test('the stack names the caller who awaits', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream.fault({ kind: 'status', status: 500 }, { times: 9 })
  async function chatCaller() {
    await line.chat(REQUEST)
  }
  async function metaCaller() {
    await line.chat(REQUEST).withMeta()
  }
  async function loopCaller() {
    for await (const _ of line.stream(REQUEST));
  }
  async function finalCaller() {
    await line.stream(REQUEST).final()
  }
  async function configCaller() {
    await line.chat({})
  }
  for (const caller of [chatCaller, metaCaller, loopCaller, finalCaller, configCaller]) {
    const error = await rejection(caller())
    assert.ok(error.stack.startsWith(`${error.name}: ${error.message}`))
    assert.match(error.stack, new RegExp(caller.name), caller.name)
  }
})

test('errors show their name and fields, and no prompt', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream.fault({ kind: 'status', status: 500 })
  const prompt = 'my very secret prompt'
  const error = await rejection(line.chat({ ...REQUEST, messages: [{ role: 'user', content: prompt }] }))
  const shown = inspect(error, { depth: 9 }) + JSON.stringify(error) + error.stack
  assert.match(shown, /InternalServerError/)
  assert.match(shown, /ERR_INTERNAL_SERVER/)
  assert.ok(!shown.includes(prompt))
})

test('instanceof holds across two copies of the package, and only where it should', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-'))
  t.after(() => rmSync(folder, { recursive: true }))
  copyFileSync(join(root, 'lib/errors.js'), join(folder, 'errors.cjs'))
  const copy = createRequire(import.meta.url)(join(folder, 'errors.cjs'))
  const theirs = copy.errorOf(
    JSON.stringify({ name: 'ContextLengthError', code: 'ERR_CONTEXT_LENGTH', message: 'x', status: 400 }),
  )
  assert.notEqual(copy.classes.ContextLengthError, trunkline.ContextLengthError)
  for (const name of ['ContextLengthError', 'BadRequestError', 'APIError', 'TrunklineError']) {
    assert.ok(theirs instanceof classes[name], name)
  }
  assert.ok(theirs instanceof Error)
  for (const Class of [TimeoutError, RateLimitError, trunkline.ContentFilterError])
    assert.ok(!(theirs instanceof Class))
  for (const other of [new Error('x'), null, undefined, 'x', {}]) assert.ok(!(other instanceof TrunklineError))
  class Mine extends RateLimitError {}
  assert.ok(!(theirs instanceof Mine))
  const mine = new Mine({ name: 'RateLimitError', code: 'x', message: 'x' })
  assert.ok(mine instanceof Mine && mine instanceof RateLimitError && mine instanceof APIError)
})
