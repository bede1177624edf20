// The clients of the wide area, each as its documentation recommends for speed. All trust the upstream through NODE_EXTRA_CA_CERTS.
//
// A client has `chat(body, priority)`, which resolves with the completion, and `close()`. Nothing is repeated: what fails is counted.

import { Agent, request as https } from 'node:https'
import { importAtHand, versionAtHand, versionOf as versionOfPeer } from '../peers.mjs'

/** Milliseconds after which a call counts as timed out. */
const PATIENCE = 10_000
/** Streams that a socket of HTTP/2 carries: what this package takes by default, and undici too. */
const STREAMS = 100
const API_KEY = 'sk-benchmark'
const HEADERS = { 'content-type': 'application/json', authorization: `Bearer ${API_KEY}` }

/** By name. `connections`: as many as calls at once, or fewer where a pool is to be smaller. */
export const clients = {
  'new connection each': ({ url }) => viaHttps(url, new Agent({ keepAlive: false })),

  async openai({ url }) {
    const { default: OpenAI } = await importAtHand('openai')
    const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: API_KEY, maxRetries: 0, timeout: PATIENCE })
    return { chat: (body) => openai.chat.completions.create(body), close() {} }
  },

  async 'axios keep-alive'({ url, connections }) {
    const { default: axios } = await importAtHand('axios')
    const httpsAgent = new Agent({ keepAlive: true, maxSockets: connections, maxFreeSockets: connections })
    const client = axios.create({ httpsAgent, timeout: PATIENCE, headers: HEADERS, proxy: false })
    return {
      chat: async (body) => (await client.post(`${url}/v1/chat/completions`, body)).data,
      close: () => httpsAgent.destroy(),
    }
  },

  'undici h1': ({ url, connections }) => viaUndici(url, { connections }),

  /** A request with a body shares a socket only where it is said to be idempotent: otherwise each waits for the one before. */
  'undici h2': ({ url, connections }) =>
    viaUndici(
      url,
      { allowH2: true, connections: Math.ceil(connections / STREAMS), pipelining: STREAMS },
      { idempotent: true },
    ),

  'trunkline h1': ({ url, connections }) =>
    viaTrunkline(url, {
      http2: 'never',
      maxConnections: connections,
      maxConnectionsPerOrigin: connections,
      maxIdleConnections: connections,
    }),

  /** As it is without options. */
  'trunkline h2': ({ url }) => viaTrunkline(url, {}),
}

/** The package that a client is of; null for Node's own. */
const PACKAGES = { openai: 'openai', axios: 'axios', undici: 'undici', trunkline: null }

/** What clients are of which version, by name; undefined for one whose package is not installed. */
export function versionOf(name) {
  const [word] = name.split(' ')
  if (!(word in PACKAGES)) return `Node ${process.versions.node}`
  return word === 'trunkline' ? versionOfPeer() : versionAtHand(word)
}

function viaHttps(url, agent) {
  const { hostname, port } = new URL(url)
  const how = { hostname, port, path: '/v1/chat/completions', method: 'POST', agent, timeout: PATIENCE }
  const chat = (body) =>
    new Promise((resolve, reject) => {
      const text = JSON.stringify(body)
      const headers = { ...HEADERS, 'content-length': Buffer.byteLength(text) }
      const sent = https({ ...how, headers }, (response) => {
        let answer = ''
        response.setEncoding('utf8')
        response.on('data', (data) => {
          answer += data
        })
        response.on('error', reject)
        response.on('end', () => {
          if (response.statusCode === 200) resolve(JSON.parse(answer))
          else reject(new Error(`status ${response.statusCode}`))
        })
      })
      sent.on('timeout', () => sent.destroy(new Error('timeout')))
      sent.on('error', reject)
      sent.end(text)
    })
  return { chat, close: () => agent.destroy() }
}

async function viaUndici(url, options, each) {
  const { Agent, request } = await importAtHand('undici')
  const dispatcher = new Agent({ ...options, headersTimeout: PATIENCE, bodyTimeout: PATIENCE })
  return {
    async chat(body) {
      const { statusCode, body: answer } = await request(`${url}/v1/chat/completions`, {
        dispatcher,
        method: 'POST',
        headers: HEADERS,
        body: JSON.stringify(body),
        ...each,
      })
      if (statusCode !== 200) throw new Error(`status ${statusCode}`)
      return answer.json()
    },
    close: () => dispatcher.destroy(),
  }
}

async function viaTrunkline(url, pool) {
  const { Trunkline } = await import('trunkline')
  const line = new Trunkline({
    baseURL: `${url}/v1`,
    apiKey: API_KEY,
    pool: { ...pool, proxy: false },
    retry: false,
    timeouts: { total: PATIENCE, queue: PATIENCE },
  })
  return {
    chat: (body, priority) => line.chat(body, priority && { priority }),
    close: () => line.close(),
  }
}
