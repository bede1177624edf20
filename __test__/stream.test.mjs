import assert from 'node:assert/strict'
import test from 'node:test'
import { ConfigError } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { collect, REQUEST, rejection, run, SCRIPT, start, until } from './support.mjs'

const words = ['One', ' two', ' thr', 'ee', ' – é☃']
const text = words.join('')

/** An upstream whose answer is `text`. */
async function said(t, options) {
  const both = await start(t, options)
  both.upstream.reply({ model: 'gpt-test' }, { content: text, chunks: 5 })
  return both
}

test('a stream gives the chunks as they come', async (t) => {
  const { line } = await said(t)
  const chunks = await collect(line.stream(REQUEST))
  assert.ok(chunks.every((chunk) => chunk.object === 'chat.completion.chunk'))
  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join(''), text)
  assert.equal(chunks[0].choices[0].delta.role, 'assistant')
  assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop')
})

test('text() gives only the text', async (t) => {
  const { line } = await said(t)
  const pieces = await collect(line.stream(REQUEST).text())
  assert.ok(pieces.every((piece) => typeof piece === 'string' && piece !== ''))
  assert.equal(pieces.join(''), text)
})

test('final() gives the whole answer, the same as chat', async (t) => {
  const { line } = await said(t)
  const whole = await line.stream(REQUEST).final()
  assert.deepEqual(whole, await line.chat(REQUEST))
})

test('final() gathers tool calls and all choices', async (t) => {
  const { upstream, line } = await start(t)
  const calls = ['a', 'b'].map((id) => ({
    id,
    type: 'function',
    function: { name: `f${id}`, arguments: '{"long":"argument"}' },
  }))
  upstream.reply({ model: 'gpt-test' }, { toolCalls: calls, finishReason: 'tool_calls' })
  const tools = await line.stream(REQUEST).final()
  assert.deepEqual(tools.choices[0].message.tool_calls, calls)
  assert.equal(tools.choices[0].finish_reason, 'tool_calls')
  const three = await line.stream({ ...REQUEST, model: 'other', n: 3 }).final()
  assert.deepEqual(
    three.choices.map((choice) => choice.index),
    [0, 1, 2],
  )
  assert.ok(three.choices.every((choice) => choice.message.content.length > 0))
})

test('finalText() gives the text, and an empty one where there is none', async (t) => {
  const { upstream, line } = await said(t)
  assert.equal(await line.stream(REQUEST).finalText(), text)
  upstream.reply({ model: 'tools' }, { toolCalls: [{ function: { name: 'f', arguments: '{}' } }] })
  assert.equal(await line.stream({ ...REQUEST, model: 'tools' }).finalText(), '')
})

test('final() may be asked for besides and after a loop', async (t) => {
  const { line } = await said(t)
  const stream = line.stream(REQUEST)
  let besides
  let count = 0
  for await (const _ of stream) {
    count++
    besides ??= stream.final()
  }
  assert.ok(count >= 5)
  assert.equal((await besides).choices[0].message.content, text)
  assert.equal((await stream.final()).choices[0].message.content, text)
  assert.equal(await stream.finalText(), text)
})

test('final() may be asked for twice', async (t) => {
  const { line } = await said(t)
  const stream = line.stream(REQUEST)
  const [one, two] = await Promise.all([stream.final(), stream.final()])
  assert.deepEqual(one, two)
  assert.notEqual(one, two)
})

test('toReadableStream() gives a line of JSON for each chunk', async (t) => {
  const { line } = await said(t)
  const readable = line.stream(REQUEST).toReadableStream()
  assert.ok(readable instanceof ReadableStream)
  const lines = (await new Response(readable).text()).split('\n')
  assert.equal(lines.pop(), '')
  assert.equal(lines.map((json) => JSON.parse(json).choices[0].delta.content ?? '').join(''), text)
})

test('the openai package reads toReadableStream() back', async (t) => {
  const { ChatCompletionStream } = await import('openai/lib/ChatCompletionStream')
  const { line } = await said(t)
  const stream = ChatCompletionStream.fromReadableStream(line.stream(REQUEST).toReadableStream())
  assert.equal((await stream.finalChatCompletion()).choices[0].message.content, text)
})

test('cancelling a readable stream cancels the call', async (t) => {
  const { upstream, line } = await said(t, { upstream: { tokensPerSecond: 50 } })
  const reader = line.stream(REQUEST).toReadableStream().getReader()
  await reader.read()
  await reader.cancel()
  await t.test('as the upstream sees', () => closed(upstream, line))
})

