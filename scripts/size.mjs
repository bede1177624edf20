// What an install weighs, and how long the package takes to load: `npm run size`. The addon that is built here is weighed; what is published is linked by Zig and
// looked at by `scripts/release/check.mjs`. Each load is a process of its own, beside one of what Node itself brings, one after the other.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { gzipSync } from 'node:zlib'

import { MOST } from './release/check.mjs'
import { shellFor } from './run.mjs'
import { root, setUp } from './setup.mjs'

const { values } = parseArgs({
  options: { loads: { type: 'string', default: '21' }, json: { type: 'boolean', default: false } },
})
setUp()
process.chdir(root)

const said = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
  stdio: ['ignore', 'pipe', 'pipe'],
  shell: shellFor('npm'),
})
const [{ files }] = Object.values(JSON.parse(said.toString()))
const isAddon = ({ path }) => path.endsWith('.node')
const sum = (list) => list.reduce((all, { size }) => all + size, 0)
const zipped = (list) =>
  list.reduce((all, { path }) => all + gzipSync(readFileSync(join(root, path)), { level: 9 }).length, 0)

const loads = Number(values.loads)
const load = (name) =>
  Number(
    execFileSync(
      process.execPath,
      ['-e', `const t = performance.now(); require('${name}'); console.log(performance.now() - t)`],
      { encoding: 'utf8' },
    ),
  )
const times = { trunkline: [], 'node:https': [] }
// The first of each reads from the disk.
for (const name of Object.keys(times)) load(name)
for (let n = 0; n < loads; n++) for (const name of Object.keys(times)) times[name].push(load(name))

const figures = {
  bytes: {
    face: sum(files.filter((file) => !isAddon(file))),
    addon: sum(files.filter(isAddon)),
    all: sum(files),
    most: MOST.installed,
  },
  zipped: { face: zipped(files.filter((file) => !isAddon(file))), addon: zipped(files.filter(isAddon)) },
  files: files.length,
  dependencies: Object.keys(JSON.parse(readFileSync('package.json', 'utf8')).dependencies ?? {}).length,
  load: Object.fromEntries(Object.entries(times).map(([name, all]) => [name, summary(all)])),
}

if (values.json) console.log(JSON.stringify(figures, null, 2))
else {
  const mb = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`
  const ms = ({ median, least, most }) => `${median.toFixed(1)} ms (${least.toFixed(1)} to ${most.toFixed(1)})`
  console.log(
    `installed  ${mb(figures.bytes.all)} of ${mb(MOST.installed)}: JavaScript, typings and papers ${mb(figures.bytes.face)}, addon ${mb(figures.bytes.addon)}`,
  )
  console.log(`zipped     ${mb(figures.zipped.face + figures.zipped.addon)}`)
  console.log(`files      ${figures.files}, dependencies ${figures.dependencies}`)
  console.log(
    `load       ${ms(figures.load.trunkline)} of 10 ms, in ${loads} processes; node:https ${ms(figures.load['node:https'])}`,
  )
}

function summary(all) {
  const sorted = all.toSorted((a, b) => a - b)
  return { median: sorted[sorted.length >> 1], least: sorted[0], most: sorted.at(-1) }
}
