// Pooled against not, held against what the upstream counted.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { MockUpstream } from 'trunkline/testing'
import { root } from '../support.mjs'
import { begin, json, trunkline, without } from './run.mjs'

async function mock(t, options) {
  const upstream = await MockUpstream.start(options)
  t.after(() => upstream.close())
  return upstream
}

test('both ways make as many requests, the one over few connections and the other over one for each', async (t) => {
  const upstream = await mock(t)
  const args = [
    'bench',
    `${upstream.url}/v1`,
    '--requests',
    '9',
    '--concurrency',
    '2',
    '--model',
    'm',
    '--key-env',
    'KEY',
  ]
  const { code, data } = await json(args, { env: { KEY: 'sk-bench-1' } })
  assert.equal(code, 0)
  assert.equal(upstream.requests.length, 18)
  for (const { path, body, headers } of upstream.requests) {
    assert.deepEqual([path, body.model, headers.authorization], ['/v1/chat/completions', 'm', 'Bearer sk-bench-1'])
  }
  assert.deepEqual([data.pool.answered, data.single.answered, data.single.handshakes], [9, 9, 9])
  assert.ok(data.pool.handshakes <= 2)
  assert.equal(upstream.connections.opened, 9 + data.pool.handshakes)
  assert.ok(data.pool.p50 <= data.pool.p99 && data.single.p50 <= data.single.p99 && data.pool.callsPerSecond > 0)
  assert.doesNotMatch(JSON.stringify(data), /sk-bench/)
})

test('--mock: a stand-in of its own, and a table for people', async () => {
  const { code, out, err } = await trunkline(['bench', '--mock', '--requests', '8'])
  assert.deepEqual([code, err], [0, ''])
  assert.match(out, /^ +p50 +p99 +calls\/s +connections$/m)
  assert.match(out, /^ {2}a new connection each .* 8$/m)
  assert.match(out, /^A call through the pool takes \d+ ms less in the middle, \d+ % of it\.$/m)
})

test('a body from a file, at a path, and a GET without one', async (t) => {
  const upstream = await mock(t)
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-bench-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'body.json')
  writeFileSync(file, '{"model":"e","input":"x"}')
  const posted = await json(['bench', `${upstream.url}/v1`, '--requests', '2', '--body', file, '--path', '/embeddings'])
  assert.equal(posted.code, 0)
  assert.deepEqual(upstream.requests[0].body, { model: 'e', input: 'x' })
  upstream.reset()
  const got = await json(['bench', `${upstream.url}/v1`, '--requests', '2'])
  assert.deepEqual([got.code, upstream.requests[0].method, upstream.requests[0].path], [0, 'GET', '/v1/models'])
  writeFileSync(file, '{oops')
  assert.equal((await trunkline(['bench', upstream.url, '--body', file])).code, 2)
})

test('answers that are errors, and requests that fail, are counted and end with 1', async (t) => {
  const upstream = await mock(t, { keys: { 'sk-a': {} } })
  const refused = await json(['bench', `${upstream.url}/v1`, '--requests', '3', '--model', 'm'])
  assert.deepEqual([refused.code, refused.data.pool.statuses, refused.data.single.refused], [1, { 401: 3 }, 3])
  await upstream.close()
  const gone = await trunkline(['bench', `${upstream.url}/v1`, '--requests', '3'])
  assert.equal(gone.code, 1)
  assert.match(gone.out, /✗ through the pool: 3 × ECONNREFUSED\n✗ a new connection each: 3 × ECONNREFUSED/)
})

test('elsewhere than on this machine nothing is sent without --yes', async () => {
  const { code, out, err } = await trunkline(['bench', 'https://provider.invalid/v1', '--requests', '5'])
  assert.deepEqual([code, out], [2, ''])
  assert.match(err, /10 real requests go to https:\/\/provider\.invalid .*may be billed\. Say --yes/)
  const yes = await json(['bench', 'https://provider.invalid/v1', '--requests', '1', '--yes'])
  assert.deepEqual([yes.code, yes.data.pool.failed, yes.data.single.failed], [1, 1, 1])
})

test('on a terminal it asks before it sends anything elsewhere', { skip: without('script') }, async () => {
  const line = `${process.execPath} ${join(root, 'bin/trunkline.js')} bench https://provider.invalid/v1 --requests 1`
  const answered = (input) => begin(['-qec', line, '/dev/null'], { command: 'script', before: [], input }).ended
  for (const no of ['n\n', '\n', '\u0004']) {
    const { code, out } = await answered(no)
    assert.equal(code, 1)
    assert.match(out, /Go on\? \[y\/N\][\s\S]*nothing was sent/)
  }
  assert.match((await answered('y\n')).out, /through the pool: 1 × /)
})
