// Cassettes: what a client is answered with from a file, by every way of asking, and in every kind of process.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { inspect, promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { CassetteMissError, Trunkline, TrunklineError } from '../index.js'
import { cassette, MockUpstream } from '../testing.js'
import { rejection } from './support.mjs'

const run = promisify(execFile)
const chat = (content) => ({ model: 'm', messages: [{ role: 'user', content }] })

/** A folder for tapes that goes with the test. */
function folder(t) {
  const path = mkdtempSync(join(tmpdir(), 'trunkline-tapes-'))
  t.after(() => rmSync(path, { recursive: true }))
  return path
}

/** An upstream, and a client that records from it. */
async function recording(t, path, options) {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  return { upstream, line: lineOf(t, upstream.url, cassette(path, { mode: 'record' }), options) }
}

function lineOf(t, url, tape, options) {
  const line = new Trunkline({ baseURL: `${url}/v1`, apiKey: 'sk-0123456789', cassette: tape, ...options })
  t.after(() => line.close())
  return line
}

const interactions = (path) => JSON.parse(readFileSync(path, 'utf8')).interactions

function assertNoNetwork(line) {
  const { pool } = line.metrics()
  assert.deepEqual([pool.opened, pool.connections.connecting, pool.origins.length], [0, 0, 0])
}

test('every way of asking is recorded, and replayed when nobody is there any more', async (t) => {
  const path = join(folder(t), 'tape.json')
  const ways = async (line) => {
    const pieces = []
    for await (const text of line.stream(chat('stream')).text()) pieces.push(text)
    const events = []
    for await (const { data } of line.events('/chat/completions', { ...chat('events'), stream: true }))
      events.push(data)
    return {
      whole: await line.chat(chat('whole')),
      pieces: pieces.join(''),
      final: await line.stream(chat('final')).final(),
      events,
      embedded: await line.embed({ model: 'e', input: ['a', 'b'] }),
      posted: await line.post('/chat/completions', chat('post')),
      got: await line.get('/models'),
      batch: (await line.batch([chat('x'), chat('y')])).map(({ value }) => value),
      fetched: await (await line.fetch(`${line.url}/v1/models`)).json(),
    }
  }
  const { upstream, line } = await recording(t, path)
  line.url = upstream.url
  const recorded = await ways(line)
  await line.close()
  await upstream.close()
  const replayed = lineOf(t, upstream.url, cassette(path, { mode: 'replay' }))
  replayed.url = upstream.url
  await replayed.warmup({ connections: 3 })
  assert.deepEqual(await ways(replayed), recorded)
  assertNoNetwork(replayed)
  const { meta } = await replayed.chat(chat('whole')).withMeta()
  assert.equal(meta.connection, null)
  assert.equal(readFileSync(path, 'utf8').includes('sk-0123456789'), false)
})

