// Jobs whose lines are answered by the provider's own batches.

import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { ConfigError, JobError } from 'trunkline'
import { begin, trunkline } from '../cli/run.mjs'
import { rejection, start, until } from '../support.mjs'
import { assertOnce, folder, ids, read, request, write } from './support.mjs'

const LINES = 20
const FAST = { interval: 20 }

const job = (line, files, providerBatch, options) =>
  line.batchFile(files.input, files.output, { providerBatch: { ...FAST, ...providerBatch }, ...options })

const fill = (files, count = LINES, body = {}) =>
  write(
    files.input,
    ids(count).map((id) => request(id, body)),
  )

/** How often something was asked for. */
const asked = ({ requests }, method, path) =>
  requests.filter((request) => request.method === method && path.test(request.path)).length

const UPLOAD = /^\/v1\/files$/
const CREATE = /^\/v1(\/messages)?\/batches$/
const CALL = /^\/v1\/(chat\/completions|messages)$/

for (const protocol of ['openai', 'anthropic']) {
  test(`lines are answered by batches of ${protocol}, at half the price, in OpenAI’s shape`, async (t) => {
    const pricing = { 'gpt-test': { input: 10, output: 20 } }
    const { upstream, line } = await site(t, { protocol, pricing }, { batches: { delay: 60 } })
    upstream.reply(
      { model: 'gpt-test' },
      { content: 'Hi.\nThere', usage: { prompt_tokens: 100, completion_tokens: 50, total_tokens: 150 } },
    )
    const files = folder(t)
    write(files.input, [...ids(LINES).map((id) => request(id)), 'nonsense'])
    const result = await job(line, files, { maxRequests: 8 })
    assert.deepEqual([result.status, result.progress.succeeded, result.progress.failed], ['done', LINES, 1])
    assertOnce({ ...files, errors: '' }, ids(LINES))
    for (const { response, error } of read(files.output)) {
      assert.deepEqual([response.status_code, error], [200, null])
      assert.equal(response.body.object, 'chat.completion')
      assert.equal(response.body.choices[0].message.content, 'Hi.\nThere')
    }
    const { batches, cost } = result.progress
    assert.deepEqual(
      batches.map(({ requests, completed, failed, isOver }) => [requests, completed, failed, isOver]),
      [8, 8, 4].map((count) => [count, count, 0, true]),
    )
    // Half of 100 tokens at $10 and 50 at $20 a million.
    const half = (LINES * (100 * 10 + 50 * 20)) / 1e6 / 2
    assert.ok(Math.abs(cost - half) < 1e-9, `${cost} is ${half}`)
    const { byModel } = line.costs()
    assert.deepEqual(Object.keys(byModel), ['gpt-test (batch)'])
    assert.ok(Math.abs(byModel['gpt-test (batch)'].cost - half) < 1e-9)
    assert.equal(asked(upstream, 'POST', CREATE), 3)
    assert.equal(asked(upstream, 'POST', CALL), 0)
    // Nothing is left beside them.
    assert.deepEqual(readdirSync(files.path).sort(), ['in.jsonl', 'out.errors.jsonl', 'out.jsonl'])
  })

  test(`what a batch of ${protocol} leaves unanswered is asked for by calls, or has failed`, async (t) => {
    const { upstream, line } = await site(t, { protocol }, { batches: { expireEvery: 4, failEvery: 7 } })
    const files = folder(t)
    fill(files)
    // 4, 8, …, 20 expire; 7 and 14 fail.
    const first = await job(line, files)
    assert.deepEqual([first.status, first.progress.succeeded, first.progress.failed], ['done', LINES, 0])
    assertOnce(files, ids(LINES))
    assert.equal(asked(upstream, 'POST', CALL), 7)
    const alone = folder(t)
    fill(alone)
    const second = await job(line, alone, { fallback: false })
    assert.deepEqual([second.status, second.progress.succeeded, second.progress.failed], ['done', 13, 7])
    assert.equal(asked(upstream, 'POST', CALL), 7)
    assertOnce(alone, ids(LINES))
    const failed = read(alone.errors)
    assert.equal(failed.filter(({ error }) => error?.code === 'batch_expired').length, 5)
    assert.deepEqual(
      failed.flatMap(({ response }) => response?.status_code ?? []),
      [500, 500],
    )
  })

  test(`a batch of ${protocol} that was asked for when the process was killed is found, and not made again`, async (t) => {
    const { upstream, args, files, env } = await command(t, { latency: 150, batches: { delay: 1500 } }, { protocol })
    fill(files)
    // Each of these is a moment at which the log says that something is about to be done, and not yet that it was.
    for (const [asks, path] of protocol === 'openai'
      ? [
          ['part', UPLOAD],
          ['create', CREATE],
        ]
      : [['create', CREATE]]) {
      const run = begin(args, { env })
      await until(
        () => logOf(files).includes(`{"${asks}":`) && asked(upstream, 'POST', path) > 0,
        `the run says ${asks}`,
      )
      run.child.kill('SIGKILL')
      await run.ended
    }
    await done(files, args, env)
    assert.equal(asked(upstream, 'POST', UPLOAD), protocol === 'openai' ? 1 : 0)
    assert.equal(asked(upstream, 'POST', CREATE), 1)
    assert.equal(asked(upstream, 'POST', CALL), 0)
  })
}

