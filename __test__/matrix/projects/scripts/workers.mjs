// Eight threads share the connection of the first.
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const request = { model: 'm', messages: [] }
if (isMainThread) {
  const upstream = await MockUpstream.start({ tls: true })
  const options = { baseURL: `${upstream.url}/v1`, apiKey: 'k', pool: { tls: { ca: upstream.ca } } }
  const line = new Trunkline(options)
  await line.chat(request)
  const workers = Array.from({ length: 8 }, () => new Worker(new URL(import.meta.url), { workerData: options }))
  const [answers, ends] = await Promise.all([
    Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0])),
    Promise.all(workers.map(async (worker) => (await once(worker, 'exit'))[0])),
  ])
  const chats = answers.reduce((sum, count) => sum + count, 0)
  await line.chat(request)
  console.log(`${chats} chats, exits ${ends.join('')}, ${upstream.connections.opened} connection`)
} else {
  const line = new Trunkline(workerData)
  const chats = await Promise.all(Array.from({ length: 10 }, () => line.chat(request)))
  parentPort.postMessage(chats.filter(({ object }) => object === 'chat.completion').length)
}
