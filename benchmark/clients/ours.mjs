// This package, with its defaults, with all that it can do switched on, and under another's face.

import { versionOf } from '../peers.mjs'
import { API_KEY, viaFetch } from './fetch.mjs'
import { viaOpenai } from './sdks.mjs'

/**
 * Every policy at once, as a service sets them that means to be neither slow nor poor: none is reached, all are kept count of. Cache
 * and coalescing are off, since they would answer in the place of the upstream.
 */
export const EVERYTHING = {
  timeouts: { connect: 5_000, queue: 10_000, firstByte: 30_000, idle: 20_000, total: 120_000 },
  retry: { maxRetries: 3, budget: { ratio: 0.1, minPerSecond: 5 } },
  circuitBreaker: { failureThreshold: 10 },
  concurrency: { max: 1_000 },
  rateLimit: { requestsPerMinute: 60_000_000, tokensPerMinute: 60_000_000_000, burst: 1_000_000 },
  hedge: { delay: 2_000, budget: 0.02 },
  budget: { limit: 1e9, perModel: { 'gpt-4o-mini': 1e9 }, perTenant: 1e9, window: 'day' },
  pricing: { 'gpt-4o-mini': 'gpt-4o-mini' },
  tenants: { maxConcurrent: 1_000 },
  alerts: {},
}
/** And what each call says of itself. */
const CALL = { tenant: 'a-tenant', priority: 'interactive' }

export const ours = {
  trunkline: async (how) => objects(await openLine(how)),

  'trunkline text': async (how) => texts(await openLine(how)),

  'trunkline all on': async (how) => ({
    ...objects(await openLine(how, EVERYTHING), CALL),
    note: 'every policy on: limits, circuit, retries, hedging, budgets, tenants, priorities, prices, alerts',
  }),

  'trunkline text all on': async (how) => texts(await openLine(how, EVERYTHING), CALL),

  async 'trunkline fetch'(how) {
    const line = await openLine(how)
    return { version: versionOf(), note: 'line.fetch', ...viaFetch(how.url, line.fetch) }
  },

  async 'trunkline under openai'(how) {
    const line = await openLine(how)
    const openai = await viaOpenai(how.url, { fetch: line.fetch })
    return { ...openai, note: `openai ${openai.version}, with line.fetch`, version: versionOf() }
  },
}

/** A client of this package, with room for as many connections as are asked for. */
export async function openLine({ url, http2, connections }, options) {
  const { Trunkline } = await import('trunkline')
  const room = {
    maxConnections: Math.max(200, connections),
    maxConnectionsPerOrigin: Math.max(100, connections),
    maxIdleConnections: Math.max(100, connections),
  }
  return new Trunkline({
    baseURL: `${url}/v1`,
    apiKey: API_KEY,
    ...options,
    pool: { ...room, http2: http2 ? 'auto' : 'never', proxy: false },
  })
}

function objects(line, options) {
  return {
    version: versionOf(),
    chat: (body) => line.chat(body, options),
    async stream(body) {
      let text = ''
      for await (const chunk of line.stream(body, options)) text += chunk.choices[0]?.delta.content ?? ''
      return text
    },
  }
}

function texts(line, options) {
  return {
    version: versionOf(),
    note: 'text() in place of objects',
    async stream(body) {
      let text = ''
      for await (const piece of line.stream(body, options).text()) text += piece
      return text
    },
  }
}
