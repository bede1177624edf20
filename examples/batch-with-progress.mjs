// Many calls, so many at once, with progress. One that fails costs no other its answer.

import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = process.env.OPENAI_API_KEY ? null : await MockUpstream.start({ latency: 20 })
// The stand-in knows every model; this makes one that it does not.
upstream?.fault({ kind: 'status', status: 404 }, { model: 'no-such-model' })
const line = new Trunkline(upstream ? { baseURL: `${upstream.url}/v1`, apiKey: 'sk-example' } : {})

const words = ['trunk', 'line', 'signal', 'copper', 'wire', 'operator', 'switchboard', 'exchange', 'harbor', 'station']
const requests = words.map((word, at) => ({
  customId: word,
  model: at === 3 ? 'no-such-model' : 'gpt-4o-mini',
  messages: [{ role: 'user', content: `Define "${word}" in one sentence.` }],
  max_tokens: 40,
}))

const results = await line.batch(requests, {
  concurrency: 4,
  onProgress: ({ succeeded, failed, total, usage }) =>
    console.log(`${succeeded + failed} of ${total} done, ${failed} failed, ${usage.total_tokens} tokens`),
})

// In the order of the requests, whatever the order in which they were answered.
for (const { customId, status, value, reason } of results) {
  console.log(`${customId}: ${status === 'fulfilled' ? value.choices[0].message.content : `(${reason.code})`}`)
}

await line.close()
await upstream?.close()
