// Empty projects with the packed package in them, each made from its folder in `projects/` and installed as a user would, in
// `target/matrix/`. What has been installed stays until its lock file, or the package, is another.

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../support.mjs'

const sources = join(root, '__test__/matrix/projects')
const installed = join(root, 'target/matrix')

/**
 * A project in which programs can be run: `run(command, args)`. Its tools come from the registry the first time; without one, this
 * throws.
 */
export function project(name) {
  made.set(name, made.get(name) ?? make(name))
  return made.get(name)
}
const made = new Map()

/** Projects of programs alone: the package is not in them. */
const PROGRAMS = ['runtimes', 'installers']

/** What a project's package.json pins, by the name under which it is there. */
export function pinned(name) {
  const { dependencies, devDependencies, optionalDependencies } = read(join(sources, name, 'package.json'))
  const all = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies })
  return Object.fromEntries(all.map(([name, version]) => [name, version.slice(version.lastIndexOf('@') + 1)]))
}

async function make(name) {
  const folder = join(installed, name)
  await installTools(name, folder)
  if (!PROGRAMS.includes(name)) await installPackage(folder)
  cpSync(join(sources, name), folder, { recursive: true })
  cpSync(join(root, '__test__/matrix/use.cjs'), join(folder, 'use.cjs'))
  return { folder, run: (command, args, options) => run(command, args, { cwd: folder, ...options }) }
}

async function installTools(name, folder) {
  const lock = join(sources, name, 'package-lock.json')
  const mark = join(folder, '.tools')
  const wanted = existsSync(lock) ? digest(lock) : 'none'
  if (existsSync(mark) && readFileSync(mark, 'utf8') === wanted) return
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const file of [join(sources, name, 'package.json'), lock, join(root, '.npmrc')]) {
    if (existsSync(file)) cpSync(file, join(folder, file.slice(file.lastIndexOf('/') + 1)))
  }
  if (wanted !== 'none') await npm(folder, ['install', '--no-save', '--ignore-scripts', '--prefer-offline'])
  writeFileSync(mark, wanted)
}

async function installPackage(folder) {
  tarball ??= pack()
  const { file, sum } = await tarball
  const mark = join(folder, 'node_modules/.trunkline')
  if (existsSync(mark) && readFileSync(mark, 'utf8') === sum) return
  rmSync(mark, { force: true })
  rmSync(join(folder, 'node_modules/trunkline'), { recursive: true, force: true })
  await npm(folder, ['install', '--no-save', '--ignore-scripts', '--prefer-offline', file])
  writeFileSync(mark, sum)
}
let tarball

/** The file that `npm publish` would send, which has the addon of this machine in it. */
export async function pack() {
  mkdirSync(installed, { recursive: true })
  const said = await npm(root, ['pack', '--json', '--ignore-scripts', '--pack-destination', installed])
  const [{ filename, shasum }] = Object.values(JSON.parse(said))
  return { file: join(installed, filename), sum: shasum }
}

async function npm(cwd, args) {
  const { code, stdout, stderr } = await run('npm', [...args, '--no-audit', '--no-fund'], { cwd, limit: 300_000 })
  if (code !== 0) throw new Error(`npm ${args.join(' ')}: ${stderr}`)
  return stdout
}

/** Runs a program to its end, which it must come to by itself. */
export function run(command, args, { cwd, env = {}, limit = 120_000 }) {
  const clean = { ...process.env, NO_COLOR: '1', NEXT_TELEMETRY_DISABLED: '1', ...env }
  // A child of the test runner would report to it; the rest is of whoever started the tests.
  for (const name of Object.keys(clean)) {
    if (/^(NODE_TEST_CONTEXT|NODE_OPTIONS|FORCE_COLOR|(TRUNKLINE|OPENAI|ANTHROPIC)_.*)$/.test(name) && !(name in env)) {
      delete clean[name]
    }
  }
  return new Promise((resolve) => {
    const options = { cwd, env: clean, timeout: limit, killSignal: 'SIGKILL', maxBuffer: 1 << 26 }
    execFile(command, args, options, (error, stdout, stderr) => {
      const code = error ? (error.code ?? error.signal) : 0
      resolve({ code, stdout: stdout.trim(), stderr: stderr.trim(), all: `${stdout}\n${stderr}`.trim() })
    })
  })
}

function digest(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex')
}

function read(file) {
  return JSON.parse(readFileSync(file, 'utf8'))
}
