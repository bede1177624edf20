'use strict'

/** `trunkline bench`: the same requests through the pool, and each over a connection of its own. */

const { createInterface } = require('node:readline/promises')
const { UsageError, failure } = require('./args.js')
const { certificatesOf, textOf } = require('./files.js')
const { credentials, isLoopback, urlOf } = require('./place.js')
const { count, many, plain, time } = require('./screen.js')

/** Each way has its turn so often, and begins every other time. */
const ROUNDS = 4
const MOCK_ROUND_TRIP = 20
const MOCK_LATENCY = 50

const command = {
  name: 'bench',
  summary: 'the same requests through the pool and each over a connection of its own',
  usage: ['bench URL [options]', 'bench --mock [options]'],
  about:
    'Both ways take turns, so that neither has the better hour. URL is a base URL (https://api.openai.com/v1). Requests are real: with --model or --body they are POSTs, which are billed. Where it is not on this machine, --yes is needed, or a yes on the terminal.',
  positionals: /** @type {[number, number]} */ ([0, 1]),
  options: /** @type {Record<string, import('./args.js').Option>} */ ({
    requests: { type: 'integer', value: 'N', least: 1, most: 1e6, about: 'of each way. Default 40' },
    concurrency: { type: 'integer', value: 'N', least: 1, most: 10_000, about: 'under way at a time. Default 4' },
    path: { type: 'text', value: 'PATH', about: 'below the URL. Default /chat/completions with a body, else /models' },
    model: { type: 'text', value: 'NAME', about: 'asks for a chat of a few tokens' },
    body: { type: 'text', value: 'FILE', about: 'JSON to be posted' },
    'key-env': { type: 'text', value: 'NAME', about: 'the environment variable that has the key' },
    ca: { type: 'text', value: 'FILE', about: 'certificates to trust, in PEM' },
    yes: { type: 'flag', about: 'real requests may be made' },
    mock: {
      type: 'flag',
      about: `against a stand-in over TLS, ${MOCK_ROUND_TRIP} ms away, that thinks for ${MOCK_LATENCY} ms`,
    },
  }),
  examples: /** @type {[string, string][]} */ ([
    ['bench --mock', 'what a pool saves, without asking anybody'],
    [
      'bench https://api.openai.com/v1 --model gpt-4o-mini --key-env OPENAI_API_KEY --requests 10 --yes',
      'twenty real chats',
    ],
  ]),
  exits: 'a request failed, or was answered by anything but 2xx',
}

/** @param {any} context */
async function run({ values, positionals, screen, errors }) {
  if (Boolean(values.mock) === positionals.length > 0) throw wrong('one of URL and --mock is needed')
  const work = { ...workOf(values), body: bodyOf(values) }
  const upstream = values.mock ? await standIn() : undefined
  try {
    const target = targetOf(upstream?.url ? `${upstream.url}/v1` : positionals[0], work, values)
    const ca = upstream?.ca ?? certificatesOf(values.ca)
    if (!upstream) await allowed(target, work, values, errors)
    return await measured(target, work, ca, screen)
  } finally {
    await upstream?.close()
  }
}

/** @param {string} message */
function wrong(message) {
  return Object.assign(new UsageError(message), { command: 'bench' })
}

function standIn() {
  const { MockUpstream } = require('../mock.js')
  return MockUpstream.start({ tls: true, roundTrip: MOCK_ROUND_TRIP, latency: MOCK_LATENCY, record: false })
}

/** @param {Record<string, any>} values */
function workOf({ requests = 40, concurrency = 4 }) {
  return { requests, concurrency: Math.min(concurrency, requests) }
}

/** @param {Record<string, any>} values */
function bodyOf({ body, model, mock }) {
  if (body !== undefined && model !== undefined) throw wrong('--body and --model: give one of them')
  if (body !== undefined) {
    const text = textOf(body)
    try {
      JSON.parse(text)
    } catch (/** @type {any} */ error) {
      throw wrong(`--body: ${body} is no JSON: ${error.message}`)
    }
    return text
  }
  const asked = model ?? (mock ? 'gpt-4o-mini' : undefined)
  if (asked === undefined) return undefined
  return JSON.stringify({ model: asked, messages: [{ role: 'user', content: 'Answer with one word: ready?' }] })
}

