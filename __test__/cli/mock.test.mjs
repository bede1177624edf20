// The stand-in in the foreground.

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { client, REQUEST, rejection, until } from '../support.mjs'
import { begin, trunkline } from './run.mjs'

/** It runs, as soon as it has said where. */
async function running(t, ...args) {
  const mock = begin(['mock', ...args])
  t.after(() => mock.child.kill('SIGKILL'))
  const [url] = await until(() => /https?:\/\/127\.0\.0\.1:\d+/.exec(mock.said()))
  return { ...mock, url }
}

test('it says where it is, answers, prints a line for each request, and ends well when interrupted', async (t) => {
  const { child, ended, said, url } = await running(t)
  assert.ok(said().includes(`export OPENAI_BASE_URL=${url}/v1 OPENAI_API_KEY=any`))
  const line = client(t, url)
  assert.equal((await line.chat(REQUEST)).choices[0].finish_reason, 'stop')
  await line.stream(REQUEST).finalText()
  await until(() =>
    /^\d\d:\d\d:\d\d\.\d{3} {2}POST \/v1\/chat\/completions {2}gpt-test {2}stream {2}connection 1$/m.test(said()),
  )
  child.kill('SIGINT')
  const { code, out, err } = await ended
  assert.deepEqual([code, err], [0, ''])
  assert.match(out, /2 requests over 1 connection\n$/)
  assert.doesNotMatch(out, /sk-test-key/)
})

test('--json: a line that says where it is, and one for each request, without keys', async (t) => {
  const { child, ended, url } = await running(t, '--json')
  await fetch(`${url}/v1beta/models/m:generateContent?key=sk-secret`, { method: 'POST', body: '{}' })
  child.kill('SIGTERM')
  const { code, out } = await ended
  assert.equal(code, 0)
  const [place, { request }, ...more] = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.deepEqual([place.url, place.baseURL, place.pid, more], [url, `${url}/v1`, child.pid, []])
  assert.deepEqual(
    [request.method, request.path, request.number],
    ['POST', '/v1beta/models/m:generateContent?key=…', 1],
  )
})

test('--tls --ca-out: what is needed to trust it; --no-http2; --quiet', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-mock-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'ca.pem')
  const { said, url } = await running(t, '--tls', '--ca-out', file, '--no-http2', '--quiet')
  const before = said()
  const line = client(t, { url, ca: readFileSync(file, 'utf8') })
  const { meta } = await line.chat(REQUEST).withMeta()
  assert.equal(meta.connection.protocol, 'h1')
  assert.ok(before.includes(`NODE_EXTRA_CA_CERTS=${file}`))
  assert.doesNotMatch(said(), /POST/)
})

test('--rate answers 429 beyond it', async (t) => {
  const { url } = await running(t, '--rate', '1')
  const line = client(t, url, { retry: false, rateLimit: { learn: false } })
  await line.chat(REQUEST)
  const error = await rejection(Promise.all([line.chat(REQUEST), line.chat(REQUEST)]))
  assert.equal(error.code, 'ERR_RATE_LIMIT')
})

test('a port that is taken ends with 1, and says so', async (t) => {
  const { url } = await running(t)
  const { code, out, err } = await trunkline(['mock', '--port', new URL(url).port])
  assert.deepEqual([code, out], [1, ''])
  assert.match(err, /trunkline: .*port/)
})
