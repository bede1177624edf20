// How long the event loop stands still; and what of that was our thread at work, and what a machine that had others to serve.

import { closeSync, openSync, readSync } from 'node:fs'
import { PerformanceObserver } from 'node:perf_hooks'
import { Worker } from 'node:worker_threads'

const WITNESS = `
const { monitorEventLoopDelay } = require('node:perf_hooks')
const { parentPort } = require('node:worker_threads')
const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()
parentPort.on('message', (what) => {
  if (what === 'reset') delay.reset()
  else parentPort.postMessage(delay.max / 1e6)
})
`

/**
 * Milliseconds from now to `stop()`: the longest time from one turn of the event loop to the next (`max`), the most that this thread worked
 * within one (`worked`; null where the system does not tell), and its longest collection of garbage (`gc`).
 */
export function watchPauses() {
  const clock = threadClock()
  const seen = { max: 0, worked: clock === null ? null : 0, gc: 0 }
  const collections = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) seen.gc = Math.max(seen.gc, duration)
  })
  collections.observe({ entryTypes: ['gc'] })
  let [at, worked] = [performance.now(), clock?.read() ?? 0]
  const look = () => {
    const now = performance.now()
    seen.max = Math.max(seen.max, now - at - 1)
    at = now
    if (clock === null) return
    const sum = clock.read()
    seen.worked = Math.max(seen.worked, sum - worked)
    worked = sum
  }
  const timer = setInterval(look, 1)
  return {
    stop() {
      clearInterval(timer)
      look()
      collections.disconnect()
      clock?.close()
      return seen
    },
  }
}

/** The processor time of the main thread, in milliseconds, as Linux tells it, to a tick of its own clock. */
function threadClock() {
  let file
  try {
    file = openSync(`/proc/self/task/${process.pid}/schedstat`)
  } catch {
    return null
  }
  const buffer = Buffer.alloc(64)
  return {
    read: () => {
      const length = readSync(file, buffer, 0, buffer.length, 0)
      return Number.parseInt(buffer.toString('latin1', 0, length), 10) / 1e6
    },
    close: () => closeSync(file),
  }
}

/** The longest pause of a thread that does nothing but look at the clock, from `reset()` to `longest()`. */
export function startWitness() {
  const worker = new Worker(WITNESS, { eval: true })
  worker.unref()
  return {
    reset: () => worker.postMessage('reset'),
    longest: () => {
      const answer = new Promise((resolve) => worker.once('message', resolve))
      worker.postMessage('longest')
      return answer.then((longest) => Math.max(0, longest - 1))
    },
    stop: () => worker.terminate(),
  }
}
