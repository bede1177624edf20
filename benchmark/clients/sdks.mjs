// The providers' own packages, and Vercel's, as their documentation shows them.

import { importPeer, versionOf } from '../peers.mjs'
import { API_KEY } from './fetch.mjs'

export const sdks = {
  openai: async ({ url, http2 }) => ({ note: overFetch(http2), ...(await viaOpenai(url)) }),

  // As its documentation has it for a dispatcher: with the `fetch` of the same undici.
  async 'openai over undici'({ url, http2, connections }) {
    const { Agent, fetch } = await importPeer('undici')
    const dispatcher = new Agent({ connections, allowH2: http2 })
    const note = `openai, with the fetch of undici ${versionOf('undici')} and as many connections`
    return { note, ...(await viaOpenai(url, { fetch, fetchOptions: { dispatcher } })) }
  },

  async anthropic({ url, http2 }) {
    const { default: Anthropic } = await importPeer('@anthropic-ai/sdk')
    const anthropic = new Anthropic({ baseURL: url, apiKey: API_KEY })
    return {
      version: versionOf('@anthropic-ai/sdk'),
      note: overFetch(http2),
      said: ({ content }) => content[0].text,
      chat: (body) => anthropic.messages.create(asMessages(body)),
      async stream(body) {
        let text = ''
        for await (const event of await anthropic.messages.create({ ...asMessages(body), stream: true })) {
          if (event.type === 'content_block_delta') text += event.delta.text
        }
        return text
      },
    }
  },

  async ai({ url, http2 }) {
    const { generateText, streamText } = await importPeer('ai')
    const { createOpenAICompatible } = await importPeer('@ai-sdk/openai-compatible')
    const provider = createOpenAICompatible({ name: 'benchmark', baseURL: `${url}/v1`, apiKey: API_KEY })
    // Version 7 calls it so.
    const system = Number.parseInt(versionOf('ai'), 10) < 7 ? 'system' : 'instructions'
    const asked = ({ model, messages: [first, ...messages], temperature, max_tokens: maxOutputTokens }) => ({
      model: provider(model),
      [system]: first.content,
      messages,
      temperature,
      maxOutputTokens,
    })
    return {
      version: versionOf('ai'),
      note: overFetch(http2),
      said: ({ text }) => text,
      chat: (body) => generateText(asked(body)),
      async stream(body) {
        let text = ''
        // Otherwise it would only be logged.
        const fail = ({ error }) => {
          throw error
        }
        for await (const piece of streamText({ ...asked(body), onError: fail }).textStream) text += piece
        return text
      },
    }
  },
}

/** A client of the `openai` package, over the `fetch` of Node or another. */
export async function viaOpenai(url, options) {
  const { default: OpenAI } = await importPeer('openai')
  const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: API_KEY, ...options })
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

/** The same request in the words of the other provider. */
function asMessages({ messages: [system, ...messages], ...rest }) {
  return { ...rest, system: system.content, messages }
}

function overFetch(http2) {
  return http2 ? 'over fetch, and what that speaks' : null
}
