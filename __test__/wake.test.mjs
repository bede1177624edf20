// How JavaScript's thread is woken: by libuv where it is Node's, elsewhere by what Node-API has. Both keep the same promises.

import assert from 'node:assert/strict'
import test from 'node:test'
import { MockUpstream } from 'trunkline/testing'
import { run, SCRIPT } from './support.mjs'

/** What says of a process that its event loop is another's, before the package is read: in each of its threads. */
const ELSEWHERE = `data:text/javascript,Object.defineProperty(process, 'versions', { value: { ...process.versions, bun: '1.0.0' } })`

const LOOPS = [
  { where: 'in Node', flags: [] },
  { where: 'where the event loop is not Node’s own', flags: ['--import', ELSEWHERE] },
]

for (const { where, flags } of LOOPS) {
  const ended = async (t, source, said, options) => {
    const upstream = await MockUpstream.start(options)
    t.after(() => upstream.close())
    const { code, signal, stdout, stderr } = await run(`${SCRIPT}; ${source}`, { url: upstream.url, flags })
    assert.deepEqual({ code, signal, stdout, stderr }, { code: 0, signal: null, stdout: said, stderr: '' })
  }

  test(`calls one after another and at once all come back, and then the process ends: ${where}`, async (t) => {
    const source = `
      for (let n = 0; n < 50; n++) await line.chat(REQUEST)
      await Promise.all(Array.from({ length: 500 }, () => line.chat(REQUEST)))
      await Promise.all(Array.from({ length: 20 }, () => line.stream(REQUEST).final()))
      console.log(line.metrics().requests.succeeded)`
    await ended(t, source, '570')
  })

  test(`what is thrown while answers come is an uncaught exception, and the rest comes: ${where}`, async (t) => {
    const source = `
      let thrown = 0
      process.on('uncaughtException', () => thrown++)
      line.on('connection', () => { throw new Error('mine') })
      await Promise.all(Array.from({ length: 20 }, () => line.chat(REQUEST)))
      console.log(thrown > 0, line.metrics().requests.succeeded)`
    await ended(t, source, 'true 20')
  })

  test(`code after an answer has its microtasks before the next turn of the event loop: ${where}`, async (t) => {
    const source = `
      const said = []
      process.on('exit', () => console.log(said.join()))
      await line.chat(REQUEST).then(() => {
        setImmediate(() => said.push('immediate'))
        process.nextTick(() => said.push('tick'))
        queueMicrotask(() => said.push('microtask'))
      })
      said.push('awaited')`
    await ended(t, source, 'microtask,awaited,tick,immediate')
  })

  test(`workers come and go, with calls of theirs under way or not: ${where}`, async (t) => {
    const source = `
      const { Worker } = await import('node:worker_threads')
      const text = \`
        import { parentPort } from 'node:worker_threads'
        import { Trunkline } from 'trunkline'
        const line = new Trunkline({ baseURL: process.env.UPSTREAM + '/v1', apiKey: 'k' })
        await line.chat({ model: 'm', messages: [] })
        const calls = Array.from({ length: 20 }, () => line.chat({ model: 'm', messages: [] }))
        parentPort.postMessage('answered')
        await Promise.all(calls)\`
      let answered = 0
      for (let n = 0; n < 8; n++) {
        const worker = new Worker(text, { eval: true })
        await new Promise((next) => worker.on('message', () => (answered++, next())))
        if (n % 2) await worker.terminate()
        else await new Promise((next) => worker.on('exit', next))
      }
      console.log(answered)`
    await ended(t, source, '8', { latency: 5 })
  })
}
