// Measures this package beside its peers: `npm run bench -- --help` says how it is asked.
//
// For each workload every client has a process of its own, and all of them take turns, round by round, against one
// upstream in a further process, which has a core that it is pinned to. The ratios within a run are the result: absolute figures vary
// from machine to machine.
//
// `package` and `pool` are no workloads: what it costs to load and to keep the packages, and what the pool itself costs, measured in Rust.

import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { drawChart } from './chart.mjs'
import { shareCores } from './child.mjs'
import { judge } from './goals.mjs'
import { machineFacts } from './machine.mjs'
import { knownNodes, nodeOf } from './nodes.mjs'
import { readOptions, USAGE, UsageError } from './options.mjs'
import { measurePackages } from './package.mjs'
import { writePages } from './pages.mjs'
import { peersOf, setUpPeers } from './peers.mjs'
import { measurePool } from './pool.mjs'
import { goalTable, packageTable, poolTable, summary, table } from './report.mjs'
import { measureItself, measureWorkload, openStaff } from './rounds.mjs'
import { openStage } from './stage.mjs'
import { workloads } from './workloads.mjs'

const ids = [...workloads.map(({ id }) => id), 'package', 'pool']
const names = [...new Set(workloads.flatMap(({ clients }) => clients))]

try {
  const options = readOptions(process.argv.slice(2), { ids, names, nodes: Object.keys(knownNodes()) })
  if (options.help) console.log(`${USAGE}\n\nWorkloads: ${ids.join(', ')}.\nClients: ${names.join(', ')}.`)
  else if (options.from === undefined) await measureAndKeep(options)
  else showAgain(options)
} catch (error) {
  console.error(error instanceof UsageError ? error.message : error)
  process.exitCode = 1
}

async function measureAndKeep(options) {
  const report = await measureAll(options)
  const wrong = report.workloads.flatMap(({ clients }) => clients).filter((client) => !client.right)
  keep(report, { ...options, write: options.write && wrong.length === 0 })
  for (const { name } of wrong) console.error(`wrong answers: ${name}`)
  if (wrong.length > 0) process.exitCode = 1
  else if (options.smoke) {
    const rows = report.workloads.reduce((sum, { clients }) => sum + clients.length, 0)
    const of = [`${rows} rows of ${report.workloads.length} workloads`]
    of.push(`${report.packages?.rows.length ?? 0} packages`, `${report.pool?.rows.length ?? 0} rows of the pool`)
    console.log(`smoke: ${of.join(', ')} ran, every answer was right`)
  }
}

async function measureAll(options) {
  const { only, seconds, smoke } = options
  const node = nodeOf(options.node)
  const version = execFileSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim()
  const peers = setUpPeers(peersOf(version))
  const cores = shareCores()
  // On two cores a client of several threads would have one for all of them, which it has nowhere else.
  const ownCores = cores && (options.pin || cores.count > 2) ? cores.client : null
  const report = {
    date: new Date().toISOString().slice(0, 10),
    node: version,
    machine: machineFacts(),
    pinned: { upstream: cores?.upstream ?? null, clients: ownCores },
    seconds: smoke ? null : seconds,
    itself: null,
    workloads: [],
    packages: null,
    pool: null,
    goals: [],
  }
  await measureClients(report, options, { node, cores: ownCores, upstreamCores: cores?.upstream })
  if (only.includes('package')) {
    report.packages = await measurePackages({ options, peers, node, tell: progress })
    console.log(packageTable(report.packages))
  }
  if (only.includes('pool')) {
    progress('the pool (the first time, a minute or two to build it)')
    report.pool = measurePool({ smoke })
    progress('')
    console.log(poolTable(report.pool))
  }
  report.goals = judge(report)
  return report
}

/** Into the report: every workload, and what the bench itself costs. */
async function measureClients(report, options, { node, cores, upstreamCores }) {
  const { only, smoke } = options
  const stage = openStage({ cores: upstreamCores, smoke })
  let staff
  try {
    // All that speak TLS have certificates of one authority.
    staff = openStaff({ cores, node, env: smoke ? (await stage.upstream('tls')).env : null })
    const wanted = workloads.filter(
      ({ id, clients }) => only.includes(id) && clients.some((name) => options.clients.includes(name)),
    )
    for (const workload of wanted) {
      const measured = await measureWorkload(workload, { options, stage, staff, tell: progress })
      report.workloads.push(measured)
      console.log(table(measured))
    }
    if (only.includes('chat')) report.itself = await measureItself({ options, staff })
  } finally {
    await staff?.close()
    await stage.close()
  }
}

function keep(report, options) {
  if (!options.smoke && report.goals.length > 0) console.log(goalTable(report.goals))
  if (report.workloads.length > 0) console.log(summary(report))
  // What is measured in part or in haste does not replace what the README shows, nor does what nobody asked to show.
  const results = new URL('results/tmp/', import.meta.url)
  mkdirSync(results, { recursive: true })
  writeFileSync(new URL('latest.json', results), `${JSON.stringify(report, null, 2)}\n`)
  writeFileSync(new URL('chart.svg', results), drawChart(report))
  if (options.write) writePages(report)
  else if (!options.smoke) console.log('Kept in benchmark/results/tmp/; --write shows it in the README.')
}

function showAgain(options) {
  const report = JSON.parse(readFileSync(options.from, 'utf8'))
  for (const workload of report.workloads) console.log(table(workload))
  if (report.packages) console.log(packageTable(report.packages))
  if (report.pool) console.log(poolTable(report.pool))
  const judged = { ...report, goals: judge(report) }
  console.log(goalTable(judged.goals))
  console.log(summary(judged))
  if (options.write) writePages(judged)
}

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}
