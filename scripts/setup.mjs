// Sets up whatever is missing, and nothing that is there: the development dependencies, and the addon built from the
// sources as they are. Run by every other script, so that each is the first command a fresh clone needs.

import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from './run.mjs'

export const root = fileURLToPath(new URL('..', import.meta.url))

export function setUp({ addon: wanted = true } = {}) {
  const installed = newest([join(root, 'node_modules/.package-lock.json')])
  if (installed < newest([join(root, 'package-lock.json')])) {
    console.error('setting up: npm install')
    // Not `npm ci`: it fails where the lock file was written on a machine whose registry lacks a package of another platform.
    run('npm', ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund'], { quiet: true })
  }
  if (!wanted) return
  const addon = readdirSync(root).filter((name) => name.endsWith('.node'))
  const built = existsSync(join(root, 'native.d.ts')) ? newest(addon.map((name) => join(root, name))) : 0
  const sources = ['Cargo.toml', 'Cargo.lock', 'build.rs', ...sourcesIn('src')].map((path) => join(root, path))
  if (built < newest(sources)) {
    console.error('setting up: building the addon (a minute or two the first time)')
    build()
  }
}

export function build() {
  const cli = join(root, 'node_modules/@napi-rs/cli/dist/cli.js')
  const options = ['build', '--platform', '--release', '--no-js', '--dts', 'native.d.ts']
  run(process.execPath, [cli, ...options], { quiet: true })
}

/** The time of the newest of these files; 0 where there is none. */
function newest(paths) {
  return Math.max(0, ...paths.filter((path) => existsSync(path)).map((path) => statSync(path).mtimeMs))
}

function sourcesIn(folder) {
  const entries = readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath.slice(root.length), entry.name))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setUp()
