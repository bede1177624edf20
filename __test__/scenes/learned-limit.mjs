// A burst of calls against an upstream that allows so many a second, of which the client knows by its first answer alone.

import { Trunkline } from 'trunkline'
import { Broken } from './check.mjs'
import { startUpstream } from './upstream.mjs'

/**
 * Resolves with `{ broken, figures }`: the promises that were broken, and what was seen. `figures.ofAllowed`: how much of what the upstream
 * allows was used, 0 to 1.
 * @param {{ calls?: number, rate?: number, burst?: number, http2?: 'never' | 'prior-knowledge' }} [options]
 */
export async function learnedLimit({ calls = 1000, rate = 50, burst = rate, http2 = 'never' } = {}) {
  const broken = new Broken()
  const upstream = await startUpstream({ latency: 5, rateLimit: { requestsPerSecond: rate, burst } })
  const patience = (calls / rate) * 2000 + 10_000
  const line = new Trunkline({
    baseURL: `${upstream.url}/v1`,
    apiKey: 'k',
    timeouts: { queue: patience },
    pool: { http2 },
  })
  const request = { model: 'm', messages: [{ role: 'user', content: 'Hello' }] }
  await line.chat(request)
  const ends = await Promise.allSettled(
    Array.from({ length: calls }, (_, number) => line.chat({ ...request, user: String(number) }).withMeta()),
  )
  const failed = ends.filter(({ status }) => status === 'rejected')
  const log = (await upstream.log()).filter(({ user }) => user !== '')
  const refusals = ends
    .flatMap(({ value, reason }) => value?.meta.attempts ?? reason.attempts)
    .filter(({ status }) => status === 429).length
  broken.check(failed.length === 0, () => `${failed.length} calls failed: ${failed[0].reason}`)
  broken.check(refusals <= calls * 0.01, () => `${refusals} refusals in a burst of ${calls}`)
  const seen = log.length
  broken.check(seen === calls + refusals, () => `${seen} requests for ${calls} calls and ${refusals} refusals`)
  const seconds = (log.at(-1).at - log[0].at) / 1000
  await line.close()
  await upstream.close()
  // The first call has taken one of those that may come at once.
  const least = (calls - (burst - 1)) / rate
  return { broken: broken.list, figures: { http2, calls, rate, refusals, seconds, ofAllowed: least / seconds } }
}
