// The `connection` event. Needs --expose-gc.

import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import test from 'node:test'
import { Worker } from 'node:worker_threads'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { client, own, REQUEST, root, run, SCRIPT, start, until } from './support.mjs'

assert.ok(globalThis.gc, 'run with --expose-gc')

/** The events that a client emits from now on. */
function heard(line) {
  const events = []
  line.on('connection', (event) => events.push(event))
  return events
}

const closedBy = (events) => {
  const counts = {}
  for (const { event, reason } of events) if (event === 'closed') counts[reason] = (counts[reason] ?? 0) + 1
  return counts
}
const withoutZeros = (counts) => Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0))
const opened = (events) => events.filter(({ event }) => event === 'opened')

for (const [how, protocol, options] of [
  ['HTTP/1.1', 'h1', {}],
  ['HTTP/2 over TLS', 'h2', { upstream: { tls: true } }],
]) {
  test(`a connection is told of when it opens and when it closes: ${how}`, async (t) => {
    const { upstream, line } = await start(t, options)
    const events = heard(line)
    const { meta } = await line.chat(REQUEST).withMeta()
    const { dns, connect, tls } = meta.timings
    assert.equal(events.length, 1, 'by the time that the call is answered')
    const [{ handshake, ...event }] = events
    assert.deepEqual(event, { id: meta.connection.id, origin: upstream.url, protocol, event: 'opened' })
    assert.ok(Math.abs(handshake - (dns + connect + tls)) < 0.01, `${handshake}, ${JSON.stringify(meta.timings)}`)
    await line.chat(REQUEST)
    await line.close()
    assert.deepEqual(events.slice(1), [{ ...event, event: 'closed', reason: 'shutdown' }])
  })

  test(`events, figures and the upstream agree, and every close has a reason: ${how}`, async (t) => {
    const { upstream, line } = await start(t, {
      ...options,
      upstream: { ...options.upstream, requestsPerConnection: 7, tokensPerSecond: 5_000 },
      pool: { maxIdleConnections: 2, maxStreamsPerConnection: 4 },
      retry: { strategy: 'immediate' },
    })
    const events = heard(line)
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 10 }, () => line.chat(REQUEST)))
      for await (const _ of line.stream(REQUEST)) break
      upstream.fault({ kind: 'goaway' }).fault({ kind: 'reset' })
    }
    await line.close()
    // No event is late: close() waits for the sockets, and what they tell comes before its end.
    const { pool } = line.metrics()
    assert.equal(opened(events).length, pool.opened)
    assert.deepEqual(closedBy(events), withoutZeros(pool.closed))
    assert.equal(
      Object.values(pool.closed).reduce((sum, count) => sum + count),
      pool.opened,
    )
    assert.ok(Object.keys(closedBy(events)).length > 1, JSON.stringify(pool.closed))
    assert.equal(upstream.connections.opened, pool.opened)
    const open = new Set()
    for (const { id, event } of events) {
      if (event === 'opened') assert.ok(open.size < open.add(id).size, 'it opens once')
      else assert.ok(open.delete(id), 'it closes once, after it opened')
    }
    assert.equal(open.size, 0)
  })
}

test('every client that listens gets the connections of the pool that it shares, on whatever thread they are made', async (t) => {
  const { upstream, line } = await start(t, { pool: { maxAge: 222_001 } })
  const other = client(t, upstream, { pool: { maxAge: 222_001 } })
  const [ours, theirs] = [heard(line), heard(other)]
  const options = { baseURL: `${upstream.url}/v1`, pool: { maxAge: 222_001 } }
  const source = `
    const { workerData: { options }, parentPort } = require('node:worker_threads')
    const { Trunkline } = require(${JSON.stringify(root)})
    const line = new Trunkline(options)
    line.on('connection', (event) => parentPort.postMessage(event))
    line.warmup({ connections: 2 })`
  const worker = new Worker(source, { eval: true, workerData: { options } })
  t.after(() => worker.terminate())
  const fromWorker = []
  worker.on('message', (event) => fromWorker.push(event))
  await once(worker, 'exit')
  await until(() => ours.length === 2 && theirs.length === 2)
  assert.deepEqual(ours, fromWorker)
  assert.deepEqual(theirs, ours)
  // The upstream counts on a thread of its own.
  await until(() => upstream.connections.opened === 2)
})

