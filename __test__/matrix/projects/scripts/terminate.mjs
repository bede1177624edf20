// Workers are terminated in mid-stream, two hundred of them, and cost the main thread nothing.
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const WORKERS = 200
const request = { model: 'm', messages: [] }
if (isMainThread) {
  const upstream = await MockUpstream.start({ tls: true, tokensPerSecond: 2_000, record: false })
  const options = { baseURL: `${upstream.url}/v1`, apiKey: 'k', pool: { tls: { ca: upstream.ca } } }
  const line = new Trunkline(options)
  const whole = await line.stream(request).finalText()
  let over = false
  const working = (async () => {
    while (!over) if ((await line.stream(request).finalText()) !== whole) throw new Error('torn')
  })()
  let left = WORKERS
  const lane = async () => {
    while (left-- > 0) {
      const worker = new Worker(new URL(import.meta.url), { workerData: options })
      await once(worker, 'message')
      await worker.terminate()
    }
  }
  await Promise.all([lane(), lane(), lane()])
  over = true
  await working
  while (line.metrics().pool.streams.active > 0) await new Promise((next) => setTimeout(next, 5))
  const { requests, pool } = line.metrics()
  await upstream.close()
  console.log(`${WORKERS} workers gone, ${requests.failed} failed, ${pool.streams.active} streams left`)
} else {
  const line = new Trunkline(workerData)
  line.on('connection', () => {})
  const read = async () => {
    for (;;) for await (const _ of line.stream(request)) parentPort.postMessage('a piece')
  }
  for (let n = 0; n < 5; n++) read()
}
