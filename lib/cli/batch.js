'use strict'

/** `trunkline batch`: a file of requests, and a file of what became of them. */

const { resolve } = require('node:path')
const { pathToFileURL } = require('node:url')
const { UsageError, failure } = require('./args.js')
const { beginningOf, textOf } = require('./files.js')
const { keyOf, urlOf } = require('./place.js')
const { Report, endOf, farOf } = require('./progress.js')
const { many } = require('./screen.js')

/** For a second Ctrl-C, where batches run at a provider: milliseconds. */
const SECOND_WORD = 4000

const command = {
  name: 'batch',
  summary: "a file of requests in OpenAI's batch format, answered by whatever provider, into a file",
  usage: ['batch FILE -o FILE [options]', 'batch --work --queue URL --job NAME [options]'],
  about:
    'Each line of FILE is a request (custom_id, method, url, body); each line of the output an answer, in the order in which they come, and failures have a file of their own. Run again, it goes on where it was, whatever ended it: no line is answered twice. Ctrl-C lets the calls end that are under way; a second one does not.',
  positionals: /** @type {[number, number]} */ ([0, 1]),
  options: /** @type {Record<string, import('./args.js').Option>} */ ({
    output: { type: 'text', short: 'o', value: 'FILE', about: 'where the answers go' },
    errors: { type: 'text', value: 'FILE', about: 'where failures go. Default OUTPUT.errors.jsonl' },
    config: {
      type: 'text',
      value: 'FILE',
      about:
        "the client's options (providers, routes, limits, budget): JSON, or a module whose default export they are",
    },
    'base-url': { type: 'text', value: 'URL', about: 'of one provider, in place of --config' },
    'key-env': { type: 'text', value: 'NAME', about: 'the environment variable that has its key' },
    concurrency: {
      type: 'integer',
      value: 'N',
      least: 1,
      most: 100_000,
      about: 'calls at a time. Default: as many as the pool may have connections to one origin',
    },
    provider: { type: 'text', value: 'NAME', about: 'to whom all lines go, whatever routes say' },
    tries: {
      type: 'integer',
      value: 'N',
      least: 1,
      most: 1000,
      about: 'for each line, each with the retries of a call. Default 3',
    },
    'retry-failed': { type: 'flag', about: 'asks again for the lines that failed before' },
    'bad-lines': {
      type: 'text',
      value: 'HOW',
      of: ['report', 'refuse'],
      about: 'of lines that cannot be sent: report them among the errors and go on, or refuse to begin. Default report',
    },
    'only-routes': { type: 'flag', about: 'a model without a route is a bad line' },
    'wait-for-budget': { type: 'flag', about: 'a budget that is used up is waited for. Else the job pauses, and ends' },
    patience: {
      type: 'number',
      value: 'SECONDS',
      least: 0.001,
      most: 86_400,
      about: 'without any line settled, while calls fail or wait, before it ends. Default 600',
    },
    grace: {
      type: 'number',
      value: 'SECONDS',
      most: 86_400,
      about: 'for calls under way when it is to end. Default 30',
    },
    'provider-batch': {
      type: 'flag',
      about: "lines are answered by the provider's own batches, within a day and at half the price (OpenAI, Anthropic)",
    },
    'batch-interval': {
      type: 'number',
      value: 'SECONDS',
      least: 0.001,
      most: 86_400,
      about: 'between the first looks at a batch; later ones are further apart. Default 10',
    },
    'batch-requests': {
      type: 'integer',
      value: 'N',
      least: 1,
      most: 100_000,
      about: 'of a batch at most. Default: as many as the provider takes',
    },
    'no-fallback': {
      type: 'flag',
      about: 'what a batch leaves unanswered has failed. Else it is asked for by calls, at their full price',
    },
    'cancel-batches': {
      type: 'flag',
      about: 'ends the batches of earlier runs, gathers what they have, and sends nothing',
    },
    queue: {
      type: 'text',
      value: 'URL',
      about:
        'of a Redis through which others may work on the same job (redis://…, rediss://…); limits and budgets are shared by it too',
    },
    job: { type: 'text', value: 'NAME', about: 'by which they know it' },
    work: {
      type: 'flag',
      negatable: true,
      about:
        'without FILE: works on a job that another process feeds. With FILE, --no-work: feeds and gathers, and no more',
    },
    claim: {
      type: 'number',
      value: 'SECONDS',
      least: 0.5,
      most: 86_400,
      about: 'after which the lines of a worker that is not heard of go to others. Default 30',
    },
    quiet: { type: 'flag', about: 'no progress on standard error' },
  }),
  examples: /** @type {[string, string][]} */ ([
    ['batch requests.jsonl -o answers.jsonl', 'by OPENAI_BASE_URL and OPENAI_API_KEY'],
    ['batch requests.jsonl -o answers.jsonl --config trunkline.json', 'with providers, routes, limits and a budget'],
    ['batch requests.jsonl -o answers.jsonl --retry-failed', 'what failed, once more'],
    ['batch requests.jsonl -o answers.jsonl --provider-batch', 'by tomorrow, for half the price'],
    ['batch requests.jsonl -o answers.jsonl --queue redis://queue.internal --job nightly', 'many machines may help:'],
    ['batch --work --queue redis://queue.internal --job nightly', 'on each of them'],
  ]),
  exits: 'a line failed, or is left; a file cannot be read or written, or is of another job',
}

