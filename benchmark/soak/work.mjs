// What the soak does: calls and streams of every kind, most of which go well, and everything that a program may do to them.

import { random } from '../../__test__/scenes/random.mjs'

/** What each answer says, and in how many pieces. */
export const WORDS = 24
export const REPLY = { content: 'a word of an answer '.repeat(WORDS), chunks: WORDS }

/** What some request meets, now and then. Every one is over within the timeouts of the clients. */
export const FAULTS = [
  { kind: 'status', status: 503 },
  { kind: 'status', status: 500 },
  { kind: 'status', status: 429, headers: { 'retry-after-ms': '20' } },
  { kind: 'status', status: 400 },
  { kind: 'reset', after: 'accept' },
  { kind: 'reset' },
  { kind: 'reset', after: 'headers' },
  { kind: 'reset', after: 3 },
  { kind: 'silence', for: 300 },
  { kind: 'stall', afterTokens: 3, for: 300 },
  { kind: 'slow', firstToken: 20 },
  { kind: 'cut', afterTokens: 4 },
  { kind: 'cut', afterTokens: 4, clean: true },
  { kind: 'malformed', atEvent: 2 },
  { kind: 'no-done' },
  { kind: 'error-in-stream', afterTokens: 2, body: { error: { message: 'broken', type: 'server_error' } } },
  { kind: 'goaway' },
  { kind: 'goaway', lastStream: 'refused' },
  { kind: 'close-idle' },
  { kind: 'wrong-length', by: 7 },
  { kind: 'bad-utf8' },
  { kind: 'garbage' },
]

const body = (number) => ({
  // More names than a client keeps figures of.
  model: number % 10 === 0 ? `model-${number % 50_000}` : 'a-model',
  messages: [{ role: 'user', content: `Question number ${number}: what is it?` }],
})

/**
 * By weight. Each gets a client, its base URL, the number of the call, random numbers, and a signal that all share; it ends as it likes.
 */
const CALLS = [
  [60, ({ line, number }) => line.chat(body(number))],
  [6, ({ line, number }) => line.chat(body(number), { tenant: `tenant-${number}`, priority: 'batch' })],
  [6, ({ line, number, shared }) => line.chat(body(number), { signal: shared })],
  [3, ({ line, number }) => line.chat(body(number)).withMeta()],
  [4, ({ line, number }) => line.embed({ model: 'e', input: `text ${number}` })],
  [3, ({ line }) => line.get('/models')],
  [3, ({ line, number }) => line.post('/chat/completions', body(number), { idempotencyKey: `k${number}` })],
  [3, ({ line, number, draw }) => aborted(draw, (signal) => line.chat(body(number), { signal }))],
  [2, ({ line, number }) => line.chat(body(number), { signal: AbortSignal.timeout(1 + (number % 5)) })],
  [2, ({ line }) => line.chat({ model: 'm' }, { timeouts: { queue: -1 } })],
  [4, async ({ line, url, number }) => (await line.fetch(`${url}/chat/completions`, post(number))).json()],
  [2, async ({ line, url, number }) => (await line.fetch(`${url}/chat/completions`, post(number))).body.cancel()],
  [1, async ({ line, url, number }) => void (await line.fetch(`${url}/chat/completions`, post(number)))],
]

const STREAMS = [
  [30, ({ line, number }) => read(line.stream(body(number)))],
  [20, ({ line, number }) => read(line.stream(body(number)).text())],
  [20, ({ line, number }) => line.stream(body(number)).final()],
  [8, ({ line, number }) => read(line.stream(body(number)), 3)],
  [8, ({ line, number, draw }) => aborted(draw, (signal) => read(line.stream(body(number), { signal })))],
  [5, ({ line, number }) => line.stream(body(number), { recover: 'restart' }).final()],
  [4, ({ line, number }) => read(line.stream(body(number)).toReadableStream())],
  [3, ({ line, number }) => read(line.events('/chat/completions', { ...body(number), stream: true }))],
  // Nobody reads it, and nobody holds it.
  [2, ({ line, number }) => void line.stream(body(number))],
]

/** `next()` gives calls and streams in the shares that are asked for, in an order that follows from the seed. */
export function makeWork({ calls, streams, seed }) {
  const draw = random(seed)
  const pick = (kinds) => {
    let left = draw() * kinds.reduce((sum, [weight]) => sum + weight, 0)
    return kinds.find(([weight]) => (left -= weight) < 0)?.[1] ?? kinds[0][1]
  }
  return {
    draw,
    next: () =>
      draw() * (calls + streams) < streams ? { stream: true, act: pick(STREAMS) } : { stream: false, act: pick(CALLS) },
  }
}

async function read(pieces, most = Number.POSITIVE_INFINITY) {
  let count = 0
  for await (const _ of pieces) if (++count >= most) break
}

/** Aborted at once, in a moment, or when it has ended. */
async function aborted(draw, begin) {
  const controller = new AbortController()
  const ended = begin(controller.signal)
  const when = draw()
  if (when < 0.3) controller.abort()
  else if (when < 0.9) setTimeout(() => controller.abort(), when * 5)
  await ended
  controller.abort()
}

const post = (number) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body(number)),
})
