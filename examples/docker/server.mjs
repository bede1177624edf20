// What the Dockerfiles beside this run: a question by HTTP, the answer as it comes.

import { createServer } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { Trunkline } from 'trunkline'

const line = new Trunkline()

const server = createServer(async (request, response) => {
  const question = new URL(request.url, 'http://localhost').searchParams.get('q') ?? 'Hello?'
  const stream = line.stream({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: question }] })
  response.setHeader('content-type', 'text/plain; charset=utf-8')
  // Whoever leaves ends the stream upstream as well.
  await pipeline(stream.text(), response).catch(() => response.destroy())
})
server.listen(process.env.PORT ?? 8080, () => console.log(`listening on ${server.address().port}`))

// As process 1 of a container, Node does not end by a signal of itself.
process.once('SIGTERM', async () => {
  server.close()
  await line.close({ drainTimeout: 8_000 })
  process.exit()
})
