// The clients, each as its documentation shows it. All trust the upstream through NODE_EXTRA_CA_CERTS.
//
// A client has `chat(body)`, which resolves with the completion, and `stream(body)`, with what the deltas said.

import { readFileSync } from 'node:fs'

/** Of a package as it is installed; of this one by default. */
function versionOf(name) {
  const folder = name === undefined ? '..' : `../node_modules/${name}`
  return JSON.parse(readFileSync(new URL(`${folder}/package.json`, import.meta.url), 'utf8')).version
}

const API_KEY = 'sk-benchmark'

/** By name. `connections`: as many as calls at once. */
export const clients = {
  undici: ({ url, http2, connections }) => viaUndici(url, { connections, allowH2: http2 }),

  'undici on one socket': ({ url, connections }) =>
    viaUndici(url, { connections: 1, pipelining: connections, allowH2: true }),

  fetch: ({ url, http2 }) => ({
    version: `Node ${process.versions.node}`,
    note: http2 ? 'over HTTP/1.1: it does not speak HTTP/2 unless it is given another dispatcher' : null,
    ...viaFetch(url, fetch),
  }),

  async openai({ url, http2 }) {
    return { note: http2 ? 'over HTTP/1.1: it calls fetch' : null, ...(await viaOpenai(url)) }
  },

  async trunkline(how) {
    const line = await openLine(how)
    return {
      version: versionOf(),
      chat: (body) => line.chat(body),
      async stream(body) {
        let text = ''
        for await (const chunk of line.stream(body)) text += chunk.choices[0]?.delta.content ?? ''
        return text
      },
    }
  },

  async 'trunkline fetch'(how) {
    const line = await openLine(how)
    return { version: versionOf(), note: 'line.fetch', ...viaFetch(how.url, line.fetch) }
  },

  async 'trunkline under openai'(how) {
    const line = await openLine(how)
    return { ...(await viaOpenai(how.url, line.fetch)), version: versionOf(), note: 'openai, with line.fetch' }
  },

  async 'trunkline text'(how) {
    const line = await openLine(how)
    return {
      version: versionOf(),
      note: 'text() in place of objects',
      async stream(body) {
        let text = ''
        for await (const piece of line.stream(body).text()) text += piece
        return text
      },
    }
  },
}

async function viaOpenai(url, fetch) {
  const { default: OpenAI } = await import('openai')
  const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: API_KEY, fetch })
  return {
    version: versionOf('openai'),
    chat: (body) => openai.chat.completions.create(body),
    async stream(body) {
      let text = ''
      for await (const chunk of await openai.chat.completions.create({ ...body, stream: true })) {
        text += chunk.choices[0]?.delta.content ?? ''
      }
      return text
    },
  }
}

function viaFetch(url, fetch) {
  const ask = async (body) => {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${API_KEY}` },
      body: JSON.stringify(body),
    })
    if (response.status !== 200) throw new Error(`status ${response.status}`)
    return response
  }
  return {
    chat: async (body) => (await ask(body)).json(),
    stream: async (body) => said((await ask({ ...body, stream: true })).body),
  }
}

async function openLine({ url, http2, connections }) {
  const { Trunkline } = await import('trunkline')
  const room = {
    maxConnections: Math.max(200, connections),
    maxConnectionsPerOrigin: Math.max(100, connections),
    maxIdleConnections: Math.max(100, connections),
  }
  return new Trunkline({
    baseURL: `${url}/v1`,
    apiKey: API_KEY,
    pool: { ...room, http2: http2 ? 'auto' : 'never', proxy: false },
  })
}

async function viaUndici(url, options) {
  const { Agent, request } = await import('undici')
  const dispatcher = new Agent(options)
  const ask = async (body) => {
    const response = await request(`${url}/v1/chat/completions`, {
      dispatcher,
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${API_KEY}` },
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

/** The least that reads a stream of events: decode, split, parse. */
async function said(chunks) {
  const decoder = new TextDecoder()
  let rest = ''
  let text = ''
  for await (const bytes of chunks) {
    const events = (rest + decoder.decode(bytes, { stream: true })).split('\n\n')
    rest = events.pop()
    for (const event of events) {
      const data = event.slice('data: '.length)
      if (data !== '[DONE]') text += JSON.parse(data).choices[0]?.delta.content ?? ''
    }
  }
  return text
}
