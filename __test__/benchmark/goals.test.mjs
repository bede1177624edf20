// Whether the benchmark's goals are met: from figures alone.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { goals, judge } from '../../benchmark/goals.mjs'
import { goalTable } from '../../benchmark/report.mjs'
import { workloads } from '../../benchmark/workloads.mjs'
import { client, report, workload } from './report.mjs'

const OURS = 'trunkline all on'

test('a ratio is met at its bound and not below', () => {
  const goal = { row: 'chat', figure: 'rate', sign: '≥', than: ['undici'], times: 3, ours: OURS }
  const at = (rate) =>
    judge(report([workload('chat', [client('undici', 100), client(OURS, rate)])]), [goal]).map(({ met }) => met)
  assert.deepEqual(at(300), [true])
  assert.deepEqual(at(299), [false])
})

test('less is better where less is better', () => {
  const goal = { row: 'one', figure: 'p99', sign: '≤', than: ['undici'], times: 0.5, ours: OURS }
  const at = (p99) =>
    judge(report([workload('one', [client('undici', 100, { p99: 4 }), client(OURS, 100, { p99 })])]), [goal])
  assert.equal(at(2)[0].met, true)
  assert.equal(at(2.1)[0].met, false)
  assert.equal(at(1)[0].measured, 0.25)
})

test('a peer of several rows is held by its best, whichever way is better', () => {
  const rows = [client('undici', 100, { p99: 1 }), client('undici on one socket', 400, { p99: 3 }), client(OURS, 800)]
  const than = ['undici', 'undici on one socket']
  const judged = judge(report([workload('chat-h2', rows)]), [
    { row: 'chat-h2', figure: 'rate', sign: '≥', than, times: 8, ours: OURS },
    { row: 'chat-h2', figure: 'p99', sign: '≤', than, times: 1, ours: OURS },
  ])
  assert.deepEqual(
    judged.map(({ base, measured, met }) => [base.name, measured, met]),
    [
      ['undici on one socket', 2, false],
      ['undici', 2, false],
    ],
  )
})

test('a value is held against the median, or the figure where there is one alone', () => {
  const judged = judge(report([workload('paced', [client(OURS, 100, { loop: 300, memory: 111 })])]), [
    { row: 'paced', figure: 'loop', sign: '≤', value: 300, ours: OURS },
    { row: 'paced', figure: 'memory', sign: '≤', value: 110, ours: OURS },
  ])
  assert.deepEqual(
    judged.map(({ reached, met }) => [reached, met]),
    [
      [300, true],
      [111, false],
    ],
  )
})

test('what was not measured is neither met nor missed', () => {
  assert.deepEqual(judge(report([])), [])
  const alone = report([workload('chat', [client(OURS, 100)])])
  assert.deepEqual(
    judge(alone).map(({ figure }) => figure),
    ['loop', 'cpu'],
    'without its peers, only what needs none',
  )
})

test('every goal is of a row and of clients that are measured', () => {
  const known = new Map(workloads.map(({ id, clients }) => [id, clients]))
  known.set('package', ['trunkline'])
  for (const { row, ours, than = [], figure } of goals) {
    for (const name of [ours, ...than]) assert.ok(known.get(row)?.includes(name), `${row}, ${figure}: ${name}`)
  }
})

test('the table says what was reached, what was wanted and how many are met', () => {
  const judged = judge(report([workload('chat', [client('undici', 100), client(OURS, 250, { loop: 4, cpu: 10 })])]))
  const told = goalTable(judged)
  assert.match(told, /Goals: 2 of 4 met/)
  assert.match(told, /the row chat: calls\/s .* 2\.50 × undici \(250 to 100\) +≥ 3\.00 × +not met/)
  assert.match(told, /the row chat: JS thread µs .* 4\.00 \(processor: 4,000\) +≤ 5\.00 +met/)
})
