// The pool's own benchmark: Rust over a network of memory, without Node (tests/pool-crate/benches/pool).

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Each row once with little to do, as the crate's test has been built already; or the real thing, which is built first. */
export function measurePool({ smoke }) {
  const how = smoke ? ['test', '--workspace', '--no-default-features'] : ['bench', '--package', 'trunkline-pool']
  const args = [...how, '--quiet', '--bench', 'pool', '--', '--json']
  const { status, stdout, error } = spawnSync('cargo', args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`cargo ${args.join(' ')}: ${error?.message ?? `failed (${status})`}`)
  return JSON.parse(stdout)
}
