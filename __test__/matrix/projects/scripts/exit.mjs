// The process ends while streams run in it and in its workers.
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = isMainThread ? await MockUpstream.start({ tls: true, tokensPerSecond: 100 }) : undefined
const options = workerData ?? { baseURL: `${upstream.url}/v1`, apiKey: 'k', pool: { tls: { ca: upstream.ca } } }
const line = new Trunkline(options)
const read = async (each) => {
  for (;;) for await (const _ of line.stream({ model: 'm', messages: [] })) each()
}
if (isMainThread) {
  const workers = Array.from({ length: 4 }, () => new Worker(new URL(import.meta.url), { workerData: options }))
  await Promise.all(workers.map((worker) => once(worker, 'message')))
  for (let n = 0; n < 20; n++) {
    read(() => {
      console.log('in the middle')
      process.exit(7)
    })
  }
} else for (let n = 0; n < 5; n++) read(() => parentPort.postMessage('a piece'))
