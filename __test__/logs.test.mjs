// Logging: to the user's own logger, by level, bounded, and without a word that is anybody's secret.

import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { Console } from 'node:console'
import { once } from 'node:events'
import { PassThrough, Writable } from 'node:stream'
import test from 'node:test'
import pino from 'pino'
import { ConfigError, Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import winston from 'winston'
import { client, collect, collected, own, REQUEST, rejection, root, run, start, until } from './support.mjs'

/** A logger that keeps what it is told. */
function keeper() {
  const records = []
  const logger = { records }
  for (const level of ['error', 'warn', 'info', 'debug', 'trace']) {
    logger[level] = (fields, message) => records.push({ level, message, ...fields })
  }
  return logger
}

const of = (logger, target) => logger.records.filter((record) => record.target === target)

test('what happens is logged with its fields, at the level that is asked for and above', async (t) => {
  const logger = keeper()
  const { upstream, line } = await start(t, { logger, logLevel: 'debug', retry: { strategy: 'immediate' } })
  upstream.fault({ kind: 'status', status: 500 }, { times: 1 })
  const before = Date.now()
  const { meta } = await line.chat(REQUEST).withMeta()
  await until(() => of(logger, 'call').length === 2)
  const [again, answered] = of(logger, 'call')
  const { at, total, ...rest } = answered
  assert.deepEqual(rest, {
    level: 'debug',
    message: 'answered',
    target: 'call',
    provider: 'default',
    model: meta.model,
    status: 200,
    attempts: 2,
  })
  assert.ok(at >= before - 1 && at <= Date.now() + 1)
  assert.ok(Math.abs(total - meta.timings.total) < 0.1)
  assert.deepEqual([again.message, again.status, again.error], ['again', 500, 'ERR_INTERNAL_SERVER'])
  const [opened] = of(logger, 'pool')
  assert.deepEqual(
    [opened.level, opened.message, opened.connection, opened.origin, opened.protocol],
    ['debug', 'opened', meta.connection.id, upstream.url, 'h1'],
  )
  assert.ok(logger.records.every(({ level }) => level !== 'trace'))

  line.setLogLevel('warn')
  logger.records.length = 0
  await line.chat(REQUEST)
  upstream.fault({ kind: 'status', status: 400 })
  const error = await rejection(line.chat(REQUEST))
  await until(() => logger.records.length > 0)
  const [{ at: _, ...failed }] = logger.records
  assert.deepEqual(failed, {
    level: 'warn',
    message: 'failed',
    target: 'call',
    provider: 'default',
    model: 'gpt-test',
    code: 'ERR_BAD_REQUEST',
    attempts: 1,
    retryable: false,
    error: error.message,
  })
  assert.equal(logger.records.length, 1)
  line.setLogLevel('trace')
  await line.chat(REQUEST)
  await until(() => logger.records.some(({ level }) => level === 'trace'))
})

test('nothing is logged where nobody asked for it', async (t) => {
  const logger = keeper()
  const { upstream, line } = await start(t, { logger, logLevel: 'off' })
  const loud = keeper()
  const other = client(t, upstream, { logger: loud, logLevel: 'trace' })
  await line.chat(REQUEST)
  await other.chat(REQUEST)
  await until(() => of(loud, 'call').length > 0)
  assert.deepEqual(logger.records, [])
  assert.equal(of(loud, 'call').filter(({ message }) => message === 'answered').length, 1, 'of its own calls alone')
  other.setLogLevel('off')
  loud.records.length = 0
  await other.chat(REQUEST)
  await other.close()
  assert.deepEqual(loud.records, [])
})

test('circuits, fail-over and fetches are logged', async (t) => {
  const logger = keeper()
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const at = { baseURL: `${upstream.url}/v1`, apiKey: 'k' }
  const line = new Trunkline({
    ...own(),
    providers: { one: at, two: at },
    routes: {
      any: [
        { provider: 'one', model: 'a' },
        { provider: 'two', model: 'b' },
      ],
    },
    circuitBreaker: { failureThreshold: 1, minimumCalls: 1 },
    retry: false,
    logger,
    logLevel: 'debug',
  })
  t.after(() => line.close({ drainTimeout: 0 }))
  upstream.fault({ kind: 'status', status: 500 }, { times: 1 })
  await line.chat({ ...REQUEST, model: 'any' })
  await line.fetch(upstream.url).then((response) => response.text())
  const gone = await MockUpstream.start()
  await gone.close()
  await rejection(line.fetch(gone.url))
  await until(() => of(logger, 'fetch').length === 2)
  const shown = ['circuit', 'call', 'fetch']
    .flatMap((target) => of(logger, target))
    .map(({ at: _, total: __, ...rest }) => rest)
  assert.deepEqual(shown.slice(0, 2), [
    { level: 'warn', message: 'opened', target: 'circuit', provider: 'one', model: 'a' },
    {
      level: 'info',
      message: 'failed over',
      target: 'call',
      from: 'one/a',
      to: 'two/b',
      reason: 'ERR_INTERNAL_SERVER',
    },
  ])
  assert.deepEqual(shown.at(-2), { level: 'debug', message: 'fetched', target: 'fetch', status: 404 })
  assert.deepEqual([shown.at(-1).level, shown.at(-1).message, shown.at(-1).code], ['info', 'failed', 'ERR_CONNECTION'])
})

test('what clients share is logged once for each logger, and by another client once the first has ended', async (t) => {
  const [logger, else_] = [keeper(), keeper()]
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const one = client(t, upstream, { logger, logLevel: 'debug' })
  const two = client(t, upstream, { logger, logLevel: 'debug' })
  const three = client(t, upstream, { logger: else_, logLevel: 'debug' })
  await three.chat(REQUEST)
  await until(() => of(else_, 'pool').length === 1 && of(logger, 'pool').length === 1)
  await one.close()
  await two.chat(REQUEST)
  await until(() => of(else_, 'pool').length === 2 && of(logger, 'pool').length === 2)
})

test('no record of a whole scene has a key, a prompt, an answer or what else is nobody else’s', async (t) => {
  const logger = keeper()
  const secrets = [
    'sk-SeCrEt-1',
    'PrOmPt-2',
    'AnSwEr-3',
    'HeAdEr-4',
    'PaTh-5',
    'QuErY-6',
    'ToKeN-7',
    'BoDy-8',
    'HoOk-9',
    'UsEr-10',
  ]
  const [key, prompt, answer, header, query, token, body, hook, user] = secrets
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  let throws = false
  const line = new Trunkline({
    ...own(),
    baseURL: `${upstream.url}/v1`,
    apiKey: key,
    headers: { 'x-token': token },
    retry: { strategy: 'immediate' },
    circuitBreaker: false,
    hedge: { delay: 30 },
    hooks: {
      beforeAttempt() {
        if (throws) throw new Error(hook)
      },
    },
    logger,
    logLevel: 'trace',
  })
  t.after(() => line.close({ drainTimeout: 0 }))
  upstream.reply({}, { content: `${answer} and so on` })
  const request = { ...REQUEST, user, messages: [{ role: 'user', content: prompt }] }
  const options = { headers: { 'x-own': header } }
  const calls = [
    () => line.chat(request, options),
    () => collect(line.stream(request, options)),
    () => line.embed({ model: 'e', input: prompt }, options),
    () => line.post(`/models?key=${query}`, { [body]: body }, options),
    () => line.get(`/models?key=${query}`, options),
    () => line.fetch(`${upstream.url}/models?key=${query}`, { method: 'POST', body, ...options }),
    () => line.chat({ ...request, messages: prompt }),
    () => line.chat({ ...request, model: 7 }),
  ]
  const faults = [
    null,
    { kind: 'status', status: 400, body: { error: { message: `${prompt} ${key}`, code: 'bad' } } },
    { kind: 'status', status: 401 },
    { kind: 'status', status: 429 },
    { kind: 'reset' },
    { kind: 'cut', afterTokens: 1 },
    { kind: 'malformed', atEvent: 2 },
    { kind: 'garbage' },
    { kind: 'error-in-stream', afterTokens: 1 },
    { kind: 'wrong-length', by: 5 },
  ]
  for (const fault of faults) {
    for (const call of calls) {
      upstream.reset()
      upstream.reply({}, { content: `${answer} and so on` })
      if (fault !== null) upstream.fault(fault, { times: 3 })
      await Promise.resolve(call()).catch(() => {})
    }
  }
  throws = true
  upstream.reset()
  await rejection(line.chat(request))
  await line.close()
  await until(() => of(logger, 'call').some(({ code }) => code === 'ERR_HOOK'))
  const all = JSON.stringify(logger.records)
  assert.ok(logger.records.length > 100, `${logger.records.length}`)
  assert.deepEqual(
    secrets.filter((secret) => all.includes(secret)),
    [],
  )
})

/** A stream of lines of JSON, into a list. */
function linesTo(lines) {
  return new Writable({
    write(chunk, _, done) {
      lines.push(JSON.parse(chunk))
      done()
    },
  })
}

test('pino is told as it wants to be told', async (t) => {
  const lines = []
  const logger = pino({ level: 'trace' }, linesTo(lines))
  const { line } = await start(t, { logger, logLevel: 'debug' })
  await line.chat(REQUEST)
  await until(() => lines.some(({ msg }) => msg === 'answered'))
  const { level, msg, target, model, status } = lines.find(({ msg }) => msg === 'answered')
  assert.deepEqual([level, msg, target, model, status], [20, 'answered', 'call', 'gpt-test', 200])
})

test('winston is told as it wants to be told', async (t) => {
  const lines = []
  const stream = linesTo(lines)
  const logger = winston.createLogger({
    level: 'silly',
    format: winston.format.json(),
    transports: [new winston.transports.Stream({ stream })],
  })
  const { line } = await start(t, { logger, logLevel: 'trace' })
  await line.chat(REQUEST)
  await until(() => lines.some(({ message }) => message === 'answered'))
  const { level, message, target, model, status } = lines.find(({ message }) => message === 'answered')
  assert.deepEqual([level, message, target, model, status], ['debug', 'answered', 'call', 'gpt-test', 200])
  assert.ok(lines.some(({ level }) => level === 'silly'))
})

test('a console is told as it wants to be told', async (t) => {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()]
  const { upstream, line } = await start(t, { logger: new Console(stdout, stderr), logLevel: 'debug' })
  await line.chat(REQUEST)
  await until(() => stdout.readableLength > 0)
  assert.match(String(stdout.read()), /trunkline: answered \{[^}]*model: 'gpt-test'/s)
  upstream.fault({ kind: 'status', status: 400 })
  await rejection(line.chat(REQUEST))
  const [text] = await once(stderr, 'data')
  assert.match(String(text), /trunkline: failed/)
})

