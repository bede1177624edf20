// What grows, how far, and what must hold of it. A point is one value of one series: an upstream, a client and a load.

const HOUR = 3_600_000
/** Nothing ends for its time here. */
const timeouts = { queue: HOUR, firstByte: HOUR, idle: HOUR, total: HOUR }
const KB = 1024

/** Calls that run while others wait, or while something else grows. */
export const AT_ONCE = 64
/** What a stream says: so many events, so many a second, so that it takes a second. */
export const EVENTS = 20

const FLAT = 1.5
/** Memory is told by the page, and small counts are lost in what a process does besides. */
const COUNTS = 1000
const MEMORY_OF_A_CALL = 20 * KB
const PAUSE = 10

const timesFlat = [
  { figure: 'thread', shape: 'flat', within: FLAT },
  { figure: 'cpu', shape: 'flat', within: FLAT },
]
const memoryOfCalls = { figure: 'memory', shape: 'linear', within: FLAT, from: COUNTS, most: MEMORY_OF_A_CALL }

/** Room for so many sockets. */
const room = (sockets) => ({
  maxConnections: Math.max(200, sockets),
  maxConnectionsPerOrigin: Math.max(100, sockets),
  maxIdleConnections: Math.max(100, sockets),
})
/** Those that run may wait as well, where a limiter lets none go. */
const queueOf = (calls) => ({ maxQueue: calls + 10_000 })

const overHttp2 = (calls) => ({
  timeouts,
  concurrency: { max: calls, ...queueOf(calls) },
  pool: { ...room(Math.ceil(calls / 100)), http2: 'prior-knowledge', proxy: false },
})
const overHttp1 = (calls) => ({
  timeouts,
  concurrency: { max: calls, ...queueOf(calls) },
  pool: { ...room(calls), http2: 'never', proxy: false },
})

const powers = (most) => [1, 10, 100, 1000, 10_000, 100_000].filter((value) => value <= most)
const sizes = [1, 4, 16, 64, 256, 1024, 4096].map((size) => size * KB)

/**
 * `x`: what grows, in words. `unit`: what a figure is of. `memory`: what of a process is watched as it grows: `calls` that are held where they are, or
 * what is `left` once it is warm. `pauses`: of the event loop, while calls `run` or while those that wait `drain`. `files`: open ones that a value needs. `alone`: what V8 needs for
 * the same texts is measured as well: what is larger than 128 KB it keeps in other ways.
 */
