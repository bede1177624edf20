// Every answer and every fault of the stand-in, in each protocol, over HTTP/1.1 and HTTP/2, whole and streamed: what a client of ours makes of it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Trunkline } from '../index.js'
import { MockUpstream } from '../testing.js'
import { until } from './support.mjs'

const SAID = 'one two three four five six'
const REQUEST = { model: 'm', max_tokens: 50, messages: [{ role: 'user', content: 'hello' }] }
const COMBINATIONS = ['openai', 'anthropic', 'gemini'].flatMap((protocol) =>
  [false, true].flatMap((http2) => ['chat', 'stream'].map((way) => ({ protocol, http2, way }))),
)

/** An upstream and a client of this protocol; gone when `use` is through. */
async function between({ protocol, http2 }, timeouts, use) {
  const upstream = await MockUpstream.start({ http2 })
  const line = new Trunkline({
    baseURL: upstream.url + (protocol === 'openai' ? '/v1' : ''),
    apiKey: 'k',
    protocol,
    retry: false,
    pool: { http2: http2 ? 'prior-knowledge' : 'never' },
    timeouts,
  })
  try {
    return await use(upstream, line)
  } finally {
    await line.close()
    await upstream.close()
  }
}

const ask = (line, way) => (way === 'chat' ? line.chat(REQUEST) : line.stream(REQUEST).final())

/** Holds in every combination: `expected` is called with each, and gives what comes of it. */
function everywhere(name, outcome, expected, timeouts = {}) {
  test(name, async () => {
    await Promise.all(
      COMBINATIONS.map(async (combination) => {
        const came = await between(combination, timeouts, (upstream, line) => outcome(upstream, line, combination))
        const wanted = expected(combination)
        if (wanted instanceof Set) assert.ok(wanted.has(came), `${JSON.stringify(combination)}: ${came}`)
        else assert.deepEqual(came, wanted, JSON.stringify(combination))
      }),
    )
  })
}

const either = (chat, stream) => (combination) => (combination.way === 'chat' ? chat : stream)
const always = (expected) => () => expected

const OK = always('ok')
const BROKEN = either('ERR_CONNECTION', 'ERR_STREAM_INTERRUPTED')

/** A length that is wrong comes to light where somebody waits for the end of the body: Gemini's streams have no other end. */
const wrongLength = (chat) => (combination) => {
  if (combination.way === 'chat') return chat(combination)
  return combination.protocol === 'gemini' ? 'ERR_STREAM_INTERRUPTED' : 'ok'
}

const FAULTS = [
  [{ kind: 'status', status: 503 }, always('ERR_INTERNAL_SERVER')],
  [{ kind: 'status', status: 429 }, always('ERR_RATE_LIMIT')],
  [{ kind: 'status', status: 401 }, always('ERR_AUTHENTICATION')],
  // What of an HTTP/2 request had not left yet is sent again: it was certainly not processed.
  [{ kind: 'reset', after: 'accept' }, ({ http2 }) => (http2 ? new Set(['ERR_CONNECTION', 'ok']) : 'ERR_CONNECTION')],
  [{ kind: 'reset', after: 'request' }, always('ERR_CONNECTION')],
  [{ kind: 'reset', after: 'headers' }, always('ERR_CONNECTION')],
  [{ kind: 'reset', after: 2 }, BROKEN],
  [{ kind: 'silence' }, always('ERR_TIMEOUT')],
  [{ kind: 'silence', for: 20 }, OK],
  [{ kind: 'stall', afterTokens: 2, for: 60_000 }, either('ERR_TIMEOUT', 'ERR_STREAM_INTERRUPTED')],
  [{ kind: 'stall', afterTokens: 2, for: 20 }, OK],
  [{ kind: 'slow', firstToken: 20, perToken: 1 }, OK],
  [{ kind: 'cut', afterTokens: 2 }, BROKEN],
  [{ kind: 'cut', afterTokens: 2, clean: true }, either('ERR_INVALID_RESPONSE', 'ERR_STREAM_INTERRUPTED')],
  // Before it, something was said in each protocol.
  [{ kind: 'malformed', atEvent: 5 }, either('ERR_INVALID_RESPONSE', 'ERR_STREAM_INTERRUPTED')],
  // Each choice had its finish reason.
  [{ kind: 'no-done' }, OK],
  [{ kind: 'error-in-stream', afterTokens: 2 }, either('ERR_INTERNAL_SERVER', 'ERR_STREAM_INTERRUPTED')],
  [{ kind: 'goaway', lastStream: 'processed' }, OK],
  // What was certainly not processed is sent again, even without retries; HTTP/1.1 cannot say so.
  [{ kind: 'goaway', lastStream: 'refused' }, ({ http2 }) => (http2 ? 'ok' : 'ERR_CONNECTION')],
  [{ kind: 'close-idle' }, OK],
  [{ kind: 'wrong-length', by: 10 }, wrongLength(always('ERR_CONNECTION'))],
  [{ kind: 'wrong-length', by: -10 }, wrongLength(({ http2 }) => (http2 ? 'ERR_CONNECTION' : 'ERR_INVALID_RESPONSE'))],
  [{ kind: 'bad-utf8' }, either('ERR_INVALID_RESPONSE', 'ERR_CONNECTION')],
  [{ kind: 'garbage' }, always('ERR_CONNECTION')],
]

