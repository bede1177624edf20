// What is wrong is refused at once, by its path, and nothing is sent.

import assert from 'node:assert/strict'
import { channel } from 'node:diagnostics_channel'
import { Readable } from 'node:stream'
import test from 'node:test'
import { ClosedError, ConfigError, Trunkline } from 'trunkline'
import undici from 'undici'
import { collect, REQUEST, rejection, start } from './support.mjs'

const circular = { ...REQUEST }
circular.self = circular
const throwing = {
  toJSON() {
    throw new Error('secret')
  },
}

const clients = [
  [7, /^options: must be an object, got a number \(7\)$/],
  [null, /^options: must be an object, got null$/],
  [[], /^options: must be an object, got an array$/],
  [() => {}, /^options: must be an object, got a function$/],
  [{ timeout: {} }, /^timeout: is not an option; did you mean timeouts\?$/],
  [{ nonsense: 1 }, /^nonsense: is not an option; there are /],
  [{ baseURL: 5 }, /^baseURL: must be a string/],
  [{ baseURL: 'nope' }, /^baseURL: must be an absolute http or https URL, such as https:\/\/api\.openai\.com\/v1$/],
  [
    { baseURL: 'ftp://a.example' },
    /^baseURL: must be an absolute http or https URL, such as https:\/\/api\.openai\.com\/v1$/,
  ],
  [{ baseURL: 'https://u:pw@a.example' }, /^baseURL: must have no user or password; /],
  [{ baseURL: 'https://a.example/v1#x' }, /^baseURL: must have no fragment$/],
  [{ baseURL: 'https://a.example/v1?x=1' }, /^baseURL: must have no query$/],
  [{ apiKey: '' }, /^apiKey: must not be empty$/],
  [{ apiKey: 5 }, /^apiKey: must be a string or a function, got a number \(5\)$/],
  [{ apiKey: 'sk-é' }, /^apiKey: must be visible ASCII without line breaks$/],
  [{ maxRetries: 5 }, /^maxRetries: is not an option; did you mean retry\.maxRetries\?$/],
  [{ apiKey: 'a\nb' }, /^apiKey: must be visible ASCII without line breaks$/],
  [{ headers: { 'x-a': 'b\r\nc: d' } }, /^headers\.x-a: must hold no line breaks/],
  [{ headers: { 'x a': 'b' } }, /^headers\.x a: is no name of a header$/],
  [{ headers: { host: 'b' } }, /^headers\.host: is set by the connection/],
  [{ headers: { 'x-a': 1 } }, /^headers\.x-a: must be a string/],
  [{ headers: { 'x-a': '☃' } }, /^headers\.x-a: .* Latin-1$/],
  [{ pool: [] }, /^pool: must be an object, got an array$/],
  [{ pool: { maxConnections: -1 } }, /^pool\.maxConnections: must be a positive integer, got -1$/],
  [{ pool: { maxConnections: 0 } }, /^pool\.maxConnections: .* got 0$/],
  [{ pool: { maxConnections: 1.5 } }, /^pool\.maxConnections: .* got 1\.5$/],
  [{ pool: { maxConnections: Number.NaN } }, /^pool\.maxConnections: .* got NaN$/],
  [{ pool: { maxConnections: Number.POSITIVE_INFINITY } }, /^pool\.maxConnections: .* got Infinity$/],
  [{ pool: { maxConnections: 9n } }, /^pool\.maxConnections: .* got a bigint \(9\)$/],
  [{ pool: { maxConnections: '9' } }, /^pool\.maxConnections: .* got a string$/],
  [{ pool: { maxConnection: 9 } }, /did you mean pool\.maxConnections\?$/],
  [{ pool: { maxConnections: 5, maxIdleConnections: 6 } }, /^pool\.maxIdleConnections: must not be above/],
  [{ pool: { http2: true } }, /^pool\.http2: must be one of 'auto', 'never', 'prior-knowledge'/],
  [{ pool: { idleTimeout: 0 } }, /^pool\.idleTimeout: must be a positive number of milliseconds, got 0$/],
  [{ pool: { tls: { ca: 'nope' } } }, /^pool\.tls\.ca: must be PEM text/],
  [
    { pool: { tls: { ca: Buffer.from('x') } } },
    /^pool\.tls\.ca: must be a string .*, got bytes; text is wanted.* toString/,
  ],
  [{ pool: { tls: { key: new Uint8Array(2), cert: 'x' } } }, /^pool\.tls\.key: must be a string, got bytes; /],
  [{ pool: { tls: { rejectUnauthorized: 0 } } }, /^pool\.tls\.rejectUnauthorized: must be a boolean/],
  [{ timeouts: { total: '5s' } }, /^timeouts\.total: .* got a string$/],
  [{ timeouts: { total: 1e12 } }, /^timeouts\.total: must be at most/],
  [{ timeouts: { header: 5 } }, /^timeouts\.header: is not an option/],
  [{ retry: true }, /^retry: must be an object or false, got a boolean$/],
  [{ retry: { strategy: 'fast' } }, /^retry\.strategy: must be one of/],
  [{ retry: { statuses: [99] } }, /^retry\.statuses: /],
  [{ retry: { baseDelay: 10, maxDelay: 5 } }, /^retry\.baseDelay: must not be above retry\.maxDelay \(5 ms\), got 10$/],
  [{ retry: { baseDelay: 9_000 } }, /^retry\.baseDelay: must not be above retry\.maxDelay \(8000 ms\), got 9000$/],
  [{ retry: { baseDelay: -1 } }, /^retry\.baseDelay: must be a positive number of milliseconds, got -1$/],
  [{ retry: { maxDelay: -1 } }, /^retry\.maxDelay: .* got -1$/],
  [{ retry: { maxRetryAfter: -1 } }, /^retry\.maxRetryAfter: .* got -1$/],
  [{ retry: { maxRetries: -1 } }, /^retry\.maxRetries: must be an integer of 0 or more, got -1$/],
  [{ retry: { maxRetries: 1.5 } }, /^retry\.maxRetries: .* got 1\.5$/],
  [{ retry: { budget: { ratio: 1.01 } } }, /^retry\.budget\.ratio: must be from 0 to 1, got 1\.01$/],
  [{ retry: { budget: { ratio: Number.NaN } } }, /^retry\.budget\.ratio: .* got NaN$/],
  [{ retry: { budget: { minPerSecond: -1 } } }, /^retry\.budget\.minPerSecond: .* got -1$/],
  [{ timeouts: { queue: -5 } }, /^timeouts\.queue: .* got -5$/],
  [{ timeouts: { connect: Number.NaN } }, /^timeouts\.connect: .* got NaN$/],
  [{ concurrency: { maxQueue: -1 } }, /^concurrency\.maxQueue: /],
  [{ concurrency: { max: 0 } }, /^concurrency\.max: must be a positive integer, or 'adaptive', got 0$/],
  [{ concurrency: { max: Number.POSITIVE_INFINITY } }, /^concurrency\.max: .* got Infinity$/],
  [{ concurrency: { agingInterval: 0 } }, /^concurrency\.agingInterval: .* got 0$/],
  [{ concurrency: { agingInterval: -1 } }, /^concurrency\.agingInterval: .* got -1$/],
  [{ concurrency: { agingInterval: Number.POSITIVE_INFINITY } }, /^concurrency\.agingInterval: .* got Infinity$/],
  [{ rateLimit: { requestsPerSecond: 0 } }, /^rateLimit\.requestsPerSecond: must be a number above 0, got 0$/],
  [{ rateLimit: { tokensPerMinute: -1 } }, /^rateLimit\.tokensPerMinute: .* got -1$/],
  [{ rateLimit: { minInterval: -1 } }, /^rateLimit\.minInterval: .* got -1$/],
  [{ rateLimit: { requestsPerSecond: 5, burst: 0 } }, /^rateLimit\.burst: must be a number above 0, got 0$/],
  [{ rateLimit: { requestsPerSecond: 5, burst: 0.5 } }, /^rateLimit\.burst: must be at least 1, got 0\.5$/],
  [{ rateLimit: { burst: 5 } }, /^rateLimit\.burst: must be given with rateLimit\.requestsPerSecond or /],
  [
    { rateLimit: { requestsPerSecond: 20, minInterval: 100 } },
    /^rateLimit\.minInterval: must allow rateLimit\.requestsPerSecond \(20\), and 100 ms allow only 10/,
  ],
  [{ rateLimit: { reservoir: { amount: 0, interval: 5 } } }, /^rateLimit\.reservoir\.amount: .* got 0$/],
  [{ rateLimit: { reservoir: { amount: 5, interval: 0 } } }, /^rateLimit\.reservoir\.interval: .* got 0$/],
  [{ rateLimit: { weights: { m: 0 } } }, /^rateLimit\.weights\.m: must be a number above 0, got 0$/],
  [{ rateLimit: { weights: { m: -2 } } }, /^rateLimit\.weights\.m: .* got -2$/],
  [{ rateLimit: { weights: { m: Number.NaN } } }, /^rateLimit\.weights\.m: .* got NaN$/],
  [{ rateLimit: { weights: { m: '2' } } }, /^rateLimit\.weights\.m: .* got a string$/],
  [{ circuitBreaker: { failureThreshold: 0 } }, /^circuitBreaker\.failureThreshold: .* got 0$/],
  [{ circuitBreaker: { minimumCalls: 0 } }, /^circuitBreaker\.minimumCalls: .* got 0$/],
  [
    { circuitBreaker: { failureRatio: 1.01 } },
    /^circuitBreaker\.failureRatio: must be above 0 and at most 1, got 1\.01$/,
  ],
  [{ circuitBreaker: { failureRatio: 0 } }, /^circuitBreaker\.failureRatio: .* got 0$/],
  [{ circuitBreaker: { window: -1 } }, /^circuitBreaker\.window: .* got -1$/],
  [{ circuitBreaker: { recoveryTimeout: 0 } }, /^circuitBreaker\.recoveryTimeout: .* got 0$/],
  [{ alerts: { errorRate: 1.01 } }, /^alerts\.errorRate: .* got 1\.01$/],
  [{ alerts: { p99: -5 } }, /^alerts\.p99: .* got -5$/],
  [{ priority: 'batch' }, /^priority: is not an option/],
]
for (const [options, message] of clients) {
  test(`a client is refused: ${String(message)}`, () => {
    assert.throws(
      () => new Trunkline(options),
      (error) => {
        assert.ok(error instanceof ConfigError)
        assert.deepEqual(
          [error.name, error.code, error.retryable, error.billed],
          ['ConfigError', 'ERR_CONFIG', false, 'no'],
        )
        assert.match(error.message, message)
        assert.match(error.stack, /input\.test\.mjs/)
        return true
      },
    )
  })
}

