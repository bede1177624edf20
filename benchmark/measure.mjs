// Runs calls and says what they cost this process.

import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'

/**
 * Keeps `atOnce` calls running for `seconds`, but no more than `calls` of them. `one(number)` resolves with whether the
 * answer was right; a call that fails fails the measurement. Times of the result are µs for each call, latencies are ms.
 */
export async function measure(one, { atOnce, seconds = Infinity, calls = Infinity, from = 0 }) {
  const latencies = []
  let number = from
  let wrong = 0
  const before = snapshot()
  const until = before.at + seconds * 1000
  const worker = async () => {
    for (;;) {
      const started = performance.now()
      if (started >= until || number >= from + calls) break
      if (!(await one(number++))) wrong++
      latencies.push(performance.now() - started)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  const after = snapshot()
  const count = latencies.length
  const wall = after.at - before.at
  const each = (key) => (before[key] === null ? null : (after[key] - before[key]) / count)
  latencies.sort((a, b) => a - b)
  return {
    calls: count,
    wrong,
    wall,
    rate: (count * 1000) / wall,
    thread: each('thread'),
    loop: (performance.eventLoopUtilization(after.loop, before.loop).active * 1000) / count,
    cpu: each('cpu'),
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
  }
}

/** Of sorted values. */
export function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}

/** The most memory that this process has held, in MB. */
export function peakMemory() {
  // Not maxRSS on Linux: a child's begins at its parent's.
  const peak = /VmHWM:\s+(\d+) kB/.exec(read('/proc/self/status') ?? '')
  return (peak ? Number(peak[1]) : process.resourceUsage().maxRSS) / 1024
}

function snapshot() {
  const { user, system } = process.cpuUsage()
  return { thread: threadTime(), cpu: user + system, loop: performance.eventLoopUtilization(), at: performance.now() }
}

/** Processor time of JavaScript's thread so far, in µs; null where the system does not tell. */
export function threadTime() {
  const nanoseconds = Number.parseInt(read(`/proc/self/task/${process.pid}/schedstat`) ?? '', 10)
  return nanoseconds > 0 ? nanoseconds / 1000 : null
}

function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
