// What goes wrong: aborts before, during and after; no connection; no answer; a client that is closed.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { client, http, own, REQUEST, rawServer, until } from '../support.mjs'
import { both, echo, ours, rejected, serve, streamOf } from './support.mjs'

/** A server that begins an answer and does not end it; what became of its requests. */
async function slow(t, { head = true, body = 'begun' } = {}) {
  const log = { asked: 0, closed: 0 }
  log.url = await serve(t, (_, response) => {
    log.asked++
    response.on('close', () => log.closed++)
    if (head) response.write(body)
  })
  return log
}

both('an abort before it begins sends nothing', async (t, fetch) => {
  const server = await slow(t)
  const reason = new Error('mine')
  for (const signal of [AbortSignal.abort(reason), AbortSignal.any([AbortSignal.abort(reason)])]) {
    assert.equal(await rejected(fetch(server.url, { signal })), reason)
    assert.equal(await rejected(fetch(new Request(server.url, { signal }))), reason)
  }
  const plain = await rejected(fetch(server.url, { signal: AbortSignal.abort() }))
  assert.deepEqual([plain.name, plain instanceof DOMException], ['AbortError', true])
  assert.equal(server.asked, 0)
})

both('an abort while it waits for the answer rejects with its reason, and closes the connection', async (t, fetch) => {
  const server = await slow(t, { head: false })
  for (const reason of [new Error('mine'), 'a text', null, 0]) {
    const { asked } = server
    const controller = new AbortController()
    const answer = fetch(server.url, { signal: controller.signal })
    answer.catch(() => {})
    await until(() => server.asked > asked)
    controller.abort(reason)
    assert.equal(
      await answer.then(
        () => 'no',
        (error) => error,
      ),
      reason,
    )
  }
  await until(() => server.closed === 4)
  const late = await rejected(fetch(server.url, { signal: AbortSignal.timeout(20) }))
  assert.equal(late.name, 'TimeoutError')
})

both('an abort after the head fails whoever reads the body, with its reason', async (t, fetch) => {
  const server = await slow(t)
  const reason = new Error('mine')
  const reads = [
    (response) => response.text(),
    (response) => response.json(),
    async (response) => {
      for await (const _ of response.body);
    },
    async (response) => {
      const reader = response.body.getReader()
      for (;;) await reader.read()
    },
    async (response) => {
      await response.body.getReader().closed
    },
  ]
  for (const [n, read] of reads.entries()) {
    const controller = new AbortController()
    const response = await fetch(server.url, { signal: controller.signal })
    const reading = rejected(read(response))
    setTimeout(() => controller.abort(reason), 10)
    assert.equal(await reading, reason, `read ${n}`)
  }
  await until(() => server.closed === reads.length)
})

both('an abort before anybody reads fails who reads then', async (t, fetch) => {
  const server = await slow(t)
  for (const read of [(response) => response.text(), (response) => response.body.getReader().read()]) {
    const controller = new AbortController()
    const response = await fetch(server.url, { signal: controller.signal })
    controller.abort()
    assert.equal((await rejected(read(response))).name, 'AbortError')
  }
})

both('an abort after all has come changes nothing', async (t, fetch) => {
  const url = await echo(t)
  const controller = new AbortController()
  const { method } = await (await fetch(url, { signal: controller.signal })).json()
  controller.abort()
  assert.equal(method, 'GET')
})

both('one signal for many, and no listener is left behind', async (t, fetch) => {
  const { getEventListeners } = await import('node:events')
  const url = await echo(t)
  const controller = new AbortController()
  const { signal } = controller
  await Promise.all(Array.from({ length: 30 }, async () => (await fetch(url, { signal })).text()))
  await until(() => {
    globalThis.gc?.()
    return getEventListeners(signal, 'abort').length <= 30
  })
})

