// LangChain's published `@langchain/openai` package over a client's fetch.

import assert from 'node:assert/strict'
import { HumanMessage, ToolMessage } from '@langchain/core/messages'
import { tool } from '@langchain/core/tools'
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai'
import { z } from 'zod'
import { alike, collect, global, gone, own, rejection, until } from './support.mjs'

/** As its users give it: the fetch goes to the `openai` package below. */
function chat({ url, fetch }, options) {
  const configuration = { baseURL: url, ...(fetch && { fetch }) }
  return new ChatOpenAI({ model: 'gpt-test', apiKey: 'sk-test', maxRetries: 0, configuration, ...options })
}

const QUESTION = [new HumanMessage('Hello')]

/** What a message says. */
const told = ({ content, tool_calls, usage_metadata, response_metadata }) => ({
  content,
  tool_calls,
  usage_metadata,
  response_metadata,
})

alike('chat', 'an answer, alone and in a batch', async (site) => {
  site.upstream.reply({}, { content: 'Hello, wörld' })
  const answer = await chat(site).invoke(QUESTION)
  assert.equal(answer.content, 'Hello, wörld')
  assert.ok(answer.usage_metadata.total_tokens > 0)
  // One after the other, so that the order of their requests is told.
  const many = await chat(site).batch([QUESTION, QUESTION, QUESTION], { maxConcurrency: 1 })
  assert.deepEqual(
    many.map(({ content }) => content),
    Array(3).fill('Hello, wörld'),
  )
  return [answer, ...many].map(told)
})

alike('streams', 'every piece, in its order', async (site) => {
  const content = 'One two three, wörld. '.repeat(20)
  site.upstream.reply({}, { content, chunks: 50 })
  const pieces = await collect(await chat(site).stream(QUESTION))
  assert.equal(pieces.map((piece) => piece.content).join(''), content)
  return pieces.map(told)
})

alike('streams', 'one that is left early ends upstream', async (site) => {
  site.upstream.reply({}, { content: 'word '.repeat(50), chunks: 50 })
  site.upstream.fault({ kind: 'stall', afterTokens: 3, for: 60_000 })
  for await (const _ of await chat(site).stream(QUESTION)) break
  await gone(site)
})

alike('streams', 'the events of a chain, in their order', async (site) => {
  site.upstream.reply({}, { content: 'One two three', chunks: 5 })
  const events = await collect(chat(site).streamEvents(QUESTION, { version: 'v2' }))
  const seen = events.map(({ event, data }) => [event, data.chunk?.content ?? null])
  assert.deepEqual([seen[0][0], seen.at(-1)[0]], ['on_chat_model_start', 'on_chat_model_end'])
  return seen
})

const schema = z.object({ city: z.string() })
const weather = tool(({ city }) => `rain in ${city}`, { name: 'weather', description: 'The weather', schema })

alike('tools', 'calls of one, and their results on the way back', async (site) => {
  site.upstream.reply(
    {},
    { toolCalls: [{ id: 'call_1', function: { name: 'weather', arguments: '{"city":"Paris"}' } }] },
  )
  site.upstream.reply(({ body }) => body.messages.at(-1).role === 'tool', { content: 'Rain.' })
  const model = chat(site).bindTools([weather])
  const first = await model.invoke(QUESTION)
  const result = await weather.invoke(first.tool_calls[0])
  assert.ok(result instanceof ToolMessage && result.content === 'rain in Paris')
  const last = await model.invoke([...QUESTION, first, result])
  assert.equal(last.content, 'Rain.')
  let whole
  for await (const piece of await model.stream(QUESTION)) whole = whole?.concat(piece) ?? piece
  assert.deepEqual(whole.tool_calls[0].args, { city: 'Paris' })
  return [first, last, whole].map(told)
})

alike('structured', 'what a schema asks for, by each of its methods; and what is not that, refused', async (site) => {
  site.upstream.reply({}, { content: '{"city":"Paris"}' })
  const seen = []
  for (const method of ['jsonSchema', 'jsonMode']) {
    seen.push(await chat(site).withStructuredOutput(schema, { method }).invoke(QUESTION))
  }
  site.upstream.reply({}, { toolCalls: [{ function: { name: 'place', arguments: '{"city":"Paris"}' } }] })
  const byFunction = chat(site).withStructuredOutput(schema, { method: 'functionCalling', name: 'place' })
  seen.push(await byFunction.invoke(QUESTION))
  for (const place of seen) assert.deepEqual(place, { city: 'Paris' })
  site.upstream.reply({}, { content: '{"city":5}' })
  const wrong = await rejection(chat(site).withStructuredOutput(schema, { method: 'jsonMode' }).invoke(QUESTION))
  return [...seen, wrong.constructor.name]
})

