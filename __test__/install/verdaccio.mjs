// A registry as companies run it, on loopback and without an uplink: what was not published to it is not there.

import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../ports.mjs'
import { until } from '../support.mjs'

/**
 * @param {string} program verdaccio's own @param {string} folder an empty one, for what it keeps
 * @returns {Promise<{ url: string, close(): Promise<void> }>}
 */
export async function verdaccio(program, folder) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(
    join(folder, 'config.yaml'),
    [
      `storage: ${join(folder, 'storage')}`,
      'auth: { htpasswd: { file: ./htpasswd } }',
      'uplinks: {}',
      "packages: { '**': { access: $all, publish: $all, unpublish: $all } }",
      'max_body_size: 100mb',
      'web: { enable: false }',
      'log: { type: stdout, format: json, level: warn }',
      '',
    ].join('\n'),
  )
  const port = await freePort()
  const child = spawn(
    process.execPath,
    [program, '--config', join(folder, 'config.yaml'), '--listen', `127.0.0.1:${port}`],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  let said = ''
  child.stdout.on('data', (data) => (said += data))
  child.stderr.on('data', (data) => (said += data))
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const url = `http://127.0.0.1:${port}/`
  try {
    await until(
      () => {
        if (child.exitCode !== null) throw new Error(`verdaccio ended: ${said}`)
        return fetch(`${url}-/ping`).then(
          ({ ok }) => ok,
          () => false,
        )
      },
      () => `verdaccio answers: ${said}`,
      60_000,
    )
  } catch (error) {
    child.kill()
    throw error
  }
  return {
    url,
    async close() {
      child.kill()
      await ended
    },
  }
}
