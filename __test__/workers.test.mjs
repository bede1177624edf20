import assert from 'node:assert/strict'
import { once } from 'node:events'
import test from 'node:test'
import { Worker } from 'node:worker_threads'
import { MockUpstream } from 'trunkline/testing'
import { client, own, REQUEST, root, run, start, until } from './support.mjs'

/**
 * A worker with a client of these options as `line`; the source says something by `say`. It is ready when its module has run to
 * its first wait.
 */
function worker(t, options, source) {
  const text = `
    const { workerData, parentPort } = require('node:worker_threads')
    const { Trunkline } = require(${JSON.stringify(root)})
    const line = new Trunkline(workerData.options)
    const { REQUEST } = workerData
    const say = (word) => parentPort.postMessage(word)
    ;(async () => { ${source} })().catch((error) => say('failed: ' + error.stack))`
  const made = new Worker(text, { eval: true, workerData: { options, REQUEST } })
  t.after(() => made.terminate())
  return made
}

const heard = async (made) => (await once(made, 'message'))[0]

test('eight workers share one HTTP/2 connection, with the main thread', async (t) => {
  const { upstream, line } = await start(t, { upstream: { tls: true } })
  const options = own({ baseURL: `${upstream.url}/v1`, pool: { tls: { ca: upstream.ca } } })
  const here = client(t, upstream, { pool: options.pool })
  await here.warmup()
  const workers = Array.from({ length: 8 }, () =>
    worker(
      t,
      options,
      `
      const all = await Promise.all(Array.from({ length: 10 }, () => line.chat(REQUEST)))
      const text = await line.stream(REQUEST).finalText()
      say(all.filter(({ object }) => object === 'chat.completion').length + (text.length > 0 ? 1 : 0))`,
    ),
  )
  assert.deepEqual(await Promise.all(workers.map(heard)), Array(8).fill(11))
  await here.chat(REQUEST)
  assert.equal(upstream.connections.opened, 1)
  assert.equal(upstream.requests.length, 8 * 11 + 1)
  assert.equal(here.metrics().pool.opened, 1)
  await line.close()
})

test('a thousand calls of each of eight workers ride on one HTTP/2 connection', async (t) => {
  const upstream = await MockUpstream.start({ tls: true, record: false })
  t.after(() => upstream.close())
  const options = own({ baseURL: `${upstream.url}/v1`, pool: { tls: { ca: upstream.ca } } })
  // Holds the pool while the workers come and go, and never calls.
  const here = client(t, upstream, { pool: options.pool })
  const events = []
  here.on('connection', (event) => events.push(event))
  // Twelve of each at a time are fewer than a connection's hundred streams.
  const source = `
    let [left, good] = [1_000, 0]
    await Promise.all(Array.from({ length: 12 }, async () => {
      while (left-- > 0) if ((await line.chat(REQUEST)).object === 'chat.completion') good++
    }))
    say(good)`
  const workers = Array.from({ length: 8 }, () => worker(t, options, source))
  assert.deepEqual(await Promise.all(workers.map(heard)), Array(8).fill(1_000))
  const { pool } = here.metrics()
  assert.deepEqual([pool.opened, pool.reused, upstream.connections.opened], [1, 7_999, 1])
  assert.equal(pool.streams.active, 0)
  assert.equal(events.length, 1)
})

test('when the streams of a connection run out, workers share as many as they need', async (t) => {
  const upstream = await MockUpstream.start({ tls: true, latency: 60_000, maxConcurrentStreams: 10 })
  t.after(() => upstream.close())
  const options = own({ baseURL: `${upstream.url}/v1`, pool: { tls: { ca: upstream.ca } } })
  const here = client(t, upstream, { pool: options.pool })
  const source = `
    const calls = Array.from({ length: 12 }, () => line.chat(REQUEST))
    calls.forEach((call) => call.catch(() => {}))`
  const workers = Array.from({ length: 8 }, () => worker(t, options, source))
  await until(() => upstream.requests.length === 96, 'all 96 run at once')
  const { pool } = here.metrics()
  assert.deepEqual([pool.opened, upstream.connections.opened], [10, 10])
  assert.deepEqual(pool.streams, { active: 96, capacity: 100, perConnection: 9.6 })
  await Promise.all(workers.map((made) => made.terminate()))
  await until(() => here.metrics().pool.streams.active === 0, 'the streams of the workers are gone')
  assert.equal(here.metrics().pool.connections.idle, 10)
})

test('workers that begin together open one connection', async (t) => {
  const { upstream } = await start(t, { upstream: { tls: true } })
  const options = own({ baseURL: `${upstream.url}/v1`, pool: { tls: { ca: upstream.ca } } })
  // Holds the pool while the workers come and go.
  const here = client(t, upstream, { pool: options.pool })
  const workers = Array.from({ length: 4 }, () => worker(t, options, `say((await line.chat(REQUEST)).object)`))
  assert.deepEqual(await Promise.all(workers.map(heard)), Array(4).fill('chat.completion'))
  assert.equal(upstream.connections.opened, 1)
  assert.equal(here.metrics().pool.reused, 3)
})

test('a worker that is terminated in mid-stream leaves the others well', async (t) => {
  const { upstream } = await start(t, { upstream: { tls: true, tokensPerSecond: 200 } })
  const options = own({ baseURL: `${upstream.url}/v1`, pool: { tls: { ca: upstream.ca } } })
  const here = client(t, upstream, { pool: options.pool })
  const loop = `for (;;) for await (const _ of line.stream(REQUEST)) say('piece')`
  const [stays, goes] = [
    worker(t, options, `const text = await line.stream(REQUEST).finalText(); say(text)`),
    worker(t, options, loop),
  ]
  const mine = here.stream(REQUEST).finalText()
  await heard(goes)
  await goes.terminate()
  assert.equal(await heard(stays), await mine)
  await until(() => here.metrics().pool.streams.active === 0, 'the streams of the worker are gone')
  assert.equal(upstream.connections.open, 1)
})

