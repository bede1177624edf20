import assert from 'node:assert/strict'
import { appendFileSync, existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { pathToFileURL } from 'node:url'
import { AuthenticationError, BudgetExceededError, ClosedError, ConfigError, JobError } from 'trunkline'
import { client, rejection, start, until } from '../support.mjs'
import { kill } from './kills.mjs'
import { assertOnce, folder, ids, read, request, write } from './support.mjs'

const job = (line, files, options) => line.batchFile(files.input, files.output, options)

test('a file of requests becomes a file of answers in OpenAI’s batch format', async (t) => {
  const { upstream, line } = await start(t)
  const files = folder(t)
  const embedding = { model: 'embed', input: ['a', 'b'] }
  write(files.input, [
    request('chat'),
    { custom_id: 'vectors', method: 'POST', url: '/v1/embeddings', body: embedding },
    '',
  ])
  upstream.reply({ model: 'gpt-test' }, { content: 'Hi.\nThere' })
  const result = await line.batchFile(pathToFileURL(files.input), files.output)
  assert.deepEqual([result.status, result.error, result.errors], ['done', null, null])
  const [chat, vectors] = read(files.output).sort((a, b) => a.custom_id.localeCompare(b.custom_id))
  assert.deepEqual(Object.keys(chat), ['id', 'custom_id', 'response', 'error'])
  assert.match(chat.id, /^trunkline_[0-9a-f]{16}_1$/)
  assert.equal(chat.error, null)
  assert.equal(chat.response.status_code, 200)
  assert.match(chat.response.request_id, /^req_/)
  assert.equal(chat.response.body.choices[0].message.content, 'Hi.\nThere')
  assert.equal(vectors.response.body.data.length, 2)
  // Nothing is left beside it.
  assert.ok(!existsSync(files.errors) && !existsSync(files.journal))
  const { progress } = result
  assert.deepEqual([progress.total, progress.succeeded, progress.failed, progress.inFlight], [2, 2, 0, 0])
  assert.ok(progress.usage.total_tokens > 0)
})

test('calls go at the priority of background work, and by the options that are given', async (t) => {
  const { upstream, line } = await start(t)
  const files = folder(t)
  write(
    files.input,
    ids(5).map((id) => request(id)),
  )
  await job(line, files, { headers: { 'x-team': 'blue' }, concurrency: 1 })
  assert.deepEqual(
    upstream.requests.map(({ body, headers }) => [body.messages[0].content, headers['x-team']]),
    ids(5).map((id) => [id, 'blue']),
  )
})

test('what is wrong with a line is told with its number among the errors, and the rest goes on', async (t) => {
  const { upstream, line } = await start(t, { routes: { 'gpt-test': { targets: [{ provider: 'default' }] } } })
  const files = folder(t)
  write(files.input, [
    request('a'),
    '{"custom_id": "b"',
    request('c', { stream: true }),
    request('a'),
    { ...request('d'), url: '/v1/images' },
    request('e', { model: 'unknown' }),
    request('f'),
  ])
  const result = await job(line, files, { onlyRoutes: true })
  assert.deepEqual([result.status, result.badLines.count, result.errors], ['done', 5, files.errors])
  assert.deepEqual(
    read(files.errors).map(({ id, custom_id, response, error }) => [
      Number(id.split('_').at(-1)),
      custom_id,
      response,
      error.code,
    ]),
    [
      [2, null, null, 'invalid_json'],
      [3, 'c', null, 'invalid_body'],
      [4, 'a', null, 'duplicate_custom_id'],
      [5, 'd', null, 'invalid_url'],
      [6, 'e', null, 'no_route'],
    ],
  )
  assert.match(read(files.errors)[2].error.message, /^line 4: .*line 1\b/)
  assert.deepEqual(
    read(files.output)
      .map(({ custom_id }) => custom_id)
      .sort(),
    ['a', 'f'],
  )
  assert.equal(upstream.requests.length, 2)
})

test('where bad lines are to be refused, nothing is sent and no file is made', async (t) => {
  const { upstream, line } = await start(t)
  const files = folder(t)
  write(files.input, [request('a'), 'nonsense', request('a')])
  const error = await rejection(job(line, files, { badLines: 'refuse' }))
  assert.ok(error instanceof JobError)
  assert.deepEqual([error.code, error.reason], ['ERR_JOB', 'badLines'])
  assert.match(error.message, /^2 lines .*line 2: .*line 3: /)
  assert.ok(![files.output, files.errors, files.journal].some(existsSync))
  assert.equal(upstream.requests.length, 0)
})

test('a failure is among the errors as its provider said it, and may be asked for again', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  const files = folder(t)
  write(
    files.input,
    ids(4).map((id) => request(id)),
  )
  upstream.fault({ kind: 'status', status: 400, body: { error: { message: 'no' } } }, { times: 1 })
  const first = await job(line, files, { concurrency: 1 })
  assert.deepEqual([first.status, first.progress.succeeded, first.progress.failed], ['done', 3, 1])
  const [failed] = read(files.errors)
  assert.deepEqual([failed.custom_id, failed.error, failed.response.status_code], ['id-0', null, 400])
  assert.deepEqual(failed.response.body, { error: { message: 'no' } })
  assert.equal(upstream.requests.length, 4)
  // It stands: nothing is asked for again that is not wanted.
  await job(line, files)
  assert.equal(upstream.requests.length, 4)
  const { progress } = await job(line, files, { retryFailed: true })
  assert.deepEqual([progress.succeeded, progress.failed, progress.resumed], [4, 0, 3])
  assert.equal(upstream.requests.length, 5)
  assertOnce(files, ids(4))
})

