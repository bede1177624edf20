// The demo against the stand-in, which runs in a process of its own, so that the event loop's time is the client's.

import { Trunkline } from 'trunkline'
import { start } from '../../benchmark/child.mjs'
import { aligned, number as figure } from '../../benchmark/report.mjs'
import { each, progress } from './progress.mjs'
import { measureWay, newConnections, pooled } from './ways.mjs'

const ROUND_TRIP = 40
const MODEL = 'gpt-4o-mini'

const ask = (text) => ({ model: MODEL, messages: [{ role: 'user', content: text }] })
const question = (number) => ask(`Question ${number}: what is worth knowing about the number ${number}?`)

export async function run({ small }) {
  const counts = small
    ? { chats: 40, atOnce: 10, streams: 4, batch: 20 }
    : { chats: 200, atOnce: 50, streams: 20, batch: 100 }
  const upstreamProcess = start('upstream.mjs')
  const lines = []
  try {
    const { id, url, ca } = await upstreamProcess.ask('start', { tls: true, roundTrip: ROUND_TRIP })
    const upstream = {
      url,
      ca,
      connections: async () => (await upstreamProcess.ask('connections', id)).opened,
      fault: (fault) => upstreamProcess.ask('fault', id, fault, { times: 1 }),
    }
    const open = (http2) => {
      const pool = { http2, tls: { ca }, proxy: /** @type {const} */ (false) }
      const line = new Trunkline({ baseURL: `${url}/v1`, apiKey: 'sk-demo', pool })
      lines.push(line)
      return line
    }
    console.log(`An upstream ${ROUND_TRIP} ms away, over TLS, that answers at once; stand-in of trunkline/testing.\n`)
    await becomeHot(upstream, open)

    console.log(`The same ${counts.chats} chats, ${counts.atOnce} at once, each way from a standing start`)
    const ways = [
      () => newConnections(upstream),
      () => pooled('pool, HTTP/1.1', open('never')),
      () => pooled('pool, HTTP/2', open('auto')),
      // The second time the pool is warm, as it is for most of a server's life.
      () => pooled('pool, HTTP/2, warm', lines.at(-1)),
    ]
    const results = []
    for (const way of ways) results.push(await compare(way(), { ...counts, upstream }))

    console.log('\nThe rest of a day, through the same pool')
    const right = [
      sameAnswers(results),
      ...(await restOfTheDay(lines.at(-1), { ...counts, upstream, answers: results[0].answers })),
    ].every(Boolean)

    console.log(tell(results))
    console.log(right ? '\nEvery answer was right.' : '\nSOME ANSWERS WERE WRONG.')
    return right
  } finally {
    await Promise.all(lines.map((line) => line.close()))
    await upstreamProcess.stop()
  }
}

/** Compiles what is measured, so that nobody pays for being first. */
async function becomeHot(upstream, open) {
  const line = open('never')
  const ways = [newConnections(upstream), pooled('', line)]
  for (const way of ways) await each(60, 20, (number) => way.chat(question(number)))
  await line.close()
}

async function compare(way, { chats, atOnce, upstream }) {
  const { connections } = upstream
  const shown = progress(way.name, chats)
  const result = await measureWay(way, { count: chats, atOnce, question, connections, tick: shown.tick })
  shown.end(`${figure(result.rate)} calls/s, ${result.opened} connections opened`)
  return result
}

/** Everything beside plain chats. Whether each went right. */
async function restOfTheDay(line, { streams, batch, upstream, answers }) {
  return [
    await step('streams', streams, async (tick) => {
      const texts = await each(streams, streams, async (number) => {
        let text = ''
        for await (const piece of line.stream(question(number)).text()) text += piece
        tick()
        return text
      })
      return [texts.every((text, number) => text === answers[number]), `${streams} side by side, every word there`]
    }),

    await step('batch', batch, async (tick) => {
      const requests = Array.from({ length: batch }, (_, number) => question(number % answers.length))
      const results = await line.batch(requests, { concurrency: 32, onProgress: tick })
      const right = results.every(
        ({ value, index }) => value?.choices[0].message.content === answers[index % answers.length],
      )
      return [right && results.length === batch, `${results.length} answers, in the order of the requests`]
    }),

    await step('embeddings', 1, async () => {
      const { data } = await line.embed({ model: 'text-embedding-3-small', input: ['a trunk line', 'a switchboard'] })
      return [data.length === 2 && data.every(({ embedding }) => embedding.length > 0), `${data.length} vectors`]
    }),

    await step('a fault: status 503', 1, () => survive({ kind: 'status', status: 503 }, line, upstream, answers)),
    await step('a fault: a reset', 1, () => survive({ kind: 'reset', after: 'request' }, line, upstream, answers)),

    // Last, as what was given up is still on its way to the upstream.
    await step('abort', 1, async () => {
      const started = performance.now()
      const left = await line.chat(ask('Take your time.'), { signal: AbortSignal.timeout(10) }).then(
        () => false,
        (error) => error.name === 'TimeoutError',
      )
      return [left, `given up after ${figure(performance.now() - started)} ms, sooner than the answer could come`]
    }),
  ]
}

async function survive(fault, line, upstream, answers) {
  await upstream.fault(fault)
  const { data, meta } = await line.chat(question(0)).withMeta()
  const right = data.choices[0].message.content === answers[0] && meta.attempts.length === 2
  return [right, `answered at attempt ${meta.attempts.length}, ${figure(meta.timings.total)} ms in all`]
}

/** `act(tick)` gives whether it went right, and what to say. */
async function step(label, total, act) {
  const shown = progress(label, total)
  const [right, words] = await act(shown.tick)
  shown.end(right ? words : `WRONG (${words})`)
  return right
}

function sameAnswers([first, ...others]) {
  const different = new Set(first.answers).size === first.answers.length
  return different && others.every(({ answers }) => answers.every((answer, at) => answer === first.answers[at]))
}

function tell(results) {
  const head = ['', 'calls/s', 'p50 ms', 'p99 ms', 'connections', 'handshakes ms', 'saved ms', 'event loop ms']
  const rows = results.map(({ name, rate, p50, p99, opened, spent, saved, loop }) => [
    name,
    ...[rate, p50, p99].map(figure),
    String(opened),
    ...[spent, saved, loop].map(figure),
  ])
  const [fresh, , pool, warm] = results
  const calls = fresh.answers.length
  return [
    '',
    ...aligned([head, ...rows]),
    '',
    'The first way is node:https without an agent. Event loop: for how long JavaScript’s thread was busy with all calls of that way.',
    `${calls} calls needed ${fresh.opened} handshakes without a pool, which is ${figure(fresh.spent / calls)} ms of waiting ` +
      `for each call; the pool on HTTP/2 needed ${pool.opened}, and a warm one ${warm.opened || 'none'}.`,
    `Warm, it answered ${figure(warm.rate / fresh.rate)} times as many calls a second, each in ${figure(warm.p50)} ms ` +
      `in place of ${figure(fresh.p50)} (median), and kept the event loop busy for ${figure(warm.loop)} ms in place of ${figure(fresh.loop)}.`,
  ].join('\n')
}
