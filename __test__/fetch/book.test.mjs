// By the book, where it is most easily forgotten: promises that the web platform tests ask for, in words of our own. Where Node's own fetch does
// otherwise, it is told here, and in docs/fetch.md.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { Trunkline } from 'trunkline'
import { http, own, rawServer, root } from '../support.mjs'
import { both, echo, ours, rejected, serve, streamOf } from './support.mjs'

const READERS = ['text', 'json', 'arrayBuffer', 'blob', 'formData']

both('what is aborted when all of it has come, and before anybody reads, is aborted', async (t, fetch) => {
  const url = await echo(t)
  for (const name of READERS) {
    const controller = new AbortController()
    const response = await fetch(url, { signal: controller.signal })
    controller.abort()
    assert.equal((await rejected(response[name]())).name, 'AbortError', name)
  }
})

test('nor does it come later: each reader is told, and whoever asks for a stream', async (t) => {
  const url = await echo(t)
  const reason = new Error('enough')
  const controller = new AbortController()
  const response = await ours(t)(url, { signal: controller.signal })
  controller.abort(reason)
  assert.equal(await rejected(response.text()), reason)
  assert.equal(await rejected(response.text()), reason)
  assert.equal(await rejected(response.body.getReader().read()), reason)
})

both('an abort after the body was read changes nothing of it', async (t, fetch) => {
  const url = await echo(t)
  const controller = new AbortController()
  const response = await fetch(url, { signal: controller.signal })
  const clone = response.clone()
  const read = await Promise.all([response.json(), clone.text()])
  controller.abort()
  assert.equal(read[0].method, 'GET')
  assert.ok(response.bodyUsed && (await rejected(response.text())) instanceof TypeError)
})

both('what is aborted before it begins cancels the body at once, with the reason', async (t, fetch) => {
  const url = await echo(t)
  const controller = new AbortController()
  controller.abort()
  const cancelled = []
  const body = new ReadableStream({ cancel: (reason) => void cancelled.push(reason) })
  const promise = fetch(url, { method: 'POST', body, duplex: 'half', signal: controller.signal })
  assert.deepEqual(cancelled, [controller.signal.reason])
  assert.equal(await rejected(promise), controller.signal.reason)
})

const MEANT = 'the bytes that were meant'
const of = (algorithm, bytes = MEANT) => `${algorithm}-${createHash(algorithm).update(bytes).digest('base64')}`

both('bytes are held to the strongest of what integrity names', async (t, fetch) => {
  const url = await serve(t, (_, response) => response.end(MEANT))
  const good = [
    of('sha256'),
    of('sha384'),
    of('sha512'),
    `${of('sha512', 'others')} ${of('sha512')}`,
    `${of('sha256', 'others')} ${of('sha512')}`,
  ]
  for (const integrity of good) {
    assert.equal(await (await fetch(url, { integrity })).text(), MEANT, integrity)
  }
  const bad = [of('sha256', 'others'), `${of('sha256')} ${of('sha512', 'others')}`]
  for (const integrity of bad) {
    const error = await rejected(fetch(url, { integrity }))
    assert.deepEqual([error.name, error.message], ['TypeError', 'fetch failed'], integrity)
  }
})

test('integrity may have options, either alphabet, no padding, and names that nobody knows', async (t) => {
  const url = await serve(t, (_, response) => response.end(MEANT))
  const digest = of('sha512').slice('sha512-'.length)
  for (const integrity of [
    `sha512-${digest}?option`,
    `SHA512-${digest}`,
    `sha512-${digest.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')}`,
    `\tsha512-${digest}\n`,
    `md5-x sha512-${digest}`,
    'sha1-of-no-use',
    ' ',
  ]) {
    assert.equal(await (await ours(t)(url, { integrity })).text(), MEANT, integrity)
  }
})