/** @param {any} context */
async function run({ values, positionals, screen, errors }) {
  checkRole(values, positionals)
  const isWorker = positionals.length === 0
  const options = await clientOptions(values)
  const { Trunkline } = require('../client.js')
  const line = new Trunkline(options)
  const isTerminal = Boolean(process.stderr.isTTY)
  const report = values.quiet || (values.json && !isTerminal) ? undefined : new Report(errors, isTerminal)
  try {
    const options = {
      ...jobOptions(values),
      ...(report ? { onProgress: (/** @type {any} */ progress) => report.tell(progress) } : {}),
    }
    const begin = () => (isWorker ? line.batchWork(options) : line.batchFile(positionals[0], values.output, options))
    const result = await watched(begin, report, errors)
    report?.clear()
    const { unpriced } = /** @type {any} */ (line.costs())
    const more = { unpriced, failure: firstFailure(result) }
    for (const text of endOf(result, screen, more)) screen.say(text)
    const { error, ...data } = result
    return {
      // What failed is told by whoever has the files.
      ok: result.status === 'done' && (isWorker || result.progress.failed === 0),
      data: { ...data, error: error && { code: error.code, message: error.message } },
    }
  } catch (/** @type {any} */ error) {
    report?.clear()
    if (error?.code === 'ERR_JOB') throw failure(`JOB_${error.reason}`, error.message)
    throw error
  } finally {
    await line.close({ drainTimeout: 0 })
  }
}

/** The first line of the errors, but those that are told by their number anyway: who it was, and why. @param {any} result */
function firstFailure({ errors, progress, badLines }) {
  if (!errors || progress.failed <= badLines.count) return undefined
  for (const text of beginningOf(errors, 64 * 1024)
    .split('\n')
    .slice(0, -1)) {
    const { custom_id, response, error } = JSON.parse(text)
    if (/^line \d+: /.test(error?.message)) continue
    const why = error ?? response.body?.error ?? {}
    return `${custom_id}: ${error?.code ?? response.status_code}${why.message ? `, ${why.message}` : ''}`
  }
  return undefined
}

/** Begins a job and ends with it; signals end it, from its first call on. @param {() => any} begin @param {InstanceType<typeof Report> | undefined} report @param {import('./screen.js').Terminal} errors */
async function watched(begin, report, errors) {
  /** @type {any} */
  let job
  let signals = 0
  /** @type {NodeJS.Timeout | undefined} */
  let soon
  const say = (/** @type {string} */ text) => {
    report?.clear()
    if (report) errors.say(text)
  }
  const stop = (/** @type {string} */ name) => {
    signals++
    const far = farOf(job.progress.batches)
    if (soon !== undefined) {
      clearTimeout(soon)
      soon = undefined
      job.stop({ cancelBatches: name === 'SIGINT' })
      return say(`Cancelling ${far}: what is answered by now is gathered; once more to end at once`)
    }
    if (signals === 1 && name === 'SIGINT' && far !== '') {
      soon = setTimeout(() => {
        soon = undefined
        job.stop()
      }, SECOND_WORD)
      return say(
        `Stopping, with ${far} left running for the same command to gather; Ctrl-C again now cancels at the provider`,
      )
    }
    job.stop({ now: signals > 1 })
    if (signals > 1) return
    const { inFlight } = job.progress
    say(
      far === ''
        ? `Stopping: ${many(inFlight, 'call')} under way may end; once more to end at once`
        : `Stopping, with ${far} left running for the same command to gather`,
    )
  }
  const names = /** @type {const} */ (['SIGINT', 'SIGTERM'])
  for (const name of names) process.on(name, stop)
  try {
    job = begin()
    return await job
  } finally {
    clearTimeout(soon)
    for (const name of names) process.off(name, stop)
  }
}