test('a process that is killed while batches are looked at, or gathered, asks for nothing twice', async (t) => {
  const { upstream, args, files, env } = await command(t, { latency: 60, batches: { delay: 1200, expireEvery: 5 } })
  fill(files)
  args.push('--batch-requests', '7')
  const looking = begin(args, { env })
  await until(() => asked(upstream, 'GET', /\/batches\/batch_/) > 1, 'the run looks')
  looking.child.kill('SIGKILL')
  await looking.ended
  const gathering = begin(args, { env })
  await until(() => read(files.output).length > 0, 'the run gathers')
  gathering.child.kill('SIGKILL')
  await gathering.ended
  assert.ok(read(files.output).length < LINES)
  await done(files, args, env)
  assert.deepEqual([asked(upstream, 'POST', UPLOAD), asked(upstream, 'POST', CREATE)], [3, 3])
  // The fifth of each batch of seven, seven and six.
  assert.ok(asked(upstream, 'POST', CALL) >= 3)
})

test('Ctrl-C leaves batches running, and the same command gathers them', async (t) => {
  const { upstream, args, files, env } = await command(t, { batches: { delay: 1500 } })
  fill(files)
  const run = begin(args, { env })
  await until(() => asked(upstream, 'GET', /\/batches\/batch_/) > 0, 'the run looks')
  run.child.kill('SIGTERM')
  const { code, out, err } = await run.ended
  assert.equal(code, 1)
  assert.match(err, /1 batch at default run on, and the same command gathers them/)
  assert.match(out, /run on: with --provider-batch they are gathered, with --cancel-batches they end/)
  assert.deepEqual(read(files.output), [])
  // Without it, those lines would be paid twice.
  const plain = await trunkline(
    args.filter((arg) => arg !== '--provider-batch' && arg !== '--batch-interval' && arg !== '0.02'),
    { env },
  )
  assert.notEqual(plain.code, 0)
  assert.match(plain.err + plain.out, /in batches at a provider.*--cancel-batches/s)
  await done(files, args, env)
  assert.deepEqual(
    [asked(upstream, 'POST', UPLOAD), asked(upstream, 'POST', CREATE), asked(upstream, 'POST', CALL)],
    [1, 1, 0],
  )
})

test('a second Ctrl-C cancels them at the provider, and the next run asks for what is left', async (t) => {
  const { upstream, args, files, env } = await command(t, { batches: { delay: 60_000 } })
  fill(files)
  const run = begin(args, { env })
  await until(() => asked(upstream, 'GET', /\/batches\/batch_/) > 0, 'the run looks')
  run.child.kill('SIGINT')
  await until(() => run.saidWrong().includes('Ctrl-C again'), 'the run says so')
  run.child.kill('SIGINT')
  const { code, err } = await run.ended
  assert.equal(code, 1, err)
  assert.equal(asked(upstream, 'POST', /\/cancel$/), 1)
  assert.ok(!existsSync(`${files.output}.job.batches`))
  const { code: plain } = await trunkline(
    args.filter((arg) => arg !== '--provider-batch' && arg !== '--batch-interval' && arg !== '0.02'),
    { env },
  )
  assert.equal(plain, 0)
  assertOnce(files, ids(LINES))
})

test('batches of an earlier run are cancelled by an option, which sends nothing', async (t) => {
  const { upstream, line } = await site(t, {}, { batches: { delay: 400 } })
  const files = folder(t)
  fill(files)
  const run = job(line, files)
  await until(() => asked(upstream, 'GET', /\/batches\/batch_/) > 0, 'the run looks')
  assert.equal((await run.stop()).status, 'stopped')
  assert.ok(existsSync(`${files.output}.job.batches`))
  const cancelled = await job(line, files, { cancel: true })
  assert.equal(cancelled.status, 'stopped')
  assert.equal(asked(upstream, 'POST', /\/cancel$/), 1)
  const [answered] = [read(files.output).length]
  // What was answered by then is there, and the rest is asked for anew.
  const { status, progress } = await job(line, files)
  assert.deepEqual([status, progress.succeeded, progress.resumed], ['done', LINES, answered])
  assertOnce(files, ids(LINES))
})

