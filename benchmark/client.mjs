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
    one =
      unit === 'stream'
        ? async (number) => (await client.stream(body(number))).length === WORDS.length
        : async (number) => (await client.chat(body(number))).choices[0].message.content.length > 0
    return { version: client.version, note: client.note ?? null }
  },

  /** Whether the whole answers to the first bodies are right, character by character. */
  async check({ unit, atOnce }, completions) {
    const whole =
      unit === 'stream'
        ? async (number) => (await client.stream(body(number))) === WORDS
        : async (number) => isDeepStrictEqual(plain(await client.chat(body(number))), completions[number])
    return (await measure(whole, { atOnce, calls: completions.length })).wrong === 0
  },

  async run(limits) {
    const result = await measure(one, { ...limits, from: next })
    next += result.calls
    return result
  },

  peakMemory,
})

/** Without what a client's classes add. */
function plain(completion) {
  const { _request_id, ...rest } = JSON.parse(JSON.stringify(completion))
  return rest
}
