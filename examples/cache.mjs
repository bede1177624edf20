// The same question twice is one request: from memory if it was answered before, together if it is being answered right now.

import { NotCachedError, Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = await MockUpstream.start({ tokensPerSecond: 200 })
const line = new Trunkline({ baseURL: `${upstream.url}/v1`, cache: { maxBytes: 16 * 1024 * 1024, ttl: 10 * 60_000 } })
const ask = (content, more) => ({
  model: 'gpt-4o-mini',
  temperature: 0,
  messages: [{ role: 'user', content }],
  ...more,
})
const count = () => upstream.requests.length

// Ten who ask at once: one exchange.
const together = await Promise.all(Array.from({ length: 10 }, () => line.chat(ask('What is a trunk line?')).withMeta()))
const shared = together.filter(({ meta }) => meta.coalesced).length
console.log(`10 calls at once: ${count()} request, shared by ${shared} others`)

// One who asks later, in other words of JSON: from memory.
const { meta } = await line
  .chat({ messages: [{ content: 'What is a trunk line?', role: 'user' }], temperature: 0.0, model: 'gpt-4o-mini' })
  .withMeta()
console.log(`later: cached ${meta.cached}, ${meta.attempts.length} attempts, ${count()} request`)

// A stream is replayed as a stream.
const pieces = async (stream) => {
  let n = 0
  for await (const _ of stream) n++
  return n
}
const [live, replayed] = [
  await pieces(line.stream(ask('Tell me more.'))),
  await pieces(line.stream(ask('Tell me more.'))),
]
console.log(`a stream: ${live} pieces, and ${replayed} from memory`)

// What may have another answer each time is asked each time, unless the caller says otherwise.
for (let n = 0; n < 2; n++) await line.chat(ask('A joke, please.', { temperature: 1 }))
console.log(`temperature 1: ${count()} requests`)
await line.chat(ask('What is a trunk line?'), { cache: { control: 'no-cache' } })
console.log(`no-cache: ${count()} requests`)
try {
  await line.chat(ask('Who is there?'), { cache: { control: 'only-if-cached' } })
} catch (error) {
  if (!(error instanceof NotCachedError)) throw error
  console.log(`only-if-cached: ${error.code}, ${count()} requests`)
}

const { requests, cache } = line.metrics()
console.log(
  `${requests.cached} of ${requests.started} calls from memory, ${requests.coalesced} shared, ${cache.entries} answers kept`,
)
await line.close()
await upstream.close()
