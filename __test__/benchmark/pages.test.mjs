// What the repository shows of a run agrees with the run, and is made from it alone.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { drawChart } from '../../benchmark/chart.mjs'
import { judge } from '../../benchmark/goals.mjs'
import { pageOf, pages, readmeOf, shownIn, withResults } from '../../benchmark/pages.mjs'
import { doubts, manner } from '../../benchmark/report.mjs'
import { client, report, workload } from './report.mjs'

const read = (name) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')
const latest = JSON.parse(read('benchmark/results/latest.json'))

for (const [name, textOf] of Object.entries(pages)) {
  test(`${name} shows the figures of benchmark/results/latest.json`, () => {
    assert.equal(shownIn(read(name)), textOf(latest), 'npm run bench -- --from benchmark/results/latest.json --write')
  })
}

test('the chart is drawn from benchmark/results/latest.json', () => {
  assert.equal(read('benchmark/results/chart.svg'), drawChart(latest))
})

test('the goals that are shown are those of the figures', () => {
  assert.deepEqual(latest.goals, JSON.parse(JSON.stringify(judge(latest))))
})

const sample = report(
  [
    workload('chat', [client('undici', 1000), client('openai', 100), client('trunkline all on', 4000, { loop: 5.5 })]),
    workload('one', [client('undici', 500, { p50: 0.25 })]),
  ],
  { packages: { rounds: 15, rows: [{ name: 'undici', version: '8.0.0', load: { median: 42 }, size: 1.5 }] } },
)

test('results take the place of those before them, and of nothing else', () => {
  const mark = (text) =>
    `<!-- What follows is written by \`npm run bench -- --write\`. -->\n${text}<!-- That was it. -->\n`
  const other = '<!-- What follows is written by another. -->\nkept\n<!-- That was it. -->\n'
  const page = `before\n${other}${mark('old\n')}after\n${other}end\n`
  assert.equal(withResults(page, 'new\n'), `before\n${other}${mark('new\n')}after\n${other}end\n`)
  assert.equal(shownIn(page), 'old\n')
  assert.throws(() => withResults('a page\n', 'new\n'), /no place for results/)
})

test('the README has a row for each figure, with what was not measured left open', () => {
  const lines = readmeOf(sample).split('\n')
  const row = (start) => lines.find((line) => line.startsWith(start))
  assert.equal(
    row('| the row chat | JS thread µs |'),
    '| the row chat | JS thread µs | 1,000 | – | – | – | 10,000 | – | – | 5.50 |',
  )
  assert.equal(row('|  | calls/s |'), '|  | calls/s | 1,000 | – | – | – | 100 | – | – | 4,000 |')
  assert.equal(row('| the row one | p50 ms |'), '| the row one | p50 ms | 0.25 | – | – | – | – | – | – | – |')
  assert.equal(row('| the package | ms to load |'), '| the package | ms to load | 42.0 | – | – | – | – | – | – | – |')
})

test('the page has every client of every workload, and what was aimed at', () => {
  const page = pageOf({ ...sample, goals: judge(sample) })
  assert.match(page, /^\| openai 1\.0\.0 \| 10,000 \| 100 \| .* \| 50\.0–200 \|$/m)
  assert.match(
    page,
    /^\| the row chat: calls\/s \| trunkline all on \| 4\.00 × undici \(4,000 to 1,000\) \| ≥ 3\.00 × \| met \|$/m,
  )
  assert.match(
    page,
    /^\| the row chat: JS thread µs \| trunkline all on \| 5\.50 \(processor: 250\) \| ≤ 5\.00 \| not met \|$/m,
  )
})

test('the chart has a bar for each client, as long as its figure, and colours for light and dark', () => {
  const chart = drawChart(sample)
  const bars = [...chart.matchAll(/<rect class="(ours|theirs)" x="(\d+)" y="[\d.]+" width="([\d.]+)"/g)]
  const rates = bars.filter((_, at) => at % 2 === 1).map(([, kind, , width]) => [kind, Number(width)])
  // From the busiest thread to the freest; `one` is not drawn.
  assert.deepEqual(rates, [
    ['theirs', 7.3],
    ['theirs', 73],
    ['ours', 292],
  ])
  assert.match(chart, /prefers-color-scheme: dark/)
  assert.match(chart, /Node 22\.0\.0, 2 cores, 2026-01-02; undici 1\.0\.0, openai 1\.0\.0/)
})

test('the chart escapes what XML would read', () => {
  const odd = report([workload('chat', [client('a & b <c>', 10)], { title: 'x < y & z' })])
  assert.match(drawChart(odd), /x &lt; y &amp; z/)
})

test('a run says when the upstream was the limit, or near it', () => {
  const said = (upstream) => doubts(report([workload('chat', [client('undici', 100, { upstream })])])).join('\n')
  assert.match(said(0.95), /The upstream was the limit \(!\) of undici \(the row chat\)/)
  assert.match(said(0.7), /could not have served half as much again to undici \(the row chat\)/)
  assert.match(said(0.6), /it could have served at least half as much again in every row/)
})

test('a run says when it was not pinned, and when others were at work', () => {
  const rows = [workload('chat', [client('undici', 100, { others: 0.5 })])]
  assert.match(doubts(report(rows)).join('\n'), /Other processes took up to 50 % of a core/)
  const pinned = (upstream, clients) => manner(report(rows, { pinned: { upstream, clients } })).join('\n')
  assert.match(pinned(null, null), /Neither clients nor upstream were pinned/)
  assert.match(pinned('1', null), /pinned to one core; the clients ran where the system put them/)
  assert.match(pinned('3', '0,1,2'), /The upstream had one core to itself, the clients the others/)
})
