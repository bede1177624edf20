'use strict'

// Of Node itself: a test runner's may be fake.
const { setImmediate } = require('node:timers')

/**
 * What every project of the matrix does with the package, however it came by it: chats, streams, fetches, an abort and a failure,
 * each looked at. `close: false` leaves all as it is, which must keep nothing alive.
 */
exports.use = async ({ Trunkline, NotFoundError }, { MockUpstream }, { close = true } = {}) => {
  const upstream = await MockUpstream.start({ tls: true })
  upstream.reply({ model: 'counts' }, 'one two three')
  const line = new Trunkline({ baseURL: `${upstream.url}/v1`, apiKey: 'k', retry: false, pool: { tls: { ca: upstream.ca } } })
  const request = { model: 'counts', messages: [{ role: 'user', content: 'Count!' }] }

  is((await line.chat(request)).choices[0].message.content, 'one two three')
  let text = ''
  for await (const piece of line.stream(request).text()) text += piece
  is(text, 'one two three')
  upstream.fault({ kind: 'silence', for: 60_000 }, { times: 1 })
  const controller = new AbortController()
  const aborted = failure(line.chat(request, { signal: controller.signal }))
  while (upstream.requests.length < 3) await new Promise((next) => setImmediate(next))
  controller.abort()
  is((await aborted).name, 'AbortError')
  upstream.fault({ kind: 'status', status: 404 }, { times: 1 })
  const missing = await failure(line.chat(request))
  is(missing instanceof NotFoundError && missing instanceof Error, true)

  // More failures at once than one turn of the event loop delivers: they come while this thread stands still.
  upstream.fault({ kind: 'status', status: 404 }, { times: 300 })
  const many = Array.from({ length: 300 }, () => failure(line.chat(request)))
  const still = new Int32Array(new SharedArrayBuffer(4))
  while (line.metrics().requests.failed < 301) Atomics.wait(still, 0, 0, 5)
  is((await Promise.all(many)).filter((error) => error instanceof NotFoundError).length, 300)

  const post = (body) =>
    line.fetch(`${upstream.url}/v1/chat/completions`, {
      method: 'POST',
      headers: new Headers({ 'content-type': 'application/json' }),
      body,
    })
  const response = await post(new TextEncoder().encode(JSON.stringify(request)))
  is(response instanceof Response, true)
  is((await response.json()).choices[0].message.content, 'one two three')
  let bytes = 0
  for await (const chunk of (await post(JSON.stringify({ ...request, stream: true }))).body) bytes += chunk.byteLength
  is(bytes > 100, true)

  // Left in the middle, and never read.
  for await (const _ of line.stream(request)) break
  if (close) {
    await line.close()
    await upstream.close()
  } else line.stream(request)
  return 'chat, stream, fetch'
}

function is(got, expected) {
  if (got !== expected) throw new Error(`expected ${expected}, got ${got}`)
}

const failure = (promise) =>
  promise.then(
    () => {
      throw new Error('it did not fail')
    },
    (error) => error,
  )
