// Vercel's published `ai` package over a client's fetch, with three of its providers.

import assert from 'node:assert/strict'
import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import {
  APICallError,
  embedMany,
  generateText,
  isStepCount,
  NoObjectGeneratedError,
  Output,
  RetryError,
  streamText,
  tool,
  transcribe,
} from 'ai'
import { z } from 'zod'
import { alike, collect, events, formOf, global, gone, json, own, rejection, until } from './support.mjs'

globalThis.AI_SDK_LOG_WARNINGS = false

const compatible = ({ url, fetch }) => createOpenAICompatible({ name: 'mine', baseURL: url, apiKey: 'sk-test', fetch })
const openai = ({ url, fetch }) => createOpenAI({ baseURL: url, apiKey: 'sk-test', fetch })
const anthropic = ({ url, fetch }) => createAnthropic({ baseURL: url, apiKey: 'sk-ant-test', fetch })

/** The models of all that chat by the stand-in's endpoints. */
const models = (site) => [compatible(site)('gpt-test'), openai(site).chat('gpt-test'), anthropic(site)('claude-test')]

const ASK = { prompt: 'Hello', maxOutputTokens: 100, maxRetries: 0 }

/** Without ids and times. */
const lasting = ({ text, finishReason, usage, toolCalls, toolResults, warnings }) => ({
  text,
  finishReason,
  usage,
  toolCalls,
  toolResults,
  warnings,
})

// Whole answers.

alike('chat', 'an answer of each provider, its headers and usage', async (site) => {
  site.upstream.reply({}, { content: 'Hello, wörld' })
  const seen = []
  for (const model of models(site)) {
    const answer = await generateText({ ...ASK, model })
    assert.equal(answer.text, 'Hello, wörld')
    assert.ok(answer.usage.totalTokens > 0)
    seen.push(lasting(answer), answer.response.headers, answer.response.body)
  }
  return seen
})

alike('chat', 'the responses API', async (site) => {
  const output = [
    { type: 'message', id: 'm', role: 'assistant', content: [{ type: 'output_text', text: 'Hello', annotations: [] }] },
  ]
  const usage = { input_tokens: 1, output_tokens: 1 }
  site.upstream.reply(
    { path: '/v1/responses' },
    { json: { id: 'r', created_at: 1, model: 'gpt-test', output, usage, incomplete_details: null } },
  )
  const answer = await generateText({ ...ASK, model: openai(site).responses('gpt-test') })
  assert.equal(answer.text, 'Hello')
  return lasting(answer)
})

// Streams.

alike('streams', 'the text and every part of each provider, in their order', async (site) => {
  const content = 'One two three, wörld. '.repeat(20)
  site.upstream.reply({}, { content, chunks: 50 })
  const seen = []
  for (const model of models(site)) {
    const result = streamText({ ...ASK, model })
    const parts = await collect(result.fullStream)
    assert.equal(await result.text, content)
    assert.deepEqual([parts[0].type, parts.at(-1).type], ['start', 'finish'])
    seen.push(parts.map(({ type, text }) => [type, text]))
  }
  return seen
})

alike('streams', 'the responses API', async (site) => {
  const message = { type: 'message', id: 'm' }
  const of = { item_id: 'm', output_index: 0, content_index: 0 }
  site.upstream.reply(
    { path: '/v1/responses' },
    events(
      { type: 'response.created', response: { id: 'r', created_at: 1, model: 'gpt-test' } },
      { type: 'response.output_item.added', output_index: 0, item: message },
      { type: 'response.output_text.delta', ...of, delta: 'Hel' },
      { type: 'response.output_text.delta', ...of, delta: 'lo' },
      { type: 'response.output_item.done', output_index: 0, item: message },
      { type: 'response.completed', response: { usage: { input_tokens: 1, output_tokens: 1 } } },
    ),
  )
  const result = streamText({ ...ASK, model: openai(site).responses('gpt-test') })
  const seen = await collect(result.textStream)
  assert.deepEqual(seen, ['Hel', 'lo'])
  return seen
})

alike('streams', 'as a response of a server of one’s own', async (site) => {
  site.upstream.reply({}, { content: 'One two three', chunks: 5 })
  const result = streamText({ ...ASK, model: compatible(site)('gpt-test') })
  assert.equal(await result.toTextStreamResponse().text(), 'One two three')
})

alike('streams', 'one that is left early ends upstream', async (site) => {
  site.upstream.reply({}, { content: 'word '.repeat(50), chunks: 50 })
  site.upstream.fault({ kind: 'stall', afterTokens: 3, for: 60_000 })
  const controller = new AbortController()
  const { textStream } = streamText({ ...ASK, model: compatible(site)('gpt-test'), abortSignal: controller.signal })
  for await (const _ of textStream) break
  controller.abort()
  await gone(site)
})