test('without a logger a line on standard error is written, and standard output is the program’s', async (t) => {
  const { upstream } = await start(t)
  const script = `
    import { Trunkline } from 'trunkline'
    const line = new Trunkline({ baseURL: process.env.UPSTREAM + '/v1', apiKey: 'sk-1' })
    await line.chat(${JSON.stringify(REQUEST)})
    await line.close()
    await new Promise(setImmediate)
    console.log('mine')`
  const { stdout, stderr } = await run(script, { url: upstream.url, env: { TRUNKLINE_LOG: 'debug' } })
  assert.equal(stdout.trim(), 'mine')
  assert.match(stderr, /^trunkline debug: opened \{/m)
  assert.match(stderr, /^trunkline debug: answered \{/m)
  const quiet = await run(script, { url: upstream.url })
  assert.equal(quiet.stderr, '')
})

test('what comes while JavaScript is busy is bounded, and what was dropped is told', async (t) => {
  const logger = keeper()
  const { line } = await start(t, { logger, logLevel: 'trace', circuitBreaker: false })
  const calls = Array.from({ length: 3_000 }, () => line.chat(REQUEST))
  const until_ = performance.now() + 1_500
  while (performance.now() < until_);
  await Promise.all(calls)
  await until(() => of(logger, 'log').length > 0)
  const [{ level, lost }] = of(logger, 'log')
  assert.equal(level, 'warn')
  assert.ok(lost > 0)
})

test('a logger that throws harms no call and loses no other record', async (t) => {
  const { upstream } = await start(t)
  const script = `
    import { Trunkline } from 'trunkline'
    let thrown = 0
    process.on('uncaughtException', () => thrown++)
    const told = []
    const debug = (_, message) => { told.push(message); throw new Error('disk full') }
    const logger = { error: debug, warn: debug, info: debug, debug }
    const line = new Trunkline({ baseURL: process.env.UPSTREAM + '/v1', apiKey: 'k', logger, logLevel: 'debug' })
    await line.chat(${JSON.stringify(REQUEST)})
    await line.close()
    await new Promise(setImmediate)
    console.log(JSON.stringify([thrown === told.length, told.includes('answered'), told.includes('opened')]))`
  const { stdout } = await run(script, { url: upstream.url })
  assert.deepEqual(JSON.parse(stdout), [true, true, true])
})

test('a logger is called in the context in which the client was made', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const store = new AsyncLocalStorage()
  const seen = new Set()
  const look = () => seen.add(store.getStore())
  const logger = { error: look, warn: look, info: look, debug: look }
  const line = store.run('made', () => client(t, upstream, { logger, logLevel: 'debug' }))
  await store.run('call', () => line.chat(REQUEST))
  await line.close()
  assert.deepEqual([...seen], ['made'])
})

test('a client that logs is collected as any other', async (t) => {
  assert.ok(globalThis.gc, 'run with --expose-gc')
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const kept = await (async () => {
    const line = new Trunkline({
      ...own(),
      baseURL: `${upstream.url}/v1`,
      apiKey: 'k',
      logger: keeper(),
      logLevel: 'trace',
    })
    await line.chat(REQUEST)
    return new WeakRef(line)
  })()
  await collected(kept)
})

test('loggers and levels that are none are refused by their path', async (t) => {
  const refused = (options, message) =>
    assert.throws(
      () => new Trunkline(options),
      (error) => {
        assert.ok(error instanceof ConfigError)
        assert.equal(error.message, message)
        return true
      },
    )
  const levels = 'off, error, warn, info, debug, trace'
  refused({ logLevel: 'loud' }, `logLevel: must be one of ${levels}, got "loud"`)
  refused({ logLevel: 3 }, `logLevel: must be one of ${levels}, got a number`)
  const methods = 'logger: must have the methods error, warn, info, debug'
  refused({ logger: 'x' }, `${methods}; got a string`)
  refused({ logger: null }, `${methods}; got null`)
  refused({ logger: { error() {}, warn() {}, info() {} } }, `${methods}; it has no debug`)
  const { line } = await start(t)
  assert.throws(() => line.setLogLevel('verbose'), { message: `level: must be one of ${levels}, got "verbose"` })
  const script = `import { Trunkline } from '${root}index.js'
    try { new Trunkline({}) } catch (error) { console.log(error.message) }`
  const { stdout } = await run(script, { env: { TRUNKLINE_LOG: 'everything' } })
  assert.equal(stdout.trim(), `TRUNKLINE_LOG: must be one of ${levels}, got "everything"`)
})
