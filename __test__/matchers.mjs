// The promises of the matchers, for whichever `expect` they are put into. Jest's and Vitest's share a table in the process, and so each has a file of its own.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Trunkline } from '../index.js'
import { MockUpstream, matchers } from '../testing.js'
import { rejection } from './support.mjs'

const REQUEST = { model: 'm', messages: [{ role: 'user', content: 'hello' }] }

async function start(t) {
  const upstream = await MockUpstream.start()
  const line = new Trunkline({
    baseURL: `${upstream.url}/v1`,
    apiKey: 'k',
    retry: false,
    headers: { 'X-Team': 'blue' },
  })
  t.after(async () => {
    await line.close()
    await upstream.close()
  })
  return { upstream, line }
}

/** What a matcher that fails says, without its colours. */
function failureOf(assertion) {
  try {
    assertion()
  } catch (error) {
    return plain(error.message)
  }
  return assert.fail('it did not fail')
}

const plain = (text) => text.replace(/\u001b\[\d+m/g, '')

export function hold(expect) {
  expect.extend(matchers)

  test('requests are found by method, path, model, headers and body', async (t) => {
    const { upstream, line } = await start(t)
    expect(upstream).not.toHaveReceived()
    await line.chat(REQUEST)
    await line.post('/x?y=1', { a: { b: [1, { c: 2, d: 3 }] } }).catch(() => {})
    for (const match of [
      undefined,
      {},
      { path: '/v1/chat/completions', method: 'POST', model: 'm' },
      { path: /completions$/ },
      { path: '/v1/x' },
      { path: '/v1/x?y=1' },
      { path: expect.stringContaining('chat') },
      { headers: { 'x-team': 'blue', Authorization: /^Bearer / } },
      { body: { messages: [{ content: 'hello' }] } },
      { body: { messages: expect.any(Array) } },
      { body: { a: { b: [1, { c: expect.any(Number) }] } } },
      (request) => request.connection === 1,
    ]) {
      expect(upstream).toHaveReceived(match)
    }
    for (const match of [
      { path: '/v1/x?y=2' },
      { model: 'other' },
      { method: 'GET' },
      { headers: { 'x-team': 'red' } },
      { headers: { 'x-none': /./ } },
      { body: { messages: [] } },
      { body: { a: { b: [1, { c: 2, d: 3 }, 4] } } },
      { body: { nothing: null } },
      () => false,
    ]) {
      expect(upstream).not.toHaveReceived(match)
    }
    expect(upstream).toHaveReceivedTimes(2)
    expect(upstream).toHaveReceivedTimes(1, { model: 'm' })
    expect(upstream).toHaveReceivedTimes(0, { model: 'other' })
    expect(upstream).not.toHaveReceivedTimes(2, { model: 'm' })
    expect(upstream).toHaveOpenedConnections(1)
    expect(upstream).not.toHaveOpenedConnections(2)
  })

  test('a model is found where Gemini has it', async (t) => {
    const { upstream } = await start(t)
    const line = new Trunkline({ baseURL: upstream.url, apiKey: 'k', protocol: 'gemini' })
    await line.chat({ ...REQUEST, model: 'gemini-test' })
    await line.close()
    expect(upstream).toHaveReceived({ model: 'gemini-test', headers: { 'x-goog-api-key': 'k' } })
  })

  test('what was received is shown where a request was expected', async (t) => {
    const { upstream, line } = await start(t)
    assert.match(
      failureOf(() => expect(upstream).toHaveReceived()),
      /^Expected a request\nThere was none\.$/,
    )
    for (let n = 0; n < 6; n++) await line.chat(REQUEST)
    const failure = failureOf(() => expect(upstream).toHaveReceived({ model: 'other' }))
    assert.match(
      failure,
      /^Expected a request like [\s\S]*"?model"?: "other"[\s\S]*\nReceived, the last 5 of 6:\n( {2}POST \/v1\/chat\/completions \(m\)\n){5}The nearest is POST \/v1\/chat\/completions, where model is "m" and not "other"$/,
    )
    assert.match(
      failureOf(() => expect(upstream).not.toHaveReceived({ model: 'm' })),
      /, but 6 of 6 are$/,
    )
    assert.match(
      failureOf(() => expect(upstream).toHaveReceivedTimes(2)),
      /^Expected 2 requests, got 6\nReceived/,
    )
    assert.match(
      failureOf(() => expect(upstream).toHaveOpenedConnections(2)),
      /^Expected connections: 2, opened so far: 1$/,
    )
  })

  test('a request that was missed is told where the nearest one differs, in a few short lines', async (t) => {
    const { upstream, line } = await start(t)
    await line.chat({ ...REQUEST, messages: [{ role: 'user', content: 'a'.repeat(1000) }] })
    await line.chat({ ...REQUEST, model: 'other', temperature: 1 })
    await line.post('/x', { a: 1, b: 2, c: 3, d: 4, e: 5 }).catch(() => {})
    const lastOf = (match) =>
      failureOf(() => expect(upstream).toHaveReceived(match))
        .split('\n')
        .at(-1)
    assert.equal(
      lastOf({ model: 'm', body: { messages: [{ content: 'hi' }] } }),
      `The nearest is POST /v1/chat/completions, where body.messages[0].content is "${'a'.repeat(60)}…" and not "hi"`,
    )
    assert.equal(
      lastOf({ model: 'other', body: { temperature: 0, messages: [{}, {}] } }),
      'The nearest is POST /v1/chat/completions, where body.temperature is 1 and not 0; body.messages.length is 1 and not 2',
    )
    assert.equal(
      lastOf({ path: '/v1/x', headers: { 'X-Team': 'red' }, body: { a: 0, b: 0, c: 0, d: 4 } }),
      'The nearest is POST /v1/x, where headers.X-Team is "blue" and not "red"; body.a is 1 and not 0; body.b is 2 and not 0; and 1 more',
    )
    assert.doesNotMatch(
      failureOf(() => expect(upstream).toHaveReceived(() => false)),
      /nearest/,
    )
  })

  test('a rejection is known by its code', async (t) => {
    const { upstream, line } = await start(t)
    upstream.fault({ kind: 'status', status: 429 }, { times: 5 })
    await expect(line.chat(REQUEST)).toRejectWithCode('ERR_RATE_LIMIT')
    await expect(() => line.chat(REQUEST)).toRejectWithCode('ERR_RATE_LIMIT', { status: 429, billed: 'no' })
    await expect(line.stream(REQUEST).final()).not.toRejectWithCode('ERR_TIMEOUT')
    const other = await rejection(expect(line.chat(REQUEST)).toRejectWithCode('ERR_TIMEOUT'))
    assert.match(
      plain(other.message),
      /^Expected a rejection by an error of code "ERR_TIMEOUT", but it was by "ERR_RATE_LIMIT"\nRateLimitError: /,
    )
    const wrong = await rejection(expect(line.chat(REQUEST)).toRejectWithCode('ERR_RATE_LIMIT', { status: 500 }))
    assert.match(
      plain(wrong.message),
      / with [\s\S]*"?status"?: 500[\s\S]*, but it was by "ERR_RATE_LIMIT", where status is 429 and not 500\n/,
    )
    const none = await rejection(expect(line.chat(REQUEST)).toRejectWithCode('ERR_TIMEOUT'))
    assert.match(plain(none.message), /, but it resolved$/)
  })

  test('the call of a tool is known by its name and arguments', async (t) => {
    const { upstream, line } = await start(t)
    const call = { function: { name: 'weather', arguments: '{"city":"Oslo","days":3}' } }
    upstream.reply({}, { toolCalls: [call] })
    const answer = await line.chat(REQUEST)
    expect(answer).toHaveToolCall('weather')
    expect(answer.choices[0].message).toHaveToolCall('weather', { city: 'Oslo' })
    expect(answer).toHaveToolCall('weather', { days: expect.any(Number), city: /^O/ })
    expect(answer).not.toHaveToolCall('weather', { city: 'Rome' })
    expect(answer).not.toHaveToolCall('time')
    assert.match(
      failureOf(() => expect(line.chat(REQUEST)).toHaveToolCall('weather')),
      /^toHaveToolCall: must be given a completion or a message of one, got a promise: await it first$/,
    )
    const failure = failureOf(() => expect(answer).toHaveToolCall('time'))
    assert.match(failure, /^Expected a call of the tool "time", got [\s\S]*"?city"?: "Oslo"/)
  })

  test('what no matcher is for is refused by name', async (t) => {
    const { upstream } = await start(t)
    assert.match(
      failureOf(() => expect({}).toHaveReceived()),
      /^toHaveReceived: must be given a MockUpstream, got an object$/,
    )
    assert.match(
      failureOf(() => expect(upstream).toHaveReceived({ modle: 'm' })),
      /^match\.modle: is not an option; did you mean match\.model\?$/,
    )
    assert.match(
      failureOf(() => expect(upstream).toHaveReceivedTimes({})),
      /^toHaveReceivedTimes: must be given an integer/,
    )
    const error = await rejection(expect(5).toRejectWithCode('ERR_X'))
    assert.match(
      plain(error.message),
      /^toRejectWithCode: must be given a promise or a function that gives one, got a number$/,
    )
  })
}
