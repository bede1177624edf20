// The process of startUpstream (upstream.mjs): a MockUpstream that is told what to do by messages.

import { MockUpstream } from 'trunkline/testing'
import { random } from './random.mjs'

/** The stand-in keeps so many requests; they are fetched before as many have come again. */
const KEPT = 10_000

let upstream
let flapping
const log = []
/** The last request that was fetched, as it stood in the stand-in's log. */
let last
let patience = 100
let fetching

const does = {
  async start(options) {
    upstream = await MockUpstream.start(options)
    fetching = setTimeout(fetchSoon, patience)
    return { url: upstream.url }
  },
  fault: (fault, how) => void upstream.fault(fault, how),
  flap({ every, faults, seed = 1 }) {
    const next = random(seed)
    flapping = setInterval(() => {
      const { fault, how } = faults[Math.floor(next() * faults.length)]
      // What nobody met is over soon, or it would wait for the probes of open circuits, and they for ever.
      upstream.fault(fault, { times: 1, for: every * 3, ...how })
    }, every)
  },
  calm: () => clearInterval(flapping),
  log() {
    fetch()
    return log
  },
  connections: () => upstream.connections,
}

process.on('message', async ({ number, what, args }) => {
  try {
    process.send({ number, value: await does[what](...args) })
  } catch (error) {
    process.send({ number, error: String(error) })
  }
})

process.on('disconnect', async () => {
  clearTimeout(fetching)
  clearInterval(flapping)
  await upstream?.close()
  process.exit()
})

/** So often that about a quarter of what is kept is new each time: a reading costs as much as all that is kept. */
function fetchSoon() {
  const fresh = Math.max(1, fetch())
  patience = Math.min(300, Math.max(20, patience * Math.min(2, KEPT / 4 / fresh)))
  fetching = setTimeout(fetchSoon, patience)
}

function fetch() {
  const requests = upstream.requests
  // Times do not fall, and one connection has one request, or stream, at a time.
  const known = ({ at, connection, stream, user }) =>
    at === last.at && connection === last.connection && stream === last.stream && user === last.user
  const seen = requests.map(({ at, connection, stream, body }) => {
    return { at, connection, stream, user: body?.user ?? '', model: body?.model ?? '' }
  })
  const from = last === undefined ? 0 : seen.findLastIndex(known) + 1
  if (from === 0 && requests.length >= KEPT) throw new Error('requests came faster than the log was fetched')
  const fresh = seen.slice(from)
  for (const request of fresh) log.push(request)
  last = log.at(-1)
  return fresh.length
}
