// A client's process: one client at a time, through all that is asked of it.

import { setTimeout as sleep } from 'node:timers/promises'
import { serve } from '../child.mjs'
import { clients } from './clients.mjs'
import { figuresOf } from './figures.mjs'

/** Spans of time are long enough for handshakes that failed to be over. */
const BREATH = 20
/** Failures after which a round is over. */
const HOPELESS = 2000

let make
let client
let number = 0

serve({
  /** Closes the client before, if there was one. */
  async open({ name, ...how }) {
    await client?.close()
    make = () => clients[name](how)
    client = await make()
  },

  /** Keeps `atOnce` calls running for `seconds`, but no more than `calls` of them. */
  run: (limits) => measure(limits),

  /** So many calls at once over a new client, and over the same one when it has rested for a moment. */
  async burst({ calls }) {
    await client.close()
    client = await make()
    const cold = await measure({ atOnce: calls, calls })
    await sleep(BREATH)
    const warm = await measure({ atOnce: calls, calls })
    return { cold, warm }
  },

  /** More than the pool can carry, and a few calls that are more urgent, if the client can tell. */
  async overload({ background, urgent, seconds, calls, priorities }) {
    const over = { done: false }
    const [rest, first] = await Promise.all([
      measure({ atOnce: background, seconds, calls, priority: priorities?.background }).finally(() => {
        over.done = true
      }),
      measure({ atOnce: urgent, seconds, over, priority: priorities?.urgent }),
    ])
    return { background: rest, urgent: first }
  },
})

async function measure({ atOnce, seconds = Infinity, calls = Infinity, priority, over }) {
  const latencies = []
  const failures = []
  let left = calls
  const began = performance.now()
  const until = began + seconds * 1000
  const worker = async () => {
    for (;;) {
      const started = performance.now()
      if (started >= until || left-- <= 0 || over?.done) break
      try {
        const completion = await client.chat(body(number++), priority)
        if (!(completion.choices[0].message.content.length > 0)) throw new Error('an empty answer')
        latencies.push(performance.now() - started)
      } catch (error) {
        failures.push(error)
        // A failure may be there at once, and must neither starve others nor go on for ever.
        if (failures.length > HOPELESS) break
        await sleep(1)
      }
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return figuresOf(latencies, failures, performance.now() - began)
}

/** Bodies differ from call to call, so that nothing is answered from memory. */
function body(number) {
  return {
    model: 'gpt-4o-mini',
    messages: [
      { role: 'system', content: 'You are a helpful assistant. Answer briefly.' },
      { role: 'user', content: `Question number ${number}: what is the capital of country number ${number}?` },
    ],
    temperature: 0.7,
    max_tokens: 100,
  }
}
