// The published `openai` package over a client's fetch.

import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import OpenAI, { toFile } from 'openai'
import { LengthFinishReasonError } from 'openai/error'
import { zodFunction, zodResponseFormat, zodTextFormat } from 'openai/helpers/zod'
import { z } from 'zod'
import { run } from '../support.mjs'
import { alike, collect, events, formOf, global, json, own, REQUEST, rejection, until } from './support.mjs'
import { twins } from './twins.mjs'

const STREAMED = { ...REQUEST, stream: true }

function openai({ url, fetch }, options) {
  return new OpenAI({ apiKey: 'sk-test', baseURL: url, fetch, maxRetries: 0, ...options })
}

/** What the deltas of a stream say. */
async function said(stream) {
  let text = ''
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? ''
  return text
}

// Whole answers.

alike('chat', 'an answer, its response and its request id', async (site) => {
  site.upstream.reply({}, { content: 'Hello, wörld' })
  const { data, response, request_id: id } = await openai(site).chat.completions.create(REQUEST).withResponse()
  assert.equal(data.choices[0].message.content, 'Hello, wörld')
  assert.ok(response instanceof Response && response.headers instanceof Headers)
  assert.equal(data._request_id, id)
  return { data, id, status: response.status, url: response.url, headers: [...response.headers] }
})

alike('chat', 'the responses API', async (site) => {
  const output = [{ type: 'message', id: 'm', role: 'assistant', content: [{ type: 'output_text', text: 'Hello' }] }]
  site.upstream.reply({ path: '/v1/responses' }, { json: { id: 'r', object: 'response', output } })
  const answer = await openai(site).responses.create({ model: 'gpt-test', input: 'Hello' })
  assert.equal(answer.output_text, 'Hello')
  return answer
})

// Streams.

alike('streams', 'every chunk, in its order', async (site) => {
  const content = 'One two three, wörld. '.repeat(50)
  site.upstream.reply({}, { content, chunks: 100 })
  const chunks = await collect(await openai(site).chat.completions.create(STREAMED))
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? '').join(''), content)
  return chunks
})

alike('streams', 'the helper’s events, in their order', async (site) => {
  site.upstream.reply({}, { content: 'One two three', chunks: 5 })
  const seen = []
  const stream = openai(site).chat.completions.stream(REQUEST)
  for (const event of ['connect', 'chunk', 'content', 'message', 'finalContent', 'finalMessage', 'end']) {
    stream.on(event, (value) => seen.push([event, value]))
  }
  assert.equal(await stream.finalContent(), 'One two three')
  assert.deepEqual([seen[0][0], seen.at(-1)[0]], ['connect', 'end'])
  return [seen, await stream.finalChatCompletion()]
})

alike('streams', 'the responses API', async (site) => {
  const delta = (text) => ({
    type: 'response.output_text.delta',
    item_id: 'm',
    output_index: 0,
    content_index: 0,
    delta: text,
  })
  const response = { id: 'r', object: 'response', output: [] }
  site.upstream.reply(
    { path: '/v1/responses' },
    events({ type: 'response.created', response }, delta('Hel'), delta('lo'), { type: 'response.completed', response }),
  )
  const seen = await collect(await openai(site).responses.create({ model: 'gpt-test', input: 'Hello', stream: true }))
  assert.deepEqual(seen.map(({ delta = '' }) => delta).join(''), 'Hello')
  return seen
})

// Tools and structured output.

const weather = z.object({ city: z.string() })
const call = { function: { name: 'weather', arguments: '{"city":"Paris"}' } }

alike('tools', 'a call of one, whole and streamed', async (site) => {
  site.upstream.reply({}, { toolCalls: [call] })
  const tools = [zodFunction({ name: 'weather', parameters: weather })]
  const whole = await openai(site).chat.completions.parse({ ...REQUEST, tools })
  const streamed = await openai(site)
    .chat.completions.stream({ ...REQUEST, tools })
    .finalChatCompletion()
  for (const { choices } of [whole, streamed]) {
    assert.deepEqual(choices[0].message.tool_calls[0].function.parsed_arguments, { city: 'Paris' })
  }
  return [whole, streamed]
})

alike('tools', 'a loop that calls them until there is an answer', async (site) => {
  site.upstream.reply({}, { toolCalls: [call] })
  site.upstream.reply(({ body }) => body.messages.at(-1).role === 'tool', { content: 'Rain.' })
  const asked = []
  const tool = zodFunction({ name: 'weather', parameters: weather, function: ({ city }) => asked.push(city) && 'rain' })
  for (const stream of [false, true]) {
    const runner = openai(site).chat.completions.runTools({ ...REQUEST, stream, tools: [tool] })
    assert.equal(await runner.finalContent(), 'Rain.')
  }
  assert.deepEqual(asked, ['Paris', 'Paris'])
})

