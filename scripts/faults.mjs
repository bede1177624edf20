// The sixteen faults of providers at full length, over real sockets: npm run test:faults -- [--only silence,reset]
//
// They are in __test__/faults/table.mjs, with what each of them demands. Each is met between three pairs of protocols, by calls that show nothing
// before they are whole (buffered) and by readers of a stream (live). All run side by side: it takes as long as the longest.

import { availableParallelism, cpus } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { root, setUp } from './setup.mjs'

setUp()
process.chdir(root)
for (const name of Object.keys(process.env)) if (/^(https?|all|no)_proxy$/i.test(name)) delete process.env[name]

const load = (file) => import(pathToFileURL(join(root, '__test__', 'faults', file)).href)
const { FAULTS } = await load('table.mjs')
const { WAYS } = await load('stage.mjs')
const { performAll } = await load('perform.mjs')

const { values } = parseArgs({ options: { only: { type: 'string' } } })
const names = values.only?.split(',') ?? FAULTS.map(({ name }) => name)
const unknown = names.find((name) => !FAULTS.some((fault) => fault.name === name))
if (unknown !== undefined) {
  console.error(`--only: there is no ${unknown}; there are ${FAULTS.map(({ name }) => name).join(', ')}`)
  process.exit(1)
}

console.log(`${cpus()[0]?.model ?? 'unknown'}, ${availableParallelism()} cores, Node ${process.version}\n`)
const faults = FAULTS.filter(({ name }) => names.includes(name))
// As many as there are: most of the time they wait.
const results = await performAll({ speed: 1, faults, atOnce: 512 })

const rows = faults.map(({ name }) => {
  const own = results.filter(({ fault }) => fault === name)
  const isLive = ({ way }) => WAYS[way].isLive === true
  return [name, kept(own.filter((run) => !isLive(run))), kept(own.filter(isLive)), attempts(own), seconds(own)]
})
const all = [['fault', 'buffered', 'live', 'attempts', 'seconds'], ...rows]
const widths = all[0].map((_, column) => Math.max(...all.map((row) => row[column].length)))
for (const row of all)
  console.log(
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd(),
  )

const broken = results.flatMap(({ fault, pair, way, broken }) =>
  broken.map((what) => `${fault}; ${pair}; ${way}: ${what}`),
)
console.log(
  '\nattempts: at the primary + at the fall-back, of each way of asking; seconds: from the call to its end, of the outage from its end until the',
)
console.log(
  'circuit had closed. live: recover: restart, continue, and none, which ends with what was seen where something was.',
)
for (const what of broken) console.error(`BROKEN  ${what}`)
const rescued = faults.filter(({ name }) => !results.some(({ fault, broken }) => fault === name && broken.length > 0))
console.log(`\n${rescued.length} of ${faults.length}`)
process.exitCode = rescued.length === faults.length ? 0 : 1

/** How many runs kept every promise. */
function kept(runs) {
  return `${runs.filter(({ broken }) => broken.length === 0).length}/${runs.length}`
}

/** The same ones once, with who has them where they differ. */
function attempts(runs) {
  const ways = grouped(runs)
  if (ways.size === 1) return runs[0].attempts
  if (runs.length === ways.size || ways.size > 4) return span(runs.map(({ attempts }) => attempts))
  const list = [...ways].sort((one, other) => other[1].length - one[1].length)
  const who = (runs) => [...new Set(runs.map(({ way }) => way))].join(', ')
  return list.map(([attempts, runs], n) => (n === 0 ? attempts : `${attempts} (${who(runs)})`)).join(', ')
}

function grouped(runs) {
  const groups = new Map()
  for (const run of runs) groups.set(run.attempts, [...(groups.get(run.attempts) ?? []), run])
  return groups
}

function span(texts) {
  const sorted = [...texts].sort((one, other) => one.localeCompare(other, 'en', { numeric: true }))
  return `${sorted[0]} to ${sorted.at(-1)}`
}

function seconds(runs) {
  const taken = runs.map(({ seconds }) => seconds)
  const [least, most] = [Math.min(...taken), Math.max(...taken)].map((time) => time.toFixed(1))
  return least === most ? least : `${least} to ${most}`
}