// Node's own leaves the stream alone while it waits for a piece.
test('an abort cancels the stream that is sent', async (t) => {
  const fetch = ours(t)
  const server = await rawServer(t, () => {})
  let cancelled
  let pulled = false
  const body = new ReadableStream({
    pull(controller) {
      pulled = true
      controller.enqueue(new Uint8Array(10))
      return new Promise(() => {})
    },
    cancel: (reason) => (cancelled = reason),
  })
  const controller = new AbortController()
  const answer = fetch(server.url, { method: 'POST', body, duplex: 'half', signal: controller.signal })
  answer.catch(() => {})
  await until(() => pulled)
  const reason = new Error('mine')
  controller.abort(reason)
  assert.equal(await rejected(answer), reason)
  await until(() => cancelled === reason)
})

both('no connection is a TypeError whose cause has the system’s code', async (_t, fetch) => {
  const { createServer } = await import('node:net')
  const server = createServer()
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  const error = await rejected(fetch(`http://127.0.0.1:${port}/`))
  assert.deepEqual([error.name, error.message, error.cause.code], ['TypeError', 'fetch failed', 'ECONNREFUSED'])
  assert.ok(error instanceof TypeError && error.cause instanceof Error)
})

both('a name that nobody knows is ENOTFOUND, or not known for now', async (_t, fetch) => {
  const error = await rejected(fetch('http://nobody.invalid/'))
  assert.equal(error.message, 'fetch failed')
  assert.match(error.cause.code, /^(ENOTFOUND|EAI_AGAIN)$/)
})

both('a connection that closes without an answer is told as such', async (t, fetch) => {
  const server = await rawServer(t, (socket) => socket.end())
  const error = await rejected(fetch(server.url, { method: 'POST', body: 'x' }))
  assert.equal(error.message, 'fetch failed')
  assert.match(error.cause.code, /^(UND_ERR_SOCKET|ECONNRESET)$/)
})

both('a certificate that nobody vouches for is told as such', async (t, fetch) => {
  const upstream = await MockUpstream.start({ tls: true })
  t.after(() => upstream.close())
  const error = await rejected(fetch(upstream.url))
  assert.equal(error.message, 'fetch failed')
  assert.match(
    error.cause.code,
    /^(UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_GET_ISSUER_CERT_LOCALLY)$/,
  )
})

both('an answer that is no HTTP fails the fetch', async (t, fetch) => {
  const server = await rawServer(t, (socket) => socket.end('this is no HTTP\r\n\r\n'))
  assert.equal((await rejected(fetch(server.url))).message, 'fetch failed')
})

both('interim answers are passed over', async (t, fetch) => {
  const server = await rawServer(t, (socket) => {
    socket.write('HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n')
    socket.write(http('{"a":1}'))
  })
  const response = await fetch(server.url)
  assert.deepEqual([response.status, await response.json()], [200, { a: 1 }])
})

// Readers of events are made like this: what comes at once leaves in several pieces, which a stream that is told of an error drops.
both('what came before a break reaches the end of a chain of streams', async (t, fetch) => {
  const server = await rawServer(t, (socket) =>
    socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nabcdef\r\n'),
  )
  const { body } = await fetch(server.url)
  const split = (bytes, controller) => Buffer.from(bytes).forEach((byte) => void controller.enqueue(byte))
  const chain = body.pipeThrough(new TransformStream({ transform: split })).pipeThrough(new TransformStream())
  let text = ''
  const reading = async () => {
    for await (const byte of chain) text += String.fromCharCode(byte)
  }
  assert.equal((await rejected(reading())).message, 'terminated')
  assert.equal(text, 'abcdef')
})

test('a connection that takes too long is UND_ERR_CONNECT_TIMEOUT, which SDKs take for a timeout', async (t) => {
  // Nobody answers in the middle of a handshake.
  const server = await rawServer(t, () => {})
  const line = ours(t, { timeouts: { connect: 50 } })
  const error = await rejected(line(server.url.replace('http:', 'https:')))
  assert.equal(error.cause.code, 'UND_ERR_CONNECT_TIMEOUT')
  assert.match(String(error.cause), /timed? ?out/i)
})