test('a failure that may pass is tried again, as often as is said', async (t) => {
  const { upstream, line } = await start(t, { retry: false, circuitBreaker: false })
  const files = folder(t)
  write(files.input, [request('a')])
  upstream.fault({ kind: 'status', status: 503 }, { times: 1 })
  const { progress } = await job(line, files, { tries: 2 })
  assert.deepEqual([progress.succeeded, progress.retried], [1, 1])
})

test('a job goes on where another was, after a line that was cut off', async (t) => {
  const { upstream, line } = await start(t)
  const files = folder(t)
  write(
    files.input,
    ids(20).map((id) => request(id)),
  )
  await job(line, files)
  const text = readFileSync(files.output, 'utf8')
  const lines = text.split('\n')
  // Ten and a half of them.
  truncateSync(files.output, Buffer.byteLength(lines.slice(0, 10).join('\n')) + 100)
  const { progress } = await job(line, files)
  assert.deepEqual([progress.resumed, progress.succeeded], [10, 20])
  assert.equal(upstream.requests.length, 30)
  assertOnce(files, ids(20))
})

test('files that are of another input, or of no job, are refused and left as they are', async (t) => {
  const { upstream, line } = await start(t)
  const files = folder(t)
  write(
    files.input,
    ids(3).map((id) => request(id)),
  )
  await job(line, files)
  const before = readFileSync(files.output, 'utf8')
  appendFileSync(files.input, `${JSON.stringify(request('more'))}\n`)
  const changed = await rejection(job(line, files))
  assert.deepEqual([changed.reason, /another input/.test(changed.message)], ['otherInput', true])
  assert.equal(readFileSync(files.output, 'utf8'), before)
  const notes = join(files.path, 'notes.txt')
  writeFileSync(notes, 'my notes\nwithout an end')
  const foreign = await rejection(line.batchFile(files.input, notes))
  assert.deepEqual([foreign.reason, /notes\.txt .*line 1\b/.test(foreign.message)], ['otherInput', true])
  assert.equal(readFileSync(notes, 'utf8'), 'my notes\nwithout an end')
  assert.equal(upstream.requests.length, 3)
  assert.ok(!existsSync(`${notes}.job`))
})

test('a result with the name of another line is seen', async (t) => {
  const { line } = await start(t)
  const files = folder(t)
  write(
    files.input,
    ids(3).map((id) => request(id)),
  )
  await job(line, files)
  writeFileSync(files.output, readFileSync(files.output, 'utf8').replace('"id-1"', '"id-7"'))
  assert.equal((await rejection(job(line, files))).reason, 'otherInput')
})

test('an output that cannot be written is told before anything is sent', async (t) => {
  const { upstream, line } = await start(t)
  const files = folder(t)
  write(files.input, [request('a')])
  const nowhere = await rejection(line.batchFile(files.input, join(files.path, 'none', 'out.jsonl')))
  assert.deepEqual([nowhere.reason, nowhere instanceof JobError], ['output', true])
  const directory = join(files.path, 'folder.jsonl')
  mkdirSync(directory)
  assert.match((await rejection(line.batchFile(files.input, directory))).message, /folder\.jsonl cannot be written/)
  assert.match((await rejection(line.batchFile(join(files.path, 'none'), files.output))).message, /^the input .*none/)
  assert.equal((await rejection(line.batchFile(files.path, files.output))).reason, 'input')
  assert.equal(upstream.requests.length, 0)
})

