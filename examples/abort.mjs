// Three ways to give a call up. Each frees what the call held, at the upstream too.

import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = process.env.OPENAI_API_KEY ? null : await MockUpstream.start({ tokensPerSecond: 50 })
const line = new Trunkline(upstream ? { baseURL: `${upstream.url}/v1`, apiKey: 'sk-example' } : {})
const request = { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'Tell me a long story.' }] }

// A limit in time. The call rejects with the signal's own reason.
try {
  await line.chat(request, { signal: AbortSignal.timeout(50) })
} catch (error) {
  console.log(`after 50 ms: ${error.name}`)
}

// One signal for several calls: whatever a user closed.
const closed = new AbortController()
const calls = [1, 2, 3].map(() => line.chat(request, { signal: closed.signal }))
setTimeout(() => closed.abort(new Error('the window was closed')), 20)
for (const { reason } of await Promise.allSettled(calls)) console.log(`together: ${reason.message}`)

// Leaving the loop of a stream cancels it.
let text = ''
for await (const piece of line.stream(request).text()) {
  text += piece
  if (text.length > 20) break
}
console.log(`enough: ${text}…`)

await line.close()
console.log(`${line.metrics().requests.aborted} calls were cancelled`)
await upstream?.close()
