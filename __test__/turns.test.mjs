import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { occupied, REQUEST, rejection, start, until } from './support.mjs'

/** A client of which one call, of as many as may run, runs until `free` is called. */
const busy = (t, options) => occupied(t, { ...options, concurrency: { max: 1, ...options?.concurrency } })

const waiting = ({ queue }) => Object.values(queue.depth).reduce((sum, depth) => sum + depth, 0)

test('no more calls are under way than concurrency.max, and of those that wait the more urgent goes first', async (t) => {
  const { upstream, line, free } = await busy(t)
  const order = ['background', 'batch', 'interactive', 'critical', 'critical', undefined]
  const calls = order.map((priority, at) => line.chat({ ...REQUEST, user: String(at) }, { priority }))
  const { queue, pool } = await until(() => waiting(line.metrics()) === 6 && line.metrics())
  assert.deepEqual(queue.depth, { critical: 2, interactive: 2, batch: 1, background: 1 })
  assert.equal(pool.connections.active, 1)
  await free()
  await Promise.all(calls)
  const served = upstream.requests.slice(1).map((request) => request.body.user)
  assert.deepEqual(served, ['3', '4', '2', '5', '1', '0'])
  assert.equal(line.metrics().queue.turns.count, 6)
})

test('calls that are made in one turn of the event loop go in the order in which they were made', async (t) => {
  const { upstream, line } = await start(t, { concurrency: { max: 1 } })
  await line.chat(REQUEST)
  const order = Array.from({ length: 50 }, (_, at) => String(at))
  await Promise.all(order.map((user) => line.chat({ ...REQUEST, user })))
  assert.deepEqual(
    upstream.requests.slice(1).map((request) => request.body.user),
    order,
  )
})

test('while thousands wait and as many come as go, none passes more than run at once and the runtime takes up at once', async (t) => {
  const most = 64
  const { line } = await start(t, { concurrency: { max: most, maxQueue: 20_000 }, timeouts: { queue: 60_000 } })
  await line.chat(REQUEST)
  let [made, ended, early] = [0, 0, 0]
  const one = async () => {
    while (made < 30_000) {
      const number = made++
      await line.chat(REQUEST)
      early = Math.max(early, number - ended++)
    }
  }
  await Promise.all(Array.from({ length: 10_000 }, one))
  assert.ok(early <= most + 256, `one was ${early} places early`)
})

test('one more call than may wait is refused at once, and counted', async (t) => {
  const { line, free } = await busy(t, { concurrency: { maxQueue: 2 } })
  const calls = [line.chat(REQUEST), line.chat(REQUEST)]
  await until(() => waiting(line.metrics()) === 2)
  const error = await rejection(line.chat(REQUEST))
  assert.deepEqual([error.name, error.code, error.billed], ['QueueFullError', 'ERR_QUEUE_FULL', 'no'])
  assert.match(error.message, /concurrency\.maxQueue/)
  assert.equal(line.metrics().queue.refused, 1)
  await free()
  await Promise.all(calls)
})

test('a wait for a turn ends with timeouts.queue, and names itself', async (t) => {
  const { upstream, line, free } = await busy(t)
  const error = await rejection(line.chat(REQUEST, { timeouts: { queue: 30 } }))
  assert.deepEqual([error.name, error.phase, error.limit, error.billed], ['TimeoutError', 'queue', 30, 'no'])
  assert.equal(upstream.requests.length, 1)
  assert.equal(waiting(line.metrics()), 0)
  await free()
  await line.chat(REQUEST)
})

test('a call that is aborted while it waits keeps nobody waiting', async (t) => {
  const { line, free } = await busy(t)
  const leaver = new AbortController()
  const left = rejection(line.chat(REQUEST, { signal: leaver.signal, priority: 'critical' }))
  const next = line.chat(REQUEST)
  await until(() => waiting(line.metrics()) === 2)
  leaver.abort()
  await left
  await until(() => waiting(line.metrics()) === 1)
  await free()
  await next
})

test('streams take turns with calls', async (t) => {
  const { upstream, line, free } = await busy(t)
  const stream = line.stream(REQUEST).text()
  const call = line.chat(REQUEST)
  await until(() => waiting(line.metrics()) === 2)
  assert.equal(upstream.requests.length, 1)
  await free()
  await Promise.all([stream, call])
})

test('calls go no faster than rateLimit lets them', async (t) => {
  const { upstream, line } = await start(t, { rateLimit: { requestsPerSecond: 100, burst: 5 } })
  const began = performance.now()
  await Promise.all(Array.from({ length: 25 }, () => line.chat(REQUEST)))
  // Twenty of them waited for their turn, ten milliseconds each.
  assert.ok(performance.now() - began >= 195)
  assert.equal(upstream.requests.length, 25)
})