test('a miss is an error of its own, which shows the nearest request and no prompt in its message', async (t) => {
  const path = join(folder(t), 'tape.json')
  const { upstream, line } = await recording(t, path)
  await line.chat({ ...chat('the house has a secret'), temperature: 0 })
  // Its pool would be shared.
  await line.close()
  const replayed = lineOf(t, upstream.url, cassette(path, { mode: 'replay' }))
  const error = await rejection(replayed.chat({ ...chat('the house has a garden'), temperature: 1 }))
  assert.ok(error instanceof CassetteMissError && error instanceof TrunklineError)
  assert.deepEqual(
    [error.code, error.retryable, error.billed, error.attempts.length, error.provider],
    ['ERR_CASSETTE_MISS', false, 'no', 1, 'default'],
  )
  assert.equal(
    error.message,
    `no recording of POST /v1/chat/completions in ${path}; the nearest of 1 is interactions[0], POST /v1/chat/completions, where ` +
      'body.messages[0].content differs from character 17 on; body.temperature has 0 and not 1',
  )
  assert.equal(error.file, path)
  assert.deepEqual(error.differences[1], { path: 'body.temperature', recorded: 0, requested: 1 })
  assert.equal(error.request.body.messages[0].content, 'the house has a garden')
  assert.equal(error.nearest.body.temperature, 0)
  assert.doesNotMatch(inspect(error), /'?request'?: \{/)
  assert.match(error.stack, /cassette\.test\.mjs/)
  const stream = await rejection(replayed.stream(chat('what?')).final())
  assert.equal(stream.code, 'ERR_CASSETTE_MISS')
  const fetched = await rejection(replayed.fetch('http://127.0.0.1:49151/x'))
  assert.ok(fetched instanceof TypeError && fetched.cause instanceof CassetteMissError)
  assertNoNetwork(replayed)
})

test('the openai package over fetch is recorded and replayed: chats, streams, files, errors', async (t) => {
  const { default: OpenAI } = await import('openai')
  const path = join(folder(t), 'tape.json')
  const ways = async (line, baseURL) => {
    const openai = new OpenAI({ baseURL, apiKey: 'sk-0123456789', fetch: line.fetch })
    const whole = await openai.chat.completions.create(chat('hello'))
    const pieces = []
    const stream = await openai.chat.completions.create({ ...chat('hello'), stream: true })
    for await (const chunk of stream) pieces.push(chunk.choices[0]?.delta?.content)
    const file = new File(['{"a":1}\n'], 'x.jsonl')
    const { filename, bytes } = await openai.files.create({ file, purpose: 'batch' }, { maxRetries: 0 })
    const limited = await rejection(openai.chat.completions.create(chat('too much'), { maxRetries: 0 }))
    return { whole, pieces, upload: [filename, bytes], limited: [limited.status, limited.code] }
  }
  const { upstream, line } = await recording(t, path)
  upstream.reply(
    { messages: [{ content: 'too much' }] },
    { status: 429, json: { error: { code: 'rate_limit_exceeded' } } },
  )
  const recorded = await ways(line, `${upstream.url}/v1`)
  assert.deepEqual(
    [recorded.upload, recorded.limited],
    [
      ['x.jsonl', 8],
      [429, 'rate_limit_exceeded'],
    ],
  )
  await line.close()
  await upstream.close()
  assert.match(interactions(path)[2].request.text, /^--boundary\r\n/)
  const replayed = lineOf(t, upstream.url, cassette(path, { mode: 'replay' }))
  assert.deepEqual(await ways(replayed, `${upstream.url}/v1`), recorded)
  assertNoNetwork(replayed)
})

test('a wait that an answer named is not waited for by those who have it from fetch', async (t) => {
  const path = join(folder(t), 'tape.json')
  const { upstream, line } = await recording(t, path)
  upstream.reply({ path: '/x' }, { status: 429, json: {}, headers: { 'retry-after': '30' } })
  const url = `${upstream.url}/x`
  assert.equal((await line.fetch(url)).headers.get('retry-after'), '30')
  assert.equal(interactions(path)[0].response.headers['retry-after'], '30')
  const replayed = lineOf(t, upstream.url, cassette(path, { mode: 'replay' }))
  assert.equal((await replayed.fetch(url)).headers.get('retry-after'), '0')
})

test('a body that comes in pieces, and an answer that is no text, are recorded as well', async (t) => {
  const path = join(folder(t), 'tape.json')
  const { upstream, line } = await recording(t, path)
  upstream.reply({ path: '/echo' }, { raw: { body: 'ça va', contentType: 'text/plain' } })
  const ask = async (line) => {
    const body = new Blob(['one ', 'two']).stream()
    const response = await line.fetch(`${upstream.url}/echo`, { method: 'POST', body, duplex: 'half' })
    return response.text()
  }
  assert.equal(await ask(line), 'ça va')
  assert.equal(upstream.requests.at(-1).body, 'one two')
  await upstream.close()
  assert.equal(await ask(lineOf(t, upstream.url, cassette(path, { mode: 'replay' }))), 'ça va')
  assert.deepEqual(interactions(path)[0].request.text, 'one two')
})

test('the mode is what the code says, or the environment, or by CI', async (t) => {
  const path = join(folder(t), 'tape.json')
  const saved = { TRUNKLINE_CASSETTE: process.env.TRUNKLINE_CASSETTE, CI: process.env.CI }
  t.after(() => {
    for (const [name, value] of Object.entries(saved)) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  })
  for (const [own, ci, mode, expected] of [
    ['', '', undefined, 'auto'],
    ['', 'false', undefined, 'auto'],
    ['', 'true', undefined, 'replay'],
    ['record', 'true', undefined, 'record'],
    ['record', 'true', 'auto', 'auto'],
  ]) {
    Object.assign(process.env, { TRUNKLINE_CASSETTE: own, CI: ci })
    const tape = cassette(pathToFileURL(path), { mode })
    assert.deepEqual([tape.mode, tape.path], [expected, path])
  }
  process.env.TRUNKLINE_CASSETTE = 'rewind'
  assert.throws(() => cassette(path), { name: 'ConfigError', message: /^TRUNKLINE_CASSETTE: must be one of/ })
})

test('wrong options and files are refused by name', (t) => {
  const path = join(folder(t), 'tape.json')
  for (const [make, message] of [
    [() => cassette(), /^path: must be a string or a URL, got undefined$/],
    [() => cassette(''), /^path: .* an empty string$/],
    [() => cassette(new URL('http://a.test/x')), /^path: must be the path or the file: URL/],
    [() => cassette(path, { mode: 'rec' }), /^mode: must be one of 'replay', 'record', 'auto', got 'rec'$/],
    [() => cassette(path, { redact: 'x' }), /^redact: must be an array/],
    [() => cassette(path, { redact: ['ok', '$.a['] }), /^redact\[1\]: is no JSON path/],
    [() => cassette(path, { hide: [] }), /^hide: is not an option; there are mode, redact$/],
    [() => new Trunkline({ cassette: { path, mode: 'replay' } }), /^cassette: must be what cassette\(\) .* an object$/],
    [() => new Trunkline({ cassette: path }), /^cassette: must be what cassette\(\) .* a string$/],
  ]) {
    assert.throws(make, { name: 'ConfigError', code: 'ERR_CONFIG', message })
  }
  writeFileSync(path, '{\n  "cassette": 1,\n')
  assert.throws(() => cassette(path), {
    name: 'ConfigError',
    message: `cassette: ${path}, line 3, column 0: the file breaks off`,
  })
  assert.equal(readFileSync(path, 'utf8'), '{\n  "cassette": 1,\n')
})

test('worker threads record into one file, and replay it', async (t) => {
  const path = join(folder(t), 'tape.json')
  const { upstream, line } = await recording(t, path)
  await line.chat(chat('of the main thread'))
  const code = `
    const { workerData, parentPort } = require('node:worker_threads')
    const { Trunkline } = require(${JSON.stringify(join(import.meta.dirname, '../index.js'))})
    const { cassette } = require(${JSON.stringify(join(import.meta.dirname, '../testing.js'))})
    const { path, url, mode, number } = workerData
    const line = new Trunkline({ baseURL: url + '/v1', apiKey: 'k', cassette: cassette(path, { mode }) })
    const chat = (content) => line.chat({ model: 'm', messages: [{ role: 'user', content }] })
    Promise.all([chat('of worker ' + number), chat('of worker ' + number + ' too')]).then((answers) => {
      parentPort.postMessage(answers.map((answer) => answer.choices[0].message.content))
    })`
  const workers = (mode) =>
    Promise.all(
      [1, 2, 3].map(async (number) => {
        const worker = new Worker(code, { eval: true, workerData: { path, url: upstream.url, mode, number } })
        const exited = new Promise((resolve) => worker.once('exit', resolve))
        const [answers] = await Promise.all([new Promise((resolve) => worker.once('message', resolve)), exited])
        return answers
      }),
    )
  const recorded = await workers('record')
  assert.equal(interactions(path).length, 7)
  await upstream.close()
  assert.deepEqual(await workers('replay'), recorded)
})

test('what a process has recorded is in the file when it has ended, closed or not', async (t) => {
  const path = join(folder(t), 'tape.json')
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const code = `
    import { Trunkline } from ${JSON.stringify(join(import.meta.dirname, '../index.js'))}
    import { cassette } from ${JSON.stringify(join(import.meta.dirname, '../testing.js'))}
    const line = new Trunkline({ baseURL: '${upstream.url}/v1', apiKey: 'k', cassette: cassette(${JSON.stringify(path)}, { mode: 'auto' }) })
    const chat = (n) => line.chat({ model: 'm', messages: [{ role: 'user', content: 'number ' + n }] })
    await Promise.all(Array.from({ length: 200 }, (_, n) => chat(n)))
    process.exit()`
  await run(process.execPath, ['--input-type=module', '-e', code])
  assert.equal(interactions(path).length, 200)
})

test('a client may be made and closed without a file, and none is made', async (t) => {
  const path = join(folder(t), 'tape.json')
  for (const mode of ['replay', 'auto', 'record']) {
    const line = new Trunkline({ baseURL: 'http://127.0.0.1:49151/v1', cassette: cassette(path, { mode }) })
    await line.close()
  }
  assert.throws(() => readFileSync(path), { code: 'ENOENT' })
  const line = lineOf(t, 'http://127.0.0.1:49151', cassette(path, { mode: 'replay' }))
  const error = await rejection(line.chat(chat('hello')))
  assert.match(error.message, /which has none at all; record it with the mode 'auto' or 'record'$/)
})

test('close() tells that a file could not be written, and closes all the same', async (t) => {
  const path = join(folder(t), 'tape.json')
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const line = new Trunkline({ baseURL: `${upstream.url}/v1`, cassette: cassette(path, { mode: 'auto' }) })
  await line.chat(chat('hello'))
  writeFileSync(path, 'mine')
  // Whether it is written now or a little later, who closes is told.
  await line.chat(chat('again')).catch((error) => assert.equal(error.code, 'ERR_CONFIG'))
  const error = await rejection(line.close())
  assert.match(error.message, /tape\.json, line 1, column 1: is no JSON/)
  assert.equal(readFileSync(path, 'utf8'), 'mine')
  assert.equal((await rejection(line.chat(chat('hello')))).code, 'ERR_CLOSED')
})
