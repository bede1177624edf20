// A child process that is asked by name: `start` in the parent, `serve` in the child.

import { spawn, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'

/**
 * Starts benchmark/<script>. `cores`: those it may run on, or none for all; `node`: the program to run it with. Returns
 * `ask(method, ...args)` and `stop()`.
 */
export function start(script, { cores = null, env = {}, node = process.execPath } = {}) {
  const program = [node, fileURLToPath(new URL(script, import.meta.url))]
  const [command, ...args] = cores ? ['taskset', '-c', cores, ...program] : program
  const child = spawn(command, args, {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...ownEnvironment(), ...env },
  })
  const waiting = new Map()
  let questions = 0
  let gone = null
  const lose = (error) => {
    gone = error
    for (const { reject } of waiting.values()) reject(error)
    waiting.clear()
  }
  child.on('error', lose)
  const exited = new Promise((resolve) =>
    child.on('exit', (code, signal) => {
      lose(new Error(`${script} ended (${signal ?? code}) before it answered`))
      resolve()
    }),
  )
  child.on('message', ({ question, answer, error }) => {
    const { resolve, reject } = waiting.get(question)
    waiting.delete(question)
    if (error === undefined) resolve(answer)
    else reject(new Error(`${script}: ${error}`))
  })
  return {
    ask(method, ...args) {
      if (gone) return Promise.reject(gone)
      return new Promise((resolve, reject) => {
        waiting.set(++questions, { resolve, reject })
        child.send({ question: questions, method, args })
      })
    },
    async stop() {
      if (child.connected) child.disconnect()
      await exited
    },
  }
}

/** This process's, without what would lead calls elsewhere or change how a client runs. */
export function ownEnvironment() {
  const foreign = /^(https?_proxy|all_proxy|no_proxy|node_options|node_test_context|(trunkline|openai|anthropic)_.*)$/i
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)))
}

/** Answers what the parent asks, and ends when it goes. */
export function serve(methods) {
  process.on('message', async ({ question, method, args }) => {
    try {
      process.send({ question, answer: await methods[method](...args) })
    } catch (error) {
      // With its causes.
      process.send({ question, error: inspect(error) })
    }
  })
  process.on('disconnect', () => process.exit())
}

/**
 * One core for the upstream and the others for the client, so that neither takes the other's time. Null where the system
 * has no taskset or one core alone.
 */
export function shareCores() {
  const asked = spawnSync('taskset', ['-cp', String(process.pid)], { encoding: 'utf8' })
  if (asked.status !== 0) return null
  const cores = coresIn(asked.stdout.split(':').at(-1).trim())
  if (cores.length < 2) return null
  return { client: cores.slice(0, -1).join(','), upstream: String(cores.at(-1)), count: cores.length }
}

/** As taskset lists them: `0-2,5`. */
export function coresIn(list) {
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, at) => first + at)
  })
}
