// Runs a command, and ends this process with its error if it fails.

import { spawn, spawnSync } from 'node:child_process'

/** npm is a script on Windows, and those a shell alone runs. */
export const shellFor = (command, platform = process.platform) => command === 'npm' && platform === 'win32'

/** `quiet`: its output is shown only if it fails. */
export function run(command, args, { quiet = false, env = {} } = {}) {
  const result = spawnSync(command, args, {
    stdio: quiet ? 'pipe' : 'inherit',
    env: { ...process.env, ...env },
    shell: shellFor(command),
    maxBuffer: 1 << 28,
  })
  if (result.error || result.status !== 0) {
    if (quiet) process.stderr.write(Buffer.concat([result.stdout ?? Buffer.of(), result.stderr ?? Buffer.of()]))
    console.error(
      `${command} ${args.join(' ')}: ${result.error?.message ?? `failed (${result.status ?? result.signal})`}`,
    )
    process.exit(result.status || 1)
  }
}

/** Runs a command with its output shown and also returned. Never ends this process. */
export function watch(command, args, { env = {} } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
    let output = ''
    const take = (to) => (data) => {
      output += data
      to.write(data)
    }
    child.stdout.on('data', take(process.stdout))
    child.stderr.on('data', take(process.stderr))
    child.on('error', (error) => resolve({ status: 1, output: `${output}\n${error.message}` }))
    child.on('close', (status) => resolve({ status: status ?? 1, output }))
  })
}
