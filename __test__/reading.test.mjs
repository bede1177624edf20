// How a stream and its reader keep step.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createH2Server } from 'node:http2'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { client, collect, REQUEST, start, until } from './support.mjs'

const PIECE = 'x'.repeat(8000)
const PIECES = 4_000
const END = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

/** Streams 32 MB, and counts what it could write. */
async function flood(t, server) {
  const state = { written: 0, ended: false }
  server.on('request', async (_request, response) => {
    response.on('error', () => {})
    const gone = once(response, 'close')
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const chunk = `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: PIECE } }] })}\n\n`
    for (; state.written < PIECES && !response.destroyed; state.written++) {
      if (!response.write(chunk)) await Promise.race([new Promise((resolve) => response.once('drain', resolve)), gone])
    }
    response.end(END)
    state.ended = true
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections?.()
    server.close()
  })
  return { state, url: `http://127.0.0.1:${server.address().port}` }
}

/** Waits until nothing more is written. */
async function standstill(state) {
  let [written, since] = [-1, 0]
  await until(() => {
    if (state.written !== written) [written, since] = [state.written, performance.now()]
    return performance.now() - since > 300
  }, 'the upstream stands still')
}

const servers = [
  ['HTTP/1.1', () => createServer(), {}],
  ['HTTP/2', () => createH2Server(), { pool: { http2: 'prior-knowledge' } }],
]
const ways = [
  ['a loop', (stream) => stream[Symbol.asyncIterator](), (chunk) => chunk.choices[0].delta.content ?? ''],
  ['text()', (stream) => stream.text(), (text) => text],
]
for (const [protocol, make, options] of servers) {
  for (const [way, read, textOf] of ways) {
    test(`a reader that stops stops the upstream, and goes on where it was: ${way} over ${protocol}`, async (t) => {
      const { state, url } = await flood(t, make())
      const line = client(t, url, { ...options, timeouts: { idle: 100 } })
      const items = read(line.stream(REQUEST, { flushInterval: 0.1 }))
      let seen = textOf((await items.next()).value).length
      // Longer than the idle limit, which does not run meanwhile.
      await standstill(state)
      assert.ok(!state.ended && state.written < PIECES, `${state.written} of ${PIECES}`)
      for await (const item of items) seen += textOf(item).length
      assert.equal(seen, PIECES * PIECE.length)
    })
  }
}

test('a stream that nobody reads stops the upstream', async (t) => {
  const { state, url } = await flood(t, createServer())
  const line = client(t, url)
  const stream = line.stream(REQUEST)
  await until(() => state.written > 0)
  await standstill(state)
  assert.ok(!state.ended)
  assert.equal((await stream.finalText()).length, PIECES * PIECE.length)
})

test('a readable stream that nobody reads stops the upstream', async (t) => {
  const { state, url } = await flood(t, createServer())
  const readable = client(t, url).stream(REQUEST).toReadableStream()
  await until(() => state.written > 0)
  await standstill(state)
  assert.ok(!state.ended)
  await readable.cancel()
})

test('a stream that ended before its reader came has lost nothing', async (t) => {
  const { upstream, line } = await start(t)
  upstream.reply({ model: 'gpt-test' }, 'Nothing is lost')
  const ways = {
    loop: async (stream) => (await collect(stream)).map((chunk) => chunk.choices[0].delta.content ?? '').join(''),
    text: async (stream) => (await collect(stream.text())).join(''),
    readable: async (stream) =>
      (await new Response(stream.toReadableStream()).text())
        .split('\n')
        .filter(Boolean)
        .map((json) => JSON.parse(json).choices[0].delta.content ?? '')
        .join(''),
    final: (stream) => stream.finalText(),
  }
  const lost = []
  for (const [way, read] of Object.entries(ways)) {
    const stream = line.stream(REQUEST)
    await stream.meta
    if ((await read(stream)) !== 'Nothing is lost') lost.push(way)
  }
  assert.deepEqual(lost, [])
})

test('events that ended before their reader came have lost nothing', async (t) => {
  const { upstream, line } = await start(t)
  upstream.reply({ path: '/events' }, { raw: { body: 'data: 1\n\ndata: 2\n\n', contentType: 'text/event-stream' } })
  const stream = line.events('/events', {})
  await stream.meta
  assert.deepEqual(
    (await collect(stream)).map((event) => event.data),
    [1, 2],
  )
})

test('what was read before a break is not lost with it', async (t) => {
  const { upstream, line } = await start(t, { retry: false, upstream: { tokensPerSecond: 100 } })
  upstream.fault({ kind: 'cut', afterTokens: 5 })
  const seen = []
  await assert.rejects(
    async () => {
      for await (const text of line.stream(REQUEST).text()) seen.push(text)
    },
    { name: 'StreamInterruptedError' },
  )
  assert.equal(seen.join('').trim().split(' ').length, 5)
})

test('small pieces are gathered for as long as flushInterval says, and none is lost', async (t) => {
  const { upstream, line } = await start(t, { upstream: { tokensPerSecond: 400 } })
  upstream.reply({ model: 'gpt-test' }, { content: 'abcdefghijklmnopqrstuvwxyz'.repeat(2), chunks: 52 })
  const often = await collect(line.stream(REQUEST, { flushInterval: 1 }).text())
  const rarely = await collect(line.stream(REQUEST, { flushInterval: 1000 }).text())
  assert.equal(often.join(''), rarely.join(''))
  assert.ok(rarely.length < often.length, `${rarely.length} < ${often.length}`)
})

test('a reader is woken when there is no room for more, however long flushInterval is', async (t) => {
  const { upstream, line } = await start(t, { timeouts: { total: 5_000 } })
  upstream.reply({ model: 'gpt-test' }, { content: 'x'.repeat(4_000_000), chunks: 4000 })
  // Sixty times the room there is: with a second for each, longer than the call may last.
  const pieces = await collect(line.stream(REQUEST, { flushInterval: 1000 }).text())
  assert.equal(pieces.join('').length, 4_000_000)
})

test('a slow reader gets every piece in order', async (t) => {
  const { upstream, line } = await start(t)
  upstream.reply(
    { model: 'gpt-test' },
    { content: Array.from({ length: 300 }, (_, n) => `${n} `).join(''), chunks: 300 },
  )
  let seen = ''
  for await (const text of line.stream(REQUEST).text()) {
    await sleep(1)
    seen += text
  }
  assert.deepEqual(
    seen.trim().split(' ').map(Number),
    Array.from({ length: 300 }, (_, n) => n),
  )
})
