// AsyncLocalStorage: whatever of the user's we call, and whatever we settle, is in the context where it belongs. Needs --expose-gc.

import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { createServer } from 'node:http'
import test from 'node:test'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { client, own, REQUEST, rejection, root, run, start } from './support.mjs'

const store = new AsyncLocalStorage()
const here = () => store.getStore()

/** Runs `each` in a context of its own, and holds it to still being there. */
async function within(name, each) {
  await store.run(name, async () => {
    await each()
    assert.equal(here(), name)
  })
}

function deferred() {
  const made = {}
  made.promise = new Promise((resolve) => {
    made.resolve = resolve
  })
  return made
}

test('after an await of a call, good or bad, the context is that of before it', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  await Promise.all(
    ['a', 'b', 'c'].map((name) =>
      within(name, async () => {
        await line.chat(REQUEST)
        assert.equal(here(), name)
        await line.chat(REQUEST).withMeta()
        assert.equal(here(), name)
        await line.chat(REQUEST).then(() => assert.equal(here(), name))
        await line.embed({ model: 'm', input: 'x' })
        assert.equal(here(), name)
        await line.stream(REQUEST).final()
        assert.equal(here(), name)
        const aborted = line.chat(REQUEST, { signal: AbortSignal.abort() })
        await aborted.catch(() => assert.equal(here(), name))
        await rejection(line.chat({}))
        assert.equal(here(), name)
        await line.warmup()
      }),
    ),
  )
  upstream.fault({ kind: 'status', status: 500 })
  await within('failed', () =>
    line.chat(REQUEST).catch(() => {
      assert.equal(here(), 'failed')
    }),
  )
})

test('a loop over a stream, its text and its events runs in the context of the loop', async (t) => {
  const { upstream, line } = await start(t)
  upstream.reply({}, { content: 'one two three four five' })
  const stream = await store.run('elsewhere', async () => line.stream(REQUEST))
  const meta = store.run('elsewhere', () => stream.meta.then(() => assert.equal(here(), 'elsewhere')))
  await within('loop', async () => {
    for await (const _ of stream) assert.equal(here(), 'loop')
    for await (const _ of line.stream(REQUEST).text()) assert.equal(here(), 'loop')
    for await (const _ of line.events('/chat/completions', { ...REQUEST, stream: true })) assert.equal(here(), 'loop')
  })
  await meta
})

test('a batch takes its items and tells of its progress in the context of whoever began it', async (t) => {
  const { line } = await start(t)
  const seen = new Set()
  async function* source() {
    for (let n = 0; n < 20; n++) {
      seen.add(here())
      yield REQUEST
      await null
    }
  }
  const batch = store.run('batch', () => line.batch(source(), { concurrency: 3, onProgress: () => seen.add(here()) }))
  await within('awaiting', async () => {
    await batch
    assert.equal(here(), 'awaiting')
    for await (const _ of line.batch([REQUEST, REQUEST])) assert.equal(here(), 'awaiting')
  })
  assert.deepEqual([...seen], ['batch'])
})

test('a route is selected in the context of the call', async (t) => {
  const { line } = await start(t, { routes: { any: { select: () => seen.push(here()) && 'gpt-test' } } })
  const seen = []
  await within('one', () => line.chat({ ...REQUEST, model: 'any' }))
  await within('two', () => line.stream({ ...REQUEST, model: 'any' }).final())
  assert.deepEqual(seen, ['one', 'two'])
})

test('a key is asked for in the context of whoever gave the function, and not of a call that happens to need it', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const seen = []
  const key = async () => {
    seen.push(here())
    await null
    seen.push(here())
    return 'sk-1'
  }
  const line = store.run('made', () => client(t, upstream, { apiKey: key }))
  await within('call', () => line.chat(REQUEST))
  store.run('rotated', () => line.rotateKey('default', key))
  await within('call', () => line.chat(REQUEST))
  assert.deepEqual(seen, ['made', 'made', 'rotated', 'rotated'])
})

test('events are emitted in the context in which the client was made', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const seen = []
  const line = store.run('made', () => client(t, upstream, { retry: { strategy: 'immediate' } }))
  store.run('registered', () => {
    line.on('connection', () => seen.push(here()))
    line.once('retry', () => seen.push(here()))
  })
  upstream.fault({ kind: 'status', status: 500 })
  await within('call', () => line.chat(REQUEST))
  await line.close()
  assert.deepEqual(seen, ['made', 'made', 'made'])
})