test('wrong options throw at once, at the caller', async (t) => {
  const { line } = await start(t)
  for (const [options, message] of [
    [5, /^options: must be an object/],
    [{ concurrency: 0 }, /^concurrency: must be a positive integer/],
    [{ errors: 'out' }, /^errors: must be another file than the output/],
    [{ badLines: 'x' }, /^badLines: must be one of 'report', 'refuse'/],
    [{ priority: 'x' }, /^priority: must be one of/],
    [{ idempotencyKey: 'x' }, /^idempotencyKey: /],
    [{ onProgress: 5 }, /^onProgress: /],
    [{ nonsense: 1 }, /^nonsense: is not an option/],
  ]) {
    assert.throws(
      () => line.batchFile('in', 'out', options),
      (error) => {
        assert.ok(error instanceof ConfigError)
        assert.match(error.message, message)
        assert.match(error.stack, /job\.test\.mjs/)
        return true
      },
    )
  }
  assert.throws(() => line.batchFile('same', 'same'), /^ConfigError: output: must be another file than the input/)
  const error = await rejection(line.batchFile('in', 'out', { provider: 'nobody' }))
  assert.match(error.message, /^provider: is no provider/)
})

test('stop takes no further line, lets what is under way end, and the next run has the rest', async (t) => {
  const { upstream, line } = await start(t, { upstream: { latency: 50 } })
  const files = folder(t)
  write(
    files.input,
    ids(50).map((id) => request(id)),
  )
  const running = job(line, files, { concurrency: 4 })
  await until(() => upstream.requests.length >= 4)
  const result = await running.stop()
  assert.equal(result.status, 'stopped')
  assert.ok(result.progress.succeeded >= 4 && result.progress.succeeded < 50)
  assert.equal(result.progress.succeeded, upstream.requests.length)
  const { progress } = await job(line, files)
  assert.deepEqual([progress.succeeded, progress.repeated], [50, 0])
  assertOnce(files, ids(50))
})

test('what is dropped under way is counted, and told by the next run', async (t) => {
  const { upstream, line } = await start(t)
  const files = folder(t)
  write(
    files.input,
    ids(9).map((id) => request(id)),
  )
  upstream.fault({ kind: 'silence', for: 60_000 }, { times: 3 })
  const running = job(line, files, { concurrency: 3 })
  await until(() => upstream.requests.length === 3)
  const result = await running.stop({ now: true })
  assert.deepEqual([result.status, result.progress.inFlight], ['stopped', 3])
  const { progress } = await job(line, files)
  assert.deepEqual([progress.succeeded, progress.repeated], [9, 3])
})

test('a signal ends a job gently, and its reason is what the job rejects with', async (t) => {
  const { upstream, line } = await start(t, { upstream: { latency: 20 } })
  const files = folder(t)
  write(
    files.input,
    ids(100).map((id) => request(id)),
  )
  const stop = new AbortController()
  const running = job(line, files, { concurrency: 2, signal: stop.signal })
  await until(() => upstream.requests.length >= 2)
  const why = new Error('enough')
  stop.abort(why)
  assert.equal(await rejection(running), why)
  assert.equal(read(files.output).length, upstream.requests.length)
  assert.equal(await rejection(job(line, files, { signal: stop.signal })), why)
  await job(line, files)
  assertOnce(files, ids(100))
})

test('closing the client ends its job, and loses nothing', async (t) => {
  const { upstream, line } = await start(t, { upstream: { latency: 20 } })
  const files = folder(t)
  write(
    files.input,
    ids(100).map((id) => request(id)),
  )
  const running = job(line, files, { concurrency: 2 })
  await until(() => upstream.requests.length >= 2)
  await line.close()
  const { status, error } = await running
  assert.deepEqual([status, error.code], ['ended', 'ERR_CLOSED'])
  assert.equal(read(files.output).length, upstream.requests.length)
  assert.throws(() => job(line, files), ClosedError)
  const { progress } = await job(client(t, upstream), files)
  assert.deepEqual([progress.succeeded, progress.repeated], [100, 0])
})

