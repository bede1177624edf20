// What happens to what nobody holds any more. Needs --expose-gc.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import test from 'node:test'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { collect, own, REQUEST, start, until } from './support.mjs'

assert.ok(globalThis.gc, 'run with --expose-gc')

/** Collects until the condition holds. */
const collected = (condition, what) =>
  until(async () => {
    globalThis.gc()
    await new Promise((resolve) => setImmediate(resolve))
    return condition()
  }, what)

const leavings = {
  'a stream that was never read': (line) => void line.stream(REQUEST),
  'a stream whose reader was dropped': async (line) => void (await line.stream(REQUEST)[Symbol.asyncIterator]().next()),
  'a text whose reader was dropped': async (line) => void (await line.stream(REQUEST).text().next()),
  'a readable stream that was dropped': async (line) =>
    void (await line.stream(REQUEST).toReadableStream().getReader().read()),
  events: async (line) =>
    void (await line
      .events('/chat/completions', { ...REQUEST, stream: true })
      [Symbol.asyncIterator]()
      .next()),
}
for (const [name, leave] of Object.entries(leavings)) {
  test(`dropped and collected, the upstream sees it cancelled: ${name}`, async (t) => {
    const { upstream, line } = await start(t, { upstream: { tokensPerSecond: 5 } })
    await leave(line)
    await until(() => upstream.requests.length === 1)
    await collected(() => line.metrics().requests.aborted === 1, 'it counts as aborted')
    await until(() => upstream.connections.open === 0)
  })
}

const holdings = {
  'a loop': (line) => collect(line.stream(REQUEST)),
  'a loop over text': (line) => collect(line.stream(REQUEST).text()),
  'final()': (line) => line.stream(REQUEST).final(),
  'a readable stream': (line) => new Response(line.stream(REQUEST).toReadableStream()).text(),
  meta: (line) => line.stream(REQUEST).meta,
  'a chat': (line) => line.chat(REQUEST),
  events: (line) => collect(line.events('/chat/completions', { ...REQUEST, stream: true })),
}
for (const [name, hold] of Object.entries(holdings)) {
  test(`never collected while somebody waits for it: ${name}`, async (t) => {
    const { line } = await start(t, { upstream: { tokensPerSecond: 300 } })
    let ended = false
    const waiting = hold(line).finally(() => (ended = true))
    await collected(() => ended, 'it ends')
    assert.ok(await waiting)
  })
}

test('a client that is dropped closes its idle sockets', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const use = async () => {
    const line = new Trunkline(own({ baseURL: `${upstream.url}/v1` }))
    await Promise.all([line.chat(REQUEST), line.chat(REQUEST)])
  }
  await use()
  assert.ok(upstream.connections.open > 0)
  await collected(() => upstream.connections.open === 0, 'its sockets close')
})

test('a client whose key is a function is collected too', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const use = async () => {
    const line = new Trunkline(own({ baseURL: `${upstream.url}/v1`, apiKey: () => `key ${typeof line}` }))
    await line.chat(REQUEST)
  }
  await use()
  await collected(() => upstream.connections.open === 0, 'its sockets close')
})

test('a client that is dropped while its calls run finishes them', async (t) => {
  const upstream = await MockUpstream.start({ latency: 50 })
  t.after(() => upstream.close())
  const call = (() => new Trunkline(own({ baseURL: `${upstream.url}/v1`, apiKey: async () => 'key' })).chat(REQUEST))()
  let ended = false
  call.finally(() => (ended = true))
  await collected(() => ended, 'it ends')
  assert.equal((await call).object, 'chat.completion')
})

// Jest does that for each test file, in one process.
test('a package that is read anew holds nothing of what was read before', async (t) => {
  const { upstream } = await start(t)
  const read = async (leave) => {
    // Each remembers what it has read.
    const require = createRequire(import.meta.url)
    for (const file of Object.keys(require.cache)) if (!file.endsWith('native.js')) delete require.cache[file]
    const again = require('trunkline')
    assert.notEqual(again.Trunkline, Trunkline)
    const line = new again.Trunkline(own({ baseURL: `${upstream.url}/v1` }))
    assert.equal((await line.chat(REQUEST)).object, 'chat.completion')
    leave?.(line)
    return new WeakRef(again.Trunkline)
  }
  const classes = []
  for (let n = 0; n < 20; n++) classes.push(await read((line) => n % 2 && line.stream(REQUEST)))
  // What the caches still hold is the last.
  await read()
  await collected(() => classes.every((one) => one.deref() === undefined), 'all are collected')
})

test('an upstream serves until it is closed, though nobody holds it, and is collected then', async () => {
  let upstream = await MockUpstream.start()
  const [weak, url] = [new WeakRef(upstream), upstream.url]
  upstream = null
  const line = new Trunkline(own({ baseURL: `${url}/v1`, retry: false }))
  for (let n = 0; n < 5; n++) {
    globalThis.gc()
    await line.chat(REQUEST)
  }
  await weak.deref().close()
  await assert.rejects(line.chat(REQUEST), { code: 'ERR_CONNECTION' })
  await line.close()
  await collected(() => weak.deref() === undefined, 'it is collected')
})

test('ten thousand calls and a thousand streams leave no memory behind', async (t) => {
  const { line } = await start(t, { upstream: { record: false }, pool: { http2: 'prior-knowledge' } })
  const turn = async () => {
    await Promise.all(Array.from({ length: 500 }, () => line.chat(REQUEST)))
    await Promise.all(Array.from({ length: 50 }, () => line.stream(REQUEST).final()))
    for (let n = 0; n < 5; n++) for await (const _ of line.stream(REQUEST)) break
  }
  const heap = async () => {
    for (let n = 0; n < 5; n++) {
      globalThis.gc()
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    return process.memoryUsage().heapUsed
  }
  for (let n = 0; n < 5; n++) await turn()
  const before = await heap()
  for (let n = 0; n < 20; n++) await turn()
  const grown = (await heap()) - before
  assert.ok(grown < 1_000_000, `${grown} bytes`)
})