test('a stream is read once', async (t) => {
  const { line } = await said(t)
  const ways = {
    loop: (stream) => collect(stream),
    text: (stream) => collect(stream.text()),
    readable: (stream) => new Response(stream.toReadableStream()).text(),
  }
  for (const [first, one] of Object.entries(ways)) {
    for (const [second, two] of Object.entries(ways)) {
      const stream = line.stream(REQUEST)
      const reading = one(stream)
      const error = await rejection(Promise.resolve().then(() => two(stream)))
      assert.ok(error instanceof ConfigError, `${first}, then ${second}`)
      assert.ok((await reading).length > 0, `${first} is not disturbed`)
    }
  }
  const stream = line.stream(REQUEST)
  const whole = stream.final()
  assert.throws(() => stream[Symbol.asyncIterator](), ConfigError)
  assert.equal((await whole).choices[0].message.content, text)
})

test('meta tells how a stream came about', async (t) => {
  const { line } = await said(t)
  const stream = line.stream(REQUEST)
  await collect(stream)
  const meta = await stream.meta
  assert.deepEqual([meta.status, meta.provider, meta.model], [200, 'default', 'gpt-test'])
  assert.equal(meta.attempts.length, 1)
  assert.ok(meta.headers instanceof Headers)
  assert.equal(meta.headers.get('content-type').split(';')[0], 'text/event-stream')
  assert.ok(meta.timings.total >= meta.timings.firstByte && meta.timings.firstByte > 0)
  assert.equal(meta.usage.completion_tokens, (await stream.final()).usage.completion_tokens)
})

test('usage is asked for, and its chunk hidden unless the caller asked', async (t) => {
  const { upstream, line } = await said(t)
  const stream = line.stream(REQUEST)
  const hidden = await collect(stream)
  assert.deepEqual(upstream.requests[0].body.stream_options, { include_usage: true })
  assert.ok(hidden.every((chunk) => chunk.choices.length > 0))
  assert.ok((await stream.final()).usage.total_tokens > 0)

  const asked = await collect(line.stream({ ...REQUEST, stream_options: { include_usage: true } }))
  assert.deepEqual(asked.at(-1).choices, [])
  assert.ok(asked.at(-1).usage.total_tokens > 0)
  assert.equal(asked.length, hidden.length + 1)

  const refused = line.stream({ ...REQUEST, stream_options: { include_usage: false } })
  await collect(refused)
  const { usage, usageEstimated } = await refused.meta
  assert.ok(usageEstimated && usage.total_tokens > 0, 'it is estimated')
})

test('leaving the loop cancels the call', async (t) => {
  const { upstream, line } = await said(t, { upstream: { tokensPerSecond: 50 } })
  const stream = line.stream(REQUEST)
  for await (const _ of stream) break
  const error = await rejection(stream.final())
  assert.equal(error.name, 'AbortError')
  await closed(upstream, line)
})

test('leaving the loop by an error cancels the call', async (t) => {
  const { upstream, line } = await said(t, { upstream: { tokensPerSecond: 50 } })
  const mistake = new Error('mine')
  const leave = async () => {
    for await (const _ of line.stream(REQUEST).text()) throw mistake
  }
  assert.equal(await rejection(leave()), mistake)
  await closed(upstream, line)
})

test('abort() ends a stream with its reason, for whoever reads', async (t) => {
  const { upstream, line } = await said(t, { upstream: { tokensPerSecond: 50 } })
  const stream = line.stream(REQUEST)
  const reason = new Error('enough')
  const loop = rejection(
    (async () => {
      for await (const _ of stream) stream.abort(reason)
    })(),
  )
  assert.equal(await loop, reason)
  assert.equal(await rejection(stream.final()), reason)
  assert.equal(await rejection(stream.meta), reason)
  stream.abort(new Error('late'))
  assert.equal(await rejection(stream.final()), reason)
  await closed(upstream, line)
})

test('abort() without a reason is an AbortError', async (t) => {
  const { line } = await said(t, { upstream: { latency: 60_000 } })
  const stream = line.stream(REQUEST)
  stream.abort()
  const error = await rejection(collect(stream))
  assert.deepEqual([error.name, error.code], ['AbortError', DOMException.ABORT_ERR])
})

test('abort() after the end changes nothing', async (t) => {
  const { line } = await said(t)
  const stream = line.stream(REQUEST)
  await stream.final()
  stream.abort()
  assert.equal(await stream.finalText(), text)
})

test('disposing of a stream cancels the call', async (t) => {
  const { upstream, line } = await said(t, { upstream: { tokensPerSecond: 50 } })
  const stream = line.stream(REQUEST)
  await stream.text().next()
  await stream[Symbol.asyncDispose]()
  await closed(upstream, line)
})

test('disposing of a stream that has ended does nothing', async (t) => {
  const { line } = await said(t)
  const stream = line.stream(REQUEST)
  await collect(stream)
  await stream[Symbol.asyncDispose]()
  assert.equal(await stream.finalText(), text)
  assert.equal(line.metrics().requests.aborted, 0)
})

test('a stream starts at once, and waits for its reader', async (t) => {
  const { upstream, line } = await said(t)
  const stream = line.stream(REQUEST)
  await until(() => upstream.requests.length === 1)
  await until(() => line.metrics().requests.succeeded === 1)
  assert.equal((await collect(stream.text())).join(''), text)
})

