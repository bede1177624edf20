// How many instructions the parts of a call take, counted by callgrind: a figure that a busy machine does not move. Held against those that were
// kept, since what a change adds to each call is seen by nobody otherwise; `--write` keeps what was counted.
//
// Counts are those of a processor's kind and of a compiler: they are kept with both, and held against them alone.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { root } from './setup.mjs'

/** What may be more. Less is never wrong. */
const MORE = 0.03
/** Whole calls over loopback, in which how many end in one turn is a matter of chance. */
const MORE_CALLS = 0.08

const { values: options } = parseArgs({ options: { write: { type: 'boolean', default: false } } })
const kept = join(root, 'benchmark/results/instructions.json')

process.chdir(root)
if (spawnSync('valgrind', ['--version']).status !== 0) {
  console.error('valgrind is missing (a package of most systems)')
  process.exit(1)
}
const compiler = spawnSync('rustc', ['--version'], { encoding: 'utf8' }).stdout.trim()
const machine = `${process.arch}, ${compiler}`
const before = existsSync(kept) ? JSON.parse(readFileSync(kept, 'utf8')) : { machine: null, parts: {} }
const parts = {}

const benches = built('parts', 'call_cost')
for (const name of output(benches.parts, ['names']).trim().split('\n')) {
  parts[name] = instructions(benches.parts, (times) => ['count', name, String(times)], 100, 1100)
}
parts['whole-call'] = instructions(benches.call_cost, (times) => [String(times)], 300, 2300)

const comparable = before.machine === machine
if (!comparable && before.machine !== null) console.log(`what was kept is of another machine (${before.machine})`)
const rows = Object.entries(parts).map(([part, now]) => {
  const was = comparable ? before.parts[part] : undefined
  const grown = was !== undefined && now > was * (1 + (part === 'whole-call' ? MORE_CALLS : MORE))
  return {
    part,
    instructions: now,
    kept: was ?? '–',
    change: was ? `${((now / was - 1) * 100).toFixed(1)} %` : '–',
    grown,
  }
})
console.table(rows)
if (options.write) writeFileSync(kept, `${JSON.stringify({ machine, parts }, null, 1)}\n`)
else if (rows.some(({ grown }) => grown)) process.exitCode = 1

/** The programs of these benches. @param {string[]} names */
function built(...names) {
  const args = [
    'bench',
    '--no-default-features',
    '--no-run',
    '--message-format=json',
    ...names.flatMap((name) => ['--bench', name]),
  ]
  const { status, stdout } = spawnSync('cargo', args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 28,
  })
  if (status !== 0) process.exit(1)
  const messages = stdout.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []))
  const programs = messages.filter(({ executable, target }) => executable && names.includes(target.name))
  return Object.fromEntries(programs.map(({ executable, target }) => [target.name, executable]))
}

/** Of one time, from the difference of two counts, in which what comes before and after is the same. */
function instructions(program, args, few, many) {
  const [less, more] = [few, many].map((times) => counted(program, args(times)))
  return Math.round((more - less) / (many - few))
}

function counted(program, args) {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-instructions-'))
  try {
    const file = join(folder, 'out')
    output('valgrind', ['--tool=callgrind', `--callgrind-out-file=${file}`, program, ...args])
    return Number(/^(?:totals|summary): (\d+)/m.exec(readFileSync(file, 'utf8'))[1])
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function output(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  if (status === 0) return stdout
  console.error(`${command} ${args.join(' ')}: ${stderr}`)
  process.exit(1)
}
