// Calls go on being offered while the upstream fails whatever it is asked: what it sees of them.

import { setTimeout as sleep } from 'node:timers/promises'
import { Trunkline } from 'trunkline'
import { Broken, until } from './check.mjs'
import { startUpstream } from './upstream.mjs'

const THRESHOLD = 5
const AT_ONCE = 8

/**
 * Resolves with `{ broken, figures }`: the promises that were broken, and what was seen.
 * @param {{ seconds?: number, recoveryTimeout?: number, models?: string[], fault?: object }} [options]
 */
export async function outage({
  seconds = 60,
  recoveryTimeout = 10_000,
  models = ['m'],
  fault = { kind: 'status', status: 503 },
} = {}) {
  const broken = new Broken()
  const upstream = await startUpstream()
  const line = new Trunkline({
    baseURL: `${upstream.url}/v1`,
    apiKey: 'k',
    concurrency: { max: AT_ONCE },
    circuitBreaker: { failureThreshold: THRESHOLD, recoveryTimeout },
    timeouts: { firstByte: 2000, total: 10_000 },
  })
  const request = (at) => ({ model: models[at % models.length], messages: [{ role: 'user', content: 'Hello' }] })
  const outcomes = {}
  const count = (name) => (outcomes[name] = (outcomes[name] ?? 0) + 1)
  for (const at of models.keys()) await line.chat(request(at))
  const healthy = (await upstream.log()).length

  await upstream.fault(fault, { for: seconds * 1000 })
  const end = performance.now() + seconds * 1000
  const running = new Set()
  for (let offered = 0; performance.now() < end; offered++) {
    const call = line.chat(request(offered)).then(
      () => count('ok'),
      (error) => count(error.name),
    )
    running.add(call)
    call.then(() => running.delete(call))
    await sleep(10)
  }
  const seen = (await upstream.log()).slice(healthy)
  const back = await until(
    () =>
      line
        .chat(request(0))
        .then(() => true)
        .catch(() => false),
    recoveryTimeout * 3 + 10_000,
  )
  broken.check(back, () => 'the circuit did not close after the outage')
  await Promise.all(running)
  await line.close()
  await upstream.close()

  // Each model has its own circuit until all fail; what was under way when one opened was let go before.
  const first = seen.filter(({ at }) => at < seen[0].at + recoveryTimeout / 2).length
  const most = models.length * (THRESHOLD + AT_ONCE)
  broken.check(first <= most, () => `${first} requests before the circuits opened`)
  const probes = seen.slice(first)
  const gaps = probes.slice(1).map(({ at }, before) => at - probes[before].at)
  const shortest = gaps.length === 0 ? null : Math.min(...gaps)
  broken.check(shortest === null || shortest >= recoveryTimeout - 2, () => `two probes within ${shortest} ms`)
  const due = (seconds * 1000) / recoveryTimeout
  broken.check(probes.length <= due, () => `${probes.length} probes, and ${due} recovery times`)
  broken.check(probes.length >= 1, () => 'no probe was sent')
  return {
    broken: broken.list,
    figures: {
      fault: fault.kind,
      models: models.length,
      seconds,
      recoveryTimeout,
      first,
      probes: probes.length,
      shortest,
      outcomes,
    },
  }
}
