// The same chats by several ways: a new connection for each call, and through the pool.

import { request } from 'node:https'
import { createSecureContext } from 'node:tls'
import { quantile } from '../../benchmark/measure.mjs'
import { each } from './progress.mjs'

/** What each way of `ways` is asked, and what it took. `connections()`: how many the upstream has seen. */
export async function measureWay(way, { count, atOnce, question, connections, tick }) {
  const before = { opened: await connections(), loop: performance.eventLoopUtilization(), at: performance.now() }
  const latencies = []
  const answers = await each(count, atOnce, async (number) => {
    const started = performance.now()
    const completion = await way.chat(question(number))
    latencies.push(performance.now() - started)
    tick()
    return completion.choices[0].message.content
  })
  const wall = performance.now() - before.at
  const loop = performance.eventLoopUtilization(before.loop).active
  latencies.sort((a, b) => a - b)
  return {
    name: way.name,
    answers,
    rate: (count * 1000) / wall,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    opened: (await connections()) - before.opened,
    loop,
    ...way.handshakes(),
  }
}

/** node:https without an agent: what a call costs whose connection nobody keeps. */
export function newConnections({ url, ca }) {
  // Made once: reading the certificates for each call is nothing that a connection needs.
  const secureContext = createSecureContext({ ca })
  let spent = 0
  return {
    name: 'node:https, a new connection each',
    handshakes: () => ({ spent, saved: 0 }),
    chat: (body) =>
      new Promise((resolve, reject) => {
        const started = performance.now()
        const headers = { 'content-type': 'application/json' }
        const options = { method: 'POST', headers, secureContext, agent: false }
        const sent = request(`${url}/v1/chat/completions`, options)
        sent.on('socket', (socket) => socket.on('secureConnect', () => (spent += performance.now() - started)))
        sent.on('error', reject)
        sent.on('response', async (response) => {
          try {
            let text = ''
            for await (const data of response.setEncoding('utf8')) text += data
            resolve(JSON.parse(text))
          } catch (error) {
            reject(error)
          }
        })
        sent.end(JSON.stringify(body))
      }),
  }
}

/** A client's pool; the figures are those since this was called. */
export function pooled(name, line) {
  const before = handshakesOf(line)
  return {
    name,
    chat: (body) => line.chat(body),
    handshakes() {
      const now = handshakesOf(line)
      return { spent: now.spent - before.spent, saved: now.saved - before.saved }
    },
  }
}

function handshakesOf(line) {
  const { handshake, handshakeTimeSaved } = line.metrics().pool
  return { spent: handshake.count * handshake.mean, saved: handshakeTimeSaved }
}
