// The benchmark as a whole: that it runs, never how long anything took.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { setUpPeers } from '../benchmark/peers.mjs'
import { workloads } from '../benchmark/workloads.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

function bench(...args) {
  const env = { ...process.env }
  delete env.NODE_TEST_CONTEXT
  return new Promise((resolve) =>
    execFile(
      process.execPath,
      ['benchmark/main.mjs', ...args],
      // The pool's bench may have to be built first.
      { cwd: root, env, timeout: 600_000 },
      (error, out, err) => resolve({ code: error ? (error.code ?? error.signal) : 0, out, err }),
    ),
  )
}

test('the bench runs every row, and every client gives the right answers', async (t) => {
  try {
    setUpPeers()
  } catch (error) {
    if (process.env.CI) throw error
    return t.skip(`the peers cannot be installed: ${error.message}`)
  }
  const { code, out, err } = await bench('--smoke')
  assert.equal(code, 0, out + err)
  const rows = workloads.reduce((sum, { clients }) => sum + clients.length, 0)
  const ran = new RegExp(
    `smoke: ${rows} rows of 6 workloads, 7 packages, 25 rows of the pool ran, every answer was right\n$`,
  )
  assert.match(out, ran)

  const results = `${root}benchmark/results/tmp`
  const report = JSON.parse(readFileSync(`${results}/latest.json`, 'utf8'))
  for (const { id, clients } of report.workloads) {
    for (const { name, calls, sockets } of clients) assert.ok(calls > 0 && sockets > 0, `${name}, ${id}`)
  }
  for (const { name, load, size } of report.packages.rows) assert.ok(load.median > 0 && size > 0, name)
  for (const { title, best, median } of report.pool.rows) assert.ok(best > 0 && median > 0, title)
  assert.ok(report.goals.length > 0)
  assert.match(readFileSync(`${results}/chart.svg`, 'utf8'), /^<svg [\s\S]*<\/svg>\n$/)

  const again = await bench('--from', `${results}/latest.json`)
  assert.equal(again.code, 0, again.err)
  assert.match(again.out, new RegExp(`Goals: \\d+ of ${report.goals.length} met`))
})

test('what the bench is asked wrongly it refuses in one line', async () => {
  const { code, out, err } = await bench('--only', 'chat,nonsense')
  assert.equal(code, 1)
  assert.equal(out, '')
  assert.match(err, /^--only: there is no nonsense; there are chat, chat-tls, .*\n$/)
})

test('the bench says how it is asked', async () => {
  const { code, out } = await bench('--help')
  assert.equal(code, 0)
  assert.match(out, /--smoke[\s\S]*Workloads: chat, .*\nClients: undici, /)
})
