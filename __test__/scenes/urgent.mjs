// A line that background work fills, and an interactive call now and then; then so many that they would fill it alone.

import { setTimeout as sleep } from 'node:timers/promises'
import { Trunkline } from 'trunkline'
import { Broken } from './check.mjs'
import { random } from './random.mjs'
import { startUpstream } from './upstream.mjs'

/**
 * Resolves with `{ broken, figures }`: the promises that were broken, and what was seen, in milliseconds.
 * @param {{ calls?: number, limit?: number, by?: 'turns' | 'sockets', service?: number, backlog?: number, agingInterval?: number, flood?: number }} [options]
 * `calls`: interactive ones. `backlog`: background calls that wait at any time. `by`: what there are `limit` of. `flood`: interactive calls
 * that come at once with others, as soon as they end, of which there are ten times as many as go at once.
 */
export async function urgent({
  calls = 500,
  limit = 10,
  by = 'turns',
  service = 50,
  backlog = 200,
  agingInterval = 5000,
  flood = 0,
} = {}) {
  const broken = new Broken()
  const upstream = await startUpstream({ latency: service })
  const line = new Trunkline({
    baseURL: `${upstream.url}/v1`,
    apiKey: 'k',
    concurrency: { agingInterval, maxQueue: backlog + limit * 11, ...(by === 'turns' && { max: limit }) },
    pool: { http2: 'never', maxConnections: by === 'sockets' ? limit : 50 },
    timeouts: { queue: 600_000 },
    rateLimit: { learn: false },
  })
  const request = { model: 'm', messages: [{ role: 'user', content: 'Hello' }] }
  const times = { background: [], interactive: [] }
  const offeredAt = []
  const call = async (priority, user) => {
    const { meta } = await line.chat({ ...request, user }, { priority }).withMeta()
    const { queued, total } = meta.timings
    times[priority].push({ queued, served: total - queued })
  }
  let goesOn = true
  const fill = async () => {
    while (goesOn) await call('background', 'background')
  }
  const began = performance.now()
  const fillers = Array.from({ length: backlog + limit }, fill)
  // All places are taken, and the first have ended.
  while (times.background.length < limit * 2) await sleep(service / 4)
  const next = random(1)
  const before = times.background.length
  const started = performance.now()
  for (let number = 0; number < calls; number++) {
    await sleep(next() * service)
    offeredAt.push(Date.now())
    await call('interactive', String(number))
  }
  const during = { background: times.background.length - before, seconds: (performance.now() - started) / 1000 }
  const background = during.background
  let left = flood
  const rush = async () => {
    while (left-- > 0) await call('interactive', 'flood')
  }
  await Promise.all(Array.from({ length: limit * 10 }, rush))
  goesOn = false
  await Promise.all(fillers)
  const seconds = (performance.now() - began) / 1000
  const log = await upstream.log()
  await line.close()
  await upstream.close()

  // Who goes next is the interactive call, whoever waits longer: beside what was on its way when it came.
  const overtaken = offeredAt.map((offered, number) => {
    const arrived = log.findIndex(({ user }) => user === String(number))
    let ahead = 0
    while (log[arrived - ahead - 1]?.at > offered) ahead++
    return ahead
  })
  const most = Math.max(...overtaken)
  broken.check(most <= limit * 2, () => `${most} background calls went before an interactive one that waited`)
  broken.check(background > 0, () => 'background work stood still')
  // While more interactive calls wait than go: of any four turns in a row one goes to those who are old.
  const users = log.map(({ user }) => user)
  const rushed = users.slice(users.indexOf('flood'), users.lastIndexOf('flood') + 1)
  const share = flood === 0 ? null : rushed.filter((user) => user === 'background').length / rushed.length
  if (share !== null) {
    broken.check(
      share > 0.2 && share < 0.4,
      () => `${(share * 100).toFixed(0)} % were of the old backlog, not a fourth`,
    )
  }
  const waits = times.interactive
    .slice(0, calls)
    .map(({ queued }) => queued)
    .sort((one, other) => one - other)
  const served = [...times.interactive, ...times.background]
    .map(({ served }) => served)
    .sort((one, other) => one - other)
  const at = (of, share) => of[Math.min(of.length - 1, Math.floor(of.length * share))]
  return {
    broken: broken.list,
    figures: {
      calls,
      limit,
      by,
      backlog,
      agingInterval,
      seconds,
      wait: { p50: at(waits, 0.5), p99: at(waits, 0.99), max: at(waits, 1) },
      service: { p50: at(served, 0.5), max: at(served, 1) },
      backgroundPerSecond: background / during.seconds,
      overtaken: most,
      share,
    },
  }
}
