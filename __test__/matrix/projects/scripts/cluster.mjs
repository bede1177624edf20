// Each worker of a cluster is a process, with a pool of its own.
import cluster from 'node:cluster'
import { once } from 'node:events'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const request = { model: 'm', messages: [] }
if (cluster.isPrimary) {
  const upstream = await MockUpstream.start()
  const line = new Trunkline({ baseURL: `${upstream.url}/v1`, apiKey: 'k' })
  await line.chat(request)
  const workers = [1, 2].map(() => cluster.fork({ UPSTREAM: upstream.url }))
  const ends = await Promise.all(
    workers.map(async (worker) => {
      const [[said], [code]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')])
      return `${said} ${code}`
    }),
  )
  await line.chat(request)
  console.log(ends.join(', '), `of ${upstream.requests.length} requests`)
} else {
  const line = new Trunkline({ baseURL: `${process.env.UPSTREAM}/v1`, apiKey: 'k' })
  const { object } = await line.chat(request)
  const text = await line.stream(request).finalText()
  process.send(`${object} ${text.length > 0}`, () => cluster.worker.disconnect())
}
