// The published `openai` package over Node's fetch and over ours: what its users see is the same.

import assert from 'node:assert/strict'
import OpenAI, { toFile } from 'openai'
import { MockUpstream } from 'trunkline/testing'
import { REQUEST, until } from '../support.mjs'
import { both, rejected, serve } from './support.mjs'

async function site(t, fetch, options) {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const openai = new OpenAI({ apiKey: 'sk-test', baseURL: `${upstream.url}/v1`, fetch, maxRetries: 0, ...options })
  return { upstream, openai }
}

both('a chat, and its response', async (t, fetch) => {
  const { upstream, openai } = await site(t, fetch)
  upstream.reply({}, { content: 'Hello, wörld' })
  const { data, response, request_id: id } = await openai.chat.completions.create(REQUEST).withResponse()
  assert.equal(data.choices[0].message.content, 'Hello, wörld')
  assert.equal(response.status, 200)
  assert.ok(response instanceof Response)
  assert.equal(id, response.headers.get('x-request-id'))
  const raw = await openai.chat.completions.create(REQUEST).asResponse()
  assert.equal((await raw.json()).choices[0].message.content, 'Hello, wörld')
})

both('a stream, read to its end, left early, and teed', async (t, fetch) => {
  const { upstream, openai } = await site(t, fetch)
  const content = 'One two three four five six seven eight nine ten, wörld '.repeat(20)
  upstream.reply({ stream: true }, { content, chunks: 100 })
  const read = async (stream) => {
    let text = ''
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? ''
    return text
  }
  assert.equal(await read(await openai.chat.completions.create({ ...REQUEST, stream: true })), content)
  for await (const _ of await openai.chat.completions.create({ ...REQUEST, stream: true })) break
  const [left, right] = (await openai.chat.completions.create({ ...REQUEST, stream: true })).tee()
  assert.deepEqual(await Promise.all([read(left), read(right)]), [content, content])
  const stream = openai.chat.completions.stream(REQUEST)
  assert.equal(await stream.finalContent(), content)
})

