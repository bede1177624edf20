// Suites whose timers stand still: ours do not.

import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { Trunkline } from '../index.js'
import { MockUpstream } from '../testing.js'

const REQUEST = { model: 'm', messages: [{ role: 'user', content: 'hello' }] }

test('calls, streams, retries, timeouts, fetches, events and close() go on while JavaScript has fake timers', async (t) => {
  const upstream = await MockUpstream.start()
  const line = new Trunkline({ baseURL: `${upstream.url}/v1`, apiKey: 'k', retry: { baseDelay: 1 } })
  const { queueMicrotask } = globalThis
  t.after(async () => {
    mock.timers.reset()
    globalThis.queueMicrotask = queueMicrotask
    await line.close()
    await upstream.close()
  })
  mock.timers.enable()
  // As Jest has it.
  globalThis.queueMicrotask = () => {}
  const retries = []
  line.on('retry', (event) => retries.push(event))
  upstream.fault({ kind: 'status', status: 503 })
  await line.chat(REQUEST)
  assert.equal(retries.length, 1)
  // All come at once, which is more than one turn of the event loop delivers.
  const calls = Array.from({ length: 600 }, () => line.chat(REQUEST))
  while (line.metrics().requests.succeeded < 601);
  await Promise.all(calls)
  const answers = await line.batch(Array(100).fill(REQUEST))
  assert.ok(answers.every(({ status }) => status === 'fulfilled'))
  assert.ok((await line.stream(REQUEST).finalText()).length > 0)
  const init = { method: 'POST', body: JSON.stringify(REQUEST) }
  assert.equal((await line.fetch(`${upstream.url}/v1/chat/completions`, init)).status, 200)
  upstream.fault({ kind: 'silence' })
  await assert.rejects(line.chat(REQUEST, { timeouts: { total: 50 } }), { code: 'ERR_TIMEOUT' })
  upstream.reply((request) => request.body.model === 'asked', 'by a function')
  assert.equal((await line.chat({ ...REQUEST, model: 'asked' })).choices[0].message.content, 'by a function')
  upstream.fault({ kind: 'silence' })
  const left = assert.rejects(line.chat(REQUEST), { code: 'ERR_CLOSED' })
  await line.close({ drainTimeout: 10 })
  await left
})
