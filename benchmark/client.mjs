// A client's process: one client under one workload, from the warm-up to the last round.

import { isDeepStrictEqual } from 'node:util'
import { serve } from './child.mjs'
import { clients } from './clients.mjs'
import { measure, peakMemory } from './measure.mjs'
import { body, WORDS } from './workloads.mjs'

let client
let one
let next = 0

serve({
  async open({ name, unit, ...how }) {
    client = await clients[name](how)
    const { said = contentOf } = client
    one =
      unit === 'stream'
        ? async (number) => (await client.stream(body(number))).length === WORDS.length
        : async (number) => said(await client.chat(body(number))).length > 0
    return { version: client.version, note: client.note ?? null, node: process.versions.node }
  },

  /** Whether the whole answers to the first bodies are right, character by character. */
  async check({ unit, atOnce }, completions) {
    const whole =
      unit === 'stream'
        ? async (number) => (await client.stream(body(number))) === WORDS
        : async (number) => isRight(await client.chat(body(number)), completions[number])
    return (await measure(whole, { atOnce, calls: completions.length })).wrong === 0
  },

  async run(limits) {
    const result = await measure(one, { ...limits, from: next })
    next += result.calls
    return result
  },

  peakMemory,
})

/** As it came; of a client that makes something else of it, the text. */
function isRight(answer, completion) {
  if (client.said) return client.said(answer) === contentOf(completion)
  // Without what a client's classes add.
  const { _request_id, ...rest } = JSON.parse(JSON.stringify(answer))
  return isDeepStrictEqual(rest, completion)
}

function contentOf(completion) {
  return completion.choices[0].message.content
}
