// Installs the packages of a release as a user would, into an empty project, and has them answer through the stand-in: `node scripts/release/try.mjs [FOLDER]`.
// It needs Node and npm alone: no network, no Rust, none of this repository's dependencies.

import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { shelf } from '../../__test__/install/shelf.mjs'
import { shellFor } from '../run.mjs'
import { packages, root, tarballsOf } from './targets.mjs'

const folder = resolve(process.argv[2] ?? packages)
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

const project = mkdtempSync(join(tmpdir(), 'trunkline-try-'))
const registry = await shelf(tarballsOf(version).map(({ file }) => join(folder, file)))
try {
  writeFileSync(join(project, 'package.json'), '{ "name": "try", "version": "1.0.0", "private": true }')
  writeFileSync(join(project, '.npmrc'), `registry=${registry.url}\n`)
  const sources = [
    join(root, '__test__/matrix/use.cjs'),
    ...['esm.mjs', 'common.cjs'].map((file) => join(root, '__test__/matrix/projects/scripts', file)),
  ]
  for (const file of sources) cpSync(file, join(project, file.replace(/^.*[\\/]/, '')))
  await does('npm', [
    'install',
    'trunkline',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    `--cache=${join(project, 'cache')}`,
  ])
  const addons = readdirSync(join(project, 'node_modules')).filter((name) => name.startsWith('trunkline-'))
  for (const file of ['esm.mjs', 'common.cjs']) await does(process.execPath, [file])
  console.log(`${process.platform} ${process.arch}, Node ${process.version}: ${addons.join(', ')} answers`)
} finally {
  await registry.close()
  rmSync(project, { recursive: true, force: true })
}

async function does(command, args) {
  const status = await new Promise((done, fail) => {
    const child = spawn(command, args, {
      cwd: project,
      stdio: 'inherit',
      shell: shellFor(command),
    })
    child.once('error', fail)
    child.once('exit', done)
  })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ended with ${status}`)
}