test('a budget that is used up pauses the job, and fails no line', async (t) => {
  const money = { pricing: { 'gpt-test': { input: 1000, output: 1000 } } }
  const { upstream, line } = await start(t, { ...money, budget: { limit: 1 } })
  const files = folder(t)
  write(
    files.input,
    ids(30).map((id) => request(id)),
  )
  upstream.reply({}, { content: 'hi', usage: { prompt_tokens: 60, completion_tokens: 40, total_tokens: 100 } })
  const paused = await job(line, files, { concurrency: 1 })
  assert.equal(paused.status, 'paused')
  assert.ok(paused.error instanceof BudgetExceededError)
  assert.ok(paused.resumesAt > new Date())
  assert.deepEqual([paused.progress.failed, paused.progress.succeeded], [0, upstream.requests.length])
  assert.ok(Math.abs(paused.progress.cost - paused.progress.succeeded / 10) < 1e-9)
  const { status, progress } = await job(client(t, upstream, money), files)
  assert.deepEqual([status, progress.succeeded, progress.repeated], ['done', 30, 0])
  // Of both runs.
  assert.ok(Math.abs(progress.cost - 3) < 1e-9)
})

test('a budget that is waited for says until when', async (t) => {
  const { upstream, line } = await start(t, {
    pricing: { 'gpt-test': { input: 1000, output: 1000 } },
    budget: { limit: 0.2 },
  })
  const files = folder(t)
  write(
    files.input,
    ids(5).map((id) => request(id)),
  )
  upstream.reply({}, { content: 'hi', usage: { prompt_tokens: 60, completion_tokens: 40, total_tokens: 100 } })
  const running = job(line, files, { concurrency: 1, onBudget: 'wait' })
  const waiting = await until(() => running.progress.waiting)
  assert.deepEqual([waiting.code, waiting.until > Date.now()], ['ERR_BUDGET_EXCEEDED', true])
  assert.equal((await running.stop()).status, 'stopped')
})

test('a key that is refused ends the job in place of failing every line', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  const files = folder(t)
  write(
    files.input,
    ids(50).map((id) => request(id)),
  )
  upstream.fault({ kind: 'status', status: 401 }, { times: 1000 })
  const { status, error, progress } = await job(line, files, { concurrency: 2 })
  assert.deepEqual([status, error instanceof AuthenticationError, progress.failed], ['ended', true, 0])
  assert.ok(upstream.requests.length <= 4)
  upstream.reset()
  assert.equal((await job(line, files)).status, 'done')
  assertOnce(files, ids(50))
})

test('two jobs do not write into one output', async (t) => {
  const { upstream, line } = await start(t)
  const files = folder(t)
  write(files.input, [request('a')])
  upstream.fault({ kind: 'silence', for: 60_000 }, { times: 1 })
  const first = job(line, files)
  await until(() => upstream.requests.length === 1)
  const error = await rejection(job(line, files))
  assert.deepEqual([error.reason, /another process/.test(error.message)], ['locked', true])
  assert.equal((await first.stop({ now: true })).status, 'stopped')
})

test('the hook before attempts is asked for each of a job’s calls', async (t) => {
  const beforeAttempt = (attempt) => {
    attempt.headers['x-signed'] = String(JSON.parse(attempt.body).messages[0].content)
  }
  const { upstream, line } = await start(t, { hooks: { beforeAttempt } })
  const files = folder(t)
  write(
    files.input,
    ids(5).map((id) => request(id)),
  )
  const { progress } = await job(line, files)
  assert.equal(progress.succeeded, 5)
  assert.deepEqual(upstream.requests.map(({ headers }) => headers['x-signed']).sort(), ids(5))
})

test('a route whose function selects is told of, since no job calls it', async (t) => {
  const { line } = await start(t, { routes: { smart: { select: () => 'gpt-test' } } })
  const files = folder(t)
  write(files.input, [request('a', { model: 'smart' }), request('b')])
  const { progress } = await job(line, files)
  assert.deepEqual([progress.succeeded, progress.failed], [1, 1])
  assert.match(read(files.errors)[0].error.message, /^line 1: .*a function selects/)
})

test('progress is told while it runs, and at its end', async (t) => {
  const { line } = await start(t)
  const files = folder(t)
  write(
    files.input,
    ids(3).map((id) => request(id)),
  )
  const told = []
  const running = job(line, files, { onProgress: (progress) => told.push(progress) })
  assert.ok(['checking', 'running'].includes(running.progress.phase))
  const { progress } = await running
  assert.deepEqual(told.at(-1), progress)
  assert.equal(progress.phase, 'ended')
})

test('a process that is killed eight times ends with every line answered once', { timeout: 120_000 }, async (t) => {
  await kill(folder(t), { kills: 8, lines: 1200 })
})
