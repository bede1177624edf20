// What is measured: rows of calls through paths, and what guides to connection pooling have published of the same configurations.

/** Milliseconds that the upstream thinks about each answer. */
const THINKS = 50

const everybody = [
  'new connection each',
  'openai',
  'axios keep-alive',
  'undici h1',
  'undici h2',
  'trunkline h1',
  'trunkline h2',
]

/**
 * The paths, and the rows of each: `floor` is what a call takes at least. Guides tell neither how far their upstream was nor how long it thought. It
 * cannot have been more than what their fastest calls took: for `guides` that is 87 ms. For `pools` it is the 29 ms that each of ten sockets spent on a
 * call, for they carried 340 a second. The concurrency follows from rate and latency (Little's law).
 */
export function planOf({ roundTrip, jitter, loss }) {
  const wide = { roundTrip, jitter, loss }
  return [
    { path: wide, rows: [...peers('peers', THINKS), burst, overload] },
    { path: { ...wide, roundTrip: 40 }, rows: guides },
    { path: { roundTrip: 8, jitter: 0, loss: 0 }, rows: pools },
    {
      path: { ...wide, loss: 1 },
      rows: peers('lossy', THINKS).filter(({ atOnce }) => atOnce === 50 || atOnce === 500),
    },
  ]
}

function peers(section, wait) {
  const row = (atOnce, how) => ({
    section,
    id: `${section}-${atOnce}`,
    kind: 'steady',
    wait,
    atOnce,
    clients: everybody.map((name) => ({ name, connections: atOnce })),
    ...how,
  })
  return [
    row(1, { title: 'one after another', calls: 500, rounds: 1, smoke: true }),
    row(50, { title: '50 at once' }),
    row(100, { title: '100 at once' }),
    row(500, { title: '500 at once', smoke: true }),
  ]
}

const burst = {
  section: 'burst',
  id: 'burst',
  title: '500 calls in one moment',
  kind: 'burst',
  wait: THINKS,
  calls: 500,
  smoke: true,
  clients: everybody.map((name) => ({ name, connections: 500 })),
}

/** The pool of 36 is what 36 calls at once need: with 180, each waits for four others. */
const priorities = { background: 'background', urgent: 'critical' }
const overload = {
  section: 'overload',
  id: 'overload',
  title: '180 background calls and 5 urgent ones at a time, over 36 sockets',
  kind: 'overload',
  wait: THINKS,
  background: 180,
  urgent: 5,
  smoke: true,
  clients: [
    { name: 'undici h1', connections: 36 },
    { name: 'trunkline h1', label: 'trunkline h1, one priority', connections: 36 },
    { name: 'trunkline h1', label: 'trunkline h1, two priorities', connections: 36, priorities },
  ],
}

const guide = (title, atOnce, published, names) => ({
  section: 'guides',
  id: `guide-${atOnce}`,
  title,
  kind: 'steady',
  wait: 40,
  atOnce,
  published,
  clients: names.map((name) => ({ name, connections: atOnce })),
})

const guides = [
  guide('a new connection for each call', 10, { rate: 12, mean: 847, p99: 2100 }, [
    'new connection each',
    'trunkline h1',
    'trunkline h2',
  ]),
  guide('HTTP/1.1 keep-alive', 20, { rate: 47, mean: 412, p99: 980 }, ['undici h1', 'trunkline h1']),
  guide('HTTP/2 multiplexing', 35, { rate: 183, mean: 189, p99: 380 }, ['undici h2', 'trunkline h2']),
  guide('pool and priority queue', 36, { rate: 412, mean: 87, p99: 156 }, [
    'undici h1',
    'trunkline h1',
    'trunkline h2',
  ]),
]

const pool = (size, atOnce, published, how) => ({
  section: 'pools',
  id: `pool-${size}`,
  title: `a pool of ${size}`,
  kind: 'steady',
  wait: 20,
  atOnce,
  size,
  published,
  clients: ['undici h1', 'trunkline h1'].map((name) => ({ name, connections: size })),
  ...how,
})

const pools = [
  pool(10, 30, { rate: 340, p50: 89, p99: 187 }, { smoke: true }),
  pool(50, 52, { rate: 1240, p50: 42, p99: 78 }),
  pool(100, 83, { rate: 2180, p50: 38, p99: 67 }),
  pool(200, 85, { rate: 2350, p50: 36, p99: 64 }),
]

/** What guides say of 500 calls at once: seconds in all, and how many times the rate without a pool. */
export const publishedBurst = { seconds: 0.8, timesUnpooled: 4.2 }

/** The share of calls on connections that were there, above which guides call a pool healthy. */
export const publishedReuse = 0.85

export const sections = ['peers', 'burst', 'overload', 'guides', 'pools', 'lossy']