alike('embeddings', 'of a question, and of documents', async (site) => {
  const configuration = { baseURL: site.url, fetch: site.fetch }
  const embeddings = new OpenAIEmbeddings({ model: 'e', apiKey: 'sk-test', maxRetries: 0, configuration })
  const one = await embeddings.embedQuery('a')
  const many = await embeddings.embedDocuments(['a', 'b'])
  assert.ok(one.length > 0 && many.length === 2)
  assert.deepEqual(many[0], one)
  return [one, many]
})

// What goes wrong.

alike('errors', 'each status has its class and its status', async (site) => {
  const all = []
  for (const status of [400, 401, 403, 404, 409, 422, 429, 500, 503]) {
    site.upstream.fault({ kind: 'status', status, headers: { 'x-mine': 'yes' } })
    const error = await rejection(chat(site).invoke(QUESTION))
    assert.deepEqual([error.status, error.headers.get('x-mine')], [status, 'yes'])
    all.push(error)
    site.upstream.fault({ kind: 'status', status })
    all.push(await rejection(chat(site).stream(QUESTION).then(collect)))
  }
  return all
})

alike(
  'connection',
  'one that is refused, hung up before the head, or breaks in an answer or a stream',
  async (site) => {
    site.upstream.reply({}, { content: 'word '.repeat(50), chunks: 50 })
    const seen = [await rejection(chat({ ...site, url: site.nowhere }).invoke(QUESTION))]
    for (const fault of [
      { kind: 'reset', after: 'request' },
      { kind: 'cut', afterTokens: 5 },
      { kind: 'reset', after: 5 },
    ]) {
      site.upstream.fault(fault)
      seen.push(await rejection(chat(site).invoke(QUESTION)))
      site.upstream.fault(fault)
      seen.push(await rejection(chat(site).stream(QUESTION).then(collect)))
    }
    return seen
  },
)

alike('retries', 'as many, after the same', async (site) => {
  for (const status of [429, 503]) {
    site.upstream.fault({ kind: 'status', status, headers: { 'retry-after': '0' } })
    await chat(site, { maxRetries: 1 }).invoke(QUESTION)
  }
  site.upstream.fault({ kind: 'reset', after: 'request' })
  await chat(site, { maxRetries: 1 }).invoke(QUESTION)
  assert.equal(site.upstream.requests.length, 6)
})

alike('timeouts', 'of a model, and of a call', async (site) => {
  site.upstream.fault({ kind: 'silence', for: 60_000 }, { times: 2 })
  const ofModel = await rejection(chat(site, { timeout: 60 }).invoke(QUESTION))
  const ofCall = await rejection(chat(site).invoke(QUESTION, { timeout: 60 }))
  assert.deepEqual([ofModel.name, ofCall.name], ['TimeoutError', 'AbortError'])
  await gone(site)
  return [ofModel, ofCall]
})

alike('aborts', 'before it begins, while it waits, and in a stream', async (site) => {
  const early = await rejection(chat(site).invoke(QUESTION, { signal: AbortSignal.abort() }))
  assert.equal(site.upstream.requests.length, 0)
  site.upstream.fault({ kind: 'silence', for: 60_000 })
  const controller = new AbortController()
  const answer = rejection(chat(site).invoke(QUESTION, { signal: controller.signal }))
  await until(() => site.upstream.requests.length === 1)
  controller.abort()
  const late = await answer
  site.upstream.reply({}, { content: 'word '.repeat(50), chunks: 50 })
  site.upstream.fault({ kind: 'stall', afterTokens: 3, for: 60_000 })
  const other = new AbortController()
  const reading = async () => {
    for await (const _ of await chat(site).stream(QUESTION, { signal: other.signal })) other.abort()
  }
  const amid = await rejection(reading())
  await gone(site)
  return [early, late, amid]
})

// What is ours alone.

global(async (site) => {
  const answer = await chat(site).invoke(QUESTION)
  return [answer, ...(await collect(await chat(site).stream(QUESTION)))].map(told)
})

own('pool', 'a batch shares one connection over HTTP/2', { upstream: { tls: true } }, async (site) => {
  await chat(site).batch(Array(20).fill(QUESTION))
  assert.equal(site.upstream.connections.opened, 1)
  assert.equal(site.line.metrics().requests.succeeded, 20)
})
