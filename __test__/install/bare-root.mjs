// A root file system as a small container has it: Node, the libraries that it needs, and a project. No Rust, no compiler, no shell.

import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * Runs a script of a project in such a root, where this system lets us; else with a PATH that leads nowhere. Says which it was.
 *
 * @param {string} folder an empty one @param {string} project @param {string[]} args for Node
 * @returns {{ how: 'a root of its own' | 'an empty PATH', status: number | null, stdout: string, stderr: string }}
 */
export function runBare(folder, project, args) {
  const how = canChangeRoot() ? 'a root of its own' : 'an empty PATH'
  if (how === 'an empty PATH') return { how, ...runWithoutPath(project, args) }
  const root = join(folder, 'root')
  // Where Node lies outside, so that a wrapper's own node is not found instead.
  const node = realpathSync(process.execPath)
  for (const file of [node, ...librariesOf(node), ...NAMES]) {
    try {
      mkdirSync(join(root, dirname(file)), { recursive: true })
      copyFileSync(realpathSync(file), join(root, file))
    } catch (error) {
      // What answers names differs from system to system; what Node needs does not.
      if (!NAMES.includes(file)) throw error
    }
  }
  cpSync(project, join(root, 'app'), { recursive: true, verbatimSymlinks: true })
  const own = process.getuid() === 0 ? [] : ['--map-root-user']
  const result = spawnSync('unshare', [...own, '--mount', '--root', root, '--wd', '/app', node, ...args], {
    env: { HOME: '/', PATH: dirname(node) },
    encoding: 'utf8',
    timeout: 60_000,
  })
  return { how, ...result }
}

/** How names are looked up, which glibc reads when it is asked. */
const NAMES = ['/etc/nsswitch.conf', '/etc/hosts']

/** With nothing in reach but Node itself: the next best thing. */
export function runWithoutPath(project, args) {
  return spawnSync(process.execPath, args, {
    cwd: project,
    env: { HOME: project, PATH: '' },
    encoding: 'utf8',
    timeout: 60_000,
  })
}

/** `unshare --root` needs Linux, and rights or namespaces of users. */
function canChangeRoot() {
  if (process.platform !== 'linux') return false
  const own = process.getuid() === 0 ? [] : ['--map-root-user']
  return spawnSync('unshare', [...own, '--mount', '--root', '/', '/bin/true']).status === 0
}

/** The paths that the system's own loader says. */
function librariesOf(program) {
  const said = execFileSync('ldd', [program], { encoding: 'utf8' })
  return [...said.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path]) => path)
}