test('the cause of a failure is one of our errors', async (t) => {
  const { ConnectionError, TimeoutError } = await import('trunkline')
  const server = await rawServer(t, (socket) => socket.end())
  const error = await rejected(ours(t)(server.url))
  assert.ok(error.cause instanceof ConnectionError)
  assert.equal(error.cause.billed, 'maybe')
  const limited = ours(t, { timeouts: { queue: 30 }, pool: { maxConnections: 1 } })
  const held = await slow(t, { head: false })
  limited(held.url).catch(() => {})
  await until(() => held.asked === 1)
  const late = await rejected(limited(held.url))
  assert.ok(late.cause instanceof TimeoutError)
  assert.equal(late.cause.phase, 'queue')
})

test('what fails names its caller', async (t) => {
  const server = await rawServer(t, (socket) => socket.end())
  const line = ours(t)
  async function theCaller() {
    return await line(server.url)
  }
  assert.match((await rejected(theCaller())).stack, /theCaller/)
})

test('nothing is tried again: a failure of the server is the answer', async (t) => {
  let asked = 0
  const url = await serve(t, (_, response) => {
    asked++
    response.writeHead(503, { 'retry-after': '0' })
    response.end('no')
  })
  const response = await ours(t)(url, { method: 'POST', body: '{}' })
  assert.deepEqual([response.status, await response.text(), asked], [503, 'no', 1])
  let sockets = 0
  const server = await rawServer(t, (socket) => {
    sockets++
    socket.destroy()
  })
  await rejected(ours(t)(server.url, { method: 'POST', body: '{}' }))
  assert.equal(sockets, 1)
})

test('a closed client rejects, and one that closes ends what runs', async (t) => {
  const server = await slow(t)
  const line = new Trunkline(own({ apiKey: 'k' }))
  const { fetch } = line
  const response = await fetch(server.url)
  const reading = rejected(response.text())
  await line.close({ drainTimeout: 0 })
  assert.equal((await reading).name, 'ClosedError')
  const error = await rejected(fetch(server.url))
  assert.deepEqual([error.name, error.cause.name], ['TypeError', 'ClosedError'])
})

test('fetch is bound, one for good, and can be handed on', async (t) => {
  const url = await echo(t)
  const line = client(t, 'http://127.0.0.1:9')
  assert.equal(line.fetch, line.fetch)
  const { fetch } = line
  assert.equal(fetch.name, 'fetch')
  assert.equal((await fetch.call(undefined, url)).status, 200)
  assert.throws(() => Object.assign(line, { fetch: null }), TypeError)
})

test('in the place of the global one it works, also for what it hands on', async (t) => {
  const url = await echo(t)
  const before = globalThis.fetch
  t.after(() => (globalThis.fetch = before))
  globalThis.fetch = ours(t)
  assert.equal(await (await globalThis.fetch('data:text/plain,hello')).text(), 'hello')
  const blob = URL.createObjectURL(new Blob(['of a blob']))
  assert.equal(await (await globalThis.fetch(blob)).text(), 'of a blob')
  assert.equal((await globalThis.fetch(url)).status, 200)
})

test('it shares the pool of the client and counts in its figures', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const line = client(t, upstream)
  await line.chat(REQUEST)
  const url = `${upstream.url}/v1/chat/completions`
  for (let n = 0; n < 3; n++) {
    const response = await line.fetch(url, {
      method: 'POST',
      body: JSON.stringify(REQUEST),
      headers: { 'content-type': 'application/json' },
    })
    assert.equal((await response.json()).object, 'chat.completion')
  }
  assert.equal(upstream.connections.opened, 1)
  const { requests, pool } = line.metrics()
  assert.deepEqual([requests.succeeded, requests.inFlight], [4, 0])
  assert.equal(pool.origins.length, 1)
})

test('a request that was certainly not processed is sent again', async (t) => {
  const upstream = await MockUpstream.start({ http2: true })
  t.after(() => upstream.close())
  const line = client(t, upstream, { pool: { http2: 'prior-knowledge' } })
  upstream.fault({ kind: 'goaway', lastStream: 'refused' }, { times: 1 })
  const response = await line.fetch(`${upstream.url}/v1/chat/completions`, {
    method: 'POST',
    body: JSON.stringify(REQUEST),
    headers: { 'content-type': 'application/json' },
  })
  assert.equal(response.status, 200)
  assert.equal(response.statusText, '')
  await response.text()
})

