// Calls that are kept running, and what they cost this thread and this process.

import { readFileSync, readlinkSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'

/** Begun at once; then the event loop has its turn. */
const SLICE = 100

/**
 * Keeps `atOnce` calls running until `stop()`. `one(number, of)` resolves with whether the answer was right; `of` is which of those at once it is. A
 * call that fails ends the loop, and rejects whatever is awaited.
 */
export function startLoop(one, { atOnce }) {
  let [done, wrong, numbers] = [0, 0, 0]
  let stopped = false
  let broken = null
  const run = async (of) => {
    while (!stopped) {
      if (!(await one(numbers++, of))) wrong++
      done++
    }
  }
  let filled = false
  const begin = async () => {
    const all = []
    for (let of = 0; of < atOnce && !stopped; of++) {
      const ended = run(of)
      ended.catch((error) => {
        broken ??= error
        stopped = true
      })
      all.push(ended)
      if (of % SLICE === SLICE - 1) await turn()
    }
    filled = true
    await Promise.all(all)
  }
  const ended = begin()
  ended.catch(() => {})
  return {
    /** Resolves when all were begun, so many have ended, and so much time has passed. */
    async reached({ calls = 0, seconds = 0 }) {
      const until = performance.now() + seconds * 1000
      while (!filled || done < calls || performance.now() < until) {
        if (broken !== null) throw broken
        await sleep(Math.max(2, Math.min(50, until - performance.now())))
      }
    },
    /** What the calls cost that end from now on, until so many have and so much time has passed. */
    async measure(limits) {
      const before = snapshot()
      const from = done
      await this.reached({ calls: from + (limits.calls ?? 1), seconds: limits.seconds })
      const after = snapshot()
      const calls = done - from
      const wall = after.at - before.at
      // Where the system does not tell the thread's own time: how long its event loop was busy.
      const loop = performance.eventLoopUtilization(after.loop, before.loop).active * 1000
      const thread = before.thread === null ? loop : after.thread - before.thread
      return { calls, wall, rate: (calls * 1000) / wall, thread: thread / calls, cpu: (after.cpu - before.cpu) / calls }
    },
    /** No more are begun. Resolves with how many answers were wrong, once those that run have ended. */
    async stop() {
      stopped = true
      await ended
      return wrong
    },
  }
}

function snapshot() {
  const { user, system } = process.cpuUsage()
  return { thread: threadTime(), cpu: user + system, loop: performance.eventLoopUtilization(), at: performance.now() }
}

/** Processor time of this thread so far, in µs; null where the system does not tell. */
export function threadTime() {
  try {
    return Number.parseInt(readFileSync(`/proc/${readlinkSync('/proc/thread-self')}/schedstat`, 'utf8'), 10) / 1000
  } catch {
    return null
  }
}