both('tools and structured output', async (t, fetch) => {
  const { upstream, openai } = await site(t, fetch)
  const call = { function: { name: 'weather', arguments: '{"city":"Paris"}' } }
  upstream.reply({}, { toolCalls: [call] })
  const tools = [
    {
      type: 'function',
      function: { name: 'weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } },
    },
  ]
  const { choices } = await openai.chat.completions.create({ ...REQUEST, tools })
  assert.equal(choices[0].message.tool_calls[0].function.name, 'weather')
  const streamed = await openai.chat.completions.stream({ ...REQUEST, tools }).finalChatCompletion()
  assert.deepEqual(JSON.parse(streamed.choices[0].message.tool_calls[0].function.arguments), { city: 'Paris' })
  upstream.reset()
  upstream.reply({}, { content: '{"city":"Paris"}' })
  const format = { type: 'json_schema', json_schema: { name: 'place', schema: { type: 'object' }, strict: false } }
  const parsed = await openai.chat.completions.parse({ ...REQUEST, response_format: format })
  assert.equal(parsed.choices[0].message.content, '{"city":"Paris"}')
})

both('embeddings', async (t, fetch) => {
  const { openai } = await site(t, fetch)
  const { data } = await openai.embeddings.create({ model: 'e', input: ['a', 'b'] })
  assert.equal(data.length, 2)
  assert.ok(data[0].embedding.length > 0)
})

both('each class of error, with its status, its headers and what the server said', async (t, fetch) => {
  const { upstream, openai } = await site(t, fetch)
  const classes = {
    400: 'BadRequestError',
    401: 'AuthenticationError',
    403: 'PermissionDeniedError',
    404: 'NotFoundError',
    409: 'ConflictError',
    422: 'UnprocessableEntityError',
    429: 'RateLimitError',
    500: 'InternalServerError',
    503: 'InternalServerError',
  }
  for (const [status, name] of Object.entries(classes)) {
    upstream.fault({ kind: 'status', status: Number(status), headers: { 'x-mine': 'y' } }, { times: 1 })
    const error = await rejected(openai.chat.completions.create(REQUEST))
    assert.ok(error instanceof OpenAI[name], `${status}: ${error}`)
    assert.deepEqual([error.status, error.headers.get('x-mine')], [Number(status), 'y'])
    assert.ok(error.error, 'what the server said')
  }
})

both('a server that is not there, or hangs up, is an APIConnectionError', async (t, fetch) => {
  const { upstream, openai } = await site(t, fetch)
  upstream.fault({ kind: 'reset', after: 'request' }, { times: 1 })
  const cut = await rejected(openai.chat.completions.create(REQUEST))
  assert.ok(cut instanceof OpenAI.APIConnectionError)
  assert.equal(cut.cause.message, 'fetch failed')
  const nowhere = new OpenAI({ apiKey: 'k', baseURL: 'http://127.0.0.1:9999/v1', fetch, maxRetries: 0 })
  const refused = await rejected(nowhere.models.list())
  assert.ok(refused instanceof OpenAI.APIConnectionError)
  assert.equal(refused.cause.cause.code, 'ECONNREFUSED')
})

both('its timeout and its user’s abort are told apart', async (t, fetch) => {
  const { upstream, openai } = await site(t, fetch, { timeout: 60 })
  upstream.fault({ kind: 'silence', for: 60_000 }, { times: 2 })
  assert.ok((await rejected(openai.chat.completions.create(REQUEST))) instanceof OpenAI.APIConnectionTimeoutError)
  const controller = new AbortController()
  const asked = upstream.requests.length
  const answer = rejected(openai.chat.completions.create(REQUEST, { signal: controller.signal, timeout: 60_000 }))
  await until(() => upstream.requests.length > asked)
  controller.abort()
  assert.ok((await answer) instanceof OpenAI.APIUserAbortError)
  await until(() => upstream.connections.open === 0)
})

both('a stream that its user aborts ends, and one that breaks off fails', async (t, fetch) => {
  const { upstream, openai } = await site(t, fetch)
  const content = 'word '.repeat(50)
  upstream.reply({ stream: true }, { content, chunks: 50 })
  upstream.fault({ kind: 'stall', afterTokens: 3, for: 60_000 }, { times: 1 })
  const controller = new AbortController()
  const stream = await openai.chat.completions.create({ ...REQUEST, stream: true }, { signal: controller.signal })
  let chunks = 0
  for await (const _ of stream) if (++chunks === 2) controller.abort()
  assert.ok(chunks >= 2 && chunks < 50)
  await until(() => upstream.connections.open === 0)
  upstream.fault({ kind: 'reset', after: 5 }, { times: 1 })
  const error = await rejected(
    (async () => {
      for await (const _ of await openai.chat.completions.create({ ...REQUEST, stream: true }));
    })(),
  )
  assert.ok(error instanceof Error)
})

both('its own retries work, and count', async (t, fetch) => {
  const { upstream, openai } = await site(t, fetch, { maxRetries: 2 })
  upstream.fault({ kind: 'status', status: 503, headers: { 'retry-after-ms': '1' } }, { times: 1 })
  upstream.fault({ kind: 'reset', after: 'request' }, { times: 1 })
  const { choices } = await openai.chat.completions.create(REQUEST)
  assert.ok(choices[0].message.content)
  assert.equal(upstream.requests.length, 3)
})

both('files go up as forms, and come down as bytes', async (t, fetch) => {
  const seen = []
  const url = await serve(t, async (request, response, body) => {
    if (request.method === 'GET') {
      response.setHeader('content-type', 'application/octet-stream')
      return response.end(Buffer.from([0, 255, 128, 10]))
    }
    const form = await new Response(body, { headers: { 'content-type': request.headers['content-type'] } }).formData()
    const file = form.get('file')
    seen.push([form.get('purpose'), file.name, file.size, request.headers['transfer-encoding']])
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ id: 'file-1', object: 'file' }))
  })
  const openai = new OpenAI({ apiKey: 'k', baseURL: `${url}/v1`, fetch, maxRetries: 0 })
  const file = await toFile(Buffer.alloc(100_000, 'x'), 'data.jsonl')
  assert.equal((await openai.files.create({ file, purpose: 'batch' })).id, 'file-1')
  await openai.files.create({ file: await fetch('data:text/plain,of a response'), purpose: 'batch' })
  await openai.files.create({ file: await fetch(`${url}/file.bin`), purpose: 'batch' })
  assert.deepEqual(seen[0], ['batch', 'data.jsonl', 100_000, undefined])
  assert.equal(seen[1][2], 'of a response'.length)
  assert.deepEqual([seen[2][1], seen[2][2]], ['file.bin', 4])
  const content = await openai.files.content('file-1')
  assert.deepEqual([...new Uint8Array(await content.arrayBuffer())], [0, 255, 128, 10])
})

both('lists are turned page by page', async (t, fetch) => {
  const url = await serve(t, (request, response) => {
    const after = new URL(request.url, 'http://x').searchParams.get('after')
    const page = after === null ? ['a', 'b'] : after === 'b' ? ['c'] : []
    response.setHeader('content-type', 'application/json')
    response.end(
      JSON.stringify({ object: 'list', data: page.map((id) => ({ id, object: 'file' })), has_more: page[1] === 'b' }),
    )
  })
  const openai = new OpenAI({ apiKey: 'k', baseURL: `${url}/v1`, fetch, maxRetries: 0 })
  const ids = []
  for await (const file of openai.files.list()) ids.push(file.id)
  assert.deepEqual(ids, ['a', 'b', 'c'])
})