alike('structured', 'what a schema asks for, parsed; and what is not that, refused', async (site) => {
  site.upstream.reply({}, { content: '{"city":"Paris"}' })
  const format = { ...REQUEST, response_format: zodResponseFormat(weather, 'place') }
  const whole = await openai(site).chat.completions.parse(format)
  const streamed = await openai(site).chat.completions.stream(format).finalChatCompletion()
  for (const { choices } of [whole, streamed]) assert.deepEqual(choices[0].message.parsed, { city: 'Paris' })
  site.upstream.reply({}, { content: '{"city"', finishReason: 'length' })
  const cut = await rejection(openai(site).chat.completions.parse(format))
  assert.ok(cut instanceof LengthFinishReasonError)
  return [whole, streamed, cut]
})

alike('structured', 'the responses API', async (site) => {
  const output = [
    { type: 'message', id: 'm', role: 'assistant', content: [{ type: 'output_text', text: '{"city":"Paris"}' }] },
  ]
  site.upstream.reply({ path: '/v1/responses' }, { json: { id: 'r', object: 'response', output } })
  const text = { format: zodTextFormat(weather, 'place') }
  const answer = await openai(site).responses.parse({ model: 'gpt-test', input: 'Hello', text })
  assert.deepEqual(answer.output_parsed, { city: 'Paris' })
  return answer
})

alike('embeddings', 'as numbers, whether they crossed as those or as base64', async (site) => {
  const input = ['a', 'b']
  const packed = await openai(site).embeddings.create({ model: 'e', input })
  const numbers = await openai(site).embeddings.create({ model: 'e', input, encoding_format: 'float' })
  for (const { data } of [packed, numbers]) assert.ok(data.length === 2 && data[0].embedding.length > 0)
  return [packed, numbers]
})

// Files and lists.

alike('files', 'go up as forms from bytes, from disk and from another fetch, and come down as bytes', async (site) => {
  const forms = []
  const url = await site.serve(async (request, response, body) => {
    if (request.method === 'GET') {
      response.setHeader('content-type', 'application/octet-stream')
      return response.end(Buffer.from([0, 255, 128, 10]))
    }
    const form = await formOf(request, body)
    const file = form.get('file')
    forms.push([form.get('purpose'), file.name, file.size, await file.text()])
    json(response, { id: 'file-1', object: 'file' })
  })
  const sdk = openai({ ...site, url })
  const file = await toFile(Buffer.alloc(100_000, 'x'), 'data.jsonl')
  assert.equal((await sdk.files.create({ file, purpose: 'batch' })).id, 'file-1')
  await sdk.files.create({ file: createReadStream(new URL('package.json', import.meta.url)), purpose: 'batch' })
  await sdk.files.create({ file: await site.fetch('data:text/plain,of a response'), purpose: 'batch' })
  await sdk.files.create({
    file: await site.fetch(`${url}/file.bin`, { headers: { 'user-agent': 'mine' } }),
    purpose: 'batch',
  })
  assert.deepEqual(
    forms.map(([, name, size]) => [name, size]),
    [
      ['data.jsonl', 100_000],
      ['package.json', forms[1][2]],
      [forms[2][1], 13],
      ['file.bin', 4],
    ],
  )
  const content = await sdk.files.content('file-1')
  const bytes = [...new Uint8Array(await content.arrayBuffer())]
  assert.deepEqual(bytes, [0, 255, 128, 10])
  return { forms, bytes }
})

alike('files', 'a recording becomes words', async (site) => {
  site.upstream.reply({ path: '/v1/audio/transcriptions' }, { json: { text: 'Hello' } })
  const file = await toFile(Buffer.from('RIFF'), 'speech.wav', { type: 'audio/wav' })
  const answer = await openai(site).audio.transcriptions.create({ model: 'whisper-1', file })
  assert.equal(answer.text, 'Hello')
  return answer
})

alike('lists', 'are turned page by page, by cursors, until there is no more', async (site) => {
  const pages = { null: ['a', 'b'], b: ['c', 'd'], d: ['e'] }
  for (const kind of ['files', 'batches']) {
    for (const [after, ids] of Object.entries(pages)) {
      const data = ids.map((id) => ({ id, object: kind }))
      site.upstream.reply(
        ({ path }) =>
          path.startsWith(`/v1/${kind}`) && `${new URL(path, 'http://x').searchParams.get('after')}` === after,
        { json: { object: 'list', data, has_more: after !== 'd' } },
      )
    }
    const all = await collect(openai(site)[kind].list({ limit: 2 }))
    assert.deepEqual(
      all.map(({ id }) => id),
      ['a', 'b', 'c', 'd', 'e'],
    )
  }
  return collect(openai(site).models.list())
})

// What goes wrong, and more.

twins({
  Sdk: OpenAI,
  client: openai,
  create: (sdk, ...how) => sdk.chat.completions.create(...how),
  request: REQUEST,
  classes: {
    400: 'BadRequestError',
    401: 'AuthenticationError',
    403: 'PermissionDeniedError',
    404: 'NotFoundError',
    409: 'ConflictError',
    422: 'UnprocessableEntityError',
    429: 'RateLimitError',
    500: 'InternalServerError',
    503: 'InternalServerError',
    529: 'InternalServerError',
  },
})

