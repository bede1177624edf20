// `npm run bench:job`: a job's rate beside that of the client alone, in turns, against a stand-in in a process of its own; and what memory a
// job takes. `-- --calls N` (each way, in all), `--rounds N`, `--concurrency N`, `--lines N` (of the file that is only checked), `--out FILE`.

import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { shareCores, start } from './child.mjs'
import { write } from './job-input.mjs'

const GOAL = 0.8
const MOST_MB = 150

const { values } = parseArgs({
  options: {
    calls: { type: 'string', default: '1000000' },
    rounds: { type: 'string', default: '5' },
    concurrency: { type: 'string', default: '64' },
    lines: { type: 'string', default: '10000000' },
    out: { type: 'string' },
  },
})
const [calls, rounds, concurrency, lines] = ['calls', 'rounds', 'concurrency', 'lines'].map((name) =>
  Number(values[name]),
)

const folder = mkdtempSync(join(tmpdir(), 'trunkline-bench-job-'))
const files = { input: join(folder, 'in.jsonl'), output: join(folder, 'out.jsonl') }
const children = []
const cores = shareCores()
const child = (script, on) => {
  const started = start(script, { cores: cores && on(cores) })
  children.push(started)
  return started
}
const count = (n) => Math.round(n).toLocaleString('en')
const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)]

try {
  const upstream = child('upstream.mjs', ({ upstream }) => upstream)
  const { url } = await upstream.ask('start', { record: false }, [[{ model: 'short' }, { content: 'Yes.' }]])
  const each = Math.ceil(calls / rounds)
  await write(files.input, each)
  const own = () => child('job-client.mjs', ({ client }) => client)
  const [bare, job] = [own(), own()]
  for (const client of [bare, job]) {
    await client.ask('open', url, concurrency)
    await client.ask('bare', 2000)
  }
  const found = { bare: [], job: [] }
  for (let round = 0; round < rounds; round++) {
    const turns = [
      async () => found.bare.push(await bare.ask('bare', each)),
      async () => found.job.push(await job.ask('job', files.input, files.output)),
    ]
    for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn()
    const [one, other] = [found.bare.at(-1), found.job.at(-1)]
    console.log(
      `round ${round + 1}: client ${count(one.rate)}/s, job ${count(other.rate)}/s: ${(other.rate / one.rate).toFixed(2)}`,
    )
  }
  const peak = await job.ask('peak')
  await write(files.input, lines, true)
  const checker = own()
  await checker.ask('open', url, concurrency)
  const checked = await checker.ask('check', files.input, files.output)
  const result = {
    at: new Date().toISOString().slice(0, 10),
    node: process.version,
    cores: availableParallelism(),
    calls: each * rounds,
    rounds,
    concurrency,
    bare: { rate: median(found.bare.map(({ rate }) => rate)), cpu: median(found.bare.map(({ cpu }) => cpu)) },
    job: { rate: median(found.job.map(({ rate }) => rate)), cpu: median(found.job.map(({ cpu }) => cpu)) },
    ratio: median(found.job.map(({ rate }, round) => rate / found.bare[round].rate)),
    peak,
    check: { lines, bytes: statSync(files.input).size, seconds: checked.seconds, peak: await checker.ask('peak') },
  }
  console.log()
  console.log(`${count(result.calls)} calls each way in ${rounds} rounds, ${concurrency} at a time, medians:`)
  console.log(`  client  ${count(result.bare.rate)}/s, ${result.bare.cpu.toFixed(1)} µs of processor each`)
  console.log(`  job     ${count(result.job.rate)}/s, ${result.job.cpu.toFixed(1)} µs of processor each`)
  console.log(`  ratio   ${result.ratio.toFixed(2)} (goal: ${GOAL})`)
  console.log(`  memory  ${count(peak)} MB at most while it ran; ${count(result.check.peak)} MB while`)
  console.log(
    `          ${count(lines)} lines were checked in ${checked.seconds.toFixed(1)} s (goal: below ${MOST_MB} MB)`,
  )
  if (values.out) writeFileSync(values.out, `${JSON.stringify(result, null, 2)}\n`)
  if (result.ratio < GOAL || peak > MOST_MB || result.check.peak > MOST_MB) process.exitCode = 1
} finally {
  await Promise.all(children.map((started) => started.stop()))
  rmSync(folder, { recursive: true, force: true })
}
