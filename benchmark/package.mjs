// What a package costs before its first call: the time to load it, and what it takes on the disk with all that it depends on.

import { execFile, spawnSync } from 'node:child_process'
import { existsSync, lstatSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ownEnvironment } from './child.mjs'
import { short, spread } from './figures.mjs'
import { versionOf } from './peers.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What is loaded and weighed; `ai` is nothing without one of its providers. */
const packages = {
  undici: ['undici'],
  axios: ['axios'],
  impit: ['impit'],
  openai: ['openai'],
  anthropic: ['@anthropic-ai/sdk'],
  ai: ['ai', '@ai-sdk/openai-compatible'],
  trunkline: ['trunkline'],
}

/** `peers`: the folder in which they are installed; `node`: the program that loads them. */
export async function measurePackages({ options, peers, node, tell }) {
  const names = Object.keys(packages).filter((name) => options.clients.includes(name))
  const rounds = options.smoke ? 1 : 15
  const times = new Map(names.map((name) => [name, []]))
  // The first round brings the files into memory.
  for (let round = options.smoke ? 0 : -1; round < rounds; round++) {
    for (const name of names) {
      tell(`loading: round ${round + 1}, ${name}`)
      const time = await loadTime(packages[name], node)
      if (round >= 0) times.get(name).push(time)
    }
  }
  tell('')
  return {
    rounds,
    rows: names.map((name) => ({
      name,
      version: name === 'trunkline' ? versionOf() : versionOf(packages[name][0]),
      load: spread(times.get(name)),
      size: short((name === 'trunkline' ? ownSize() : installedSize(peers, packages[name])) / 1e6),
    })),
  }
}

/** In a process of its own, in ms. */
async function loadTime(names, node) {
  const { stdout } = await promisify(execFile)(node, [join(root, 'benchmark/load.mjs'), ...names], {
    env: ownEnvironment(),
  })
  return Number(stdout)
}

/** Bytes of packages and all that they depend on, as npm has installed it. */
export function installedSize(folder, names) {
  const seen = new Map()
  const take = (name, from) => {
    const found = resolved(name, from, folder)
    // An optional one that is for another platform, or was not asked for.
    if (found === null || seen.has(found)) return
    seen.set(found, sizeOf(found))
    const { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta = {} } = manifest(found)
    const wanted = Object.keys(peerDependencies ?? {}).filter((peer) => !peerDependenciesMeta[peer]?.optional)
    for (const next of [...Object.keys({ ...dependencies, ...optionalDependencies }), ...wanted]) take(next, found)
  }
  for (const name of names) take(name, folder)
  return [...seen.values()].reduce((sum, size) => sum + size, 0)
}

/** As Node finds it: from the package that asks upwards. */
function resolved(name, from, top) {
  for (let at = from; at.startsWith(top); at = join(at, '..')) {
    const found = join(at, 'node_modules', name)
    if (existsSync(join(found, 'package.json'))) return found
  }
  return null
}

/** Without the packages inside, which are counted where they are asked for. */
function sizeOf(folder) {
  return readdirSync(folder).reduce((sum, name) => {
    const path = join(folder, name)
    const status = lstatSync(path)
    if (status.isDirectory()) return name === 'node_modules' ? sum : sum + sizeOf(path)
    return sum + status.size
  }, 0)
}

/** Of what would be published, and the addon of this platform where that is a package of its own. */
function ownSize() {
  const args = ['pack', '--dry-run', '--json', '--ignore-scripts']
  const { status, stdout, stderr } = spawnSync('npm', args, { cwd: root, encoding: 'utf8', env: ownEnvironment() })
  if (status !== 0) throw new Error(`npm ${args.join(' ')}: ${stderr}`)
  const [{ files }] = Object.values(JSON.parse(stdout))
  const packed = files.reduce((sum, { size }) => sum + size, 0)
  if (files.some(({ path }) => path.endsWith('.node'))) return packed
  const addons = readdirSync(root).filter((name) => name.endsWith('.node'))
  return packed + addons.reduce((sum, name) => sum + statSync(join(root, name)).size, 0)
}

function manifest(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
}