test('a checked response is one like others, and what ends it early is told', async (t) => {
  const fetch = ours(t)
  const url = await echo(t)
  const integrity = 'sha1-of-no-use'
  const response = await fetch(url, { integrity })
  assert.deepEqual([response.url, response.status, response.bodyUsed], [`${url}/`, 200, false])
  assert.equal((await response.clone().json()).method, 'GET')
  assert.equal((await response.json()).method, 'GET')
  const cut = await rawServer(t, (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf'))
  assert.equal((await rejected(fetch(cut.url, { integrity }))).message, 'fetch failed')
  const slow = await serve(t, (_, response) => response.write('begun'))
  const controller = new AbortController()
  const pending = fetch(slow, { integrity, signal: controller.signal })
  setImmediate(() => controller.abort())
  assert.equal((await rejected(pending)).name, 'AbortError')
})

both('what has no body has not the bytes that integrity names', async (t, fetch) => {
  const url = await serve(t, (_, response) => response.writeHead(204).end())
  assert.ok((await rejected(fetch(url, { integrity: 'sha256-x' }))) instanceof TypeError)
})

test('a mode of same-origin keeps redirects at home', async (t) => {
  const away = await echo(t)
  const url = await serve(t, ({ url }, response) => {
    if (url === '/home') response.end('home')
    else response.writeHead(302, { location: url === '/away' ? away : '/home' }).end()
  })
  const fetch = ours(t)
  assert.equal(await (await fetch(url, { mode: 'same-origin' })).text(), 'home')
  const error = await rejected(fetch(`${url}/away`, { mode: 'same-origin' }))
  assert.equal(error.cause.message, 'request mode cannot be "same-origin"')
  assert.equal((await fetch(`${url}/away`)).status, 200)
})

both('a misdirected request goes once more, by another connection', async (t, fetch) => {
  const ports = []
  const url = await serve(t, ({ socket }, response, body) => {
    ports.push(socket.remotePort)
    response.writeHead(421).end(String(body))
  })
  const response = await fetch(url, { method: 'POST', body: 'again' })
  assert.deepEqual([response.status, await response.text()], [421, 'again'])
  assert.equal(ports.length, 2)
  assert.notEqual(ports[0], ports[1])
})

test('a body that came as a stream is not sent twice, however misdirected', async (t) => {
  let asked = 0
  const url = await serve(t, (_, response) => response.writeHead(421).end(String(++asked)))
  const response = await ours(t)(url, { method: 'POST', body: streamOf('once'), duplex: 'half' })
  assert.deepEqual([response.status, await response.text()], [421, '1'])
})

test('a fetch of one’s own that calls ours may stand in the place of the global one', async (t) => {
  const before = globalThis.fetch
  t.after(() => (globalThis.fetch = before))
  const line = new Trunkline(own({ baseURL: 'http://127.0.0.1:9', apiKey: 'sk-test-key' }))
  t.after(() => line.close())
  globalThis.fetch = (input, init) => line.fetch(input, init)
  assert.equal(await (await globalThis.fetch('data:text/plain,hello')).text(), 'hello')
})

// A response that lies.

both('an answer with two lengths, or with one that is none, fails the fetch', async (t, fetch) => {
  for (const lengths of [['3', '4'], ['3, 4'], ['-1'], ['x'], ['0x3']]) {
    const head = lengths.map((length) => `content-length: ${length}\r\n`).join('')
    const server = await rawServer(t, (socket) => socket.end(`HTTP/1.1 200 OK\r\n${head}\r\nabc`))
    const error = await rejected(fetch(server.url))
    assert.deepEqual([error.name, error.message], ['TypeError', 'fetch failed'], lengths.join(' and '))
  }
})

test('one length that is told twice is one, by the book; Node’s refuses it', async (t) => {
  const head = 'content-length: 3\r\ncontent-length: 3\r\n'
  const server = await rawServer(t, (socket) => socket.end(`HTTP/1.1 200 OK\r\n${head}\r\nabc`))
  assert.equal(await (await ours(t)(server.url)).text(), 'abc')
  const twice = await rawServer(t, (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 3, 3\r\n\r\nabc'))
  assert.equal(await (await ours(t)(twice.url)).text(), 'abc')
  assert.equal((await rejected(globalThis.fetch(server.url))).message, 'fetch failed')
})

both('an answer that breaks off before its first byte is none, packed or not', async (t, fetch) => {
  for (const coding of ['', 'content-encoding: gzip\r\n', 'content-encoding: br\r\n']) {
    const server = await rawServer(t, (socket) => socket.end(`HTTP/1.1 200 OK\r\n${coding}content-length: 9\r\n\r\n`))
    const read = async () => (await fetch(server.url)).text()
    assert.ok((await rejected(read())) instanceof TypeError, coding)
  }
})

both('what is more than the length says is not read', async (t, fetch) => {
  const server = await rawServer(t, (socket) =>
    socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabcdef'),
  )
  assert.equal(await (await fetch(server.url)).text(), 'abc')
})

both('a chunk that is cut, and one that is none, fail the reader', async (t, fetch) => {
  for (const chunks of ['5\r\nab', 'zz\r\nab\r\n0\r\n\r\n', '2\r\nabcd\r\n0\r\n\r\n', '2\r\nab\r\n']) {
    const server = await rawServer(t, (socket) =>
      socket.end(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunks}`),
    )
    const read = async () => (await fetch(server.url)).text()
    assert.ok((await rejected(read())) instanceof TypeError, JSON.stringify(chunks))
  }
})

both('a header with a NULL in its value fails the fetch', async (t, fetch) => {
  const server = await rawServer(t, (socket) => socket.end('HTTP/1.1 200 OK\r\nx-a: a\0b\r\n\r\n'))
  assert.equal((await rejected(fetch(server.url))).message, 'fetch failed')
})

test('the body of an answer that has none is not taken for the next answer', async (t) => {
  for (const head of [
    '204 No Content\r\ncontent-length: 5',
    '204 No Content\r\ntransfer-encoding: chunked',
    '304 Not Modified\r\ncontent-length: 5',
  ]) {
    const sockets = new Set()
    const server = await rawServer(t, (socket, asked) => {
      sockets.add(socket)
      socket.write(asked === 1 ? `HTTP/1.1 ${head}\r\n\r\n` : http('{"a":1}'))
    })
    const fetch = ours(t)
    const first = await fetch(server.url, { method: 'POST', body: 'x' })
    assert.deepEqual([first.body, await first.text()], [null, ''])
    assert.deepEqual(await (await fetch(server.url)).json(), { a: 1 }, head)
    assert.equal(sockets.size, 2, head)
  }
})

both('a 304 may tell of the length that it spares', async (t, fetch) => {
  const server = await rawServer(t, (socket, asked) => {
    socket.write(asked === 1 ? 'HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n' : http('{"a":1}'))
  })
  const spared = await fetch(server.url, { headers: { 'if-none-match': '"x"' } })
  assert.deepEqual([spared.status, spared.body], [304, null])
  assert.deepEqual(await (await fetch(server.url)).json(), { a: 1 })
})

// What is ours.

both('what a response is made of makes genuine ones', async (t, fetch) => {
  const url = await serve(t, (_, response) => {
    response.writeHead(201, 'Made', { 'set-cookie': ['a=1', 'b=2'], 'content-type': 'text/plain' })
    response.end('text')
  })
  const response = await fetch(url)
  const made = new Response(response.body, response)
  assert.deepEqual([made.status, made.statusText, await made.text()], [201, 'Made', 'text'])
  assert.deepEqual(made.headers.getSetCookie(), ['a=1', 'b=2'])
  const headers = new Headers(response.headers)
  headers.set('x-more', '1')
  assert.deepEqual([headers.get('content-type'), headers.get('x-more')], ['text/plain', '1'])
  const request = new Request('http://127.0.0.1/', { method: 'POST', headers: response.headers, body: 'x' })
  assert.equal(request.headers.get('content-type'), 'text/plain')
})

test('the platform’s own methods, lent to a response of ours, say that it is none of theirs', async (t) => {
  const response = await ours(t)(await echo(t))
  assert.ok(response instanceof Response && response.headers instanceof Headers)
  assert.throws(() => Headers.prototype.get.call(response.headers, 'content-type'), TypeError)
  assert.ok((await rejected((async () => Response.prototype.text.call(response))())) instanceof TypeError)
  // Which leaves it as it was.
  assert.equal((await response.json()).method, 'GET')
})

test('what a later Node gives responses and headers, ours have too', async (t) => {
  const url = await serve(t, (_, response) => response.writeHead(201, { 'x-a': '1' }).end('text'))
  // In a thread of its own: what is added is there before the first fetch.
  const source = `
    const { parentPort } = require('node:worker_threads')
    const { text } = Response.prototype
    const { get } = Object.getOwnPropertyDescriptor(Response.prototype, 'status')
    const lookUp = Headers.prototype.get
    Response.prototype.shout = async function (end) { return (await text.call(this)).toUpperCase() + end }
    Object.defineProperty(Response.prototype, 'class', { get() { return Math.floor(get.call(this) / 100) } })
    Headers.prototype.count = function (name) { return lookUp.call(this, name).length }
    const { Trunkline } = require(${JSON.stringify(`${root}index.js`)})
    const line = new Trunkline({ baseURL: 'http://127.0.0.1:9', apiKey: 'sk-test-key' })
    line.fetch(${JSON.stringify(url)}).then(async (response) => {
      parentPort.postMessage([response.class, response.headers.count('x-a'), await response.shout('!'), response.bodyUsed])
      await line.close()
    })`
  const worker = new Worker(source, { eval: true })
  const [said] = await once(worker, 'message')
  assert.deepEqual(said, [2, 1, 'TEXT!', true])
  await once(worker, 'exit')
})

test('its methods, lent to anything else, reject as those of the platform do', async (t) => {
  const response = await ours(t)(await echo(t))
  for (const name of [...READERS, 'bytes']) {
    assert.ok((await rejected(response[name].call({}))) instanceof TypeError, name)
  }
  for (const name of ['status', 'body', 'headers', 'ok', 'url']) {
    const { get } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(response), name)
    assert.throws(() => get.call({}), TypeError, name)
  }
  assert.throws(() => response.clone.call({}), TypeError)
})