/** @param {string} base @param {{ body: string | undefined }} work @param {Record<string, any>} values */
function targetOf(base, { body }, values) {
  const url = urlOf(base, 'bench')
  const path = values.path ?? (body === undefined ? '/models' : '/chat/completions')
  const [way, query = ''] = path.split('?')
  url.pathname = `${url.pathname.replace(/\/$/, '')}/${way.replace(/^\//, '')}`
  url.search = query
  const headers = {
    accept: 'application/json',
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    ...credentials(values['key-env'], url, 'bench'),
  }
  return { url, headers, method: body === undefined ? 'GET' : 'POST' }
}

/** @param {any} target @param {any} work @param {Record<string, any>} values @param {import('./screen.js').Terminal} errors */
async function allowed({ url, method }, { requests }, values, errors) {
  if (values.yes || isLoopback(url.hostname)) return
  const warning = `${count(requests * 2)} real requests go to ${url.origin} (${method} ${plain(url.pathname)}), and may be billed.`
  if (!process.stdin.isTTY || !process.stderr.isTTY || values.json) throw wrong(`${warning} Say --yes if that is right`)
  errors.say(`${errors.paint('yellow', '!')} ${warning}`)
  const asking = createInterface({ input: process.stdin, output: process.stderr })
  // Ctrl-C and Ctrl-D are a no.
  const left = new Promise((resolve) => asking.once('close', () => resolve('')))
  const answer = await Promise.race([asking.question('Go on? [y/N] ').catch(() => ''), left])
  asking.close()
  if (!/^y(es)?$/i.test(answer.trim())) throw failure('DECLINED', 'nothing was sent')
}

/** @param {any} target @param {any} work @param {string | undefined} ca @param {import('./screen.js').Terminal} screen */
async function measured(target, work, ca, screen) {
  const ways = [pooled(target, work, ca), alone(target, work, ca)]
  screen.say(
    `${screen.title('Bench')} of ${target.method} ${target.url.origin}${plain(target.url.pathname)}: ${many(work.requests, 'request')} each way, ${work.concurrency} at a time`,
  )
  screen.say()
  try {
    const rounds = Math.min(ROUNDS, work.requests)
    for (let round = 0; round < rounds; round++) {
      const share = Math.floor((work.requests * (round + 1)) / rounds) - Math.floor((work.requests * round) / rounds)
      for (const way of round % 2 === 0 ? ways : [...ways].reverse()) await turn(way, share, work.concurrency)
    }
    const [pool, single] = ways.map(figuresOf)
    const data = {
      url: target.url.origin + target.url.pathname,
      method: target.method,
      ...work,
      body: undefined,
      pool,
      single,
    }
    for (const line of linesOf(data, screen)) screen.say(line)
    return { ok: [pool, single].every(({ failed, refused }) => failed === 0 && refused === 0), data }
  } finally {
    await ways[0].close()
  }
}

/**
 * @typedef {{
 *   name: string, ask: () => Promise<number>, handshakes: () => number, close: () => Promise<void>,
 *   latencies: number[], spent: number, statuses: Record<string, number>, errors: Record<string, number>
 * }} Way
 */

/** @returns {Pick<Way, 'latencies' | 'spent' | 'statuses' | 'errors'>} */
function blank() {
  return { latencies: [], spent: 0, statuses: {}, errors: {} }
}

/** @param {any} target @param {any} work @param {string | undefined} ca @returns {Way} */
function pooled({ url, headers, method }, { body, concurrency }, ca) {
  const { Trunkline } = require('../client.js')
  const line = new Trunkline({
    baseURL: url.origin,
    pool: {
      maxConnections: Math.max(200, concurrency),
      maxConnectionsPerOrigin: Math.max(100, concurrency),
      ...(ca ? { tls: { ca } } : {}),
    },
  })
  return {
    ...blank(),
    name: 'through the pool',
    ask: async () => {
      const response = await line.fetch(url.href, {
        method,
        headers,
        redirect: 'manual',
        ...(body === undefined ? {} : { body }),
      })
      await response.arrayBuffer()
      return response.status
    },
    handshakes: () => line.metrics().pool.opened,
    close: () => line.close({ drainTimeout: 1 }),
  }
}