export const series = [
  {
    id: 'in-flight-http2',
    title: 'Calls in flight, HTTP/2',
    x: 'calls in flight',
    values: powers(10_000),
    smoke: [1, 20],
    memory: 'calls',
    pauses: 'run',
    goals: [...timesFlat, memoryOfCalls],
    point: (calls) => ({ client: overHttp2(calls), load: { atOnce: calls } }),
  },
  {
    id: 'in-flight-http1',
    title: 'Calls in flight, HTTP/1.1',
    x: 'calls in flight, each on a socket of its own',
    values: powers(10_000),
    smoke: [1, 20],
    memory: 'calls',
    pauses: 'run',
    goals: [...timesFlat, memoryOfCalls],
    files: (calls) => calls + 200,
    point: (calls) => ({ client: overHttp1(calls), load: { atOnce: calls } }),
  },
  {
    id: 'waiting',
    title: 'Calls that wait their turn, of four priorities',
    x: `calls that wait, ${AT_ONCE} running`,
    values: powers(100_000),
    smoke: [1, 200],
    memory: 'calls',
    pauses: 'drain',
    goals: [...timesFlat, memoryOfCalls, { figure: 'pause', shape: 'bound', at: 10_000, most: PAUSE }],
    point: (calls) => ({
      client: { ...overHttp1(AT_ONCE), concurrency: { max: AT_ONCE, ...queueOf(calls) } },
      load: { atOnce: AT_ONCE, waiting: calls, priorities: true },
    }),
  },
  {
    id: 'limited',
    title: 'Calls that wait for a limiter, 10,000 a second',
    x: `calls that wait, ${AT_ONCE} running at most`,
    values: powers(100_000),
    smoke: [1, 200],
    goals: timesFlat,
    point: (calls) => ({
      client: {
        ...overHttp1(AT_ONCE),
        concurrency: { max: AT_ONCE, ...queueOf(calls) },
        rateLimit: { requestsPerSecond: 10_000, burst: 100, tokensPerMinute: 1e9 },
      },
      load: { atOnce: AT_ONCE, waiting: calls, priorities: true },
    }),
  },
  {
    id: 'origins',
    title: 'Origins',
    x: `origins, ${AT_ONCE} calls in flight`,
    values: powers(1000),
    smoke: [1, 4],
    memory: 'left',
    goals: [...timesFlat, { figure: 'memory', shape: 'linear', within: FLAT, from: 100 }],
    files: (origins) => 2 * origins + 200,
    point: (origins) => ({
      upstream: { origins },
      client: { timeouts, pool: { ...room(2 * origins), http2: 'never', proxy: false } },
      load: { atOnce: AT_ONCE, origins },
    }),
  },
  {
    id: 'tenants',
    title: 'Tenants',
    x: `tenants, ${AT_ONCE} calls in flight`,
    values: powers(1000),
    smoke: [1, 4],
    memory: 'left',
    goals: [...timesFlat, { figure: 'memory', shape: 'linear', within: FLAT, from: 100 }],
    files: (tenants) => 2 * tenants + 200,
    point: (tenants) => ({ client: overHttp1(Math.max(AT_ONCE, 2 * tenants)), load: { atOnce: AT_ONCE, tenants } }),
  },
  {
    id: 'answers',
    title: 'Size of the answer',
    x: 'bytes of the answer, 8 calls in flight',
    bytes: true,
    values: sizes,
    smoke: [KB, 64 * KB],
    alone: true,
    goals: [
      { figure: 'thread', shape: 'linear', within: FLAT },
      { figure: 'cpu', shape: 'linear', within: FLAT },
    ],
    point: (bytes) => ({ upstream: { answer: bytes }, client: overHttp1(8), load: { atOnce: 8, answer: bytes } }),
  },
  {
    id: 'requests',
    title: 'Size of the request',
    x: 'bytes of the request, 8 calls in flight',
    bytes: true,
    values: sizes,
    smoke: [KB, 64 * KB],
    alone: true,
    goals: [
      { figure: 'thread', shape: 'linear', within: FLAT },
      { figure: 'cpu', shape: 'linear', within: FLAT },
    ],
    point: (bytes) => ({ client: overHttp1(8), load: { atOnce: 8, request: bytes } }),
  },
  {
    id: 'streams',
    title: `Streams of ${EVENTS} events in a second, HTTP/2`,
    x: 'streams at once',
    unit: 'stream',
    values: [1, 10, 100, 1000, 5000],
    smoke: [4, 20],
    memory: 'calls',
    pauses: 'run',
    goals: [...timesFlat, memoryOfCalls],
    point: (streams) => ({
      upstream: { options: { tokensPerSecond: EVENTS }, events: EVENTS },
      client: overHttp2(streams),
      load: { kind: 'stream', atOnce: streams },
    }),
  },
  {
    id: 'policies',
    title: 'Policies',
    x: 'policies',
    values: ['off', 'default', 'all on', 'all on, and each answer kept'],
    smoke: ['off', 'all on'],
    goals: timesFlat,
    point: (which) => ({ client: { ...overHttp1(AT_ONCE), ...policies[which] }, load: { atOnce: AT_ONCE } }),
  },
  {
    id: 'workers',
    title: 'Worker threads over one pool',
    x: 'worker threads, 32 calls in flight in each',
    values: [1, 2, 4, 8],
    smoke: [1, 2],
    goals: timesFlat,
    point: (workers) => ({ client: overHttp1(32 * 8), load: { atOnce: 32, workers } }),
  },
]

const allOn = {
  concurrency: { max: 1000 },
  rateLimit: { requestsPerSecond: 1e6, requestsPerMinute: 6e7, tokensPerMinute: 1e9 },
  hedge: { delay: HOUR },
  alerts: {},
  pricing: { 'gpt-4o-mini': { input: 0.15, output: 0.6 } },
  budget: { limit: 1e6, perTenant: 1e6 },
  tenants: { maxConcurrent: 1000 },
}

/** Each is asked for every call, and none says no. */
const policies = {
  off: { retry: false, circuitBreaker: false, rateLimit: { learn: false }, cache: false },
  default: {},
  'all on': allOn,
  // No answer is there already.
  'all on, and each answer kept': { ...allOn, cache: { when: 'all' } },
}
