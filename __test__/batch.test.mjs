import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigError, InternalServerError } from 'trunkline'
import { collect, REQUEST, rejection, start, until } from './support.mjs'

const numbered = (count) => Array.from({ length: count }, (_, n) => ({ ...REQUEST, model: `m${n}` }))

test('results come in the order of the requests', async (t) => {
  const { line } = await start(t, { upstream: { latency: 5 } })
  const results = await line.batch(numbered(100))
  assert.deepEqual(
    results.map(({ index, status, value, meta }) => [index, status, value.model, meta.status]),
    Array.from({ length: 100 }, (_, n) => [n, 'fulfilled', `m${n}`, 200]),
  )
})

test('wrong options throw at once, and no item is taken', async (t) => {
  const { upstream, line } = await start(t)
  let taken = 0
  const source = {
    [Symbol.iterator]() {
      taken++
      return [REQUEST].values()
    },
  }
  for (const [options, message] of [
    [5, /^options: must be an object, got a number$/],
    [{ timeout: 500 }, /^timeout: is not an option; did you mean timeouts\?$/],
    [{ concurency: 5 }, /^concurency: is not an option; did you mean concurrency\?$/],
    [{ nonsense: 5 }, /^nonsense: is not an option; there are concurrency, onProgress, failFast, signal, headers, /],
    [{ timeouts: { total: 0 } }, /^timeouts\.total: /],
    [{ tenant: 7 }, /^tenant: must be a string/],
    [{ priority: 'hi' }, /^priority: must be one of/],
    [{ retry: 5 }, /^retry: must be an object or false/],
    [{ headers: { Host: 'x' } }, /^headers\.Host: is set by the connection/],
    [{ flushInterval: 5 }, /^flushInterval: is an option of streams/],
    [{ signal: 5 }, /^signal: /],
    [{ concurrency: 0 }, /^concurrency: /],
    [{ onProgress: 0 }, /^onProgress: /],
    [{ failFast: 0 }, /^failFast: /],
    [{ idempotencyKey: 'k' }, /^idempotencyKey: /],
  ]) {
    assert.throws(
      () => line.batch(source, options),
      (error) => {
        assert.ok(error instanceof ConfigError)
        assert.match(error.message, message)
        assert.match(error.stack, /batch\.test\.mjs/)
        return true
      },
    )
  }
  assert.deepEqual([taken, upstream.requests.length], [0, 0])
})

test('a failure has the stack of whoever asked for the batch', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream.fault({ kind: 'status', status: 500 })
  async function askingForTheBatch() {
    return await line.batch([REQUEST, { model: '' }, 5])
  }
  for (const { reason } of await askingForTheBatch()) {
    const [head, first] = reason.stack.split('\n')
    assert.equal(head, `${reason.name}: ${reason.message}`)
    assert.match(first, /askingForTheBatch .*batch\.test\.mjs/)
    assert.doesNotMatch(reason.stack, /lib.batch\.js/)
  }
})

test('an empty batch has no results', async (t) => {
  const { line } = await start(t)
  assert.deepEqual(await line.batch([]), [])
  assert.deepEqual(await collect(line.batch(new Set())), [])
})

test('one failure loses no other’s result', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream.fault({ kind: 'status', status: 500 }, { model: 'm1' })
  const results = await line.batch([
    ...numbered(3),
    null,
    { model: '' },
    { ...REQUEST, customId: 7 },
    { ...REQUEST, n: 1n },
  ])
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'rejected', 'rejected', 'rejected', 'rejected'],
  )
  assert.ok(results[1].reason instanceof InternalServerError)
  assert.equal(results[1].meta, null)
  for (const { reason } of results.slice(3)) assert.ok(reason instanceof ConfigError)
  assert.equal(upstream.requests.length, 3)
})

test('an item’s customId comes back, and is not sent', async (t) => {
  const { upstream, line } = await start(t)
  const results = await line.batch([{ ...REQUEST, customId: 'mine' }, REQUEST])
  assert.deepEqual(
    results.map(({ customId }) => customId),
    ['mine', null],
  )
  assert.ok(upstream.requests.every(({ body }) => !('customId' in body)))
})

test('an item with a path is a post', async (t) => {
  const { upstream, line } = await start(t)
  const results = await line.batch([{ path: '/embeddings', body: { model: 'e', input: 'x' }, customId: 'a' }, REQUEST])
  assert.equal(results[0].value.object, 'list')
  assert.equal(results[0].customId, 'a')
  assert.deepEqual(upstream.requests.map(({ path }) => path).sort(), ['/v1/chat/completions', '/v1/embeddings'])
})

