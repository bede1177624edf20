// What becomes of the benchmark's rounds.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { coresIn } from '../../benchmark/child.mjs'
import { figuresOf, quietRounds, spread } from '../../benchmark/figures.mjs'
import { measure, quantile } from '../../benchmark/measure.mjs'

const round = (rate, others = 0) => ({
  rate,
  others,
  calls: 10,
  loop: 1,
  thread: 1,
  cpu: 1,
  p50: 1,
  p99: 1,
  upstream: 0.5,
})

test('a median is that of the middle, or of both in the middle, and the range is of all', () => {
  assert.deepEqual(spread([3, 1, 2]), { median: 2, min: 1, max: 3 })
  assert.deepEqual(spread([4, 1, 3, 2]), { median: 2.5, min: 1, max: 4 })
  assert.deepEqual(spread([7]), { median: 7, min: 7, max: 7 })
  assert.deepEqual(spread([123456, 0.00123456]), { median: 61730, min: 0.001235, max: 123500 })
})

test('a figure that the system does not tell is no figure', () => {
  assert.equal(spread([null, null]), null)
  assert.equal(spread([]), null)
})

test('what others disturbed is left out where enough is quiet, and the quietest is kept where it is not', () => {
  const rounds = [round(100, 0.9), round(300, 0), round(200, 0.3), round(310, 0.05)]
  assert.equal(quietRounds(rounds), 2)
  const { rate, calls, others } = figuresOf(rounds, 3)
  assert.deepEqual(rate, { median: 300, min: 200, max: 310 })
  assert.equal(calls, 30)
  assert.equal(others.max, 0.3)
  assert.equal(rounds[0].rate, 100, 'the rounds themselves stay as they are')
})

test('a measurement keeps so many calls under way, gives each a number of its own and counts what was wrong', async () => {
  const seen = []
  let underWay = 0
  let most = 0
  const result = await measure(
    async (number) => {
      most = Math.max(most, ++underWay)
      await new Promise((resolve) => setImmediate(resolve))
      underWay--
      seen.push(number)
      return number % 4 !== 0
    },
    { atOnce: 5, calls: 20, from: 100 },
  )
  assert.equal(most, 5)
  assert.deepEqual(
    seen.sort((a, b) => a - b),
    Array.from({ length: 20 }, (_, at) => 100 + at),
  )
  assert.equal(result.calls, 20)
  assert.equal(result.wrong, 5)
  for (const key of ['rate', 'loop', 'cpu', 'p50', 'p99']) assert.ok(result[key] > 0, key)
  assert.ok(result.p50 <= result.p99)
})

test('a call that fails fails the measurement', async () => {
  const one = async () => {
    throw new Error('refused')
  }
  await assert.rejects(measure(one, { atOnce: 2, calls: 4 }), /refused/)
})

test('quantiles are values that were measured', () => {
  const sorted = Array.from({ length: 100 }, (_, at) => at)
  assert.equal(quantile(sorted, 0.5), 50)
  assert.equal(quantile(sorted, 0.99), 99)
  assert.equal(quantile([5], 0.99), 5)
})

test('cores are read as taskset lists them', () => {
  assert.deepEqual(coresIn('0-2,5'), [0, 1, 2, 5])
  assert.deepEqual(coresIn('3'), [3])
})