test('chunks that are handed over share nothing', async (t) => {
  const { line } = await said(t)
  let seen = ''
  for await (const chunk of line.stream(REQUEST)) {
    seen += chunk.choices[0].delta.content ?? ''
    chunk.id = chunk.model = 'changed'
    chunk.choices[0].delta.content = chunk.choices[0].delta.role = 'changed'
    chunk.choices[0].changed = true
    chunk.choices.push('changed')
  }
  assert.equal(seen, text)
  const chunks = await collect(line.stream(REQUEST))
  assert.ok(!JSON.stringify(chunks).includes('changed'))
})

test('chunks are the ones that were sent, whatever is in them', async (t) => {
  const { upstream, line } = await start(t)
  const delta = (content, more = {}, choice = {}) => ({
    id: 'x"{[',
    created: 5,
    choices: [{ index: 0, delta: { content }, ...choice }],
    ...more,
  })
  const chunks = [
    delta('a'),
    delta('b\u0000"\\é☃'),
    delta('c', { usage: { a: [1] } }),
    delta('d', {}, { logprobs: { content: [{ token: 'd' }] } }),
    delta('e', { id: 'other' }),
    { id: 'x"{[', created: 5, choices: [{ index: 1, delta: { content: 'second' } }] },
    { id: 'x"{[', created: 5, choices: [{ index: 0, delta: { content: null, reasoning_content: 'r' } }] },
    {
      id: 'x"{[',
      created: 5,
      choices: [
        { index: 0, delta: {} },
        { index: 1, delta: { content: 'two' } },
      ],
    },
    delta('f', { further: [[{}], 1e21, -0.5, true, null, '\u2028'] }),
    delta('g'),
    delta('', {}, { finish_reason: 'stop' }),
  ]
  const body = [...chunks.map((chunk) => JSON.stringify(chunk)), '[DONE]'].map((data) => `data: ${data}\n\n`).join('')
  upstream.reply({ path: '/chat/completions' }, { raw: { body, contentType: 'text/event-stream' } })
  assert.deepEqual(await collect(line.stream(REQUEST)), chunks)
  assert.equal((await collect(line.stream(REQUEST).text())).join(''), 'ab\u0000"\\é☃cdefg')
})

test('an iterator gives nothing after its end', async (t) => {
  const { line } = await said(t)
  const items = line.stream(REQUEST)[Symbol.asyncIterator]()
  let last
  do last = await items.next()
  while (!last.done)
  assert.deepEqual(await items.next(), { value: undefined, done: true })
  assert.deepEqual(await items.return(), { value: undefined, done: true })
})

test('several who ask for the next piece at once get them in order', async (t) => {
  const { line } = await said(t)
  const items = line.stream(REQUEST)[Symbol.asyncIterator]()
  const asked = await Promise.all(Array.from({ length: 12 }, () => items.next()))
  const seen = asked.filter(({ done }) => !done).map(({ value }) => value.choices[0].delta.content ?? '')
  assert.equal(seen.join(''), text)
  assert.ok(asked.at(-1).done)
})

for (const [name, options] of [
  ['HTTP/2 over TLS', { upstream: { tls: true } }],
  ['h2c', { pool: { http2: 'prior-knowledge' } }],
]) {
  test(`streams run side by side over ${name}`, async (t) => {
    const { upstream, line } = await said(t, options)
    const all = await Promise.all(Array.from({ length: 50 }, () => line.stream(REQUEST).finalText()))
    assert.ok(all.every((each) => each === text))
    assert.equal(upstream.connections.opened, 1)
  })
}

/** A cancelled HTTP/1.1 exchange costs its socket. */
async function closed(upstream, line) {
  await until(() => upstream.connections.open === 0, 'the upstream sees the socket close')
  await until(() => line.metrics().requests.aborted === 1, 'the call counts as aborted')
  assert.equal(line.metrics().requests.inFlight, 0)
}

test('a meta that was asked for and not awaited is no unhandled rejection when the loop has had the error', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  upstream.fault({ kind: 'cut', afterTokens: 1 }, { times: 10 })
  const { code, stdout, stderr } = await run(
    `${SCRIPT}
    for (const read of [
      async (stream) => { for await (const _ of stream); },
      (stream) => stream.final(),
      async (stream) => { stream.abort(); await stream.final() },
    ]) {
      const stream = line.stream(REQUEST, { retry: false })
      const { meta } = stream
      const caught = await read(stream).catch((error) => error)
      await new Promise((resolve) => setTimeout(resolve))
      // And it has it too, for whoever awaits it later.
      console.log((await meta.catch((error) => error)).name === caught.name)
    }`,
    { url: upstream.url },
  )
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: 'true\ntrue\ntrue', stderr: '' })
})
