// The wide area that rows are measured through: a network namespace and its relay of packets (relay/) where the system allows one, and
// otherwise the delay that the stand-in itself puts before what it reads and writes.

import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from '../../scripts/run.mjs'

const relay = fileURLToPath(new URL('relay/', import.meta.url))
const scene = fileURLToPath(new URL('scene.mjs', import.meta.url))
const target = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../target', import.meta.url))

export const CANNOT = [
  'The delay is put between the socket and the server, by the stand-in itself. A new connection costs one round trip before anything is read, TLS',
  'its own, and each answer one. It does not emulate what the system does below: a connect that returns only after its round trip, slow start,',
  'acknowledgements and retransmission, loss and jitter.',
].join(' ')

/** Why there can be no namespace; null where there can. */
export function whyNoNamespace() {
  if (process.platform !== 'linux') return "network namespaces are Linux's"
  const { status, stderr, error } = spawnSync(relayProgram(), ['--', 'true'], { encoding: 'utf8' })
  return status === 0 ? null : (error?.message ?? stderr.trim().replace(/^wan: /, ''))
}

/** The relay, built if its sources are newer. */
export function relayProgram() {
  const program = join(target, 'release', 'wan')
  const sources = readdirSync(join(relay, 'src')).map((name) => join(relay, 'src', name))
  const newest = Math.max(...[join(relay, 'Cargo.toml'), ...sources].map((path) => statSync(path).mtimeMs))
  if (existsSync(program) && statSync(program).mtimeMs >= newest) return program
  run('cargo', ['build', '--release', '--package', 'trunkline-wan'], { quiet: true })
  return program
}

/** The relay's command line for a path. */
export function argumentsOf({ roundTrip = 0, jitter = 0, loss = 0, seed = 0 }, stats) {
  const options = { 'round-trip': roundTrip, jitter, loss, seed, ...(stats && { stats }) }
  return Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
}

/**
 * Measures rows through a path, in a process of its own. Resolves with them, and with what the relay has carried; `tell(text)` hears how far it is.
 */
export async function measureThrough({ path, rows, namespace }, tell) {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-network-'))
  const stats = join(folder, 'stats.json')
  const node = [process.execPath, scene]
  const [command, ...args] = namespace ? [relayProgram(), ...argumentsOf(path, stats), '--', ...node] : node
  const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  try {
    const measured = await new Promise((resolve, reject) => {
      let done = null
      child.on('message', (message) => {
        if (message.progress !== undefined) tell(message.progress)
        if (message.error !== undefined) reject(new Error(message.error))
        if (message.rows !== undefined) done = message.rows
      })
      child.on('error', reject)
      child.on('exit', (code, signal) => {
        if (done && code === 0) resolve(done)
        else reject(new Error(`the scene ended (${signal ?? code}) before its rows were measured`))
      })
      child.send({
        rows,
        folder,
        roundTrip: namespace ? 0 : path.roundTrip,
        host: namespace ? 'localhost' : '127.0.0.1',
      })
    })
    return { rows: measured, carried: namespace ? JSON.parse(readFileSync(stats, 'utf8')) : null }
  } finally {
    child.kill()
    rmSync(folder, { recursive: true, force: true })
  }
}
