// Clients of HTTP that know nothing of providers: what is asked and read around them is the least that does it.

import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { importPeer, versionOf } from '../peers.mjs'
import { HEADERS, said, viaFetch } from './fetch.mjs'

export const http = {
  undici: viaUndici,

  // Its documentation: an h2 session takes many requests at once, up to `maxConcurrentStreams`; version 7 went by `pipelining`.
  'undici on one socket': (how) => viaUndici(how, { connections: 1, pipelining: how.connections }),

  fetch: ({ url, http2 }) => ({
    version: `Node ${process.versions.node}`,
    note:
      http2 && major(process.versions.undici) < 8
        ? 'over HTTP/1.1: that of this Node speaks no HTTP/2 by itself'
        : null,
    ...viaFetch(url, fetch),
  }),

  async 'undici fetch'({ url, http2, connections }) {
    const { Agent, fetch } = await importPeer('undici')
    const dispatcher = new Agent({ connections, allowH2: http2 })
    return { version: versionOf('undici'), ...viaFetch(url, fetch, { dispatcher }) }
  },

  async axios({ url, http2, connections }) {
    const { default: axios } = await importPeer('axios')
    // Its documentation: agents that keep their connections; without redirects it uses Node's `http` as it is, which costs it less.
    const agent = { keepAlive: true, maxSockets: connections, maxFreeSockets: connections }
    const instance = axios.create({
      baseURL: `${url}/v1`,
      headers: HEADERS,
      httpAgent: new HttpAgent(agent),
      httpsAgent: new HttpsAgent(agent),
      httpVersion: http2 ? 2 : 1,
      maxRedirects: 0,
      proxy: false,
    })
    return {
      version: versionOf('axios'),
      chat: async (body) => (await instance.post('/chat/completions', body)).data,
      async stream(body) {
        const response = await instance.post('/chat/completions', { ...body, stream: true }, { responseType: 'stream' })
        return said(response.data)
      },
    }
  },

  async impit({ url }) {
    const { Impit } = await importPeer('impit')
    // It has no option for authorities of one's own, nor for connections.
    const impit = new Impit({ ignoreTlsErrors: true, followRedirects: false })
    return {
      version: versionOf('impit'),
      ...viaFetch(url, (resource, options) => impit.fetch(resource, options)),
    }
  },
}

/** As "Getting started" has it for one origin: a pool of so many connections, which is asked itself. */
async function viaUndici({ url, http2, connections }, options = {}) {
  const { Pool } = await importPeer('undici')
  const pool = new Pool(url, { connections, allowH2: http2, ...options })
  const ask = async (body) => {
    const response = await pool.request({
      path: '/v1/chat/completions',
      method: 'POST',
      headers: HEADERS,
      body: JSON.stringify(body),
    })
    if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`)
    return response.body
  }
  return {
    version: versionOf('undici'),
    chat: async (body) => (await ask(body)).json(),
    stream: async (body) => said(await ask({ ...body, stream: true })),
  }
}

function major(version) {
  return Number.parseInt(version, 10)
}
