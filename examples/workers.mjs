// Clients of equal settings share one pool in the whole process, whatever thread they live in.

import { once } from 'node:events'
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const THREADS = 4
const CHATS = 25

if (isMainThread) await main()
else await work(new Trunkline(workerData))

async function main() {
  const upstream = process.env.OPENAI_API_KEY ? null : await MockUpstream.start({ tls: true })
  const options = upstream
    ? { baseURL: `${upstream.url}/v1`, apiKey: 'sk-example', pool: { tls: { ca: upstream.ca } } }
    : {}
  // It makes no call: it holds the pool, and has its figures.
  const line = new Trunkline(options)
  const file = new URL(import.meta.url)
  const workers = Array.from({ length: THREADS }, () => new Worker(file, { workerData: options }))
  await Promise.all(workers.map((worker) => once(worker, 'exit')))

  const { pool } = line.metrics()
  console.log(
    `${THREADS} threads, ${THREADS * CHATS} chats: ${pool.opened} ${pool.opened === 1 ? 'connection' : 'connections'} opened`,
  )
  await line.close()
  await upstream?.close()
}

async function work(line) {
  for (let number = 0; number < CHATS; number++) {
    await line.chat({
      model: 'gpt-4o-mini',
      messages: [{ role: 'user', content: `Question ${number}?` }],
      max_tokens: 5,
    })
  }
  await line.close()
}