test('a worker that ends by itself frees what it had', async (t) => {
  const { upstream } = await start(t)
  const options = own({ baseURL: `${upstream.url}/v1` })
  const made = worker(t, options, `await line.chat(REQUEST); say('done')`)
  const [[word], [code]] = await Promise.all([once(made, 'message'), once(made, 'exit')])
  assert.deepEqual([word, code], ['done', 0])
  await until(() => upstream.connections.open === 0, 'its pool is closed')
})

test('a worker whose upstream asks it goes away without harm', async (t) => {
  const { upstream } = await start(t)
  let asked = 0
  upstream.reply(() => ++asked > 0, 'Hello')
  const made = worker(
    t,
    own({ baseURL: `${upstream.url}/v1` }),
    `say((await line.chat(REQUEST)).choices[0].message.content)`,
  )
  assert.equal(await heard(made), 'Hello')
  assert.equal(asked, 1)
})

// 200 with `LONG=1`.
const ROUNDS = process.env.LONG ? 200 : 30

test(`${ROUNDS} workers terminated in mid-stream cost the others nothing`, async (t) => {
  const upstream = await MockUpstream.start({ tls: true, tokensPerSecond: 2_000, record: false })
  t.after(() => upstream.close())
  const options = own({ baseURL: `${upstream.url}/v1`, pool: { tls: { ca: upstream.ca } } })
  const here = client(t, upstream, { pool: options.pool })
  const whole = await here.stream(REQUEST).finalText()
  const events = []
  here.on('connection', (event) => events.push(event))

  // On this thread and on another, streams and calls without a pause, each to its end.
  let over = false
  const work = async () => {
    let ended = 0
    for (; !over; ended++) {
      assert.equal(await here.stream(REQUEST).finalText(), whole)
      assert.equal((await here.chat(REQUEST)).object, 'chat.completion')
    }
    return ended
  }
  const working = Array.from({ length: 4 }, work)
  const stays = worker(
    t,
    options,
    `
    let [over, ended] = [false, 0]
    parentPort.once('message', () => (over = true))
    const whole = await line.stream(REQUEST).finalText()
    say('ready')
    for (; !over; ended++) if ((await line.stream(REQUEST).finalText()) !== whole) throw new Error('torn')
    say(ended)`,
  )
  assert.equal(await heard(stays), 'ready')

  for (let round = 0; round < ROUNDS; round++) {
    const goes = worker(
      t,
      options,
      `
      line.on('connection', () => {})
      for (let n = 0; n < 5; n++) (async () => { for (;;) for await (const _ of line.stream(REQUEST)) say('piece') })()`,
    )
    assert.equal(await heard(goes), 'piece')
    await goes.terminate()
  }
  over = true
  for (const ended of await Promise.all(working)) assert.ok(ended > 0)
  stays.postMessage('over')
  assert.ok((await heard(stays)) > 0)
  await until(() => here.metrics().pool.streams.active === 0, 'the streams of the workers are gone')
  const { requests, pool } = here.metrics()
  assert.deepEqual([requests.failed, requests.aborted, requests.retried], [0, 0, 0])
  assert.deepEqual([pool.opened, upstream.connections.opened, upstream.connections.open], [1, 1, 1])
  assert.deepEqual(events, [])
})

test('thirty workers terminated in mid-stream crash nothing', async (t) => {
  const upstream = await MockUpstream.start({ tls: true, tokensPerSecond: 300 })
  t.after(() => upstream.close())
  const source = `
    import { Worker } from 'node:worker_threads'
    import { createRequire } from 'node:module'
    const { Trunkline } = createRequire(import.meta.url)(${JSON.stringify(root)})
    const options = { baseURL: process.env.UPSTREAM + '/v1', pool: { tls: { ca: ${JSON.stringify(upstream.ca)} } } }
    const REQUEST = ${JSON.stringify(REQUEST)}
    const text = \`
      const { workerData, parentPort } = require('node:worker_threads')
      const { Trunkline } = require(${JSON.stringify(root)})
      const line = new Trunkline(workerData.options)
      const key = new Trunkline({ ...workerData.options, apiKey: () => new Promise(() => {}) })
      key.chat(workerData.REQUEST).catch(() => {})
      for (let n = 0; n < 10; n++) (async () => {
        for (;;) for await (const _ of line.stream(workerData.REQUEST)) parentPort.postMessage(0)
      })()\`
    const line = new Trunkline(options)
    for (let round = 0; round < 10; round++) {
      await Promise.all([1, 2, 3].map(async (n) => {
        const worker = new Worker(text, { eval: true, execArgv: [], workerData: { options, REQUEST } })
        await new Promise((next) => worker.once('message', next))
        for (let turn = 0; turn < n * round; turn++) await new Promise(setImmediate)
        await worker.terminate()
      }))
      await line.chat(REQUEST)
    }
    while (line.metrics().pool.streams.active > 0) await new Promise((next) => setTimeout(next, 5))
    console.log('alive', line.metrics().pool.opened)`
  const { code, signal, stdout, stderr } = await run(source, { url: upstream.url, limit: 60_000 })
  assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' })
  assert.match(stdout, /^alive \d+$/)
})
