// The same with types: node --experimental-strip-types examples/typescript.ts (Node 22.7 and later).

import type { BatchResult, ChatCompletion, ChatRequest, TrunklineOptions } from 'trunkline'
import { RateLimitError, Trunkline, TrunklineError } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const request = (content: string): ChatRequest => ({ model: 'gpt-4o-mini', messages: [{ role: 'user', content }] })

/** Errors are told apart by class; `code` is stable where a message is not. */
function explain(error: unknown): string {
  if (error instanceof RateLimitError) return `limited, to be tried again in ${error.retryAfter ?? 'some'} ms`
  if (error instanceof TrunklineError) return `${error.code} after ${error.attempts.length} attempts`
  return String(error)
}

function said(result: BatchResult<ChatCompletion>): string {
  return result.status === 'fulfilled' ? (result.value.choices[0]?.message.content ?? '') : explain(result.reason)
}

async function main(): Promise<void> {
  const upstream = process.env.OPENAI_API_KEY ? null : await MockUpstream.start()
  const options: TrunklineOptions = upstream ? { baseURL: `${upstream.url}/v1`, apiKey: 'sk-example' } : {}
  const line = new Trunkline(options)

  const { data, meta } = await line.chat(request('What is a trunk line?')).withMeta()
  console.log(`${data.choices[0]?.message.content} (${meta.timings.total.toFixed(1)} ms)`)

  let deltas = 0
  for await (const chunk of line.stream(request('And a switchboard?'))) {
    if (chunk.choices[0]?.delta.content) deltas++
  }
  console.log(`${deltas} deltas`)

  const results = await line.batch([request('One?'), request('Two?')])
  for (const result of results) console.log(said(result))

  await line.close()
  await upstream?.close()
}

main().catch((error: unknown) => {
  console.error(explain(error))
  process.exitCode = 1
})