test('options that are wrong in themselves are refused', () => {
  const circular = {}
  circular.pool = circular
  assert.throws(() => new Trunkline(circular), {
    name: 'ConfigError',
    message: /^options: cannot be written as JSON: it is circular$/,
  })
})

test('options that are absent or undefined are their defaults', async () => {
  for (const options of [undefined, {}, { timeouts: undefined, pool: { maxAge: undefined, tls: {} }, retry: {} }]) {
    await new Trunkline(options).close()
  }
})

const requests = [
  [undefined, /^request: must be an object, got undefined$/],
  [null, /^request: must be an object, got null$/],
  ['text', /^request: must be an object, got a string$/],
  [[], /^request: must be an object, got an array$/],
  [{}, /^request\.model: must be the name of a model, a string$/],
  [{ ...REQUEST, model: '' }, /^request\.model: must not be empty$/],
  [{ ...REQUEST, model: 5 }, /^request\.model: must be the name of a model, a string$/],
  [circular, /^request: cannot be written as JSON: it is circular$/],
  [{ ...REQUEST, n: 5n }, /^request: cannot be written as JSON: it holds a bigint/],
  [{ ...REQUEST, x: throwing }, /^request: cannot be written as JSON: its toJSON threw$/],
  [{ toJSON: () => undefined }, /^request: cannot be written as JSON/],
  [{ toJSON: () => 'text' }, /^request: must be an object$/],
]
const options = [
  [5, /^options: must be an object, got a number$/],
  [{ timeout: 5 }, /^timeout: is not an option/],
  [{ timeouts: { total: 0 } }, /^timeouts\.total: /],
  [{ retry: 'no' }, /^retry: must be an object or false, got a string$/],
  [
    { nonsense: 5 },
    /^nonsense: is not an option; there are signal, headers, cache, timeouts, provider, retry, priority, tenant, /,
  ],
  [{ headers: { 'x-a': 'b\r\nc: d' } }, /^headers\.x-a: must hold no line breaks/],
  [{ headers: { 'content-length': '5' } }, /^headers\.content-length: is set by the connection/],
  [{ idempotencyKey: '' }, /^idempotencyKey: /],
  [{ idempotencyKey: 'a\nb' }, /^idempotencyKey: /],
  [{ signal: {} }, /^signal: must be an AbortSignal$/],
  [{ signal: new AbortController() }, /^signal: must be an AbortSignal$/],
  [{ tenant: '' }, /^tenant: must have 1 to 256 bytes, got 0$/],
  [{ tenant: 5 }, /^tenant: must be a string, got a number/],
  [{ priority: 'high' }, /^priority: must be one of 'critical', 'interactive', 'batch', 'background', got 'high'$/],
  [{ priority: 0 }, /^priority: must be one of .* got a number/],
  [{ priority: 'Critical' }, /^priority: must be one of .* got 'Critical'$/],
  [{ retry: { baseDelay: -1 } }, /^retry\.baseDelay: .* got -1$/],
  [{ retry: { baseDelay: 10, maxDelay: 5 } }, /^retry\.baseDelay: must not be above retry\.maxDelay/],
  [{ retry: { budget: { ratio: 0.5 } } }, /^retry\.budget: is the client's/],
  [{ timeouts: { queue: -5 } }, /^timeouts\.queue: .* got -5$/],
  [{ concurrency: { max: 5 } }, /^concurrency: is not an option/],
  [{ rateLimit: {} }, /^rateLimit: is not an option/],
  [{ circuitBreaker: false }, /^circuitBreaker: is not an option/],
  [{ hedge: {} }, /^hedge: is not an option/],
  [{ retry: 1n }, /^retry: must be an object or false, got a bigint/],
  [{ maxRetries: 1 }, /^maxRetries: is not an option; did you mean retry\.maxRetries\?$/],
]
const paths = [
  ['x', /^path: must begin with a slash/],
  ['https://evil.example/x', /^path: must begin with a slash; a full URL is refused/],
  ['', /^path: must begin with a slash/],
  [undefined, /^path: must be a string, got undefined$/],
  [5, /^path: must be a string/],
  ['/a b', /^path: must be a URL’s path|^path: must be a URL's path/],
  ['/x\r\nhost: evil', /^path: must be a URL's path/],
  ['/x#y', /^path: must be a URL's path/],
  ['/../x', /^path: must have no segments \. and \.\./],
  ['/x/..', /^path: must have no segments/],
  ['/x/%2E%2e/%2e%2e/y', /^path: must have no segments/],
  ['/./x', /^path: must have no segments/],
]

test('a call is refused, and nothing is sent', async (t) => {
  const { upstream, line } = await start(t)
  const table = []
  for (const [request, message] of requests) {
    table.push([() => line.chat(request), message], [() => line.chat(request).withMeta(), message])
    table.push([() => collect(line.stream(request)), message], [() => line.stream(request).final(), message])
    table.push([() => line.stream(request).meta, message])
    table.push([() => line.embed(request), message])
  }
  for (const [wrong, message] of options) {
    table.push([() => line.chat(REQUEST, wrong), message], [() => collect(line.stream(REQUEST, wrong)), message])
    table.push([() => line.get('/models', wrong), message], [() => line.post('/x', {}, wrong), message])
    table.push([() => collect(line.events('/x', {}, wrong)), message])
  }
  for (const [path, message] of paths) {
    table.push(
      [() => line.get(path), message],
      [() => line.post(path, {}), message],
      [() => collect(line.events(path, {})), message],
    )
  }
  table.push([() => line.post(), /^path: must be a string, got undefined$/])
  for (const streamed of [undefined, 0, 1001, '5']) {
    const wrong = { flushInterval: streamed ?? 5 }
    const call = streamed === undefined ? () => line.chat(REQUEST, wrong) : () => line.stream(REQUEST, wrong).final()
    table.push([call, /^flushInterval: /])
  }
  for (const body of [undefined, () => {}, Symbol('x'), 5n, circular]) {
    table.push([() => line.post('/x', body), /^body: cannot be written as JSON/])
    table.push([() => collect(line.events('/x', body)), /^body: cannot be written as JSON/])
  }
  for (const [call, message] of table) {
    // No call throws: the promise does.
    const error = await rejection(call())
    assert.ok(error instanceof ConfigError, `${error.name}: ${error.message}`)
    assert.equal(error.code, 'ERR_CONFIG')
    assert.match(error.message, message)
    assert.ok(!error.message.includes('secret'))
  }
  assert.equal(upstream.requests.length, 0)
  assert.equal(line.metrics().requests.inFlight, 0)
  await line.chat(REQUEST)
  assert.equal(upstream.requests.length, 1)
})

test('a call that is refused counts neither as aborted nor as running', async (t) => {
  const { line } = await start(t)
  for (const call of [
    () => line.chat({}),
    () => line.get('x'),
    () => line.post('/a b', {}),
    () => line.chat(REQUEST, { timeout: 1 }),
  ]) {
    await rejection(call())
  }
  const { aborted, inFlight } = line.metrics().requests
  assert.deepEqual({ aborted, inFlight }, { aborted: 0, inFlight: 0 })
})

test('dots that are no segment of their own are a path like any other', async (t) => {
  const { upstream, line } = await start(t)
  for (const path of ['/a..b', '/...', '/.well-known', '/x?y=/../z']) await line.get(path).catch(() => {})
  assert.deepEqual(
    upstream.requests.map(({ path }) => path),
    ['/v1/a..b', '/v1/...', '/v1/.well-known', '/v1/x?y=/../z'],
  )
})

test('the variable that holds a wrong base URL or key is named', (t) => {
  const names = ['TRUNKLINE_BASE_URL', 'OPENAI_BASE_URL', 'TRUNKLINE_API_KEY', 'OPENAI_API_KEY']
  const before = names.map((name) => [name, process.env[name]])
  const set = (all) => {
    for (const name of names) {
      if (all[name] === undefined) delete process.env[name]
      else process.env[name] = all[name]
    }
  }
  t.after(() => set(Object.fromEntries(before)))
  for (const name of names) {
    set({ [name]: 'é é' })
    assert.throws(() => new Trunkline(), { name: 'ConfigError', message: new RegExp(`^${name}: must be `) })
  }
  // An empty one says nothing.
  set({ TRUNKLINE_BASE_URL: '', OPENAI_BASE_URL: 'nope' })
  assert.throws(() => new Trunkline(), /^ConfigError: OPENAI_BASE_URL: /)
})

test('a call after close() is refused with a ClosedError, and nothing is sent', async (t) => {
  const { upstream, line } = await start(t)
  await line.close()
  for (const call of [
    () => line.chat(REQUEST),
    () => line.embed({ model: 'e', input: 'x' }),
    () => line.get('/models'),
    () => line.post('/x', {}),
    () => collect(line.stream(REQUEST)),
    () => line.stream(REQUEST).final(),
    () => collect(line.events('/x', {})),
    () => line.warmup(),
    async () => line.rotateKey('default', 'sk-other'),
  ]) {
    const error = await rejection(call())
    assert.ok(error instanceof ClosedError, `${error.name}: ${error.message}`)
    assert.deepEqual([error.code, error.retryable, error.billed], ['ERR_CLOSED', false, 'no'])
  }
  assert.deepEqual([upstream.requests.length, upstream.connections.opened], [0, 0])
})

test('warmup and close refuse wrong options', async (t) => {
  const { line, upstream } = await start(t)
  for (const [wrong, message] of [
    [{ connections: 0 }, /^connections: must be a positive integer, got 0$/],
    [{ connections: '2' }, /^connections: must be a positive integer, got a string$/],
    [{ connection: 2 }, /^connection: is not an option/],
    [{ signal: 5 }, /^signal: must be an AbortSignal/],
    [5, /^options: must be an object/],
  ]) {
    const error = await rejection(line.warmup(wrong))
    assert.ok(error instanceof ConfigError, `${JSON.stringify(wrong)}: ${error}`)
    assert.match(error.message, message)
  }
  for (const [wrong, message] of [
    [{ drainTimeout: '5' }, /^drainTimeout: must be .*, got a string$/],
    [{ drainTimeout: -1 }, /^drainTimeout: must be .*, got -1$/],
    [{ drainTimeout: Number.NaN }, /^drainTimeout: must be /],
    [{ drainTimeout: Number.POSITIVE_INFINITY }, /^drainTimeout: must be /],
    [{ drainTimeouts: 5 }, /^drainTimeouts: is not an option/],
    [5, /^options: must be an object/],
  ]) {
    const error = await rejection(line.close(wrong))
    assert.ok(error instanceof ConfigError, `${JSON.stringify(wrong)}: ${error}`)
    assert.match(error.message, message)
  }
  // A refused close closes nothing.
  await line.chat(REQUEST)
  assert.equal(upstream.requests.length, 1)
  // Of a further close, nothing is looked at.
  await Promise.all([line.close(), line.close({ drainTimeout: '5' }), line.close(5)])
})

test('a body that JSON would lose is refused at once, by its kind and with the way to send it', async (t) => {
  const { upstream, line } = await start(t)
  const by = 'line\\.fetch sends what is no JSON$'
  const table = [
    [new FormData(), `a FormData; ${by}`],
    [new URLSearchParams('a=b'), `a URLSearchParams; ${by}`],
    [new Map([['a', 1]]), `a Map; Object\\.fromEntries\\(map\\) makes an object of it, and ${by}`],
    [new Set([1]), `a Set; \\[\\.\\.\\.set\\] makes an array of it, and ${by}`],
    [Promise.resolve({}), 'a Promise; is an await missing\\?$'],
    [Buffer.from('a'), `a Buffer; ${by}`],
    [new Float32Array(2), `bytes; ${by}`],
    [new ArrayBuffer(2), `bytes; ${by}`],
    [new Blob(['a']), `a Blob; ${by}`],
    [new ReadableStream(), `a ReadableStream; ${by}`],
    [Readable.from(['a']), `a stream; ${by}`],
  ]
  for (const [body, kind] of table) {
    for (const call of [() => line.post('/x', body), () => collect(line.events('/x', body))]) {
      const error = await rejection(call())
      assert.ok(error instanceof ConfigError, `${error.name}: ${error.message}`)
      assert.match(error.message, new RegExp(`^body: cannot be written as JSON: got ${kind}`))
    }
  }
  assert.match(
    (await rejection(line.chat(Promise.resolve(REQUEST)))).message,
    /^request: .* got a Promise; is an await/,
  )
  assert.equal(upstream.requests.length, 0)
})

test('a body of any class that JSON can write is sent as JSON writes it', async (t) => {
  const { upstream, line } = await start(t)
  class Point {
    x = 1
  }
  const tagged = Object.assign(new Map(), { toJSON: () => ({ tagged: true }) })
  for (const body of [new Point(), tagged, Object.create(null), [1], new Date(0), null])
    await line.post('/embeddings', body).catch(() => {})
  assert.deepEqual(
    upstream.requests.map(({ body }) => body),
    [{ x: 1 }, { tagged: true }, {}, [1], '1970-01-01T00:00:00.000Z', null],
  )
})

test('headers as a Map are refused with what makes an object of it, and Headers are taken', async (t) => {
  const { upstream, line } = await start(t)
  const message = /^headers: must be an object, got a Map; an object is wanted, as Object\.fromEntries\(map\) makes it$/
  const headers = new Map([['x-a', 'b']])
  assert.throws(() => new Trunkline({ headers }), { name: 'ConfigError', message })
  assert.match((await rejection(line.chat(REQUEST, { headers }))).message, message)
  // Also where a subscriber has headers to add.
  const adds = (request) => request.addHeader('x-added', 'c')
  channel('trunkline:request:start').subscribe(adds)
  try {
    assert.match((await rejection(line.chat(REQUEST, { headers }))).message, message)
    for (const Class of [Headers, undici.Headers]) await line.chat(REQUEST, { headers: new Class({ 'x-a': 'b' }) })
  } finally {
    channel('trunkline:request:start').unsubscribe(adds)
  }
  assert.deepEqual(
    upstream.requests.map(({ headers }) => [headers['x-a'], headers['x-added']]),
    [
      ['b', 'c'],
      ['b', 'c'],
    ],
  )
})

test('a method that was taken off its client says so, whichever it is', async (t) => {
  const { line } = await start(t)
  const own = Object.entries(Object.getOwnPropertyDescriptors(Trunkline.prototype))
  // Those that lib/ itself calls are not for users.
  const inner = [
    'callStarted',
    'callEnded',
    'askKey',
    'look',
    'listenersChanged',
    'connectionsChanged',
    'callsChanged',
    'logged',
  ]
  const names = own.filter(
    ([name, { value }]) => typeof value === 'function' && !['constructor', ...inner].includes(name),
  )
  assert.ok(names.length >= 18)
  for (const [name] of [...names, ['on'], ['off'], ['addListener'], ['removeAllListeners']]) {
    const method = line[name]
    for (const call of [async () => method(REQUEST), async () => method.call({}, REQUEST)]) {
      const error = await rejection(call())
      assert.ok(error instanceof TypeError)
      assert.equal(error.message, `Trunkline.${name} was called without its client: call line.${name}(…), or bind it`)
    }
  }
  assert.equal((await line.chat.bind(line)(REQUEST)).object, 'chat.completion')
})

test('the stack of an error in what is given begins at the caller, and shows none of our files', async (t) => {
  const { line } = await start(t)
  const wrong = { signal: {} }
  for (const call of [
    () => line.chat(REQUEST, wrong),
    () => line.chat(REQUEST, { retry: 'no' }),
    () => line.chat(Promise.resolve()),
    () => line.embed({ model: 'e', input: 'x' }, wrong),
    () => line.post('/x', new Map()),
    () => line.get(5),
    () => line.stream(REQUEST, wrong).final(),
    () => collect(line.events('/x', {}, wrong)),
    () => collect(line.events('/x', {}, { retry: 'no' })),
    () => line.warmup(wrong),
    async () => new Trunkline({ hooks: { before() {} } }),
    async () => new Trunkline({ apiKey: 'Bearer x' }),
    async () => line.rotateKey('default', 'Bearer x'),
  ]) {
    const { name, stack } = await rejection(call())
    assert.equal(name, 'ConfigError')
    assert.match(stack, /\n {4}at .*input\.test\.mjs/)
    assert.doesNotMatch(stack, /[\\/]lib[\\/](client|call|errors|encode|options|stream)\.js/)
  }
})
