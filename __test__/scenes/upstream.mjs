// An upstream in a process of its own, whose log is kept whole however long the scene is, and whose faults can follow a plan.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const CHILD = fileURLToPath(new URL('upstream-process.mjs', import.meta.url))

/**
 * Starts one. `log()` gives every request so far as `{ at, user, model, connection, stream }`, in the order of their arrival.
 * `flap(plan)` gives it `plan.faults` from now on, one at random every `plan.every` milliseconds, until `calm()`.
 */
export async function startUpstream(options = {}) {
  const child = fork(CHILD, [], { serialization: 'advanced' })
  let last = 0
  const asked = new Map()
  child.on('message', ({ number, value, error }) => {
    const { resolve, reject } = asked.get(number)
    asked.delete(number)
    if (error === undefined) resolve(value)
    else reject(new Error(error))
  })
  child.once('exit', () => {
    for (const { reject } of asked.values()) reject(new Error('the upstream has gone'))
  })
  const ask = (what, ...args) =>
    new Promise((resolve, reject) => {
      asked.set(++last, { resolve, reject })
      child.send({ number: last, what, args }, (error) => {
        if (error !== null) reject(error)
      })
    })
  const { url } = await ask('start', options)
  return {
    url,
    fault: (fault, how) => ask('fault', fault, how),
    flap: (plan) => ask('flap', plan),
    calm: () => ask('calm'),
    log: () => ask('log'),
    connections: () => ask('connections'),
    close: async () => {
      child.disconnect()
      if (child.exitCode === null) await once(child, 'exit')
    },
  }
}
