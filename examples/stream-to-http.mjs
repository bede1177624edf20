// A server that hands a stream on as it comes, and cancels it when its client leaves, so that nobody pays for words that
// nobody reads.

import { once } from 'node:events'
import { createServer } from 'node:http'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = process.env.OPENAI_API_KEY ? null : await MockUpstream.start({ tokensPerSecond: 100 })
const line = new Trunkline(upstream ? { baseURL: `${upstream.url}/v1`, apiKey: 'sk-example' } : {})

async function answer(question, response) {
  const left = new AbortController()
  response.on('close', () => left.abort())
  const { signal } = left
  const stream = line.stream({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: question }] }, { signal })
  response.setHeader('content-type', 'text/plain; charset=utf-8')
  try {
    for await (const piece of stream.text()) {
      // A slow reader slows the provider down; memory does not grow.
      if (!response.write(piece)) await once(response, 'drain', { signal })
    }
    response.end()
    return 'answered to the end'
  } catch (error) {
    if (signal.aborted) return 'the client left, and the stream was cancelled'
    // Before the first word there is still a status to give; after it only a broken connection tells the truth.
    if (response.headersSent) response.destroy()
    else response.writeHead(502).end()
    return `failed: ${error.code}`
  }
}

const server = createServer(async (request, response) => {
  const question = new URL(request.url, 'http://localhost').searchParams.get('q') ?? 'Hello?'
  console.log(`server: ${await answer(question, response)}`)
  server.emit('answered')
})
await once(server.listen(0, '127.0.0.1'), 'listening')
const url = `http://127.0.0.1:${server.address().port}/?q=What+is+a+trunk+line`

// A client that reads to the end …
let answered = once(server, 'answered')
const decoder = new TextDecoder()
const pieces = []
for await (const bytes of (await fetch(url)).body) pieces.push(decoder.decode(bytes, { stream: true }))
await answered
console.log(`client: ${pieces.length} pieces: ${pieces.join('|')}`)

// … and one that leaves after the first piece.
answered = once(server, 'answered')
const leave = new AbortController()
const { value } = await (await fetch(url, { signal: leave.signal })).body.getReader().read()
leave.abort()
await answered
console.log(`client: left after: ${decoder.decode(value)}`)

server.close()
server.closeAllConnections()
await line.close()
const { succeeded, aborted } = line.metrics().requests
console.log(`upstream: ${succeeded} stream read to its end, ${aborted} cancelled`)
await upstream?.close()
