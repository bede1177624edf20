import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { bound, drift } from '../benchmark/soak/judge.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

test('of calls and streams with aborts and faults nothing is left: no socket, file, handle, task or call', async () => {
  const env = { ...process.env }
  delete env.NODE_TEST_CONTEXT
  const args = ['--expose-gc', 'benchmark/soak/main.mjs', '--calls', '20000', '--streams', '2000']
  const { code, out, err } = await new Promise((resolve) =>
    execFile(process.execPath, args, { cwd: root, env, timeout: 300_000 }, (error, out, err) =>
      resolve({ code: error ? (error.code ?? error.signal) : 0, out, err }),
    ),
  )
  assert.equal(code, 0, out + err)
  assert.match(out, /nothing was left\n$/)
  // And something was done.
  for (const end of [/\d{5} call ok/, /\d{4} stream ok/, /\d+ call AbortError/, /\d+ call ERR_TIMEOUT/])
    assert.match(out, end)
})

const samples = (...values) => values.map((tasks, at) => ({ at: at * 10, tasks }))

test('what grows little by little drifts, and an outlier does not', () => {
  const grown = drift(samples(10, 11, 12, 13, 14), { figure: 'tasks', most: 3 })
  assert.deepEqual([grown.drift, grown.each, grown.level, grown.met], [4, 0.1, 12, false])
  assert.equal(drift(samples(10, 10, 10, 90, 10, 10), { figure: 'tasks', most: 0 }).met, true)
  // What falls is no leak.
  assert.equal(drift(samples(10, 9, 8, 7), { figure: 'tasks', most: 0 }).met, true)
  assert.equal(drift(samples(100, 101, 102), { figure: 'tasks', share: 0.05 }).met, true)
  assert.equal(drift(samples(100, 104, 108), { figure: 'tasks', share: 0.05 }).met, false)
})

test('what the system does not tell is not judged', () => {
  assert.equal(drift(samples(null, null, null, null), { figure: 'tasks', most: 0 }).met, null)
  assert.equal(bound(samples(null, null), { figure: 'tasks', most: 0 }).met, null)
  assert.equal(bound(samples(0, 1), { figure: 'tasks', most: 0 }).met, false)
})