test('only what happens while somebody listens is told', async (t) => {
  const { line } = await start(t, { pool: { idleTimeout: 10 } })
  const events = []
  const listener = (event) => events.push(event)
  const turn = async () => {
    const before = line.metrics().pool.opened
    await line.chat(REQUEST)
    await until(() => line.metrics().pool.connections.idle === 0 && line.metrics().pool.closed.idle === before + 1)
    return new Promise(setImmediate)
  }
  const ways = [
    [() => line.on('connection', listener), () => line.off('connection', listener), 2],
    [() => line.addListener('connection', listener), () => line.removeListener('connection', listener), 2],
    [() => line.prependListener('connection', listener), () => line.removeAllListeners('connection'), 2],
    [() => line.on('connection', listener), () => line.removeAllListeners(), 2],
    [() => line.once('connection', listener), () => {}, 1],
    [() => line.prependOnceListener('connection', listener), () => {}, 1],
  ]
  for (const [add, remove, told] of ways) {
    await turn()
    assert.equal(events.length, 0)
    add()
    await turn()
    await until(() => events.length === told)
    remove()
    events.length = 0
    assert.equal(line.listenerCount('connection'), 0)
  }
  const [[event]] = await Promise.all([once(line, 'connection'), turn()])
  assert.equal(event.event, 'opened')
  await turn()
})

test('it is an EventEmitter like any other', async (t) => {
  const { line } = await start(t)
  assert.ok(line instanceof EventEmitter)
  const order = []
  line.on('newListener', (name) => order.push(`new ${name}`))
  line.on('removeListener', (name) => order.push(`gone ${name}`))
  line.once('connection', function () {
    order.push(this === line)
  })
  line.prependListener('connection', () => order.push('first'))
  await line.chat(REQUEST)
  line.removeAllListeners('connection')
  assert.deepEqual(order, [
    'new removeListener',
    'new connection',
    'new connection',
    'first',
    'gone connection',
    true,
    'gone connection',
  ])
  assert.deepEqual(line.eventNames(), ['newListener', 'removeListener'])
})

test('after close() nothing is told, though others go on with the pool', async (t) => {
  const { upstream, line } = await start(t, { pool: { maxAge: 222_002 } })
  const other = client(t, upstream, { pool: { maxAge: 222_002 } })
  const [ours, theirs] = [heard(line), heard(other)]
  await line.chat(REQUEST)
  await line.close()
  assert.equal(ours.length, 1)
  line.on('connection', () => ours.push('too late'))
  await other.close()
  assert.deepEqual(
    theirs.map(({ event }) => event),
    ['opened', 'closed'],
  )
  assert.equal(ours.length, 1)
})

test('a listener that throws is an uncaught exception, and costs no other event or call', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const source = `${SCRIPT}
    const [caught, told] = [[], []]
    process.on('uncaughtException', (error) => caught.push(error.message))
    line.on('connection', (event) => { told.push(event.event); throw new Error(event.event) })
    const answers = await Promise.all(Array.from({ length: 5 }, () => line.chat(REQUEST)))
    await line.close()
    console.log(answers.length, told.length === 2 * line.metrics().pool.opened, caught.join() === told.join())`
  const { code, stdout, stderr } = await run(source, { url: upstream.url })
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '5 true true', stderr: '' })
})

test('uncaught, it ends the process as any exception', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const source = `${SCRIPT}
    line.on('connection', () => { throw new Error('a mistake of the listener') })
    await line.chat(REQUEST)
    await new Promise((resolve) => setTimeout(resolve, 10_000))`
  const { code, stderr } = await run(source, { url: upstream.url })
  assert.equal(code, 1)
  assert.match(stderr, /a mistake of the listener/)
})

