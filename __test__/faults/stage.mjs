// A primary upstream that fails and a fall-back that does not, a client that goes from one to the other, and the ways in which it is asked.

import { setTimeout as sleep } from 'node:timers/promises'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { own } from '../support.mjs'

/** The canonical answer, of 60 tokens; the fortieth is followed by an empty line. */
export const ANSWER = Array.from(
  { length: 60 },
  (_, n) => `${n === 40 ? '\n\n' : n === 0 ? '' : ' '}wörd${n + 1}`,
).join('')
export const FORTY = ANSWER.split('\n\n')[0]

/** As each upstream counts: so it is known whose usage was taken. */
export const USAGE = {
  primary: { prompt_tokens: 1000, completion_tokens: 6000, total_tokens: 7000 },
  backup: { prompt_tokens: 11, completion_tokens: 60, total_tokens: 71 },
}

/** Each protocol is once the primary's and once the fall-back's. */
export const PAIRS = [
  { primary: 'openai', backup: 'anthropic' },
  { primary: 'anthropic', backup: 'gemini', http2: 'prior-knowledge' },
  { primary: 'gemini', backup: 'openai' },
]

/** How an answer is asked for. The first three show nothing before it is whole. */
export const WAYS = {
  final: { run: (line, request) => streamed(line, request, {}, async (stream) => whole(await stream.final())) },
  chat: { run: (line, request) => called(line, request, {}) },
  'chat, wire: stream': { run: (line, request) => called(line, request, { wire: 'stream' }) },
  restart: { isLive: true, run: (line, request) => streamed(line, request, { recover: 'restart' }, read) },
  continue: { isLive: true, run: (line, request) => streamed(line, request, { recover: 'continue' }, readText) },
  none: { isLive: true, run: (line, request) => streamed(line, request, { recover: 'none' }, read) },
}

/**
 * Both upstreams and the client; `t` is how long something takes that takes so many milliseconds at full length.
 */
export async function stage({ pair, t, limit = 30_000, upstreams = {}, targets = {}, replies = {} }) {
  const start = (name) => MockUpstream.start({ tokensPerSecond: 300, ...upstreams[name] })
  const [primary, backup] = await Promise.all([start('primary'), start('backup')])
  const model = (name) => `${name}-model`
  for (const [name, upstream] of Object.entries({ primary, backup })) {
    upstream.reply({ model: model(name) }, { content: ANSWER, usage: USAGE[name], ...replies[name] })
  }
  const provider = (name, { url }) => ({
    baseURL: `${url}/v1${pair[name] === 'gemini' ? 'beta' : ''}`,
    apiKey: `k-${name}`,
    protocol: pair[name],
  })
  const line = new Trunkline(
    own({
      providers: { primary: provider('primary', primary), backup: provider('backup', backup) },
      routes: {
        chat: [
          { provider: 'primary', model: model('primary'), supportsPrefill: false, ...targets.primary },
          { provider: 'backup', model: model('backup'), supportsPrefill: true, ...targets.backup },
        ],
      },
      timeouts: { firstByte: t(limit), idle: t(limit) },
      retry: { maxRetries: 2, baseDelay: t(500), maxDelay: t(8000) },
      circuitBreaker: { window: t(10_000), recoveryTimeout: t(10_000) },
      pool: pair.http2 && { http2: pair.http2 },
    }),
  )
  const events = { retry: [], circuit: [], failover: [] }
  for (const [name, list] of Object.entries(events)) line.on(name, (event) => list.push({ ...event, at: Date.now() }))
  const close = async () => {
    await line.close({ drainTimeout: 0 })
    await Promise.all([primary.close(), backup.close()])
  }
  return { primary, backup, line, events, close }
}

export const request = {
  model: 'chat',
  messages: [{ role: 'user', content: 'Say sixty words, and none of them twice, in the order in which they come.' }],
}

/** What an upstream was asked, without other paths. */
export function asked(upstream) {
  return upstream.requests.map(({ body, at, path }) => ({
    at,
    path,
    last: (body.messages ?? body.contents).at(-1).role,
  }))
}

/** One call in one of the ways: what its reader ended with, or the error. */
export async function call(line, way) {
  const began = performance.now()
  const outcome = await WAYS[way].run(line, request).catch((error) => ({ error }))
  return { ...outcome, seconds: (performance.now() - began) / 1000 }
}

async function called(line, request, options) {
  const { data, meta } = await line.chat(request, options).withMeta()
  return { ...whole(data), meta }
}

async function streamed(line, request, options, take) {
  const stream = line.stream(request, options)
  const meta = stream.meta.catch(() => null)
  const taken = await take(stream)
  // The gathered answer is what the reader saw, whoever said it.
  const { text, usage, model } = whole(await stream.final())
  if (text !== taken.text) throw new Error(`the reader ended with ${show(taken.text)}, and final() with ${show(text)}`)
  return { ...taken, usage, model, meta: await meta }
}

function whole({ choices: [{ message, finish_reason: finish }], usage, model }) {
  return { text: message.content, finish, usage, model, restarts: 0 }
}

/** A reader who follows the signal. */
async function read(stream) {
  let [text, finish, restarts] = ['', null, 0]
  for await (const chunk of stream) {
    if (chunk.trunkline?.restart) {
      text = ''
      restarts += 1
      continue
    }
    const [choice] = chunk.choices
    text += choice?.delta.content ?? ''
    finish = choice?.finish_reason ?? finish
  }
  return { text, finish, restarts }
}

async function readText(stream) {
  let text = ''
  for await (const piece of stream.text()) text += piece
  return { text, finish: (await stream.final()).choices[0].finish_reason, restarts: 0 }
}

export function show(text) {
  return typeof text === 'string' && text.length > 60
    ? `${JSON.stringify(text.slice(0, 25))}…${JSON.stringify(text.slice(-25))} (${text.length})`
    : JSON.stringify(text)
}

export { sleep }