/** Node's own client without an agent. @param {any} target @param {any} work @param {string | undefined} ca @returns {Way} */
function alone({ url, headers, method }, { body }, ca) {
  const isTls = url.protocol === 'https:'
  /** @type {{ request: any }} */
  const { request } = isTls ? require('node:https') : require('node:http')
  // Made once: to read the certificates for each connection would count for more than the handshake.
  const secureContext = isTls
    ? require('node:tls').createSecureContext(ca ? { ca: [ca, ...trusted()] } : {})
    : undefined
  let opened = 0
  return {
    ...blank(),
    name: 'a new connection each',
    ask: () =>
      new Promise((resolve, reject) => {
        const sent = request(url, { method, headers, agent: false, secureContext, timeout: 120_000 })
        sent.on('socket', (/** @type {any} */ socket) => socket.once('connect', () => opened++))
        sent.on('timeout', () => sent.destroy(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })))
        sent.on('error', reject)
        sent.on('response', (/** @type {any} */ response) => {
          response
            .on('error', reject)
            .on('end', () => resolve(response.statusCode))
            .resume()
        })
        sent.end(body)
      }),
    handshakes: () => opened,
    close: async () => {},
  }
}

function trusted() {
  return require('node:tls').rootCertificates
}

/** @param {Way} way @param {number} requests @param {number} concurrency */
async function turn(way, requests, concurrency) {
  let left = requests
  const started = performance.now()
  const worker = async () => {
    while (left-- > 0) {
      const began = performance.now()
      try {
        const status = await way.ask()
        way.latencies.push(performance.now() - began)
        way.statuses[status] = (way.statuses[status] ?? 0) + 1
      } catch (/** @type {any} */ error) {
        const code = error.cause?.code ?? error.code ?? error.name
        way.errors[code] = (way.errors[code] ?? 0) + 1
      }
    }
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
  way.spent += performance.now() - started
}

/** @param {Way} way */
function figuresOf({ name, latencies, spent, statuses, errors, handshakes }) {
  const sorted = latencies.sort((a, b) => a - b)
  const at = (/** @type {number} */ share) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? null
  const sum = (/** @type {[string, number][]} */ entries) => entries.reduce((all, [, n]) => all + n, 0)
  return {
    name,
    answered: sorted.length,
    failed: sum(Object.entries(errors)),
    refused: sum(Object.entries(statuses).filter(([status]) => !status.startsWith('2'))),
    p50: at(0.5),
    p99: at(0.99),
    callsPerSecond: (sorted.length * 1000) / spent,
    handshakes: handshakes(),
    statuses,
    errors,
  }
}

/** @param {any} data @param {import('./screen.js').Terminal} screen */
function* linesOf({ pool, single }, screen) {
  const ms = (/** @type {number | null} */ value) => (value === null ? '–' : time(value))
  const rows = [pool, single].map(({ name, p50, p99, callsPerSecond, handshakes }) => [
    name,
    ms(p50),
    ms(p99),
    callsPerSecond < 100 ? callsPerSecond.toFixed(1) : count(callsPerSecond),
    count(handshakes),
  ])
  yield* screen.table([['', 'p50', 'p99', 'calls/s', 'connections'], ...rows])
  yield ''
  for (const { name, statuses, errors, failed, refused } of [pool, single]) {
    if (failed + refused === 0) continue
    const told = [
      ...Object.entries(statuses).map(([status, n]) => `${n} × ${status}`),
      ...Object.entries(errors).map(([code, n]) => `${n} × ${plain(code, 60)}`),
    ]
    yield `${screen.paint(failed > 0 ? 'red' : 'yellow', failed > 0 ? '✗' : '!')} ${name}: ${told.join(', ')}`
  }
  if (pool.p50 === null || single.p50 === null) return
  const saved = single.p50 - pool.p50
  if (saved > 0)
    yield `A call through the pool takes ${time(saved)} less in the middle, ${Math.round((saved / single.p50) * 100)} % of it.`
  else yield 'The pool saves no time here: to connect takes next to nothing.'
}

module.exports = { command, run }