/** Options of files belong to the process that has the files. */
const OF_FILES = ['output', 'errors', 'retry-failed', 'bad-lines', 'only-routes', 'claim']

/** @param {Record<string, any>} values @param {string[]} positionals */
function checkRole(values, positionals) {
  if (values.queue === undefined) {
    const extra = ['job', 'work', 'claim'].find((name) => values[name] !== undefined)
    if (extra) throw wrong(`--${extra} belongs to --queue URL`)
  } else if (values.job === undefined) {
    throw wrong('--job NAME is needed with --queue: by it workers know the job')
  }
  if (positionals.length === 0) {
    if (values.work !== true) throw wrong('something is missing: trunkline batch FILE -o FILE')
    const extra = OF_FILES.find((name) => values[name] !== undefined)
    if (extra) throw wrong(`--${extra} belongs to the process that has the files, and not to --work`)
  } else if (values.output === undefined) {
    throw wrong('--output FILE is needed, or -o FILE')
  }
}

/** @param {string} message */
function wrong(message) {
  return Object.assign(new UsageError(message), { command: 'batch' })
}

/** @param {Record<string, any>} values */
async function clientOptions(values) {
  if (values.config !== undefined && values['base-url'] !== undefined)
    throw wrong('--config and --base-url: give one of them')
  const given = values.config === undefined ? {} : await configOf(values.config)
  const base = values['base-url'] === undefined ? {} : { baseURL: urlOf(values['base-url'], 'batch').href }
  const key = values['key-env'] === undefined ? {} : { apiKey: keyOf(values['key-env'], 'batch') }
  const shared = values.queue === undefined || given.shared ? {} : { shared: { redis: values.queue } }
  return { ...given, ...base, ...key, ...shared }
}

/** @param {string} file */
async function configOf(file) {
  if (/\.[cm]?js$/.test(file)) {
    try {
      return (await import(pathToFileURL(resolve(file)).href)).default
    } catch (/** @type {any} */ error) {
      throw failure('CONFIG', `--config: ${file}: ${error.message}`)
    }
  }
  try {
    return JSON.parse(textOf(file))
  } catch (/** @type {any} */ error) {
    if (error.expected) throw error
    throw wrong(`--config: ${file} is no JSON`)
  }
}

/** @param {Record<string, any>} values */
function jobOptions(values) {
  const { errors, concurrency, provider, tries, patience, grace } = values
  const seconds = (/** @type {number | undefined} */ value) => (value === undefined ? undefined : value * 1000)
  if (!values['provider-batch'] && !values['cancel-batches']) {
    const named = ['batch-interval', 'batch-requests', 'no-fallback'].find((name) => values[name])
    if (named) throw wrong(`--${named}: belongs to --provider-batch`)
  }
  const options = {
    errors,
    concurrency,
    provider,
    tries,
    retryFailed: values['retry-failed'],
    badLines: values['bad-lines'],
    onlyRoutes: values['only-routes'],
    onBudget: values['wait-for-budget'] ? 'wait' : undefined,
    patience: seconds(patience),
    grace: seconds(grace),
    providerBatch: providerBatch(values, seconds),
    queue: queueOf(values),
  }
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

/** @param {Record<string, any>} values @param {(value: number | undefined) => number | undefined} seconds */
function providerBatch(values, seconds) {
  if (!values['provider-batch'] && !values['cancel-batches']) return undefined
  const options = {
    interval: seconds(values['batch-interval']),
    maxRequests: values['batch-requests'],
    fallback: values['no-fallback'] ? false : undefined,
    cancel: values['cancel-batches'] ? true : undefined,
  }
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

/** @param {Record<string, any>} values */
function queueOf({ queue, job, work, claim }) {
  if (queue === undefined) return undefined
  return { redis: queue, job, ...(work === false ? { work } : {}), ...(claim ? { claim: claim * 1000 } : {}) }
}

module.exports = { command, run }
