// Several keys for one provider: used in turn, one that is limited rests while the others work, and all can be changed while calls run.

import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

// The stand-in knows these keys, and refuses all others.
const upstream = await MockUpstream.start({ keys: { 'sk-one': {}, 'sk-two': {}, 'sk-new': {} } })

const line = new Trunkline({
  providers: { main: { baseURL: `${upstream.url}/v1`, apiKey: ['sk-one', 'sk-two'] } },
})
const ask = async (question) => {
  const { meta } = await line.chat({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: question }] }).withMeta()
  return meta.attempts
}

// The second key has asked too often: it may come back in half a minute.
upstream.fault({ kind: 'status', status: 429, headers: { 'retry-after': '30' } }, { key: 'sk-two' })
let limited = 0
for (let n = 1; n <= 10; n++) {
  const attempts = await ask(`Question ${n}?`)
  limited += attempts.filter(({ error }) => error === 'ERR_RATE_LIMIT').length
}
console.log(`10 questions answered; ${limited} time a key was limited, and the other took the call over at once`)
console.log(count())

// A key is changed. Calls that run finish with the old one; connections stay.
line.rotateKey('main', 'sk-new')
await ask('And now?')
console.log(
  `after rotateKey: ${upstream.requests.at(-1).headers.authorization}, over ${upstream.connections.opened} connection`,
)

// A key may be a function: it is asked when a key is first needed and, once for all who wait, after a 401.
let asked = 0
line.rotateKey('main', async () => (++asked === 1 ? 'sk-expired' : 'sk-new'))
await Promise.all(Array.from({ length: 20 }, (_, n) => ask(`Question ${n}?`)))
console.log(`20 calls at once met an expired key: it was asked for again ${asked - 1} time`)

await line.close()
await upstream.close()

function count() {
  const counts = {}
  for (const { headers } of upstream.requests) {
    const key = headers.authorization.replace('Bearer ', '')
    counts[key] = (counts[key] ?? 0) + 1
  }
  return Object.entries(counts)
    .map(([key, requests]) => `${key}: ${requests} requests`)
    .join(', ')
}