test('a provider without batches is refused before anything is sent, and so is a relay that turns out to have none', async (t) => {
  const gemini = await site(t, { protocol: 'gemini' })
  const files = folder(t)
  fill(files)
  const known = await rejection(job(gemini.line, files))
  assert.ok(known instanceof ConfigError)
  assert.match(
    known.message,
    /^providerBatch: the model 'gpt-test' goes to 'default', which has no endpoint for batches/,
  )
  assert.equal(gemini.upstream.requests.length, 0)
  assert.deepEqual(readdirSync(files.path), ['in.jsonl'])
  const relay = await site(t, {}, { batches: { enabled: false } })
  const found = await rejection(job(relay.line, files))
  assert.ok(found instanceof ConfigError)
  assert.match(found.message, /has no endpoint for batches \(it answered 404/)
  // Nothing of it is in the way of calls.
  assert.equal((await relay.line.batchFile(files.input, files.output)).status, 'done')
})

test('of a route, the first target whose provider has batches is asked', async (t) => {
  const first = await site(t, { protocol: 'gemini' })
  const { upstream } = await site(t)
  const { line } = await site(t, {
    baseURL: undefined,
    apiKey: undefined,
    providers: {
      g: { protocol: 'gemini', baseURL: first.upstream.url, apiKey: 'k' },
      o: { baseURL: `${upstream.url}/v1`, apiKey: 'k' },
    },
    routes: {
      fast: {
        targets: [
          { provider: 'g', model: 'gemini-x' },
          { provider: 'o', model: 'gpt-x' },
        ],
      },
    },
  })
  const files = folder(t)
  fill(files, 3, { model: 'fast' })
  const { status, progress } = await job(line, files)
  assert.deepEqual([status, progress.batches[0].provider, first.upstream.requests.length], ['done', 'o', 0])
  const upload = upstream.requests.find(({ path }) => path === '/v1/files')
  assert.equal(upload.body.match(/"model":"gpt-x"/g).length, 3)
})

test('a batch that its provider will not begin is answered by calls, and waited for where there is no room for it', async (t) => {
  const { upstream, line } = await site(t, {}, { batches: { refuse: 'invalid_model' } })
  const files = folder(t)
  fill(files, 5)
  assert.equal((await job(line, files)).progress.succeeded, 5)
  assert.equal(asked(upstream, 'POST', CALL), 5)
  const full = await site(t, {}, { batches: { refuse: 'token_limit_exceeded' } })
  const other = folder(t)
  fill(other, 5)
  const ended = await job(full.line, other, {}, { patience: 100 })
  assert.equal(ended.status, 'ended')
  assert.match(ended.error.message, /no room for another batch: token_limit_exceeded/)
  assert.deepEqual([asked(full.upstream, 'POST', UPLOAD), asked(full.upstream, 'POST', CALL)], [1, 0])
  assert.ok(asked(full.upstream, 'POST', CREATE) > 1)
})

test('a budget that a batch would go beyond pauses the job before it is sent', async (t) => {
  const pricing = { 'gpt-test': { input: 1000, output: 1000 } }
  const { upstream, line } = await site(t, { pricing, budget: { limit: 0.01, window: 'day' } })
  const files = folder(t)
  fill(files)
  const { status, resumesAt } = await job(line, files)
  assert.equal(status, 'paused')
  assert.ok(resumesAt > new Date())
  assert.equal(upstream.requests.length, 0)
})

test('an output whose batches are of another input is not taken', async (t) => {
  const { upstream, line } = await site(t, {}, { batches: { delay: 60_000 } })
  const files = folder(t)
  fill(files)
  const run = job(line, files)
  await until(() => asked(upstream, 'GET', /\/batches\/batch_/) > 0, 'the run looks')
  await run.stop()
  fill(files, 3)
  const error = await rejection(job(line, files))
  assert.ok(error instanceof JobError)
  assert.equal(error.reason, 'otherInput')
})

/** A client, and a stand-in of these options. */
const site = (t, options = {}, upstream = {}) => start(t, { ...options, upstream })

const logOf = (files) => {
  const path = `${files.output}.job.batches`
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}

/** The command and what it needs; its stand-in is this process's. */
async function command(t, options, client = {}) {
  const { upstream } = await site(t, {}, options)
  const files = folder(t)
  const config = join(files.path, 'config.json')
  writeFileSync(config, JSON.stringify({ baseURL: `${upstream.url}/v1`, apiKey: 'k', retry: false, ...client }))
  const args = [
    'batch',
    files.input,
    '-o',
    files.output,
    '--config',
    config,
    '--provider-batch',
    '--batch-interval',
    '0.02',
  ]
  return { upstream, args, files, env: {} }
}

/** The command comes to its end, with every line answered once. */
async function done(files, args, env) {
  const { code, out, err } = await trunkline([...args, '--json'], { env })
  assert.equal(code, 0, `${out}${err}`)
  assert.equal(JSON.parse(out).status, 'done')
  assertOnce(files, ids(LINES))
  assert.ok(!existsSync(`${files.output}.job.batches`))
}
