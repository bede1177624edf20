import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { judge } from '../benchmark/scale/judge.mjs'
import { putBetween } from '../benchmark/scale/page.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

function scale(...args) {
  const env = { ...process.env }
  delete env.NODE_TEST_CONTEXT
  return new Promise((resolve) =>
    execFile(
      process.execPath,
      ['benchmark/scale/main.mjs', ...args],
      { cwd: root, env, timeout: 300_000 },
      (error, out, err) => resolve({ code: error ? (error.code ?? error.signal) : 0, out, err }),
    ),
  )
}

test('every series of the scale bench runs, and its answers are right and in order', async () => {
  const { code, out, err } = await scale('--smoke')
  assert.equal(code, 0, out + err)
  assert.match(out, /smoke: 22 points of 11 series ran, every answer was right\n$/)

  const results = `${root}/benchmark/results/tmp`
  const { series } = JSON.parse(readFileSync(`${results}/scale.json`, 'utf8'))
  for (const { id, points } of series) {
    for (const { x, rate, thread, cpu } of points) assert.ok(rate > 0 && thread > 0 && cpu > 0, `${id} at ${x}`)
  }
  const remembered = series.filter(({ points }) => points.every(({ memory }) => typeof memory === 'number'))
  assert.deepEqual(
    remembered.map(({ id }) => id),
    ['in-flight-http2', 'in-flight-http1', 'waiting', 'origins', 'tenants', 'streams'],
  )
  assert.match(readFileSync(`${results}/scale.svg`, 'utf8'), /^<svg [\s\S]*<\/svg>\n$/)
})

test('the scale bench refuses a series that it does not have', async () => {
  const { code, err } = await scale('--only', 'streams,nonsense')
  assert.equal(code, 1)
  assert.match(err, /--only: there is no nonsense; there are in-flight-http2, /)
})

const points = (...values) => values.map((cpu, at) => ({ x: 10 ** at, cpu }))

test('a cost is flat if it never rises by more than half above any before it, and falls as it likes', () => {
  const flat = { figure: 'cpu', shape: 'flat', within: 1.5 }
  assert.deepEqual(judge(flat, points(90, 20, 30)), { met: true, growth: 1.5, within: 1.5 })
  assert.equal(judge(flat, points(20, 10, 16)).met, false)
  // A little each time is as much in the end.
  assert.equal(judge(flat, points(10, 13, 17)).met, false)
})

test('a cost is linear if it is flat for each of what grows, and within its bound for each', () => {
  const linear = { figure: 'cpu', shape: 'linear', within: 1.5 }
  assert.equal(judge(linear, points(50, 60, 600)).met, true)
  assert.equal(judge(linear, points(1, 10, 200)).met, false)
  assert.equal(judge({ ...linear, most: 7 }, points(5, 60, 600)).met, true)
  assert.equal(judge({ ...linear, most: 5 }, points(5, 60, 600)).met, false)
  // What is lost in small numbers is not looked at.
  assert.equal(judge({ ...linear, from: 10, most: 7 }, points(99, 60, 600)).met, true)
})

test('a bound is of one point, and nothing is judged that was not measured', () => {
  const bound = { figure: 'cpu', shape: 'bound', at: 10, most: 5 }
  assert.equal(judge(bound, points(9, 5, 9)).met, true)
  assert.equal(judge(bound, points(1, 6, 1)).met, false)
  assert.equal(judge(bound, points(1)).met, null)
  assert.equal(judge({ figure: 'cpu', shape: 'flat', within: 1.5 }, points(1)).met, null)
  assert.equal(judge({ figure: 'memory', shape: 'linear', within: 1.5, most: 3 }, points(1, 2)).met, null)
})

test('a command writes between its own marks of a page, and nowhere else', () => {
  const page = 'a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n'
  assert.equal(putBetween(page, 'x', 'new'), page.replace('old', 'new'))
  assert.equal(putBetween(page, 'y', 'new'), page.replace('<!-- y -->', '<!-- y -->\nnew'))
  assert.throws(() => putBetween(page, 'z', 'new'), /<!-- z -->/)
})