const isEndless = (fault) => (fault.kind === 'silence' && fault.for === undefined) || fault.for === 60_000

for (const [fault, expected] of FAULTS) {
  const outcome = async (upstream, line, { way }) => {
    upstream.reply({}, SAID).fault(fault)
    const first = await ask(line, way).then(
      (answer) => (answer.choices[0].message.content === SAID ? 'ok' : 'another answer'),
      (error) => error.code,
    )
    // Else the next might go on a connection that is just being closed.
    if (fault.kind === 'close-idle') await until(() => line.metrics().pool.connections.idle === 0)
    if (!isEndless(fault)) assert.equal((await ask(line, way)).choices[0].message.content, SAID, 'it is met once')
    return first
  }
  // Short only where it is what ends the call.
  const timeouts = isEndless(fault) ? { firstByte: 200, idle: 200, total: 400 } : {}
  everywhere(`fault: ${JSON.stringify(fault)}`, outcome, expected, timeouts)
}

const call = { id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Oslo"}' } }
const usage = { prompt_tokens: 5, completion_tokens: 6, total_tokens: 11 }

const ANSWERS = [
  ['a text', SAID, ({ message }) => message.content, SAID],
  ['content', { content: SAID }, ({ message }) => message.content, SAID],
  [
    'toolCalls',
    { toolCalls: [call] },
    ({ message, finish_reason }) => [message.tool_calls.map(({ function: of }) => of), finish_reason],
    [[call.function], 'tool_calls'],
  ],
  ['finishReason', { content: 'x', finishReason: 'length' }, ({ finish_reason }) => finish_reason, 'length'],
]

for (const [name, answer, of, expected] of ANSWERS) {
  const outcome = async (upstream, line, { way }) => {
    upstream.reply({}, answer)
    return of((await ask(line, way)).choices[0])
  }
  everywhere(`answer: ${name}`, outcome, always(expected))
}

everywhere(
  'answer: usage and headers',
  async (upstream, line, { way }) => {
    upstream.reply({}, { content: 'x', usage, headers: { 'x-mine': 'yes' } })
    const options = { wire: way === 'stream' ? 'stream' : 'unary' }
    const { data, meta } = await line.chat(REQUEST, options).withMeta()
    const { prompt_tokens, completion_tokens, total_tokens } = data.usage
    return [{ prompt_tokens, completion_tokens, total_tokens }, meta.headers.get('x-mine')]
  },
  always([usage, 'yes']),
)

everywhere(
  'answer: chunks',
  async (upstream, line) => {
    upstream.reply({}, { content: SAID, chunks: 2 })
    const deltas = []
    for await (const chunk of line.stream(REQUEST)) deltas.push(chunk.choices[0]?.delta?.content ?? '')
    return [deltas.filter(Boolean).length, deltas.join('')]
  },
  always([2, SAID]),
)

everywhere(
  'answer: json, raw and status, to whatever is asked for',
  async (upstream, line) => {
    upstream
      .reply({ path: '/json' }, { json: { a: [1] } })
      .reply({ path: '/raw' }, { raw: { body: '[2]', contentType: 'application/json' } })
      .reply({ path: '/status' }, { json: {}, status: 418 })
    const [json, raw, status] = ['/json', '/raw', '/status'].map((path) => line.fetch(upstream.url + path))
    return [await (await json).json(), await (await raw).text(), (await status).status]
  },
  always([{ a: [1] }, '[2]', 418]),
)