test('after its first answer a client keeps to the limit that the upstream has told of', async (t) => {
  const { upstream, line } = await start(t, {
    retry: false,
    upstream: { rateLimit: { requestsPerSecond: 200, burst: 20 } },
  })
  await line.chat(REQUEST)
  const ends = await Promise.allSettled(Array.from({ length: 400 }, () => line.chat(REQUEST)))
  const refused = ends.filter(({ status }) => status === 'rejected')
  assert.ok(refused.length <= 4, `${refused.length} of 400 were refused: ${refused[0]?.reason}`)
  assert.equal(upstream.requests.length, 401)
})

test('the figures say what is left of the limits that the upstream has told of', async (t) => {
  const { line } = await start(t, { upstream: { rateLimit: { requestsPerSecond: 0.1, burst: 10 } } })
  await line.chat(REQUEST)
  await line.chat(REQUEST)
  const { limits } = line.metrics()
  const none = { requestsRemaining: null, tokensRemaining: null, resetAt: null, throttled: 0 }
  assert.deepEqual(limits.default, none)
  const { resetAt, ...model } = limits[`default/${REQUEST.model}`]
  assert.deepEqual(model, { requestsRemaining: 8, tokensRemaining: null, throttled: 0 })
  // Two calls of one in ten seconds.
  assert.ok(resetAt > Date.now() && resetAt < Date.now() + 60_000, String(resetAt))
})

test('a circuit opens after failures in a row, sends nothing, and closes after a probe that went well', async (t) => {
  const recoveryTimeout = 150
  const { upstream, line } = await start(t, { retry: false, circuitBreaker: { failureThreshold: 3, recoveryTimeout } })
  const states = []
  line.on('circuit', ({ provider, model, state }) => states.push(`${provider} ${model} ${state}`))
  upstream.fault({ kind: 'status', status: 500 }, { times: 3 })
  for (let n = 0; n < 3; n++) assert.equal((await rejection(line.chat(REQUEST))).name, 'InternalServerError')
  const sent = upstream.requests.length
  const error = await rejection(line.chat(REQUEST))
  assert.deepEqual([error.name, error.code, error.billed], ['CircuitOpenError', 'ERR_CIRCUIT_OPEN', 'no'])
  assert.ok(error.retryAfter > 0 && error.retryAfter <= recoveryTimeout, String(error.retryAfter))
  assert.equal(upstream.requests.length, sent)
  await sleep(recoveryTimeout + 20)
  await line.chat(REQUEST)
  await line.chat(REQUEST)
  const model = `default ${REQUEST.model}`
  await until(() => states.length >= 3)
  // One circuit, and so one event for each of its changes.
  assert.deepEqual(states, [`${model} open`, `${model} half-open`, `${model} closed`])
  assert.equal(line.metrics().circuits[`default/${REQUEST.model}`].state, 'closed')
})

test('a provider whose models all fail is told of as a whole, and another model is refused then', async (t) => {
  const { upstream, line } = await start(t, { retry: false, circuitBreaker: { failureThreshold: 2 } })
  const began = Date.now()
  const states = []
  line.on('circuit', ({ model, state }) => states.push(`${model} ${state}`))
  upstream.fault({ kind: 'status', status: 500 }, { times: 4 })
  const fails = async (call, times) => {
    for (let n = 0; n < times; n++) assert.equal((await rejection(call())).name, 'InternalServerError')
  }
  await fails(() => line.chat({ ...REQUEST, model: 'a' }), 2)
  // Calls without a model have a circuit too.
  await fails(() => line.get('/models'), 2)
  await until(() => states.length >= 3)
  assert.deepEqual(states, ['a open', '(none) open', 'null open'])
  assert.equal((await rejection(line.chat({ ...REQUEST, model: 'b' }))).name, 'CircuitOpenError')
  const { circuits } = line.metrics()
  assert.deepEqual(Object.keys(circuits).sort(), ['default', 'default/(none)', 'default/a'])
  for (const { state, openedAt, transitions } of Object.values(circuits)) {
    assert.deepEqual([state, transitions], ['open', 1])
    assert.ok(openedAt >= began - 1 && openedAt <= Date.now() + 1, `${openedAt}`)
  }
  assert.deepEqual([circuits['default/a'].failures, circuits.default.failures], [2, 4])
})

test('through an outage the upstream sees one probe for each recovery time, and no more', async (t) => {
  const recoveryTimeout = 60
  const { upstream, line } = await start(t, {
    retry: false,
    concurrency: { max: 8 },
    circuitBreaker: { failureThreshold: 3, recoveryTimeout },
  })
  upstream.fault({ kind: 'status', status: 503 }, { times: 1e6 })
  await Promise.allSettled(Array.from({ length: 20 }, () => line.chat(REQUEST)))
  const first = upstream.requests.length
  // What was under way when the circuit opened was let go before.
  assert.ok(first <= 3 + 8, String(first))
  const began = performance.now()
  while (performance.now() - began < 15 * recoveryTimeout) {
    await Promise.allSettled(Array.from({ length: 5 }, () => line.chat(REQUEST)))
    await sleep(3)
  }
  const probes = upstream.requests.slice(first)
  assert.ok(
    probes.length >= 1 && probes.length <= (performance.now() - began) / recoveryTimeout + 1,
    String(probes.length),
  )
  // Each waited for its time, counted from when the one before it had failed; stamps are whole milliseconds.
  for (let at = 1; at < probes.length; at++) assert.ok(probes[at].at - probes[at - 1].at >= recoveryTimeout - 2)
  upstream.reset()
  await until(() => line.chat(REQUEST).catch(() => null))
})

