// One client for the whole process: a chat, a stream, and what the pool made of them.
//
// Runs against a stand-in upstream, or with OPENAI_API_KEY set against the real thing.

import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = process.env.OPENAI_API_KEY ? null : await MockUpstream.start()
const line = new Trunkline(upstream ? { baseURL: `${upstream.url}/v1`, apiKey: 'sk-example' } : {})

// A chat is a promise of OpenAI's completion …
const completion = await line.chat({
  model: 'gpt-4o-mini',
  messages: [{ role: 'user', content: 'What is a trunk line?' }],
})
console.log('chat:', completion.choices[0].message.content)

// … that also knows how the answer came about.
const { meta } = await line
  .chat({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'And a switchboard?' }] })
  .withMeta()
console.log(`the next one: ${meta.connection.reused ? 'over the same connection' : 'over a new connection'}`)

// text() is the cheapest way to follow a stream; iterate the stream itself for OpenAI's chunks.
process.stdout.write('stream: ')
const stream = line.stream({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'And an operator?' }] })
for await (const piece of stream.text()) process.stdout.write(piece)

const { requests, pool } = line.metrics()
console.log(`\n${requests.succeeded} calls, ${pool.opened} connection opened, ${pool.reused} times used again`)

await line.close()
await upstream?.close()