// Tools and structured output.

const inputSchema = z.object({ city: z.string() })

alike('tools', 'a loop that calls them until there is an answer, whole and streamed', async (site) => {
  site.upstream.reply(
    {},
    { toolCalls: [{ id: 'call_1', function: { name: 'weather', arguments: '{"city":"Paris"}' } }] },
  )
  const isAnswered = ({ body: { messages } }) =>
    messages.at(-1).role === 'tool' || messages.at(-1).content?.[0]?.type === 'tool_result'
  site.upstream.reply(isAnswered, { content: 'Rain.' })
  const seen = []
  for (const model of models(site)) {
    const asked = []
    const weather = tool({ inputSchema, execute: async ({ city }) => asked.push(city) && 'rain' })
    const how = { ...ASK, model, tools: { weather }, stopWhen: isStepCount(3) }
    const whole = await generateText(how)
    const streamed = streamText(how)
    assert.deepEqual([whole.text, await streamed.text], ['Rain.', 'Rain.'])
    assert.deepEqual(asked, ['Paris', 'Paris'])
    seen.push(whole.steps.map(lasting), (await streamed.steps).map(lasting))
  }
  return seen
})

alike('structured', 'what a schema asks for, whole and in parts; and what is not that, refused', async (site) => {
  site.upstream.reply({}, { content: '{"city":"Paris"}' })
  const seen = []
  for (const model of models(site)) {
    const output = Output.object({ schema: inputSchema })
    const whole = await generateText({ ...ASK, model, output })
    const streamed = streamText({ ...ASK, model, output })
    seen.push(await collect(streamed.partialOutputStream))
    assert.deepEqual([whole.output, await streamed.output], [{ city: 'Paris' }, { city: 'Paris' }])
  }
  site.upstream.reply({}, { content: '{"city":5}' })
  const model = compatible(site)('gpt-test')
  const wrong = await rejection(generateText({ ...ASK, model, output: Output.object({ schema: inputSchema }) }))
  assert.ok(NoObjectGeneratedError.isInstance(wrong))
  return [seen, wrong.message]
})

alike('embeddings', 'of many values', async (site) => {
  const seen = []
  for (const model of [compatible(site).embeddingModel('e'), openai(site).embedding('e')]) {
    const { embeddings, usage } = await embedMany({ model, values: ['a', 'b'], maxRetries: 0 })
    assert.ok(embeddings.length === 2 && embeddings[0].length > 0)
    seen.push(embeddings, usage)
  }
  return seen
})

alike('files', 'a recording goes up as a form, and becomes words', async (site) => {
  const forms = []
  const url = await site.serve(async (request, response, body) => {
    const form = await formOf(request, body)
    forms.push([form.get('model'), form.get('file').type, form.get('file').size])
    json(response, { text: 'Hello' })
  })
  const model = openai({ ...site, url }).transcription('whisper-1')
  const { text } = await transcribe({ model, audio: new Uint8Array(50_000), maxRetries: 0 })
  assert.equal(text, 'Hello')
  assert.deepEqual([forms.length, forms[0][0], forms[0][2]], [1, 'whisper-1', 50_000])
  return forms
})

// What goes wrong.

alike(
  'errors',
  'each status is an APICallError with its status, headers and words, which knows whether to try again',
  async (site) => {
    const all = []
    for (const status of [400, 401, 403, 404, 408, 409, 422, 429, 500, 503, 529]) {
      for (const model of models(site)) {
        site.upstream.fault({ kind: 'status', status, headers: { 'x-mine': 'yes' } })
        const error = await rejection(generateText({ ...ASK, model }))
        assert.ok(APICallError.isInstance(error), String(error))
        assert.deepEqual([error.statusCode, error.responseHeaders['x-mine']], [status, 'yes'])
        assert.equal(error.isRetryable, [408, 409, 429].includes(status) || status >= 500)
        all.push(error)
      }
    }
    return all
  },
)

/** How a stream fails: the parts before, and the error, whether it is one of them or breaks the loop. */
async function failure(model) {
  const types = []
  let failed
  try {
    for await (const part of streamText({ ...ASK, model, onError() {} }).fullStream) {
      types.push(part.type)
      if (part.type === 'error') failed = part.error
    }
  } catch (error) {
    failed = error
  }
  assert.ok(failed, types.join())
  return [[...new Set(types)], failed]
}

alike('errors', 'an error in the middle of a stream is a part of it', async (site) => {
  const seen = []
  for (const model of models(site)) {
    site.upstream.fault({ kind: 'error-in-stream', afterTokens: 2 })
    seen.push(await failure(model))
  }
  return seen
})