alike('errors', 'answers that are no JSON, or nothing', async (site) => {
  const answers = [
    { raw: { body: '<html>', contentType: 'text/html' }, status: 502 },
    { raw: { body: '', contentType: 'application/json' }, status: 500 },
    { raw: { body: '{"a":', contentType: 'application/json' } },
  ]
  const all = []
  for (const answer of answers) {
    site.upstream.reply({}, answer)
    all.push(await rejection(openai(site).chat.completions.create(REQUEST)))
  }
  assert.deepEqual(
    all.map(({ status }) => status),
    [502, 500, undefined],
  )
  return all
})

alike('timeouts', 'one that passes in the body of an answer', async (site) => {
  const url = await site.serve((_, response) => {
    response.setHeader('content-type', 'application/json')
    response.write('{"id":')
  })
  const error = await rejection(openai({ ...site, url }, { timeout: 80 }).chat.completions.create(REQUEST))
  assert.ok(error instanceof OpenAI.APIConnectionTimeoutError)
  return error
})

// What is ours alone.

global(async (site) => {
  site.upstream.reply({}, { content: 'Hello' })
  const whole = await openai(site).chat.completions.create(REQUEST)
  return [whole, await said(await openai(site).chat.completions.create(STREAMED))]
})

own('global', 'a client of the SDK that was made before keeps the fetch that it took', {}, async ({ url, line }) => {
  const earlier = openai({ url })
  const nodes = globalThis.fetch
  globalThis.fetch = line.fetch
  try {
    await earlier.chat.completions.create(REQUEST)
    assert.equal(line.metrics().requests.started, 0)
    await openai({ url }).chat.completions.create(REQUEST)
    assert.equal(line.metrics().requests.started, 1)
  } finally {
    globalThis.fetch = nodes
  }
})

own(
  'pool',
  'many calls at once share one connection over HTTP/2, and the figures count them',
  { upstream: { tls: true } },
  async (site) => {
    const sdk = openai(site)
    await Promise.all(Array.from({ length: 30 }, () => sdk.chat.completions.create(REQUEST)))
    assert.equal(site.upstream.connections.opened, 1)
    const { pool } = site.line.metrics()
    assert.deepEqual([pool.opened, pool.reused >= 29], [1, true])
  },
)

own('pool', 'no more connections than the pool may have', { pool: { maxConnectionsPerOrigin: 2 } }, async (site) => {
  const sdk = openai(site)
  await Promise.all(Array.from({ length: 20 }, () => sdk.chat.completions.create(REQUEST)))
  assert.ok(site.upstream.connections.opened <= 2)
})

own(
  'pool',
  'a priority among its headers says who goes first, and is not sent on',
  { pool: { maxConnections: 1 } },
  async (site) => {
    const { upstream } = site
    const urgent = openai(site, { defaultHeaders: { 'trunkline-priority': 'critical' } })
    const patient = openai(site, { defaultHeaders: { 'trunkline-priority': 'background' } })
    const ask = (sdk, user) => sdk.chat.completions.create({ ...REQUEST, user })
    upstream.fault({ kind: 'silence', for: 60_000 })
    const holder = new AbortController()
    const held = rejection(openai(site).chat.completions.create(REQUEST, { signal: holder.signal }))
    await until(() => upstream.requests.length === 1)
    const depth = () => Object.values(site.line.metrics().queue.depth).reduce((sum, waiting) => sum + waiting)
    const calls = []
    for (const [sdk, user] of [
      [patient, 'b1'],
      [patient, 'b2'],
      [urgent, 'a'],
    ]) {
      calls.push(ask(sdk, user))
      await until(() => depth() === calls.length)
    }
    holder.abort()
    await Promise.all([held, ...calls])
    assert.deepEqual(
      upstream.requests.slice(1).map(({ body }) => body.user),
      ['a', 'b1', 'b2'],
    )
    for (const { headers } of upstream.requests) assert.ok(!('trunkline-priority' in headers))
  },
)

own('pool', 'a process ends by itself when nothing is left to do', {}, async ({ url }) => {
  const script = `
    import OpenAI from ${JSON.stringify(import.meta.resolve('openai'))}
    import { Trunkline } from 'trunkline'
    const line = new Trunkline()
    const openai = new OpenAI({ apiKey: 'k', baseURL: process.env.UPSTREAM, fetch: line.fetch })
    await openai.chat.completions.create(${JSON.stringify(REQUEST)})
    for await (const _ of await openai.chat.completions.create(${JSON.stringify(STREAMED)})) break
    console.log('done')
  `
  const { code, stdout, stderr } = await run(script, { url })
  assert.deepEqual([code, stdout, stderr], [0, 'done', ''])
})