test("the caller's mistakes open no circuit", async (t) => {
  const { upstream, line } = await start(t, { retry: false, circuitBreaker: { failureThreshold: 2 } })
  upstream.fault({ kind: 'status', status: 400 }, { times: 5 })
  for (let n = 0; n < 5; n++) assert.equal((await rejection(line.chat(REQUEST))).name, 'BadRequestError')
  await line.chat(REQUEST)
})

test('retries end with their budget, and each is told of', async (t) => {
  const { upstream, line } = await start(t, { retry: { baseDelay: 1, budget: { ratio: 0, minPerSecond: 0.1 } } })
  const retries = []
  line.on('retry', (retry) => retries.push(retry))
  upstream.fault({ kind: 'status', status: 500 }, { times: 3 })
  const error = await rejection(line.chat(REQUEST))
  // One in ten seconds.
  assert.equal(error.attempts.length, 2)
  await until(() => retries.length === 1)
  assert.deepEqual([retries[0].attempt.status, retries[0].attempt.billed], [500, 'maybe'])
  assert.ok(retries[0].delay >= 0 && retries[0].attempt.duration > 0)
})

test('a call whose answer is late is hedged: the first to answer is taken, and both are among the attempts', async (t) => {
  const { upstream, line } = await start(t, { hedge: { delay: 20, budget: 1 } })
  upstream.fault({ kind: 'silence' })
  const { data, meta } = await line.chat(REQUEST).withMeta()
  assert.equal(data.object, 'chat.completion')
  const attempts = meta.attempts.map(({ error, billed }) => [error, billed])
  assert.deepEqual(attempts, [
    ['ERR_HEDGED', 'maybe'],
    [null, 'yes'],
  ])
  upstream.fault({ kind: 'silence' })
  assert.equal(await line.stream(REQUEST).finalText(), data.choices[0].message.content)
  assert.equal(upstream.requests.length, 4)
  const { hedged, retried } = line.metrics().requests
  assert.deepEqual([hedged, retried], [2, 0])
})

test('an alert is raised when calls fail, and cleared when they no longer do', async (t) => {
  const { upstream, line } = await start(t, {
    retry: false,
    circuitBreaker: false,
    alerts: { errorRate: 0.1, retryRate: false, p99: false, window: 1000 },
  })
  const alerts = []
  line.on('alert', (alert) => alerts.push(alert))
  upstream.fault({ kind: 'status', status: 500 }, { times: 5 })
  await Promise.allSettled(Array.from({ length: 25 }, () => line.chat(REQUEST)))
  await until(() => alerts.length === 2)
  assert.deepEqual(alerts[0], { name: 'errorRate', state: 'raised', value: 0.2, threshold: 0.1 })
  assert.deepEqual([alerts[1].name, alerts[1].state], ['errorRate', 'cleared'])
})

test('options of scheduling that contradict themselves or cannot be are refused by their path', async (t) => {
  const wrong = [
    [{ concurrency: { max: 0 } }, /^concurrency\.max: /],
    [{ concurrency: { max: 'many' } }, /^concurrency\.max: /],
    [{ rateLimit: { requestsPerSecond: -1 } }, /^rateLimit\.requestsPerSecond: /],
    [{ rateLimit: { weights: { m: 0 } } }, /^rateLimit\.weights\.m: /],
    [{ rateLimit: { reservoir: { amount: 5 } } }, /^rateLimit\.reservoir\.interval: /],
    [{ circuitBreaker: { failureRatio: 1.5 } }, /^circuitBreaker\.failureRatio: /],
    [{ circuitBreaker: { recoveryTimeout: -1 } }, /^circuitBreaker\.recoveryTimeout: /],
    [{ retry: { budget: { ratio: -1 } } }, /^retry\.budget\.ratio: /],
    [{ hedge: { delay: 100, budget: 2 } }, /^hedge\.budget: /],
    [{ hedge: { maxHedges: 2 } }, /^hedge\.delay: must be given/],
    [{ alerts: { errorRate: 2 } }, /^alerts\.errorRate: /],
  ]
  for (const [options, message] of wrong) {
    await assert.rejects(start(t, options), { name: 'ConfigError', message }, JSON.stringify(options))
  }
  const { line } = await start(t)
  const budget = rejection(line.chat(REQUEST, { retry: { budget: { ratio: 1 } } }))
  assert.match((await budget).message, /^retry\.budget: /)
})
