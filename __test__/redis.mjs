// A Redis of a test's own.

import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, takesConnections } from './ports.mjs'
import { until } from './support.mjs'

const PLACES = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/local/sbin']
const program = PLACES.map((place) => join(place, 'redis-server')).find((file) => existsSync(file))

/** Why a test is skipped; false where all is there. CI skips nothing. */
export const withoutRedis = program || process.env.CI ? false : 'SKIPPED: redis-server is not installed'
if (withoutRedis) console.log(withoutRedis)

/** A Redis that ends with the test, and can end before it: `end()`, `begin()`. `within`: a command that runs others elsewhere; `more`: lines of its configuration. */
export async function redis(t, { host = '127.0.0.1', within = [], more = '' } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'trunkline-redis-'))
  const port = within.length > 0 ? 6379 : await freePort()
  const file = join(dir, 'redis.conf')
  writeFileSync(file, `port ${port}\nbind ${host}\nprotected-mode no\nsave ""\ndir ${dir}\n${more}\n`)
  const [command, ...args] = [...within, program ?? 'redis-server', file]
  let server
  const self = {
    port,
    url: `redis://${host}:${port}`,
    async begin() {
      server = spawn(command, args, { stdio: 'ignore' })
      // Elsewhere it cannot be asked from here.
      const answers = () =>
        within.length > 0 ? asks([...within, 'redis-cli', '-h', host, 'PING']) : takesConnections(port)
      await until(answers, 'Redis takes connections')
    },
    async end() {
      const ended = new Promise((resolve) => server.once('exit', resolve))
      server.kill('SIGKILL')
      await ended
    },
    /** What it says to a command. */
    ask(...words) {
      const [command, ...args] = [...within, 'redis-cli', '-h', host, '-p', `${port}`, ...words]
      return execFileSync(command, args, { encoding: 'utf8' }).trim()
    },
  }
  await self.begin()
  t.after(async () => {
    await self.end()
    rmSync(dir, { recursive: true })
  })
  return self
}

function asks([command, ...args]) {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
