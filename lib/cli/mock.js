'use strict'

/** `trunkline mock`: the stand-in of `trunkline/testing` in the foreground. */

const { writeFileSync } = require('node:fs')
const { UsageError, failure } = require('./args.js')
const { many, plain } = require('./screen.js')

/** What keeps the process there, since the stand-in does not. */
const A_DAY = 86_400_000

const command = {
  name: 'mock',
  summary: 'an upstream on loopback that speaks the protocols of OpenAI, Anthropic and Gemini',
  usage: ['mock [options]'],
  about:
    'It answers with text that follows from the seed and the prompt, and any key will do. It runs until it is interrupted (Ctrl-C), and prints a line for each request. With --json: a line of JSON that says where it is, and one for each request.',
  positionals: /** @type {[number, number]} */ ([0, 0]),
  options: /** @type {Record<string, import('./args.js').Option>} */ ({
    port: { type: 'integer', value: 'N', most: 65_535, about: 'on 127.0.0.1. Default: any free one' },
    tls: { type: 'flag', about: 'TLS, with a certificate of an authority of its own' },
    'ca-out': {
      type: 'text',
      value: 'FILE',
      about: "where that authority's certificate is written, for NODE_EXTRA_CA_CERTS; with --tls",
    },
    http2: { type: 'flag', negatable: true, about: 'whether HTTP/2 is spoken. Default: yes' },
    latency: { type: 'number', value: 'MS', about: 'before the head of each answer, a tenth more or less. Default 0' },
    'round-trip': { type: 'number', value: 'MS', about: 'how far away it is. Default 0' },
    'tokens-per-second': { type: 'number', value: 'N', about: 'pace of each answer. Default: full speed' },
    rate: { type: 'number', value: 'N', about: 'requests a second beyond which it answers 429. Default: no limit' },
    seed: { type: 'integer', value: 'N', about: 'of every text. Default 0' },
    quiet: { type: 'flag', about: 'no line for each request' },
  }),
  examples: /** @type {[string, string][]} */ ([
    ['mock --port 8080', 'and then, elsewhere: OPENAI_BASE_URL=http://127.0.0.1:8080/v1 node app.js'],
    ['mock --tokens-per-second 50 --latency 300', 'as slow as a real one'],
    ['mock --tls --ca-out ca.pem', 'and then, elsewhere: NODE_EXTRA_CA_CERTS=ca.pem'],
  ]),
  exits: 'the port is taken',
}

/** @param {any} context */
async function run({ values, screen }) {
  if (values['ca-out'] !== undefined && !values.tls)
    throw Object.assign(new UsageError('--ca-out: only with --tls'), { command: 'mock' })
  const upstream = await started(optionsOf(values))
  const report = values.json
    ? (/** @type {any} */ data) => screen.write(`${JSON.stringify(data)}\n`)
    : (/** @type {any} */ data) =>
        screen.say(data.request ? requestLine(data.request, screen) : placeLines(data, screen))
  if (values['ca-out'] !== undefined) writeFileSync(values['ca-out'], upstream.ca ?? '')
  let requests = 0
  if (!values.quiet) watch(upstream, (request) => report({ request: { ...request, number: ++requests } }))
  report({
    url: upstream.url,
    baseURL: `${upstream.url}/v1`,
    tls: Boolean(values.tls),
    ca: values['ca-out'] ?? null,
    pid: process.pid,
  })
  await interrupted()
  const { opened } = upstream.connections
  await upstream.close()
  if (!values.quiet) screen.say(screen.paint('dim', `${many(requests, 'request')} over ${many(opened, 'connection')}`))
  return undefined
}

/** @param {Record<string, any>} values */
function optionsOf(values) {
  return {
    port: values.port ?? 0,
    tls: values.tls ?? false,
    http2: values.http2 ?? true,
    seed: values.seed ?? 0,
    latency: values.latency ?? 0,
    roundTrip: values['round-trip'] ?? 0,
    ...(values['tokens-per-second'] === undefined ? {} : { tokensPerSecond: values['tokens-per-second'] }),
    ...(values.rate === undefined ? {} : { rateLimit: { requestsPerSecond: values.rate } }),
    // What it is asked is printed, and not kept.
    record: false,
  }
}

/** @param {any} options */
async function started(options) {
  const { MockUpstream } = require('../mock.js')
  try {
    return await MockUpstream.start(options)
  } catch (/** @type {any} */ error) {
    if (/port|address/i.test(error.message) && options.port > 0) throw failure('PORT', error.message)
    throw error
  }
}

/**
 * Is told of each request, without its headers: keys are in them. @param {any} upstream @param {(request: any) => void} told
 */
function watch(upstream, told) {
  // Asked whether a reply fits, it says no, and the stand-in answers as ever.
  upstream.reply((/** @type {any} */ { method, path, body, connection, stream, at }) => {
    const { model = null, stream: isStream = false } = typeof body === 'object' && body !== null ? body : {}
    told({ at: new Date(at).toISOString(), method, path: withoutKey(path), model, isStream, connection, stream })
    return false
  }, 'never')
}

/** Gemini's may be in the query. @param {string} path */
function withoutKey(path) {
  return path.replace(/([?&]key=)[^&]*/g, '$1…')
}

/** @param {any} place @param {import('./screen.js').Terminal} screen */
function placeLines({ url, baseURL, tls, ca }, screen) {
  return [
    `${screen.title('Mock upstream')} at ${screen.paint('cyan', url)}, until Ctrl-C`,
    '',
    `  export OPENAI_BASE_URL=${baseURL} OPENAI_API_KEY=any`,
    `  export ANTHROPIC_BASE_URL=${url} ANTHROPIC_API_KEY=any`,
    `  export GOOGLE_GEMINI_BASE_URL=${url} GEMINI_API_KEY=any`,
    ...(ca ? [`  export NODE_EXTRA_CA_CERTS=${ca}`] : []),
    ...(tls && !ca
      ? ['  (its certificate is of its own authority: --ca-out FILE writes that, for NODE_EXTRA_CA_CERTS)']
      : []),
    '',
  ].join('\n')
}

/** @param {any} request @param {import('./screen.js').Terminal} screen */
function requestLine({ at, method, path, model, isStream, connection, stream }, screen) {
  const where = `connection ${connection}${stream === null ? '' : `, stream ${stream}`}`
  const what = `${model === null ? '' : `  ${plain(model, 60)}`}${isStream ? '  stream' : ''}`
  return `${screen.paint('dim', at.slice(11, 23))}  ${plain(method, 10).padEnd(4)} ${plain(path)}${what}  ${screen.paint('dim', where)}`
}

/** Until somebody wants the end of it. */
function interrupted() {
  return /** @type {Promise<void>} */ (
    new Promise((resolve) => {
      const timer = setInterval(() => {}, A_DAY)
      const end = () => {
        clearInterval(timer)
        for (const signal of SIGNALS) process.off(signal, end)
        resolve()
      }
      for (const signal of SIGNALS) process.on(signal, end)
    })
  )
}

/** @type {NodeJS.Signals[]} */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP']

module.exports = { command, run }
