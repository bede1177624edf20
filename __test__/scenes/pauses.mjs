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
 * Milliseconds from now to `stop()`: the longest time from one turn of the event loop to the next (`max`); the most that this thread worked in
 * one in which no garbage was collected (`worked`; null where the system does not tell); its longest collection (`gc`).
 */
export function watchPauses() {
  const clock = threadClock()
  const turns = []
  const collections = []
  const note = (entries) => {
    for (const { startTime, duration } of entries) collections.push({ from: startTime, to: startTime + duration })
  }
  const observer = new PerformanceObserver((list) => note(list.getEntries()))
  observer.observe({ entryTypes: ['gc'] })
  let [at, sum] = [performance.now(), clock?.read() ?? 0]
  const look = () => {
    const turn = { from: at, to: performance.now(), worked: (clock?.read() ?? 0) - sum }
    at = turn.to
    sum += turn.worked
    // Short ones are many, and never the longest.
    if (turns.length === 0 || turn.to - turn.from > 3 || turn.worked > 1) turns.push(turn)
  }
  const timer = setInterval(look, 1)
  return {
    stop() {
      clearInterval(timer)
      look()
      note(observer.takeRecords())
      observer.disconnect()
      clock?.close()
      const undisturbed = turns.filter((turn) => !collections.some(({ from, to }) => from < turn.to && to > turn.from))
      return {
        max: Math.max(...turns.map(({ from, to }) => to - from - 1)),
        worked: clock === null ? null : Math.max(0, ...undisturbed.map(({ worked }) => worked)),
        gc: Math.max(0, ...collections.map(({ from, to }) => to - from)),
      }
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
