// The published `@anthropic-ai/sdk` package over a client's fetch.

import assert from 'node:assert/strict'
import Anthropic, { toFile } from '@anthropic-ai/sdk'
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod'
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod'
import { z } from 'zod'
import { alike, collect, formOf, global, gone, json, own, rejection } from './support.mjs'
import { twins } from './twins.mjs'

const REQUEST = { model: 'claude-test', max_tokens: 100, messages: [{ role: 'user', content: 'Hello' }] }
const STREAMED = { ...REQUEST, stream: true }

function anthropic({ url, fetch }, options) {
  // Its paths begin with /v1 themselves.
  return new Anthropic({ apiKey: 'sk-ant-test', baseURL: url.replace(/\/v1$/, ''), fetch, maxRetries: 0, ...options })
}

const textOf = ({ content }) => content.map(({ text = '' }) => text).join('')

// Whole answers.

alike('chat', 'an answer, its response and its request id', async (site) => {
  site.upstream.reply({}, { content: 'Hello, wörld' })
  const { data, response, request_id: id } = await anthropic(site).messages.create(REQUEST).withResponse()
  assert.equal(textOf(data), 'Hello, wörld')
  assert.ok(response instanceof Response && response.headers instanceof Headers)
  assert.equal(data._request_id ?? null, id ?? null)
  return { data, id, status: response.status, url: response.url, headers: [...response.headers] }
})

alike('chat', 'a count of tokens', async (site) => {
  site.upstream.reply({ path: '/v1/messages/count_tokens' }, { json: { input_tokens: 7 } })
  const { max_tokens: _, ...request } = REQUEST
  const { input_tokens: tokens } = await anthropic(site).messages.countTokens(request)
  assert.equal(tokens, 7)
})

// Streams.

alike('streams', 'every event, in its order', async (site) => {
  const content = 'One two three, wörld. '.repeat(50)
  site.upstream.reply({}, { content, chunks: 100 })
  const seen = await collect(await anthropic(site).messages.create(STREAMED))
  assert.equal(seen.map(({ delta }) => delta?.text ?? '').join(''), content)
  assert.deepEqual([seen[0].type, seen.at(-1).type], ['message_start', 'message_stop'])
  return seen
})

alike('streams', 'the helper’s events, in their order', async (site) => {
  site.upstream.reply({}, { content: 'One two three', chunks: 5 })
  const seen = []
  const stream = anthropic(site).messages.stream(REQUEST)
  for (const event of ['connect', 'streamEvent', 'text', 'contentBlock', 'message', 'finalMessage', 'end']) {
    stream.on(event, (...values) => seen.push([event, ...values]))
  }
  assert.equal(await stream.finalText(), 'One two three')
  assert.deepEqual([seen[0][0], seen.at(-1)[0]], ['connect', 'end'])
  return seen
})

// Tools and structured output.

const weather = z.object({ city: z.string() })
const call = { function: { name: 'weather', arguments: '{"city":"Paris"}' } }

alike('tools', 'a call of one, whole and streamed', async (site) => {
  site.upstream.reply({}, { toolCalls: [call] })
  const tools = [{ name: 'weather', input_schema: { type: 'object', properties: { city: { type: 'string' } } } }]
  const whole = await anthropic(site).messages.create({ ...REQUEST, tools })
  const streamed = await anthropic(site)
    .messages.stream({ ...REQUEST, tools })
    .finalMessage()
  for (const { content } of [whole, streamed]) {
    const { name, input } = content.find(({ type }) => type === 'tool_use')
    assert.deepEqual([name, input], ['weather', { city: 'Paris' }])
  }
  return [whole, streamed]
})

alike('tools', 'a loop that calls them until there is an answer', async (site) => {
  site.upstream.reply({}, { toolCalls: [{ id: 'toolu_1', ...call }] })
  site.upstream.reply(({ body }) => body.messages.at(-1).content[0].type === 'tool_result', { content: 'Rain.' })
  const asked = []
  const run = ({ city }) => asked.push(city) && 'rain'
  const tool = betaZodTool({ name: 'weather', description: 'The weather', inputSchema: weather, run })
  const whole = await anthropic(site).beta.messages.toolRunner({ ...REQUEST, thread: false, tools: [tool] })
  assert.equal(textOf(whole), 'Rain.')
  assert.deepEqual(asked, ['Paris'])
  return whole
})

alike('structured', 'what a schema asks for, parsed; and what is not that, refused', async (site) => {
  const format = { ...REQUEST, output_config: { format: zodOutputFormat(weather) } }
  site.upstream.reply({}, { content: '{"city":"Paris"}' })
  const whole = await anthropic(site).messages.parse(format)
  const streamed = await anthropic(site).messages.stream(format).finalMessage()
  for (const { parsed_output: parsed } of [whole, streamed]) assert.deepEqual(parsed, { city: 'Paris' })
  site.upstream.reply({}, { content: '{"city":5}' })
  const wrong = await rejection(anthropic(site).messages.parse(format))
  assert.ok(wrong instanceof Anthropic.AnthropicError)
  return [whole, streamed, wrong]
})

