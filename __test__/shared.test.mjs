// Processes that keep limits together, through a real Redis.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import test from 'node:test'
import { SharedStateError, Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { freePort } from './ports.mjs'
import { redis, withoutRedis as skip } from './redis.mjs'
import { client, REQUEST, rejection, root, until } from './support.mjs'

/** A process whose callers make calls without end, under these options. */
function caller(t, upstream, options, callers = 20) {
  const source = `
    import { Trunkline } from 'trunkline'
    const line = new Trunkline({ baseURL: process.env.UPSTREAM + '/v1', apiKey: 'k', ...JSON.parse(process.env.OPTIONS) })
    const call = async () => { for (;;) await line.chat(${JSON.stringify(REQUEST)}) }
    await Promise.all(Array.from({ length: ${callers} }, call))`
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    cwd: root,
    env: { ...process.env, UPSTREAM: upstream.url, OPTIONS: JSON.stringify(options) },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  return child
}

test('four processes under one limit of 100 a second stay at 95 to 100', { skip }, async (t) => {
  const shared = { redis: (await redis(t)).url }
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const options = { shared, rateLimit: { requestsPerSecond: 100 }, timeouts: { queue: 60_000 } }
  for (let n = 0; n < 4; n++) caller(t, upstream, options)
  const seen = () => upstream.requests.length
  // What a second's worth of burst let go is over, and all four are there.
  await until(() => seen() >= 400, 'the burst is over', 60_000)
  const [from, before] = [performance.now(), seen()]
  await until(() => seen() >= before + 600, 'six seconds of calls', 60_000)
  const rate = ((seen() - before) * 1000) / (performance.now() - from)
  t.diagnostic(`${rate.toFixed(1)} a second`)
  assert.ok(rate >= 95 && rate <= 101, `${rate} a second`)
})

test('what a killed process held comes back', { skip }, async (t) => {
  const shared = { redis: (await redis(t)).url }
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  upstream.fault({ kind: 'silence', for: 600_000 }, { times: 1 })
  const options = { shared, concurrency: { max: 1 } }
  const killed = caller(t, upstream, options, 1)
  await until(() => upstream.requests.length === 1, 'it has the only place')
  const line = client(t, upstream, options)
  const waits = line.chat(REQUEST)
  await until(() => line.metrics().queue.depth.interactive === 1 || line.metrics().requests.inFlight === 1)
  assert.equal(upstream.requests.length, 1)
  killed.kill('SIGKILL')
  await waits
  assert.equal(upstream.requests.length, 2)
})

test('without Redis nothing is sent where that is asked for, and everything by default', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const redis = `redis://127.0.0.1:${await freePort()}`
  const rateLimit = { requestsPerSecond: 100 }
  const failing = client(t, upstream, { shared: { redis, onUnavailable: 'fail' }, rateLimit })
  const error = await rejection(failing.chat(REQUEST))
  assert.ok(error instanceof SharedStateError)
  assert.deepEqual([error.code, error.retryable, upstream.requests.length], ['ERR_SHARED', true, 0])
  await client(t, upstream, { shared: { redis }, rateLimit }).chat(REQUEST)
  assert.equal(upstream.requests.length, 1)
})

test('a mistake in shared is refused with its path', () => {
  const refused = (shared, message) => assert.throws(() => new Trunkline({ shared }), { code: 'ERR_CONFIG', message })
  refused({}, /^shared\.redis: must be a URL such as/)
  refused({ redis: 'http://user:SeCrEt@host' }, /^shared\.redis: (?!.*SeCrEt)/)
  refused({ redis: 'redis://host', namespace: '' }, /^shared\.namespace: must be 1 to 200 bytes/)
  refused({ redis: 'redis://host', onUnavailable: 'wait' }, /^shared\.onUnavailable: must be one of 'local', 'fail'/)
})
