// Servers that are none: the right class, and the next call works.

import assert from 'node:assert/strict'
import test from 'node:test'
import { gzipSync } from 'node:zlib'
import { ConnectionError, InternalServerError, InvalidResponseError, StreamInterruptedError } from 'trunkline'
import { COMPLETION, client, collect, http, REQUEST, rawServer, rejection } from './support.mjs'

const event = (value) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`
const chunk = (content, finish_reason = null) =>
  event({ id: 'c', model: 'gpt-test', choices: [{ index: 0, delta: { content }, finish_reason }] })
const GOOD = chunk('good') + chunk('', 'stop') + event('[DONE]')
const stream = (body, options) => http(body, { type: 'text/event-stream', ...options })
const close = (socket, bytes) => socket.end(bytes)
const keep = (socket, bytes) => socket.write(bytes)
const reset = (socket, bytes) => socket.write(bytes, () => socket.resetAndDestroy())

/** Name, what it does with the first request, the class, and a word of the message. */
const whole = [
  [
    'HTML',
    keep,
    http('<html>Hello</html>', { type: 'text/html' }),
    InvalidResponseError,
    /not JSON \(its type is text\/html\)/,
  ],
  [
    'HTML with an error status',
    keep,
    http('<html>', { status: '502 Bad Gateway', type: 'text/html' }),
    InternalServerError,
    /502/,
  ],
  ['an empty body', keep, http(''), InvalidResponseError, /empty/],
  ['white space', keep, http(' \n '), InvalidResponseError, /empty/],
  ['half a JSON', keep, http(COMPLETION.slice(0, 50)), InvalidResponseError, /not JSON/],
  ['two JSONs', keep, http(COMPLETION + COMPLETION), InvalidResponseError, /not JSON/],
  ['JSON that is no object', keep, http('[1]'), InvalidResponseError],
  [
    'half a body, then the end',
    close,
    http(COMPLETION.slice(0, 50), { length: COMPLETION.length }),
    ConnectionError,
    /broke off/,
  ],
  ['half a body, then a reset', reset, http(COMPLETION.slice(0, 50), { length: COMPLETION.length }), ConnectionError],
  [
    'a body without a length, cut by the end',
    close,
    `HTTP/1.1 200 OK\r\n\r\n${COMPLETION.slice(0, 50)}`,
    InvalidResponseError,
  ],
  ['half a chunk', close, 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n50\r\n{"id"', ConnectionError],
  ['a chunk of nonsense', close, 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{"id"', ConnectionError],
  [
    'bad UTF-8',
    keep,
    Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"a": "'), Buffer.of(0xc3, 0x28, 0x22)]),
    InvalidResponseError,
    /UTF-8/,
  ],
  ['a promise of 4 GB', keep, http('{', { length: 4 * 2 ** 30 }), InvalidResponseError, /more than \d+ bytes/],
  ['a promise of more than there are', keep, http('{', { length: '99999999999999999999999' }), ConnectionError],
  [
    'an encoding that nobody asked for',
    keep,
    Buffer.concat([
      Buffer.from(
        `HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: ${gzipSync(COMPLETION).length}\r\n\r\n`,
      ),
      gzipSync(COMPLETION),
    ]),
    InvalidResponseError,
    /compressed/,
  ],
  ['garbage', close, 'SSH-2.0-OpenSSH_9.6\r\n', ConnectionError, /not HTTP/],
  ['bytes of noise', close, Buffer.from(Array.from({ length: 5000 }, (_, n) => (n * 7919) % 256)), ConnectionError],
  ['nothing but the end', close, '', ConnectionError],
  ['half a head', close, 'HTTP/1.1 200 OK\r\ncontent-le', ConnectionError],
  ['a head without an end', close, `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(2_000_000)}`, ConnectionError],
  ['ten thousand headers', close, `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(10_000)}\r\n`, ConnectionError],
  [
    'a switch of protocols',
    close,
    'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n',
    Error,
  ],
  [
    'an endless body',
    (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n{"a":"')
      const piece = Buffer.alloc(1 << 20, 0x78)
      const more = () => {
        while (!socket.destroyed && socket.write(piece));
      }
      socket.on('drain', more)
      more()
    },
    '',
    InvalidResponseError,
    /more than/,
  ],
]
const streamed = [
  ['HTML', keep, http('<html>', { type: 'text/html' }), InvalidResponseError, /not a stream of events/],
  ['JSON', keep, http(COMPLETION), InvalidResponseError],
  ['JSON that is an error', keep, http('{"error":{"code":503}}'), InternalServerError],
  ['an empty body', keep, stream(''), ConnectionError],
  ['[DONE] alone', keep, stream(event('[DONE]')), ConnectionError],
  ['comments alone', keep, stream(': ping\n\n: ping\n\n'), ConnectionError],
  ['an event that is no JSON', keep, stream(chunk('a') + event('nope') + GOOD), StreamInterruptedError],
  ['an event that is no object', keep, stream(event('[]') + GOOD), ConnectionError],
  ['an end before the finish reason', keep, stream(chunk('a')), StreamInterruptedError],
  ['an event without its end', keep, stream(`${chunk('a')}data: {"choices"`), StreamInterruptedError],
  ['a cut', close, stream(chunk('a'), { length: 9999 }), StreamInterruptedError],
  [
    'bad UTF-8',
    keep,
    Buffer.concat([
      Buffer.from('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 18\r\n\r\ndata: {"a": "'),
      Buffer.of(0xc3, 0x28, 0x22, 0x7d, 0x0a, 0x0a),
    ]),
    ConnectionError,
  ],
  [
    'an absurd index',
    keep,
    stream(chunk('a') + event({ choices: [{ index: 0, delta: { tool_calls: [{ index: 4e9 }] } }] })),
    StreamInterruptedError,
  ],
  [
    'an endless line',
    (socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ')
      const piece = Buffer.alloc(1 << 20, 0x78)
      const more = () => {
        while (!socket.destroyed && socket.write(piece));
      }
      socket.on('drain', more)
      more()
    },
    '',
    InvalidResponseError,
  ],
]

for (const [how, table, good, call] of [
  ['whole', whole, http(COMPLETION), (line) => line.chat(REQUEST)],
  ['streamed', streamed, stream(GOOD), (line) => collect(line.stream(REQUEST))],
]) {
  for (const [name, act, bytes, Class, message = /./] of table) {
    test(`${name}, ${how}, is ${Class === Error ? 'an error' : `a ${Class.name}`}`, async (t) => {
      const { url } = await rawServer(t, (socket, n) => (n === 1 ? act(socket, bytes) : socket.write(good)))
      const line = client(t, url, { retry: false, timeouts: { total: 20_000 } })
      const error = await rejection(call(line))
      assert.ok(error instanceof Class, `${error.name}: ${error.message} (${error.cause?.message})`)
      assert.match(error.message, message)
      assert.ok(error.message.length < 300)
      assert.ok(await call(line))
      assert.equal(line.metrics().requests.inFlight, 0)
    })
  }
}

test('an answer in one-byte pieces is the answer', async (t) => {
  const { url } = await rawServer(t, async (socket, n) => {
    const body = n === 1 ? COMPLETION : GOOD
    const type = n === 1 ? 'application/json' : 'text/event-stream'
    const bytes = Buffer.from(http(body, { type }))
    for (const byte of bytes) {
      socket.write(Buffer.of(byte))
      await new Promise((resolve) => setImmediate(resolve))
    }
  })
  const line = client(t, url)
  assert.equal((await line.chat(REQUEST)).choices[0].message.content, 'good')
  assert.equal(await line.stream(REQUEST).finalText(), 'good')
})

test('events with every line end, with comments and a byte order mark, are the answer', async (t) => {
  for (const end of ['\n', '\r\n', '\r']) {
    const body = `\ufeff: hello\n\nevent: x\n${GOOD}`.replaceAll('\n', end)
    const { url } = await rawServer(t, (socket) => socket.write(stream(body)))
    assert.equal(await client(t, url).stream(REQUEST).finalText(), 'good')
  }
})

test('what a server says before it is asked is no answer to the next call', async (t) => {
  let count = 0
  const { url } = await rawServer(t, (socket, n) => {
    count = n
    // The answer, and at once another that nobody asked for.
    socket.write(http(COMPLETION) + http(COMPLETION.replace('good', 'smuggled')))
  })
  const line = client(t, url)
  for (let n = 0; n < 20; n++) {
    assert.equal((await line.chat(REQUEST)).choices[0].message.content, 'good')
  }
  assert.ok(count >= 20)
})

test('every promise settles exactly once, whatever the server does', async (t) => {
  const acts = [...whole, ...streamed]
    .filter(([name]) => !name.includes('endless'))
    .map(([, act, bytes]) => [act, bytes])
  acts.push([keep, http(COMPLETION)], [keep, stream(GOOD)])
  const { url } = await rawServer(t, (socket, n) => {
    const [act, bytes] = acts[(n * 7) % acts.length]
    act(socket, bytes)
  })
  const line = client(t, url, {
    retry: { strategy: 'immediate' },
    timeouts: { total: 20_000 },
    pool: { maxConnections: 16 },
  })
  let [settled, listening] = [0, 0]
  const calls = Array.from({ length: 400 }, (_, n) => {
    const controller = new AbortController()
    const options = { signal: controller.signal }
    if (n % 10 === 0) setTimeout(() => controller.abort(), n % 7)
    const call = n % 2 ? line.chat(REQUEST, options) : line.stream(REQUEST, options).final()
    listening++
    const count = () => settled++
    return call.then(count, count)
  })
  await Promise.all(calls)
  assert.equal(settled, listening)
  const { started, succeeded, failed, aborted, inFlight } = line.metrics().requests
  assert.equal(inFlight, 0)
  assert.equal(started, succeeded + failed + aborted)
})