test('iterated, results come as they complete', async (t) => {
  const { upstream, line } = await start(t)
  upstream.fault({ kind: 'silence', for: 100 }, { model: 'm0' })
  const results = await collect(line.batch(numbered(4)))
  assert.equal(results.at(-1).index, 0)
  assert.deepEqual(results.map(({ index }) => index).sort(), [0, 1, 2, 3])
})

test('no more calls run at once than concurrency says', async (t) => {
  const { upstream, line } = await start(t, { upstream: { latency: 10 } })
  let most = 0
  const batch = line.batch(numbered(30), {
    concurrency: 3,
    onProgress: ({ inFlight }) => (most = Math.max(most, inFlight)),
  })
  await batch
  assert.ok(upstream.connections.opened <= 3)
  assert.ok(most <= 3)
})

test('progress is told after each item and adds up', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream.fault({ kind: 'status', status: 500 }, { model: 'm3' })
  const told = []
  const batch = line.batch(numbered(10), { onProgress: (progress) => told.push(progress) })
  assert.equal(batch.progress.total, 10)
  const results = await batch
  assert.equal(told.length, 10)
  for (const { started, succeeded, failed, inFlight } of told) assert.equal(started, succeeded + failed + inFlight)
  const { progress } = batch
  assert.deepEqual([progress.started, progress.succeeded, progress.failed, progress.inFlight], [10, 9, 1, 0])
  const tokens = results.reduce((sum, { value }) => sum + (value?.usage.total_tokens ?? 0), 0)
  assert.equal(progress.usage.total_tokens, tokens)
  assert.ok(progress.elapsed > 0)
  assert.equal(line.batch((function* () {})()).progress.total, null)
  assert.equal(line.batch(new Set()).progress.total, 0)
})

test('items come from async iterables and generators too', async (t) => {
  const { line } = await start(t)
  async function* slowly() {
    for (const request of numbered(5)) {
      await sleep(1)
      yield request
    }
  }
  function* quickly() {
    yield* numbered(5)
  }
  for (const source of [slowly(), quickly(), new Set(numbered(5))]) {
    const results = await line.batch(source)
    assert.deepEqual(
      results.map(({ value }) => value.model),
      ['m0', 'm1', 'm2', 'm3', 'm4'],
    )
  }
})

test('an endless source is taken from only as there is room', async (t) => {
  const { line } = await start(t)
  let [taken, closed] = [0, false]
  function* endless() {
    try {
      for (;;) {
        taken++
        yield REQUEST
      }
    } finally {
      closed = true
    }
  }
  let seen = 0
  for await (const { status } of line.batch(endless(), { concurrency: 4 })) {
    assert.equal(status, 'fulfilled')
    if (++seen === 50) break
    // A loop that does not take its results takes no further items.
    assert.ok(taken <= seen + 3 * 4, `${taken} taken, ${seen} seen`)
  }
  await until(() => closed, 'the source is closed')
})

test('failFast takes no new items after the first failure', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream.fault({ kind: 'status', status: 500 }, { model: 'm2' })
  const results = await line.batch(numbered(100), { concurrency: 1, failFast: true })
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'rejected'],
  )
  assert.equal(upstream.requests.length, 3)
})

test('failFast ends a batch whose source is silent', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream.fault({ kind: 'status', status: 500 })
  async function* silent() {
    yield REQUEST
    await new Promise(() => {})
  }
  const results = await line.batch(silent(), { failFast: true })
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected'],
  )
})

for (const [way, begin] of [
  [
    'its signal',
    (line, source, reason) => {
      const controller = new AbortController()
      return { batch: line.batch(source, { signal: controller.signal }), stop: () => controller.abort(reason) }
    },
  ],
  [
    'abort()',
    (line, source, reason) => {
      const batch = line.batch(source)
      return { batch, stop: () => batch.abort(reason) }
    },
  ],
]) {
  test(`a batch aborted by ${way} rejects with the reason, and cancels what runs`, async (t) => {
    const { upstream, line } = await start(t, { upstream: { latency: 60_000 } })
    const reason = new Error('enough')
    const { batch, stop } = begin(line, numbered(5), reason)
    await until(() => upstream.requests.length === 5)
    stop()
    assert.equal(await rejection(batch), reason)
    await until(() => line.metrics().requests.aborted === 5)
    await until(() => upstream.connections.open === 0)
  })

  test(`a batch aborted by ${way} ends though its source is silent`, async (t) => {
    const { upstream, line } = await start(t)
    const reason = new Error('enough')
    async function* silent() {
      yield REQUEST
      await new Promise(() => {})
    }
    const { batch, stop } = begin(line, silent(), reason)
    await until(() => upstream.requests.length === 1)
    stop()
    assert.equal(await rejection(batch), reason)
  })
}

