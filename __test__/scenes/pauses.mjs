// How long the event loop stands still, and how long a thread that does nothing does: what the machine adds is in both.

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Worker } from 'node:worker_threads'

const RESOLUTION = 1

const WITNESS = `
const { monitorEventLoopDelay } = require('node:perf_hooks')
const { parentPort } = require('node:worker_threads')
const delay = monitorEventLoopDelay({ resolution: ${RESOLUTION} })
delay.enable()
parentPort.on('message', (what) => {
  if (what === 'reset') delay.reset()
  else parentPort.postMessage(delay.max / 1e6)
})
`

/** Milliseconds from now to `stop()`: the longest pause, and what 99.9 of 100 stay below. */
export function watchPauses() {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
  delay.enable()
  return {
    stop() {
      delay.disable()
      const beyond = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - RESOLUTION)
      return { max: beyond(delay.max), p999: beyond(delay.percentile(99.9)), count: delay.count }
    },
  }
}

/** The longest pause of a thread that only looks at the clock, from `reset()` to `longest()`. */
export function startWitness() {
  const worker = new Worker(WITNESS, { eval: true })
  worker.unref()
  return {
    reset: () => worker.postMessage('reset'),
    longest: () => {
      const answer = new Promise((resolve) => worker.once('message', resolve))
      worker.postMessage('longest')
      return answer.then((longest) => Math.max(0, longest - RESOLUTION))
    },
    stop: () => worker.terminate(),
  }
}
