// Only workers use the package, and those of one generation have gone when those of the next come.
import { once } from 'node:events'
import { isMainThread, Worker } from 'node:worker_threads'

if (isMainThread) {
  const codes = []
  for (let generation = 0; generation < 5; generation++) {
    const workers = Array.from({ length: 3 }, () => new Worker(new URL(import.meta.url)))
    codes.push(...(await Promise.all(workers.map(async (worker) => (await once(worker, 'exit'))[0]))))
  }
  console.log(`exits ${codes.join('')}`)
} else {
  const [{ Trunkline }, { MockUpstream }] = await Promise.all([import('trunkline'), import('trunkline/testing')])
  const upstream = await MockUpstream.start()
  const line = new Trunkline({ baseURL: `${upstream.url}/v1`, apiKey: 'k' })
  await line.chat({ model: 'm', messages: [] })
  await line.stream({ model: 'm', messages: [] }).final()
  await upstream.close()
}
