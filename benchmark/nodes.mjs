// The Node that is measured: the one at hand, or one of another version, of which npm has a program for each platform.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const runtimes = join(root, '__test__/matrix/projects/runtimes/package.json')

/** The versions that the package is tested in, by their majors. */
export function knownNodes() {
  const pinned = Object.entries(JSON.parse(readFileSync(runtimes, 'utf8')).optionalDependencies)
  return Object.fromEntries(
    pinned.flatMap(([name, version]) =>
      name.startsWith('node-') ? [[name.slice('node-'.length), version.slice(version.lastIndexOf('@') + 1)]] : [],
    ),
  )
}

/** The program of a major version; where it is not the one at hand, it is installed into target/bench/. */
export function nodeOf(major) {
  if (major === undefined || Number.parseInt(process.versions.node, 10) === Number(major)) return process.execPath
  const version = knownNodes()[major]
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
  const folder = join(root, 'target/bench', `node-${version}`)
  const program = join(folder, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
  if (!existsSync(program)) {
    console.error(`setting up: Node ${version}`)
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n')
    const options = ['--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
    const { error, status, stderr } = spawnSync('npm', ['install', ...options, `${name}@${version}`], {
      cwd: folder,
      encoding: 'utf8',
    })
    if (error || status !== 0)
      throw new Error(`Node ${version} cannot be installed: ${error?.message ?? stderr.trim()}`)
  }
  return program
}
