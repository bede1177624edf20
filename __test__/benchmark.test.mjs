import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

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

test('the bench runs every row, and every client gives the right answers', async () => {
  const { code, out, err } = await bench('--smoke')
  assert.equal(code, 0, out + err)
  assert.match(out, /smoke: 31 rows of 6 workloads and 25 of the pool ran, every answer was right\n$/)

  const results = `${root}/benchmark/results/tmp`
  const { workloads, pool } = JSON.parse(readFileSync(`${results}/latest.json`, 'utf8'))
  for (const { id, clients } of workloads) {
    for (const { name, calls, sockets } of clients) assert.ok(calls > 0 && sockets > 0, `${name}, ${id}`)
  }
  for (const { title, best, median } of pool.rows) assert.ok(best > 0 && median > 0, title)
  assert.match(readFileSync(`${results}/chart.svg`, 'utf8'), /^<svg [\s\S]*<\/svg>\n$/)
})

test('the bench refuses a workload that it does not have', async () => {
  const { code, err } = await bench('--only', 'chat,nonsense')
  assert.equal(code, 1)
  assert.match(err, /--only: there is no nonsense; there are chat, /)
})
