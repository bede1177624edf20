// Each alert is raised by what it is about, and by nothing else.

import assert from 'node:assert/strict'
import test from 'node:test'
import { REQUEST, start, until } from './support.mjs'

const off = { errorRate: false, retryRate: false, p99: false, window: 1000 }
const quickly = { strategy: 'immediate' }

/** The alerts of a client, as they are told. */
function listen(line) {
  const alerts = []
  line.on('alert', (alert) => alerts.push(alert))
  return alerts
}

for (const [name, threshold, options] of [
  ['errorRate', 0.5, { retry: false }],
  ['retryRate', 0.5, { retry: quickly }],
  ['p99', 20, { upstream: { latency: 40 } }],
]) {
  test(`${name} is raised by what it is about, and cleared when that has passed`, async (t) => {
    const { upstream, line } = await start(t, {
      circuitBreaker: false,
      alerts: { ...off, [name]: threshold },
      ...options,
    })
    const alerts = listen(line)
    // Attempts fail, or take their time.
    if (name !== 'p99') upstream.fault({ kind: 'status', status: 500 }, { times: 25 })
    await Promise.allSettled(Array.from({ length: 25 }, () => line.chat(REQUEST)))
    await until(() => alerts.length === 2, 'it is raised and cleared')
    const [raised, cleared] = alerts
    assert.deepEqual([raised.name, raised.state, raised.threshold], [name, 'raised', threshold])
    assert.ok(raised.value > threshold, `${raised.value}`)
    assert.deepEqual([cleared.name, cleared.state, cleared.threshold], [name, 'cleared', threshold])
  })
}

test('what is within its bounds raises nothing, and neither does what nobody asked for', async (t) => {
  for (const alerts of [undefined, false, off, { errorRate: 0.9, retryRate: 0.9, p99: 60_000, window: 1000 }]) {
    const { upstream, line } = await start(t, { retry: quickly, circuitBreaker: false, alerts })
    const told = listen(line)
    for (let n = 0; n < 30; n++) {
      if (n % 3 === 0) upstream.fault({ kind: 'status', status: 500 })
      await line.chat(REQUEST)
    }
    // The promise is about what does not happen while it is looked at: ten times in each window.
    await new Promise((resolve) => setTimeout(resolve, 400))
    assert.deepEqual(told, [], JSON.stringify(alerts))
  }
})
