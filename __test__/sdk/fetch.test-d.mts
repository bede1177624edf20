// A client's fetch is what each SDK's option takes, without a cast; and it is the platform's own type.

import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import Anthropic from '@anthropic-ai/sdk'
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai'
import { generateText } from 'ai'
import OpenAI from 'openai'
import type { ChatCompletion, ChatRequest, Trunkline } from '../../index.js'

declare const line: Trunkline
const { fetch } = line

export const platform: typeof globalThis.fetch = fetch
globalThis.fetch = fetch

export const openai = new OpenAI({ fetch })
export const anthropic = new Anthropic({ fetch })
export const compatible = createOpenAICompatible({ name: 'mine', baseURL: 'https://api.example.com/v1', fetch })
export const providers = [createOpenAI({ fetch }), createAnthropic({ fetch })]
export const langchain = new ChatOpenAI({ model: 'gpt-test', configuration: { fetch } })
export const embeddings = new OpenAIEmbeddings({ configuration: { fetch } })
export const said = generateText({ model: compatible('m'), prompt: 'Hello' }).then(({ text }) => text)

// What one of them is asked, the other may be, and what it answers too.
export async function either(request: OpenAI.Chat.ChatCompletionCreateParamsNonStreaming): Promise<ChatCompletion> {
  const ours: ChatRequest = request
  const theirs: OpenAI.Chat.ChatCompletion = await line.chat(ours)
  return theirs.choices.length > 0 ? openai.chat.completions.create(request) : theirs
}

// @ts-expect-error: no fetch. That their options are looked at, and not taken for any.
new OpenAI({ fetch: 5 })
// @ts-expect-error: no fetch
new Anthropic({ fetch: 5 })
// @ts-expect-error: no fetch
createOpenAICompatible({ name: 'mine', baseURL: 'https://api.example.com/v1', fetch: 5 })
// @ts-expect-error: no fetch
createOpenAI({ fetch: 5 })
// @ts-expect-error: no fetch
createAnthropic({ fetch: 5 })
// @ts-expect-error: no fetch
new ChatOpenAI({ configuration: { fetch: 5 } })