// Files and lists.

alike('files', 'go up as forms, and come down as bytes', async (site) => {
  const forms = []
  const url = await site.serve(async (request, response, body) => {
    if (request.method === 'GET') {
      response.setHeader('content-type', 'application/octet-stream')
      return response.end(Buffer.from([0, 255, 128, 10]))
    }
    const file = (await formOf(request, body)).get('file')
    forms.push([file.name, file.type, file.size])
    json(response, { id: 'file_1', type: 'file' })
  })
  const { files } = anthropic({ ...site, url }).beta
  const file = await toFile(Buffer.alloc(100_000, 'x'), 'data.txt', { type: 'text/plain' })
  assert.equal((await files.upload({ file })).id, 'file_1')
  assert.deepEqual(forms, [['data.txt', 'text/plain', 100_000]])
  const content = await files.download('file_1')
  const bytes = [...new Uint8Array(await content.arrayBuffer())]
  assert.deepEqual(bytes, [0, 255, 128, 10])
  return { forms, bytes }
})

alike('lists', 'are turned page by page, by cursors, until there is no more', async (site) => {
  const pages = { null: ['a', 'b'], b: ['c', 'd'], d: ['e'] }
  for (const [after, ids] of Object.entries(pages)) {
    const data = ids.map((id) => ({ id, type: 'model' }))
    site.upstream.reply(({ path }) => `${new URL(path, 'http://x').searchParams.get('after_id')}` === after, {
      json: { data, first_id: ids[0], last_id: ids.at(-1), has_more: after !== 'd' },
    })
  }
  const { models, messages } = anthropic(site)
  for (const resource of [models, messages.batches]) {
    const all = await collect(resource.list({ limit: 2 }))
    assert.deepEqual(
      all.map(({ id }) => id),
      ['a', 'b', 'c', 'd', 'e'],
    )
  }
})

alike('lists', 'the results of a batch, line by line', async (site) => {
  const lines = ['a', 'b', 'c'].map((id) => ({ custom_id: id, result: { type: 'canceled' } }))
  site.upstream.reply(
    { path: '/v1/messages/batches/b1' },
    {
      json: { id: 'b1', type: 'message_batch', results_url: `${site.url}/messages/batches/b1/results` },
    },
  )
  site.upstream.reply(
    { path: '/v1/messages/batches/b1/results' },
    {
      raw: { body: lines.map((line) => `${JSON.stringify(line)}\n`).join(''), contentType: 'application/binary' },
    },
  )
  const seen = await collect(await anthropic(site).messages.batches.results('b1'))
  assert.deepEqual(seen, lines)
})

// What goes wrong, and more.

twins({
  Sdk: Anthropic,
  client: anthropic,
  create: (sdk, ...how) => sdk.messages.create(...how),
  request: REQUEST,
  classes: {
    400: 'BadRequestError',
    401: 'AuthenticationError',
    402: 'PaymentRequiredError',
    403: 'PermissionDeniedError',
    404: 'NotFoundError',
    409: 'ConflictError',
    413: 'ContentTooLargeError',
    422: 'UnprocessableEntityError',
    429: 'RateLimitError',
    500: 'InternalServerError',
    503: 'ServiceUnavailableError',
    529: 'OverloadedError',
  },
})

alike('streams', 'the helper fails where its stream breaks, and where it is aborted', async (site) => {
  site.upstream.reply({}, { content: 'word '.repeat(50), chunks: 50 })
  site.upstream.fault({ kind: 'cut', afterTokens: 5 })
  const broken = await rejection(anthropic(site).messages.stream(REQUEST).finalMessage())
  site.upstream.fault({ kind: 'stall', afterTokens: 3, for: 60_000 })
  const helper = anthropic(site).messages.stream(REQUEST)
  helper.on('text', () => helper.abort())
  const aborted = await rejection(helper.finalMessage())
  assert.ok(aborted instanceof Anthropic.APIUserAbortError)
  await gone(site)
  return [broken, aborted]
})

// What is ours alone.

global(async (site) => {
  const whole = await anthropic(site).messages.create(REQUEST)
  return [whole, await collect(await anthropic(site).messages.create(STREAMED))]
})

own('pool', 'whole answers and streams share one connection over HTTP/2', { upstream: { tls: true } }, async (site) => {
  const sdk = anthropic(site)
  const calls = Array.from({ length: 20 }, async (_, n) =>
    n % 2 === 0 ? sdk.messages.create(REQUEST) : collect(await sdk.messages.create(STREAMED)),
  )
  await Promise.all(calls)
  assert.equal(site.upstream.connections.opened, 1)
  assert.equal(site.line.metrics().requests.succeeded, 20)
})
