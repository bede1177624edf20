// The same code for three protocols: what differs is `baseURL` and `protocol`, and nothing else.

import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

// The stand-in speaks the protocol of the path that it is asked at.
const upstream = await MockUpstream.start()
upstream.reply({ model: 'weather' }, { toolCalls: [{ function: { name: 'weather', arguments: '{"city":"Oslo"}' } }] })
let seen = 0

const tools = [
  {
    type: 'function',
    function: {
      name: 'weather',
      description: 'The weather in a city',
      parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
    },
  },
]

const ways = {
  openai: { baseURL: `${upstream.url}/v1` },
  anthropic: { baseURL: upstream.url, protocol: 'anthropic' },
  gemini: { baseURL: upstream.url, protocol: 'gemini' },
}
for (const [name, way] of Object.entries(ways)) {
  const line = new Trunkline({ apiKey: 'sk-example', ...way })
  const messages = [{ role: 'user', content: 'What is a trunk line?' }]

  const { data, meta } = await line.chat({ model: 'm', messages, seed: 7 }).withMeta()
  const streamed = await line.stream({ model: 'm', messages }).finalText()
  const call = await line.chat({ model: 'weather', messages, tools })

  console.log(`${name}:`)
  console.log(
    `  ${upstream.requests
      .slice(seen)
      .map(({ path }) => path)
      .join('  ')}`,
  )
  console.log(`  the stream says what the chat says: ${streamed === data.choices[0].message.content}`)
  console.log(
    `  ${data.usage.prompt_tokens} + ${data.usage.completion_tokens} tokens, ${data.choices[0].finish_reason}`,
  )
  console.log(`  calls ${call.choices[0].message.tool_calls[0].function.name}, ${call.choices[0].finish_reason}`)
  console.log(`  has no words for: ${meta.dropped.join(', ') || 'nothing'}`)
  await line.close()
  seen = upstream.requests.length
}
await upstream.close()
