// What the figures were measured on.

import { spawnSync } from 'node:child_process'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'

export function machineFacts() {
  const model = cpus()[0]?.model.trim()
  return {
    cpu: model === undefined || model === 'unknown' ? null : model,
    cores: availableParallelism(),
    memory: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()} ${process.arch}`,
    load: Number(loadavg()[0].toFixed(2)),
  }
}

/** Processor time of all cores so far, whoever took it, in ms. */
export function machineTime() {
  return cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0)
}

/**
 * One core for the upstream and the others for the client, so that neither takes the other's time. Null where the system
 * has no taskset or one core alone. `clients` is null where the clients are not kept to theirs: on two cores a client of several
 * threads would have one for all, unless `pin` asks for that.
 */
export function shareCores({ pin }) {
  const asked = spawnSync('taskset', ['-cp', String(process.pid)], { encoding: 'utf8' })
  if (asked.status !== 0) return null
  const cores = coresIn(asked.stdout.split(':').at(-1).trim())
  if (cores.length < 2) return null
  return { clients: pin || cores.length > 2 ? cores.slice(0, -1).join(',') : null, upstream: String(cores.at(-1)) }
}

/** As taskset lists them: `0-2,5`. */
export function coresIn(list) {
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, at) => first + at)
  })
}