test('where the library is loaded inside a context, other clients and their events know nothing of it', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const script = `
    import { AsyncLocalStorage } from 'node:async_hooks'
    import { createRequire } from 'node:module'
    const store = new AsyncLocalStorage()
    const { Trunkline } = store.run('first', () => createRequire('${root}')('./index.js'))
    const seen = []
    const line = new Trunkline({ baseURL: process.env.UPSTREAM + '/v1', apiKey: () => (seen.push(store.getStore()), 'k') })
    line.on('connection', () => seen.push(store.getStore()))
    await line.chat(${JSON.stringify(REQUEST)})
    await line.close()
    console.log(JSON.stringify(seen.map(String)))`
  const { stdout } = await run(script, { url: upstream.url })
  assert.deepEqual(JSON.parse(stdout), ['undefined', 'undefined', 'undefined'])
})

test('a ReadableStream of a chat calls what it is piped to in the context of the pipe', async (t) => {
  const { upstream, line } = await start(t, { upstream: { tokensPerSecond: 400 } })
  upstream.reply({}, { content: 'one two three four five six' })
  await within('pipe', async () => {
    const seen = new Set()
    const transform = new TransformStream({ transform: (piece, to) => seen.add(here()) && to.enqueue(piece) })
    const sink = new WritableStream({ write: () => void seen.add(here()) })
    await line.stream(REQUEST).toReadableStream().pipeThrough(transform).pipeTo(sink)
    assert.deepEqual([...seen], ['pipe'])
  })
})

test('fetch: awaits, bodies, pipes and the body of a request are in the context of the caller', async (t) => {
  const line = new Trunkline(own())
  t.after(() => line.close({ drainTimeout: 0 }))
  const server = createServer(async (request, response) => {
    response.write('first ')
    for await (const piece of request) response.write(piece)
    setTimeout(() => response.end('last'), 20)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const url = `http://127.0.0.1:${server.address().port}/`
  await within('fetch', async () => {
    const seen = new Set()
    let left = 3
    const body = new ReadableStream(
      {
        pull(to) {
          seen.add(here())
          if (left-- > 0) to.enqueue(new TextEncoder().encode('x'.repeat(100)))
          else to.close()
        },
      },
      { highWaterMark: 0 },
    )
    const response = await line.fetch(url, { method: 'POST', body, duplex: 'half' })
    assert.equal(here(), 'fetch')
    for await (const _ of response.body) seen.add(here())
    const piped = await line.fetch(url)
    const transform = new TransformStream({ transform: (piece, to) => seen.add(here()) && to.enqueue(piece) })
    await piped.body.pipeThrough(transform).pipeTo(new WritableStream({ write: () => void seen.add(here()) }))
    await (await line.fetch(url)).text()
    assert.equal(here(), 'fetch')
    assert.deepEqual([...seen], ['fetch'])
  })
})

test('fetch: a body that is left is cancelled in the context of the fetch', async (t) => {
  const { upstream, line } = await start(t)
  const holder = new AbortController()
  const cancelled = deferred()
  const waiting = deferred()
  const fetched = within('fetch', async () => {
    let sent = 0
    const body = new ReadableStream(
      {
        pull(to) {
          if (sent++ < 5) return to.enqueue(new Uint8Array(100))
          waiting.resolve()
          return new Promise(() => {})
        },
        cancel: () => cancelled.resolve(here()),
      },
      { highWaterMark: 0 },
    )
    const url = `${upstream.url}/v1/x`
    await rejection(line.fetch(url, { method: 'POST', body, duplex: 'half', signal: holder.signal }))
  })
  await waiting.promise
  store.run('aborter', () => holder.abort())
  await fetched
  assert.equal(await cancelled.promise, 'fetch')
})

test('a signal is heard in the context of whoever aborts, and the caller goes on in its own', async (t) => {
  const { upstream, line } = await start(t)
  upstream.fault({ kind: 'silence', for: 60_000 })
  const holder = new AbortController()
  const seen = []
  holder.signal.addEventListener('abort', () => seen.push(here()))
  const call = within('caller', async () => {
    await rejection(line.chat(REQUEST, { signal: holder.signal }))
    seen.push(here())
  })
  store.run('aborter', () => holder.abort())
  await call
  assert.deepEqual(seen, ['aborter', 'caller'])
})

test('a call that has ended holds on to no context', async (t) => {
  assert.ok(globalThis.gc, 'run with --expose-gc')
  const { line } = await start(t)
  const kept = await (async () => {
    const context = { big: true }
    await store.run(context, () => line.chat(REQUEST))
    return new WeakRef(context)
  })()
  for (let n = 0; n < 20 && kept.deref() !== undefined; n++) {
    await line.chat(REQUEST)
    globalThis.gc()
    await new Promise(setImmediate)
  }
  assert.equal(kept.deref(), undefined)
})
