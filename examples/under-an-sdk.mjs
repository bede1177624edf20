// The SDK that a program has, over the pool: one line. Its requests, streams, retries and errors are what they were.

import OpenAI from 'openai'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = await MockUpstream.start({ tls: true })

// The line needs no key and no URL: the SDK has its own. (The stand-in's certificate is nobody's but this process's.)
const line = new Trunkline({ pool: { tls: { ca: upstream.ca } } })
const openai = new OpenAI({ apiKey: 'sk-example', baseURL: `${upstream.url}/v1`, fetch: line.fetch })

const model = 'gpt-4o-mini'
const ask = (content) => ({ model, messages: [{ role: 'user', content }] })

const answers = await Promise.all(['Paris', 'Rome', 'Oslo'].map((city) => openai.chat.completions.create(ask(city))))
console.log(`${answers.length} answers`)

let deltas = 0
for await (const _ of await openai.chat.completions.create({ ...ask('Count to ten.'), stream: true })) deltas++
console.log(`a stream of ${deltas} pieces`)

// Its retries are its own.
upstream.fault({ kind: 'status', status: 503, headers: { 'retry-after-ms': '1' } })
await openai.chat.completions.create(ask('Again?'))
console.log(`tried again by the SDK, as attempt ${upstream.requests.at(-1).headers['x-stainless-retry-count']}`)

// And so are its errors.
upstream.fault({ kind: 'status', status: 429 })
const error = await openai.chat.completions.create(ask('More?'), { maxRetries: 0 }).catch((error) => error)
console.log(`refused: ${error instanceof OpenAI.RateLimitError ? 'a RateLimitError of the SDK' : error}`)

// What nobody waits for lets the rest go first.
const nightly = openai.withOptions({ defaultHeaders: { 'trunkline-priority': 'background' } })
await nightly.chat.completions.create(ask('A report.'))

const { requests, pool } = line.metrics()
console.log(`${requests.started} requests over ${pool.opened} connection`)
await line.close()
await upstream.close()
