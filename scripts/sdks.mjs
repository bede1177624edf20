// The SDKs of `__test__/sdk/`, and a Node that is new enough for them: installed where they are missing or others than its lock file names.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { shellFor } from './run.mjs'

export const folder = fileURLToPath(new URL('../__test__/sdk', import.meta.url))

/** What the newest of them ask for. */
const LEAST = 22

/** The program to run the suites with. Throws where the packages cannot be installed, or there is no such Node. */
export function setUpSdks() {
  if (!isInstalled()) alone(() => isInstalled() || install())
  const own = join(folder, `node_modules/node-${process.platform}-${process.arch}/bin/node`)
  const node = Number.parseInt(process.versions.node, 10) >= LEAST ? process.execPath : own
  if (!existsSync(node)) throw new Error(`the SDKs ask for Node ${LEAST} or newer, and this is ${process.version}`)
  return node
}

/** For tests: the same as `node`, or what is `missing`; in CI nothing may be. */
export function sdksIfAny() {
  try {
    return { node: setUpSdks(), missing: false }
  } catch (error) {
    if (process.env.CI) throw error
    return { missing: error.message }
  }
}

/** The version of a package that is installed. */
export function versionOf(name) {
  return JSON.parse(readFileSync(join(folder, 'node_modules', name, 'package.json'), 'utf8')).version
}

function isInstalled() {
  const { dependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  return Object.entries(dependencies).every(([name, version]) => {
    return existsSync(join(folder, 'node_modules', name, 'package.json')) && versionOf(name) === version
  })
}

/** Does what no two processes may do at a time; who comes second waits. */
function alone(what) {
  const lock = join(folder, '.installing')
  for (let waited = 0; ; waited++) {
    try {
      mkdirSync(lock)
      break
    } catch (error) {
      if (error.code !== 'EEXIST' || waited === 600) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000)
    }
  }
  try {
    what()
  } finally {
    rmdirSync(lock)
  }
}

function install() {
  console.error('setting up: the SDKs of __test__/sdk (some 300 MB, of which Node is the most)')
  const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const where = { cwd: folder, encoding: 'utf8', shell: shellFor('npm') }
  const { error, status, stderr } = spawnSync('npm', ['ci', ...options], where)
  if (error || status !== 0)
    throw new Error(`npm ci failed in ${folder}: ${error?.message ?? stderr.trim().split('\n')[0]}`)
}
