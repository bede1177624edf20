// What the figures were measured on.

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