alike(
  'connection',
  'one that is refused, or hung up before the head, is an APICallError that may be tried again',
  async (site) => {
    const seen = []
    for (const model of [...models(site), ...models({ ...site, url: site.nowhere })]) {
      site.upstream.fault({ kind: 'reset', after: 'request' })
      const error = await rejection(generateText({ ...ASK, model }))
      assert.ok(APICallError.isInstance(error) && error.isRetryable)
      assert.match(error.message, /^Cannot connect to API/)
      seen.push(error)
      site.upstream.reset()
    }
    assert.equal(seen.at(-1).cause.code, 'ECONNREFUSED')
    return seen
  },
)

alike('connection', 'one that breaks in an answer or a stream fails', async (site) => {
  site.upstream.reply({}, { content: 'word '.repeat(50), chunks: 50 })
  const seen = []
  for (const model of models(site)) {
    for (const fault of [
      { kind: 'cut', afterTokens: 5 },
      { kind: 'reset', after: 5 },
    ]) {
      site.upstream.fault(fault)
      seen.push(await rejection(generateText({ ...ASK, model })))
      site.upstream.fault(fault)
      const [types, error] = await failure(model)
      assert.ok(error instanceof Error && types.includes('text-delta'))
      seen.push(types, error)
    }
  }
  return seen
})

alike('retries', 'as many, after the same', async (site) => {
  const model = compatible(site)('gpt-test')
  for (const status of [408, 409, 429, 503]) {
    site.upstream.fault({ kind: 'status', status, headers: { 'retry-after-ms': '1' } })
    await generateText({ ...ASK, model, maxRetries: 2 })
  }
  site.upstream.fault({ kind: 'reset', after: 'request' })
  await generateText({ ...ASK, model, maxRetries: 1 })
  assert.equal(site.upstream.requests.length, 10)
  site.upstream.fault({ kind: 'status', status: 503, headers: { 'retry-after-ms': '1' } }, { times: 3 })
  const error = await rejection(generateText({ ...ASK, model, maxRetries: 2 }))
  assert.ok(RetryError.isInstance(error))
  assert.deepEqual([error.reason, error.errors.length], ['maxRetriesExceeded', 3])
  return error
})

alike('timeouts', 'of a call, and between two pieces of a stream', async (site) => {
  const model = compatible(site)('gpt-test')
  site.upstream.fault({ kind: 'silence', for: 60_000 })
  const late = await rejection(generateText({ ...ASK, model, timeout: 60 }))
  assert.equal(late.name, 'TimeoutError')
  site.upstream.reply({}, { content: 'word '.repeat(50), chunks: 50 })
  site.upstream.fault({ kind: 'stall', afterTokens: 3, for: 60_000 })
  const { fullStream } = streamText({ ...ASK, model, timeout: { chunkMs: 60 }, onError() {} })
  const last = (await collect(fullStream)).at(-1).type
  assert.notEqual(last, 'finish')
  await gone(site)
  return [late, last]
})

alike('aborts', 'before it begins, while it waits, and in a stream', async (site) => {
  const model = compatible(site)('gpt-test')
  const early = await rejection(generateText({ ...ASK, model, abortSignal: AbortSignal.abort() }))
  assert.equal(site.upstream.requests.length, 0)
  site.upstream.fault({ kind: 'silence', for: 60_000 })
  const controller = new AbortController()
  const answer = rejection(generateText({ ...ASK, model, abortSignal: controller.signal }))
  await until(() => site.upstream.requests.length === 1)
  controller.abort()
  const late = await answer
  for (const error of [early, late]) assert.equal(error.name, 'AbortError')
  site.upstream.reply({}, { content: 'word '.repeat(50), chunks: 50 })
  site.upstream.fault({ kind: 'stall', afterTokens: 3, for: 60_000 })
  const other = new AbortController()
  const types = []
  const { fullStream } = streamText({ ...ASK, model, abortSignal: other.signal })
  for await (const { type } of fullStream) {
    if (type === 'text-delta') other.abort()
    if (types.at(-1) !== type) types.push(type)
  }
  assert.equal(types.at(-1), 'abort')
  await gone(site)
  return [early, late, types]
})

// What is ours alone.

global(async (site) => {
  const seen = []
  for (const model of models(site)) {
    seen.push(lasting(await generateText({ ...ASK, model })), await streamText({ ...ASK, model }).text)
  }
  return seen
})

own(
  'pool',
  'calls of several providers share one connection over HTTP/2',
  { upstream: { tls: true } },
  async (site) => {
    const calls = Array.from({ length: 10 }, () => models(site).map((model) => generateText({ ...ASK, model })))
    await Promise.all(calls.flat())
    assert.equal(site.upstream.connections.opened, 1)
    assert.equal(site.line.metrics().requests.succeeded, 30)
  },
)
