// The command in a process of its own, as a shell would start it.

import { spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from '../support.mjs'

const program = join(root, 'bin/trunkline.js')

/** What is of whoever runs the tests, and would show in what is told. */
const OTHERS =
  /^(NODE_TEST_CONTEXT|NODE_OPTIONS|NODE_EXTRA_CA_CERTS|FORCE_COLOR|NO_COLOR|COLUMNS|((https?|all|no)_proxy)|(TRUNKLINE|OPENAI|ANTHROPIC|GEMINI)_.*)$/i

/** A child that runs: its `said()` so far, what it said on standard error (`saidWrong()`), and `ended`. */
export function begin(args, { env = {}, command = process.execPath, before = [program], cwd = root, input } = {}) {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !OTHERS.test(name)))
  const child = spawn(command, [...before, ...args], {
    cwd,
    env: { ...clean, ...env },
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  })
  child.stdin?.end(input)
  let [out, err] = ['', '']
  child.stdout.on('data', (data) => (out += data))
  child.stderr.on('data', (data) => (err += data))
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code: code ?? signal, out, err }))
  })
  return { child, ended, said: () => out, saidWrong: () => err }
}

/** How it ended, and what it said. */
export function trunkline(args, options) {
  return begin(args, options).ended
}

/** The one JSON document that it says. */
export async function json(args, options) {
  const { code, out, err } = await trunkline([...args, '--json'], options)
  if (err !== '') throw new Error(err)
  return { code, data: JSON.parse(out) }
}

/** Why a test is skipped that needs a program; false where it is there. */
export function without(program) {
  return spawnSync(program, ['--version']).error !== undefined && `${program} is missing`
}