test('a listener keeps no process alive', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const source = `${SCRIPT}
    line.on('connection', ({ event }) => console.log(event))
    await line.chat(REQUEST)
    console.log(line.metrics().pool.connections.idle)`
  const { code, signal, stdout, stderr } = await run(source, { url: upstream.url })
  assert.deepEqual({ code, signal, stdout, stderr }, { code: 0, signal: null, stdout: 'opened\n1', stderr: '' })
})

test('a client that listens and is dropped is collected, and closes its sockets', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const use = async () => {
    const line = new Trunkline(own({ baseURL: `${upstream.url}/v1` }))
    const events = heard(line)
    await line.chat(REQUEST)
    assert.equal(events.length, 1)
    return new WeakRef(line)
  }
  const dropped = await use()
  await until(async () => {
    globalThis.gc()
    await new Promise(setImmediate)
    return dropped.deref() === undefined && upstream.connections.open === 0
  }, 'its sockets close')
})

test('a worker that listens and is terminated in the middle of it leaves nothing', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const options = own({ baseURL: `${upstream.url}/v1`, pool: { maxIdleConnections: 0 } })
  const source = `
    const { workerData: { options, REQUEST }, parentPort } = require('node:worker_threads')
    const { Trunkline } = require(${JSON.stringify(root)})
    const line = new Trunkline(options)
    line.on('connection', (event) => parentPort.postMessage(event))
    for (let n = 0; n < 8; n++) (async () => { for (;;) await line.chat(REQUEST) })()`
  const made = Array.from({ length: 4 }, () => new Worker(source, { eval: true, workerData: { options, REQUEST } }))
  for (const worker of made) t.after(() => worker.terminate())
  await Promise.all(made.map((worker) => once(worker, 'message')))
  await Promise.all(made.map((worker) => worker.terminate()))
  // With its last client the pool goes, which nobody but them had.
  await until(() => upstream.connections.open === 0, 'their pool is closed')
  const line = new Trunkline(options)
  const events = heard(line)
  await line.chat(REQUEST)
  await line.close()
  assert.deepEqual([line.metrics().pool.opened, events.length], [1, 2])
})

test('while JavaScript is busy so many events are kept, and it is told how many are not', async (t) => {
  const { upstream, line } = await start(t, { pool: { maxIdleConnections: 0, maxAge: 222_003 } })
  const options = { baseURL: `${upstream.url}/v1`, pool: { maxIdleConnections: 0, maxAge: 222_003 } }
  const CALLS = 700
  const done = new Int32Array(new SharedArrayBuffer(4))
  const source = `
    const { workerData: { options, REQUEST, CALLS, done }, parentPort } = require('node:worker_threads')
    const { Trunkline } = require(${JSON.stringify(root)})
    const line = new Trunkline(options)
    parentPort.once('message', async () => {
      for (let n = 0; n < CALLS; n++) await line.chat(REQUEST)
      while (line.metrics().pool.connections.draining > 0) await new Promise(setImmediate)
      Atomics.store(done, 0, 1)
      Atomics.notify(done, 0)
    })
    parentPort.postMessage('ready')`
  const worker = new Worker(source, { eval: true, workerData: { options, REQUEST, CALLS, done } })
  t.after(() => worker.terminate())
  await once(worker, 'message')
  const events = heard(line)
  let warning
  process.once('warning', (given) => {
    warning = given
  })
  worker.postMessage('go')
  assert.equal(Atomics.wait(done, 0, 0, 60_000), 'ok')
  // Not by a promise alone, which would not keep the process alive.
  await until(() => warning)
  assert.equal(warning.code, 'TRUNKLINE_EVENTS_LOST')
  assert.equal(events.length, 1024)
  assert.equal(warning.message, `${2 * CALLS - 1024} connection events were dropped while JavaScript was busy`)
  assert.equal(line.metrics().pool.opened, CALLS)
  // And then it goes on.
  await line.chat(REQUEST)
  await until(() => events.length === 1026)
})
