// What must hold of the code before it is committed: formats, lints, and what comes in with a dependency.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { run } from './run.mjs'
import { root, setUp } from './setup.mjs'

setUp()
process.chdir(root)

const biome = join('node_modules', '@biomejs', 'biome', 'bin', 'biome')
const clippy = ['clippy', '--quiet', '--workspace', '--all-targets']
const steps = [
  ['cargo', ['fmt', '--all', '--check']],
  ['cargo', [...clippy, '--', '-D', 'warnings']],
  ['cargo', [...clippy, '--no-default-features', '--', '-D', 'warnings']],
  [process.execPath, [biome, 'ci', '--error-on-warnings']],
]
const hasDeny = spawnSync('cargo', ['deny', '--version']).status === 0
if (hasDeny) steps.push(['cargo', ['deny', '--log-level', 'error', 'check', 'bans', 'licenses', 'sources']])

for (const [command, args] of steps) {
  console.log(`── ${[command === process.execPath ? 'node' : command, ...args].join(' ')}`)
  run(command, args)
}
if (!hasDeny) {
  console.log('!! SKIPPED: cargo deny is missing (cargo install cargo-deny --locked)')
  if (process.env.CI) process.exit(1)
}