test('a signal that was aborted before sends nothing', async (t) => {
  const { upstream, line } = await start(t)
  const reason = new Error('enough')
  assert.equal(await rejection(line.batch(numbered(5), { signal: AbortSignal.abort(reason) })), reason)
  assert.equal(upstream.requests.length, 0)
})

test('a batch leaves no listener on its signal', async (t) => {
  const { line } = await start(t)
  const { signal } = new AbortController()
  await line.batch(numbered(100), { signal })
  await collect(line.batch(numbered(10), { signal }))
  assert.equal(getEventListeners(signal, 'abort').length, 0)
})

test('aborted while iterated: what had completed comes first, then the reason', async (t) => {
  const { upstream, line } = await start(t)
  upstream.fault({ kind: 'silence' }, { model: 'm1' })
  const batch = line.batch(numbered(2))
  const seen = []
  const reason = new Error('enough')
  const error = await rejection(
    (async () => {
      for await (const { index } of batch) {
        seen.push(index)
        batch.abort(reason)
      }
    })(),
  )
  assert.equal(error, reason)
  assert.equal(seen[0], 0)
})

test('a source that throws fails the batch with its error, after what runs', async (t) => {
  const { upstream, line } = await start(t)
  const mistake = new Error('mine')
  function* source() {
    yield REQUEST
    yield REQUEST
    throw mistake
  }
  assert.equal(await rejection(line.batch(source())), mistake)
  assert.equal(line.metrics().requests.succeeded, 2)
  const seen = []
  const error = await rejection(
    (async () => {
      for await (const result of line.batch(source())) seen.push(result.status)
    })(),
  )
  assert.equal(error, mistake)
  assert.deepEqual(seen, ['fulfilled', 'fulfilled'])
  assert.equal(upstream.requests.length, 4)
})

test('leaving the loop cancels what runs', async (t) => {
  const { upstream, line } = await start(t)
  upstream.fault({ kind: 'silence' }, { model: 'm1' })
  for await (const _ of line.batch(numbered(2))) break
  await until(() => line.metrics().requests.aborted === 1)
})

test('a batch is read once', async (t) => {
  const { line } = await start(t)
  const batch = line.batch(numbered(3))
  const loop = collect(batch)
  assert.ok((await rejection(batch)) instanceof ConfigError)
  assert.ok((await rejection(collect(batch))) instanceof ConfigError)
  assert.equal((await loop).length, 3)

  const awaited = line.batch(numbered(3))
  const results = awaited.then((all) => all)
  const outcomes = await Promise.allSettled([results, collect(awaited)])
  for (const { status, value, reason } of outcomes) {
    if (status === 'fulfilled') assert.equal(value.length, 3)
    else assert.ok(reason instanceof ConfigError)
  }
  assert.ok(outcomes.some(({ status }) => status === 'fulfilled'))
})

test('wrong options are refused at once', async (t) => {
  const { line } = await start(t)
  const table = [
    [[], { concurrency: 0 }, /^concurrency: must be a positive integer, got 0$/],
    [[], { concurrency: 1.5 }, /^concurrency/],
    [[], { concurrency: '3' }, /^concurrency: .* got a string$/],
    [[], { onProgress: 1 }, /^onProgress: must be a function/],
    [[], { failFast: 1 }, /^failFast: must be a boolean/],
    [[], { signal: {} }, /^signal: must be an AbortSignal/],
    [[], { idempotencyKey: 'k' }, /^idempotencyKey: /],
    [[], 5, /^options: must be an object/],
    [REQUEST, undefined, /^requests: must be an iterable/],
    ['text', undefined, /^requests: /],
    [undefined, undefined, /^requests: /],
  ]
  for (const [requests, options, message] of table) {
    assert.throws(() => line.batch(requests, options), { name: 'ConfigError', message }, JSON.stringify(options))
  }
})

test('a batch that was awaited can be iterated, and one that was iterated cannot be awaited', async (t) => {
  const { line } = await start(t)
  const batch = line.batch([REQUEST, REQUEST])
  const results = await batch
  const iterated = await collect(batch)
  assert.deepEqual(
    iterated.sort((a, b) => a.index - b.index),
    results,
  )
  assert.match((await rejection(batch.then())).message, /^a batch is read once/)
})
