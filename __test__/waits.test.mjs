// What calls learn while they wait: whoever has its turn and waits for something else then does not go for that reason alone.

import assert from 'node:assert/strict'
import test from 'node:test'
import { occupied, REQUEST, start } from './support.mjs'

/** What keeps calls waiting that have come through all else. */
const WAITS = {
  'for a socket': { pool: { maxConnections: 2, http2: 'never' } },
  'for a stream': { pool: { maxConnections: 1, maxStreamsPerConnection: 2, http2: 'prior-knowledge' } },
  'for a turn': { concurrency: { max: 2 } },
  'for a rate': { rateLimit: { requestsPerSecond: 200, burst: 1 } },
}

const many = (line, count) => Promise.allSettled(Array.from({ length: count }, () => line.chat(REQUEST)))

const names = (ends) => ends.map(({ reason }) => reason?.name ?? 'ok')

for (const [what, options] of Object.entries(WAITS)) {
  test(`calls that wait ${what} are refused when the circuit opens, and not sent`, async (t) => {
    const failureThreshold = 3
    const { upstream, line } = await start(t, { ...options, retry: false, circuitBreaker: { failureThreshold } })
    upstream.fault({ kind: 'status', status: 503 }, { times: 1e6 })
    const ends = names(await many(line, 60))
    // Those that failed, and one that was under way beside the last of them.
    const sent = upstream.requests.length
    assert.ok(sent >= failureThreshold && sent <= failureThreshold + 2, `${sent} were sent`)
    assert.equal(ends.filter((name) => name === 'CircuitOpenError').length, 60 - sent)
  })

  test(`calls that wait ${what} wait for a Retry-After as well`, async (t) => {
    const wait = 500
    const { upstream, line } = await start(t, { ...options, retry: false })
    upstream.fault({ kind: 'status', status: 429, headers: { 'retry-after-ms': String(wait) } })
    const ends = names(await many(line, 30))
    assert.deepEqual(
      ends.filter((name) => name !== 'ok'),
      ['RateLimitError'],
    )
    const [first, ...others] = upstream.requests.map(({ at }) => at)
    const within = others.filter((at) => at < first + wait - 2)
    // What was under way beside it, and what went before the refusal was read.
    assert.ok(within.length <= 4, `${within.length} were sent within ${wait} ms`)
  })

  test(`calls that wait ${what} keep to a limit that was learned since`, async (t) => {
    const rateLimit = { requestsPerSecond: 100, burst: 20 }
    const { upstream, line } = await start(t, { ...options, retry: false, upstream: { rateLimit } })
    const ends = names(await many(line, 120))
    const refused = ends.filter((name) => name !== 'ok')
    assert.ok(refused.length <= 2, `${refused.length} of 120 were refused: ${refused[0]}`)
    assert.equal(upstream.requests.length, 120)
  })
}

test('however many are made in one go, calls wait in the order in which they were made', async (t) => {
  const { upstream, line, free } = await occupied(t, { concurrency: { max: 1 } })
  const calls = Array.from({ length: 2000 }, (_, at) => line.chat({ ...REQUEST, user: String(at) }))
  await free()
  await Promise.all(calls)
  const served = upstream.requests.slice(1).map(({ body }) => Number(body.user))
  assert.deepEqual(
    served,
    calls.map((_, at) => at),
  )
})

test('however many are refused in one go, the event loop has its turns between them', async (t) => {
  const { line, free } = await occupied(t, { concurrency: { max: 1, maxQueue: 1 } })
  const waits = line.chat(REQUEST)
  const count = 10_000
  let settled = 0
  const refused = Array.from({ length: count }, () => line.chat(REQUEST).catch(() => settled++))
  let most = 0
  for (let before = 0; settled < count; before = settled) {
    await new Promise(setImmediate)
    most = Math.max(most, settled - before)
  }
  // A turn takes as many as make up four milliseconds with the making of their errors: two parcels, where a wake comes beside.
  assert.ok(most <= 1024, `${most} of ${count} were settled in one turn`)
  await Promise.all(refused)
  await free()
  await waits
})

test('a call that is tried again keeps its age among those that wait for a socket', async (t) => {
  const { upstream, line } = await start(t, {
    upstream: { latency: 50 },
    pool: { maxConnections: 1, http2: 'never' },
    retry: { strategy: 'immediate' },
  })
  upstream.fault({ kind: 'status', status: 503 })
  await Promise.all(['a', 'b', 'c', 'd'].map((user) => line.chat({ ...REQUEST, user })))
  // The socket is b's before a asks again.
  const served = upstream.requests.map(({ body }) => body.user)
  assert.deepEqual(served, ['a', 'b', 'a', 'c', 'd'])
})