test('a response that nobody holds gives its connection back', async (t) => {
  const server = await slow(t)
  const line = ours(t)
  await (async () => {
    for (let n = 0; n < 5; n++) await line(server.url)
  })()
  await until(() => {
    globalThis.gc()
    return server.closed === 5
  })
})

test('whoever reads a response that nobody else holds gets all of it', async (t) => {
  let end
  const url = await serve(t, (_, response) => {
    response.write('one ')
    end = () => response.end('two')
  })
  const line = ours(t)
  for (const read of [
    (response) => response.text(),
    async (response) => {
      let text = ''
      for await (const chunk of response.body) text += Buffer.from(chunk).toString()
      return text
    },
    async (response) => {
      const reader = response.body.getReader()
      let text = ''
      for (;;) {
        const { done, value } = await reader.read()
        if (done) return text
        text += Buffer.from(value).toString()
      }
    },
  ]) {
    const text = read(await line(url))
    for (let n = 0; n < 5; n++) {
      globalThis.gc()
      await new Promise(setImmediate)
    }
    end()
    assert.equal(await text, 'one two')
  }
})

test('it keeps the context of its caller', async (t) => {
  const { AsyncLocalStorage } = await import('node:async_hooks')
  const url = await echo(t)
  const line = ours(t)
  const storage = new AsyncLocalStorage()
  const seen = await Promise.all(
    ['a', 'b'].map((name) =>
      storage.run(name, async () => {
        const response = await line(url)
        const first = storage.getStore()
        for await (const _ of response.body) assert.equal(storage.getStore(), name)
        return [first, storage.getStore()]
      }),
    ),
  )
  assert.deepEqual(seen, [
    ['a', 'a'],
    ['b', 'b'],
  ])
})

test('a process ends when its fetches have', async (t) => {
  const { run } = await import('../support.mjs')
  const url = await echo(t)
  const script = `
    import { Trunkline } from 'trunkline'
    const { fetch } = new Trunkline({ apiKey: 'k' })
    console.log((await (await fetch(process.env.UPSTREAM)).json()).method)
    await fetch(process.env.UPSTREAM)`
  assert.deepEqual(await run(script, { url }), { code: 0, signal: null, stdout: 'GET', stderr: '' })
})

test('over HTTP/2 and TLS it is the same fetch', async (t) => {
  const upstream = await MockUpstream.start({ tls: true, http2: true })
  t.after(() => upstream.close())
  const line = client(t, upstream)
  const init = { method: 'POST', headers: { 'content-type': 'application/json', host: 'x.test', connection: 'close' } }
  const url = `${upstream.url}/v1/chat/completions`
  const whole = await line.fetch(url, { ...init, body: JSON.stringify(REQUEST) })
  assert.equal((await whole.json()).object, 'chat.completion')
  const texts = [JSON.stringify({ ...REQUEST, stream: true })]
  const streamed = await line.fetch(url, { ...init, body: streamOf(...texts), duplex: 'half' })
  assert.match(await streamed.text(), /data: \[DONE\]/)
  assert.equal(upstream.connections.opened, 1)
})

test('workers that are ended in the middle of their fetches leave nothing behind', async (t) => {
  const { Worker } = await import('node:worker_threads')
  const { once } = await import('node:events')
  const { root } = await import('../support.mjs')
  const server = await slow(t)
  const source = `
    const { workerData, parentPort } = require('node:worker_threads')
    const { Trunkline } = require(workerData.root)
    const { fetch } = new Trunkline({ apiKey: 'k', pool: { maxAge: 100_001 } })
    const upload = () => new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1000)) })
    Promise.all([0, 1, 2, 3].map(async (n) => {
      const response = await fetch(workerData.url)
      if (n === 0) response.text()
      if (n === 1) response.body.getReader().read()
      if (n === 2) fetch(workerData.url, { method: 'POST', body: upload(), duplex: 'half' })
    })).then(() => parentPort.postMessage('ready'))`
  const workers = Array.from({ length: 20 }, async () => {
    const worker = new Worker(source, { eval: true, workerData: { root, url: server.url } })
    await once(worker, 'message')
    await worker.terminate()
  })
  await Promise.all(workers)
  await until(() => server.asked >= 80 && server.closed === server.asked)
})
